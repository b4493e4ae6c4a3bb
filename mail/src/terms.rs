//! What a message is found by: one analyser for messages and queries.

use serde::{Deserialize, Serialize};

/// Where a term stands. The numbers are stored: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Field {
    /// Subject.
    Subject = 0,
    /// From and Sender.
    From = 1,
    /// To.
    To = 2,
    /// Cc.
    Cc = 3,
    /// Bcc.
    Bcc = 4,
    /// The text, and that of text attachments.
    Body = 5,
    /// Names of attachments.
    FileName = 6,
    /// The mailing list's identifier.
    List = 7,
}

/// What a term is made of. The numbers are stored: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Form {
    /// A folded word.
    Word = 0,
    /// The stem of a word, where it differs from it; at the word's position.
    Stem = 1,
    /// The first 2–12 characters of a folded word; without position (0).
    Prefix = 2,
    /// A whole address, lower-cased.
    Address = 3,
}

/// One term of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Term<'a> {
    /// Where it stands.
    pub field: Field,
    /// What it is made of.
    pub form: Form,
    /// The term.
    pub text: &'a str,
    /// Its place in the field, counted in words from 0, with gaps between values.
    pub position: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    position: u32,
    len: u16,
    field: Field,
    form: Form,
}

/// The terms of a message, their texts in one buffer.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    text: String,
    entries: Vec<Entry>,
}

impl Terms {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// The terms, field by field.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Term<'_>> {
        self.entries.iter().map(|e| Term {
            field: e.field,
            form: e.form,
            text: &self.text[e.start as usize..e.start as usize + e.len as usize],
            position: e.position,
        })
    }
}

/// A language that words are stemmed in. The numbers are stored: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Language {
    Arabic = 0,
    Danish = 1,
    Dutch = 2,
    English = 3,
    Finnish = 4,
    French = 5,
    German = 6,
    Greek = 7,
    Hungarian = 8,
    Italian = 9,
    Norwegian = 10,
    Portuguese = 11,
    Romanian = 12,
    Russian = 13,
    Spanish = 14,
    Swedish = 15,
    Tamil = 16,
    Turkish = 17,
}

impl Language {
    /// Every language, in the order of their numbers.
    pub const ALL: [Language; 18] = [
        Language::Arabic,
        Language::Danish,
        Language::Dutch,
        Language::English,
        Language::Finnish,
        Language::French,
        Language::German,
        Language::Greek,
        Language::Hungarian,
        Language::Italian,
        Language::Norwegian,
        Language::Portuguese,
        Language::Romanian,
        Language::Russian,
        Language::Spanish,
        Language::Swedish,
        Language::Tamil,
        Language::Turkish,
    ];
}

/// One word of a query: a message matches it with any of the alternatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Forms and texts, each pair once.
    pub alternatives: Vec<(Form, String)>,
}

/// The words of a query, in sequence. A word that analyses to several slots (`foo-bar`) is a phrase.
pub fn query_words(text: &str, languages: &[Language]) -> Vec<Slot> {
    let _ = (text, languages);
    Vec::new()
}

/// The folded words of a phrase, in sequence ([`Form::Word`]).
pub fn query_phrase(text: &str) -> Vec<String> {
    let _ = text;
    Vec::new()
}

/// The folded prefix ([`Form::Prefix`]); `None` unless it is one word of 2–12 characters.
pub fn query_prefix(text: &str) -> Option<String> {
    let _ = text;
    None
}

/// The whole address ([`Form::Address`]), when the text is one.
pub fn query_address(text: &str) -> Option<String> {
    let _ = text;
    None
}
