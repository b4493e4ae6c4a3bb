//! The same analysis for queries.

use super::{
    Form, Language, PREFIX_LENGTH,
    analysis::{Kind, analyse},
    language,
};

/// One word of a query: a message matches it with any of the alternatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Forms and texts, each pair once; the folded word first.
    pub alternatives: Vec<(Form, String)>,
}

/// The words of a query, in sequence. A word that analyses to several slots (`foo-bar`) is a phrase.
pub fn query_words(text: &str, languages: &[Language]) -> Vec<Slot> {
    let mut slots = Vec::new();
    analyse(text, |token| {
        if token.kind == Kind::Single {
            return true;
        }
        let mut alternatives = vec![(Form::Word, token.folded.to_string())];
        if token.kind == Kind::Word {
            for stem in languages.iter().filter_map(|&language| language::stem(language, token.lower)) {
                // A message has no stem where the word is its own stem.
                for alternative in [(Form::Stem, stem.clone()), (Form::Word, stem)] {
                    if !alternatives.contains(&alternative) {
                        alternatives.push(alternative);
                    }
                }
            }
        }
        slots.push(Slot { alternatives });
        true
    });
    slots
}

/// The folded words of a phrase, in sequence ([`Form::Word`]).
pub fn query_phrase(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    analyse(text, |token| {
        if token.kind != Kind::Single {
            words.push(token.folded.to_string());
        }
        true
    });
    words
}

/// The folded prefix ([`Form::Prefix`]); `None` unless it is one word of 2–12 characters.
pub fn query_prefix(text: &str) -> Option<String> {
    let mut words = query_phrase(text);
    let word = words.pop().filter(|_| words.is_empty())?;
    PREFIX_LENGTH.contains(&word.chars().count()).then_some(word)
}

/// The whole address ([`Form::Address`]), when the text is one; `@example.org` stands for all of a domain.
pub fn query_address(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let (_, domain) = text.rsplit_once('@')?;
    let is_address = !domain.is_empty()
        && text.len() <= 1_000
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>'));
    is_address.then(|| text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_matches_itself_and_its_stem() {
        let slots = query_words("Running", &[Language::English, Language::German]);
        assert_eq!(slots.len(), 1);
        let alternatives = &slots[0].alternatives;
        for wanted in [(Form::Word, "running"), (Form::Stem, "run"), (Form::Word, "run")] {
            assert!(alternatives.contains(&(wanted.0, wanted.1.to_string())), "{wanted:?}");
        }
        assert_eq!(query_words("foo-bar", &[]).len(), 2);
        assert_eq!(query_words("日本語", &[]).len(), 2);
    }

    #[test]
    fn a_prefix_is_one_word_of_the_right_length() {
        let cases: &[(&str, Option<&str>)] = &[
            ("Caf", Some("caf")),
            ("É", None), // one character
            ("écol", Some("ecol")),
            ("foo-bar", None), // two words
            ("abcdefghijkl", Some("abcdefghijkl")),
            ("abcdefghijklm", None), // 13 characters
            ("会议", Some("会议")),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(query_prefix(text).as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn an_address_is_whole_or_a_domain() {
        let cases: &[(&str, Option<&str>)] = &[
            ("Ada@Example.org", Some("ada@example.org")),
            ("<ada@example.org>", Some("ada@example.org")),
            ("@example.org", Some("@example.org")),
            ("ada", None),
            ("ada@", None),
            ("ada @example.org", None),
        ];
        for (text, expected) in cases {
            assert_eq!(query_address(text).as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn phrases_keep_their_words_in_order() {
        assert_eq!(query_phrase("To be, or"), ["to", "be", "or"]);
        assert_eq!(query_phrase("日本語"), ["日本", "本語"]);
    }
}
