//! What of a hit to show: RFC 8621 §5, `<mark>` around what was found, all else escaped.

use std::collections::HashSet;
use std::ops::Range;

use mail::Language;
use mail::terms::{Field, Form as TermForm, query_phrase, query_prefix, query_words};
use serde::Serialize;
use utoipa::ToSchema;

use super::parse::{Form, Node};

/// Octets of a body that are looked through.
const LOOKED_AT: usize = 64 << 10;
/// Characters of a snippet.
const LENGTH: usize = 200;
/// Characters before the first match.
const BEFORE: usize = 50;
/// Octets after the first match that can be in a snippet: a character has at most four.
const REACH: usize = 4 * LENGTH;
/// Matches marked in one text.
const MARKS: usize = 50;

/// Where a hit matches: HTML, escaped, with `<mark>` around the matches.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Snippet {
    /// The subject, if something was found in it.
    pub subject: Option<String>,
    /// A piece of the text, if something was found in it.
    pub preview: Option<String>,
}

/// The words to be marked in one field.
#[derive(Debug, Default)]
struct Words {
    exact: HashSet<String>,
    stems: HashSet<String>,
    prefixes: Vec<String>,
    starts: Starts,
}

/// How words begin: most words of a text can be passed over by their first two letters. A stem begins as its words do.
#[derive(Debug, Default)]
struct Starts {
    /// A bit for each first letter and, in it, each second one, by the low five bits of an ASCII letter, in which both
    /// cases are one. Others share the bits, so that a few words are looked at in vain.
    pairs: [u32; 32],
    /// Whether a word is too short to be told by its start, so that nothing can be passed over.
    any: bool,
}

impl Starts {
    fn add(&mut self, word: &str) {
        match word.as_bytes() {
            [first, second, ..] => self.pairs[usize::from(first & 31)] |= 1 << (second & 31),
            _ => self.any = true,
        }
    }

    /// Whether one of the words could begin as this one, which is ASCII.
    fn admit(&self, word: &[u8]) -> bool {
        self.any
            || match word {
                [first, second, ..] => self.pairs[usize::from(first & 31)] >> (second & 31) & 1 == 1,
                _ => false,
            }
    }
}

/// The words that a query looks for in subjects and bodies.
#[derive(Debug)]
pub(crate) struct Wanted {
    subject: Words,
    body: Words,
    languages: Vec<Language>,
}

impl Wanted {
    /// What `node` looks for; not what it excludes.
    pub(crate) fn new(node: &Node, languages: &[Language]) -> Self {
        let mut wanted =
            Self { subject: Words::default(), body: Words::default(), languages: languages.to_vec() };
        wanted.collect(node);
        wanted
    }

    /// Whether nothing could be found in a body.
    pub(crate) fn skips_body(&self) -> bool {
        self.body.is_empty()
    }

    fn collect(&mut self, node: &Node) {
        match node {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| self.collect(node)),
            Node::Text(text) => {
                let languages = self.languages.clone();
                if matches!(text.field, None | Some(Field::Subject)) {
                    self.subject.add(text.form, &text.text, &languages);
                }
                if matches!(text.field, None | Some(Field::Body)) && text.form != Form::Prefix {
                    self.body.add(text.form, &text.text, &languages);
                }
            }
            Node::Not(_) | Node::Fact(_) | Node::Test(_) => {}
        }
    }
}

impl Words {
    fn add(&mut self, form: Form, text: &str, languages: &[Language]) {
        match form {
            Form::Prefix => self.prefixes.extend(query_prefix(text)),
            Form::Phrase => self.exact.extend(query_phrase(text)),
            Form::Word => {
                for (form, text) in
                    query_words(text, languages).into_iter().flat_map(|slot| slot.alternatives)
                {
                    match form {
                        TermForm::Stem => self.stems.insert(text),
                        _ => self.exact.insert(text),
                    };
                }
            }
        }
        for word in self.exact.iter().chain(&self.stems).chain(&self.prefixes) {
            self.starts.add(word);
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.stems.is_empty() && self.prefixes.is_empty()
    }

    /// Whether a word of a text is one of these.
    fn has(&self, word: &str, languages: &[Language]) -> bool {
        query_words(word, languages).iter().flat_map(|slot| &slot.alternatives).any(|(form, text)| match form
        {
            TermForm::Stem => self.stems.contains(text),
            _ => {
                self.exact.contains(text)
                    || self.prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()))
            }
        })
    }

    /// Where a text has them, in octets; `reach` octets after the first the rest is not looked at.
    fn find(&self, text: &str, reach: usize, languages: &[Language]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if self.is_empty() {
            return found;
        }
        let mut from = 0;
        while let Some(word) = next_word(text, from) {
            from = word.end;
            if found
                .first()
                .is_some_and(|first: &Range<usize>| word.start > first.start.saturating_add(reach))
            {
                break;
            }
            let each = &text[word.clone()];
            if (!each.is_ascii() || self.starts.admit(each.as_bytes())) && self.has(each, languages) {
                found.push(word);
                if found.len() == MARKS {
                    break;
                }
            }
        }
        found
    }
}

/// Where the first word after `from` stands.
fn next_word(text: &str, from: usize) -> Option<Range<usize>> {
    let octets = text.as_bytes();
    let is_blank = |octet: &u8| octet.is_ascii() && !octet.is_ascii_alphanumeric();
    let start = from + octets[from..].iter().position(|octet| !is_blank(octet))?;
    let ascii = octets[start..].iter().take_while(|octet| octet.is_ascii_alphanumeric()).count();
    let end = start + ascii;
    if ascii > 0 && octets.get(end).is_none_or(is_blank) {
        return Some(start..end);
    }
    let is_part = |c: char| c.is_alphanumeric() || is_mark(c);
    let start = start + text[start..].find(is_part)?;
    let length = text[start..].find(|c| !is_part(c)).unwrap_or(text.len() - start);
    Some(start..start + length)
}

/// A mark that is put on the letter before it.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}')
}

/// The snippet that subject and preview give.
pub(crate) fn in_head(wanted: &Wanted, subject: &str, preview: &str) -> Snippet {
    Snippet {
        subject: mark_whole(subject, &wanted.subject.find(subject, usize::MAX, &wanted.languages)),
        preview: mark_piece(preview, &wanted.body.find(preview, REACH, &wanted.languages)),
    }
}

/// The snippet that the text gives; `None` if nothing is found in it.
pub(crate) fn in_body(wanted: &Wanted, text: &str) -> Option<String> {
    let text = looked_at(text);
    mark_piece(text, &wanted.body.find(text, REACH, &wanted.languages))
}

/// How much of a body is looked through: 64 KiB.
pub(crate) fn looked_at(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOOKED_AT)]
}

fn mark_whole(text: &str, found: &[Range<usize>]) -> Option<String> {
    (!found.is_empty()).then(|| mark(text, 0..text.len(), found))
}

/// A piece of the text around the first match, from word to word.
fn mark_piece(text: &str, found: &[Range<usize>]) -> Option<String> {
    let first = found.first()?;
    let before =
        text[..first.start].char_indices().rev().take(BEFORE).last().map_or(first.start, |(at, _)| at);
    let start = match text[before..first.start].find(char::is_whitespace) {
        Some(blank) if before > 0 => before + blank,
        _ => before,
    };
    let end = text[start..].char_indices().nth(LENGTH).map_or(text.len(), |(at, _)| start + at);
    Some(mark(text, start..end.max(first.end), found))
}

/// A range of the text, escaped, blanks joined, with the matches marked.
fn mark(text: &str, range: Range<usize>, found: &[Range<usize>]) -> String {
    let mut marked = String::with_capacity(range.len() + 32);
    let mut at = range.start;
    for each in found.iter().filter(|each| each.start >= range.start && each.end <= range.end) {
        escape(&text[at..each.start], &mut marked);
        marked.push_str("<mark>");
        escape(&text[each.clone()], &mut marked);
        marked.push_str("</mark>");
        at = each.end;
    }
    escape(&text[at..range.end], &mut marked);
    marked.trim().to_owned()
}

fn escape(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            '\'' => to.push_str("&#39;"),
            c if c.is_whitespace() || c.is_control() => {
                if !to.ends_with(' ') {
                    to.push(' ');
                }
            }
            c => to.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use proptest::prelude::*;

    fn snippet(query: &str, subject: &str, preview: &str) -> Snippet {
        in_head(&Wanted::new(&parse(query).unwrap(), &[Language::English]), subject, preview)
    }

    #[test]
    fn what_was_found_is_marked_and_the_rest_is_escaped() {
        let shown = snippet("report subject:\"<b>\"", "The <b> Report & more", "no such thing");
        assert_eq!(
            shown.subject.as_deref(),
            Some("The &lt;<mark>b</mark>&gt; <mark>Report</mark> &amp; more")
        );
        assert_eq!(shown.preview, None);
        assert_eq!(snippet("is:unread -report", "report", "report"), Snippet::default());
        assert_eq!(snippet("body:report", "report", "a report").subject, None);
        assert_eq!(snippet("rep*", "reports", "reports").subject.as_deref(), Some("<mark>reports</mark>"));
    }

    #[test]
    fn a_piece_of_a_long_text_begins_and_ends_near_the_match() {
        let text = format!("{} needle {}", "hay ".repeat(500), "straw ".repeat(500));
        let wanted = Wanted::new(&parse("needle").unwrap(), &[]);
        let piece = in_body(&wanted, &text).unwrap();
        assert!(piece.contains("<mark>needle</mark>") && piece.chars().count() <= LENGTH + 13, "{piece}");
        assert!(piece.starts_with("hay"));
    }

    #[test]
    fn words_are_told_apart_as_their_characters_say() {
        let words = |text: &'static str| {
            let mut from = 0;
            std::iter::from_fn(|| {
                let word = next_word(text, from)?;
                from = word.end;
                Some(&text[word])
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words(" -- \u{2014} "), [""; 0]);
        assert_eq!(words("a1 b_c"), ["a1", "b", "c"]);
        assert_eq!(words("cafe\u{301}s"), ["cafe\u{301}s"]);
        assert_eq!(words("«na\u{ef}ve» end"), ["na\u{ef}ve", "end"]);
        // What follows a word of ASCII without a blank may be a letter of it, or not.
        assert_eq!(words("don\u{2019}t"), ["don", "t"]);
    }

    proptest! {
        #[test]
        fn a_word_is_found_wherever_it_stands(before in ".{0,40}", after in ".{0,40}") {
            let wanted = Wanted::new(&parse("\"needle\"").unwrap(), &[]);
            let text = format!("{before} nEedle {after}");
            let piece = in_body(&wanted, &text);
            prop_assert!(piece.is_some_and(|piece| piece.contains("<mark>")));
        }

        #[test]
        fn no_text_brings_its_own_markup(text: String) {
            let wanted = Wanted::new(&parse("a OR b OR c*").unwrap(), &[]);
            let shown = in_head(&wanted, &text, &text);
            for html in [shown.subject, shown.preview, in_body(&wanted, &text)].into_iter().flatten() {
                let rest = html.replace("<mark>", "").replace("</mark>", "");
                prop_assert!(!rest.contains(['<', '>', '"', '\'']));
            }
        }
    }
}
