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
    /// The first two letters of all of them, if they are ASCII: most words of a text can be passed over by theirs. A
    /// stem begins as its words do.
    starts: HashSet<[u8; 2]>,
    /// Whether one of them is a single letter, so that nothing can be passed over.
    short: bool,
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
            match word.as_bytes().first_chunk::<2>() {
                Some(start) => _ = self.starts.insert(*start),
                None => self.short = true,
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.stems.is_empty() && self.prefixes.is_empty()
    }

    /// Whether a word of a text is one of these.
    fn has(&self, word: &str, languages: &[Language]) -> bool {
        let start =
            word.as_bytes().first_chunk::<2>().map(|start| start.map(|octet| octet.to_ascii_lowercase()));
        if word.is_ascii() && !self.short && start.is_none_or(|start| !self.starts.contains(&start)) {
            return false;
        }
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
        let mut start = None;
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            if found.first().is_some_and(|first: &Range<usize>| at > first.start.saturating_add(reach)) {
                break;
            }
            match (start, c.is_alphanumeric() || is_mark(c)) {
                (None, true) => start = Some(at),
                (Some(from), false) => {
                    start = None;
                    if self.has(&text[from..at], languages) {
                        found.push(from..at);
                        if found.len() == MARKS {
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
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
    let mut end = text.len().min(LOOKED_AT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    mark_piece(text, &wanted.body.find(text, REACH, &wanted.languages))
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

    proptest! {
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
