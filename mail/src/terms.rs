//! What a message is found by: one analyser for messages and queries.

//!
//! A word is a run of letters and digits (so `foo-bar` and `example.org` are two in sequence), folded: without
//! case, compatibility forms and accents. Scripts that are written without spaces are indexed as pairs of
//! characters. Where the language of the message is known, a word's stem stands at the same position in a form
//! of its own.

mod analysis;
mod attached;
mod language;
mod query;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::{
    Head, Limits, head,
    structure::Tree,
    text::{self, Body},
};

pub use analysis::composed;
pub(crate) use analysis::fold;
use analysis::{Kind, Token, analyse};
pub use language::Language;
pub use query::{Slot, query_address, query_phrase, query_prefix, query_words};

/// Positions between two values of a field, so that no phrase spans them.
pub const POSITION_GAP: u32 = 100;
/// Where the words of attachments start in [`Field::Body`].
pub const ATTACHED_TEXT: u32 = 1 << 24;
/// Characters of a [`Form::Prefix`].
pub const PREFIX_LENGTH: std::ops::RangeInclusive<usize> = 2..=12;

/// Where a term stands. The numbers are stored: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Field {
    /// Subject.
    Subject = 0,
    /// From.
    From = 1,
    /// To.
    To = 2,
    /// Cc.
    Cc = 3,
    /// Bcc.
    Bcc = 4,
    /// The text, and that of text attachments; of messages in the message their text, subjects, names and addresses.
    Body = 5,
    /// Names of attachments, those of messages in the message included.
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
    /// A whole address, lower-cased; also its domain alone as `@example.org`.
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
    language: Option<Language>,
}

impl Terms {
    /// The language that the words were stemmed in, if it was found.
    pub fn language(&self) -> Option<Language> {
        self.language
    }
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

/// A text in the buffer of [`Terms`].
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: u32,
    len: u16,
}

/// A word seen before in the message.
#[derive(Debug, Clone, Copy)]
struct Known {
    folded: Piece,
    stem: Option<Piece>,
}

struct Collector<'a> {
    terms: Terms,
    max: usize,
    known: HashMap<String, Known, RandomState>,
    /// Words of the field at hand that get prefixes.
    prefixed: Vec<Piece>,
    limits: &'a Limits,
}

impl<'a> Collector<'a> {
    fn new(language: Option<Language>, limits: &'a Limits, text_len: usize) -> Self {
        let words = text_len.min(1 << 20) / 6;
        let terms = Terms {
            text: String::with_capacity(words * 4 + 512),
            entries: Vec::with_capacity(words * 3 / 2 + 256),
            language,
        };
        Self {
            terms,
            max: limits.terms,
            known: HashMap::with_capacity_and_hasher(words / 2 + 64, RandomState::default()),
            prefixed: Vec::new(),
            limits,
        }
    }

    fn intern(&mut self, text: &str) -> Option<Piece> {
        let start = u32::try_from(self.terms.text.len()).ok()?;
        let len = u16::try_from(text.len()).ok().filter(|l| *l > 0)?;
        self.terms.text.push_str(text);
        Some(Piece { start, len })
    }

    fn push(&mut self, field: Field, form: Form, piece: Piece, position: u32) {
        if self.terms.entries.len() < self.max {
            let Piece { start, len } = piece;
            self.terms.entries.push(Entry { start, len, position, field, form });
        }
    }

    fn know(&mut self, token: &Token<'_>) -> Option<Known> {
        if let Some(known) = self.known.get(token.lower) {
            return Some(*known);
        }
        let folded = self.intern(token.folded)?;
        let stem = match (self.terms.language, token.kind) {
            (Some(language), Kind::Word) => language::stem(language, token.lower),
            _ => None,
        };
        let stem = stem.filter(|s| s != token.folded).and_then(|s| self.intern(&s));
        let known = Known { folded, stem };
        self.known.insert(token.lower.to_string(), known);
        Some(known)
    }

    /// Adds the words of a value; gives the position behind its last one.
    fn words(&mut self, field: Field, value: &str, from: u32, prefixes: bool) -> u32 {
        let end = analyse(value, |token| {
            if self.terms.entries.len() >= self.max {
                return false;
            }
            if let Some(known) = self.know(&token) {
                let position = from.saturating_add(token.position);
                self.push(field, Form::Word, known.folded, position);
                if let Some(stem) = known.stem {
                    self.push(field, Form::Stem, stem, position);
                }
                if prefixes && token.kind != Kind::Single {
                    self.prefixed.push(known.folded);
                }
            }
            true
        });
        from.saturating_add(end)
    }

    /// Adds an address: whole, its domain, and its words.
    fn address(&mut self, field: Field, email: &str, from: u32) -> u32 {
        if let Some(whole) = query_address(email)
            && let Some(piece) = self.intern(&whole)
        {
            self.push(field, Form::Address, piece, from);
            if let Some(at) = whole.rfind('@').filter(|at| *at > 0) {
                let domain = Piece { start: piece.start + at as u32, len: piece.len - at as u16 };
                self.push(field, Form::Address, domain, from);
            }
        }
        self.words(field, email, from, true)
    }

    /// Adds the prefixes of the field's words, each once.
    fn end_field(&mut self, field: Field) {
        let mut found: Vec<Piece> = Vec::new();
        for word in std::mem::take(&mut self.prefixed) {
            let text = self.text(word);
            let ends = text.char_indices().map(|(i, _)| i).skip(1).chain([text.len()]);
            let ends = ends.skip(PREFIX_LENGTH.start() - 1).take(PREFIX_LENGTH.count());
            found.extend(ends.map(|end| Piece { start: word.start, len: end as u16 }));
        }
        let text = &self.terms.text;
        let slice = |p: &Piece| &text[p.start as usize..p.start as usize + p.len as usize];
        found.sort_unstable_by(|a, b| slice(a).cmp(slice(b)));
        found.dedup_by(|a, b| slice(a) == slice(b));
        for piece in found {
            self.push(field, Form::Prefix, piece, 0);
        }
    }

    fn text(&self, piece: Piece) -> &str {
        &self.terms.text[piece.start as usize..piece.start as usize + piece.len as usize]
    }

    fn addresses(&mut self, field: Field, list: &[crate::Address]) {
        let mut at = 0;
        for address in list {
            if let Some(name) = &address.name {
                at = self.words(field, name, at, true).saturating_add(POSITION_GAP);
            }
            at = self.address(field, &address.email, at).saturating_add(POSITION_GAP);
        }
        self.end_field(field);
    }

    fn head(&mut self, head: &Head) {
        self.words(Field::Subject, &head.subject, 0, true);
        self.end_field(Field::Subject);
        let lists = [
            (Field::From, &head.from),
            (Field::To, &head.to),
            (Field::Cc, &head.cc),
            (Field::Bcc, &head.bcc),
        ];
        for (field, list) in lists {
            self.addresses(field, list);
        }
        if let Some(id) = &head.list_id {
            if let Some(piece) = self.intern(id) {
                self.push(Field::List, Form::Address, piece, 0);
            }
            self.words(Field::List, id, 0, false);
        }
    }
}

/// The terms of a message.
pub(crate) fn of(tree: &Tree<'_>, body: &Body, limits: &Limits) -> Terms {
    let head = head::of(tree, body, limits);
    let text = text::body_text(tree, body, limits);
    let language = Language::detect(&head.subject, &text);
    let mut collector = Collector::new(language, limits, text.len());
    collector.head(&head);
    collector.words(Field::Body, &text, 0, false);
    collector.attached(tree, body, limits.text_bytes.saturating_sub(text.len()));
    collector.terms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn terms_of(raw: &str) -> Terms {
        parse(raw.as_bytes(), &Limits::default()).terms()
    }

    fn has(terms: &Terms, field: Field, form: Form, text: &str) -> bool {
        terms.iter().any(|t| t.field == field && t.form == form && t.text == text)
    }

    #[test]
    fn every_part_of_a_message_is_found_in_its_field() {
        let terms = terms_of(
            "From: \"Ada Lovelace\" <Ada.L@Mail.Example.org>\nTo: b@example.net\nCc: c@example.net\n\
             Bcc: d@example.net\nList-Id: The list <dev.example.org>\nSubject: Meeting notes\n\
             Content-Type: multipart/mixed; boundary=b\n\n--b\n\nThe meetings were running late in the evening and the notes are in the file.\n\
             --b\nContent-Type: text/csv; charset=iso-8859-1; name=\"b\u{fc}dget-2024.csv\"\nContent-Transfer-Encoding: quoted-printable\n\n\
             caf=E9;42\n--b--\n",
        );
        let cases = [
            (Field::From, Form::Address, "ada.l@mail.example.org"),
            (Field::From, Form::Address, "@mail.example.org"),
            (Field::From, Form::Word, "lovelace"),
            (Field::From, Form::Prefix, "love"),
            (Field::From, Form::Word, "example"),
            (Field::To, Form::Address, "b@example.net"),
            (Field::Cc, Form::Address, "c@example.net"),
            (Field::Bcc, Form::Address, "d@example.net"),
            (Field::List, Form::Address, "dev.example.org"),
            (Field::Subject, Form::Prefix, "meeti"),
            (Field::Body, Form::Word, "meetings"),
            (Field::Body, Form::Stem, "meet"),
            (Field::Body, Form::Stem, "run"),
            (Field::FileName, Form::Word, "budget"),
            (Field::FileName, Form::Word, "2024"),
            (Field::FileName, Form::Prefix, "bud"),
            (Field::Body, Form::Word, "cafe"),
            (Field::Body, Form::Word, "42"),
        ];
        for (field, form, text) in cases {
            assert!(has(&terms, field, form, text), "{field:?} {form:?} {text}");
        }
        assert!(!has(&terms, Field::Body, Form::Prefix, "mee"), "the body has no prefixes");
        assert!(!has(&terms, Field::Subject, Form::Prefix, "m"), "a prefix has two characters");
    }

    #[test]
    fn words_stand_in_sequence_and_values_apart() {
        let terms = terms_of("To: a@x.org, b@y.org\nSubject: foo-bar baz\n\n");
        let at = |field, text: &str| {
            terms
                .iter()
                .find(|t| t.field == field && t.form == Form::Word && t.text == text)
                .unwrap()
                .position
        };
        assert_eq!(at(Field::Subject, "foo") + 1, at(Field::Subject, "bar"));
        assert_eq!(at(Field::Subject, "bar") + 1, at(Field::Subject, "baz"));
        assert!(at(Field::To, "b") >= at(Field::To, "org") + POSITION_GAP);
    }

    #[test]
    fn a_prefix_stands_once_per_field() {
        let terms = terms_of("Subject: tests tester testing\n\n");
        let count = terms.iter().filter(|t| t.form == Form::Prefix && t.text == "test").count();
        assert_eq!(count, 1);
    }

    #[test]
    fn the_number_of_terms_is_bounded() {
        let limits = Limits { terms: 10, ..Limits::default() };
        let raw = format!("Subject: x\n\n{}", "word ".repeat(1000));
        assert_eq!(parse(raw.as_bytes(), &limits).terms().len(), 10);
    }
}
