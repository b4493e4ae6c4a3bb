//! Words of a text, folded.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_segmentation::UnicodeSegmentation;

/// The text with its characters composed (Unicode's form C): what looks the same is the same.
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Characters of a word that count.
const WORD_LENGTH: usize = 64;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word between spaces or punctuation.
    Word,
    /// Two neighbours in a script without spaces, or its only character.
    Pair,
    /// One character in a script without spaces, where pairs stand too.
    Single,
}

/// One token of a text.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    /// Lower-cased, accents kept: what a stemmer reads.
    pub(crate) lower: &'a str,
    /// Folded: what is indexed.
    pub(crate) folded: &'a str,
    pub(crate) kind: Kind,
    /// Counted in words from the start of the text.
    pub(crate) position: u32,
}

/// Gives each token of a text to `each`, until it answers false; returns the position behind the last word.
pub(crate) fn analyse(text: &str, mut each: impl FnMut(Token<'_>) -> bool) -> u32 {
    let bytes = text.as_bytes();
    let mut state =
        State { position: 0, lower: String::with_capacity(64), folded: String::with_capacity(64) };
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        if bytes[i].is_ascii() {
            while i < bytes.len() && bytes[i].is_ascii_alphanumeric() {
                i += 1;
            }
            if i == start {
                i += 1;
                continue;
            }
            if i == bytes.len() || bytes[i].is_ascii() {
                let word = &text[start..start + (i - start).min(WORD_LENGTH)];
                state.lower.clear();
                state.lower.push_str(word);
                state.lower.make_ascii_lowercase();
                let lower = state.lower.as_str();
                if !each(Token { lower, folded: lower, kind: Kind::Word, position: state.position }) {
                    return state.position;
                }
                state.position += 1;
                continue;
            }
            i = start;
        }
        while i < bytes.len() && (!bytes[i].is_ascii() || bytes[i].is_ascii_alphanumeric()) {
            i += 1;
        }
        if !state.segment(&text[start..i], &mut each) {
            return state.position;
        }
    }
    state.position
}

struct State {
    position: u32,
    lower: String,
    folded: String,
}

impl State {
    /// Tokens of a text that is not all ASCII.
    fn segment(&mut self, text: &str, each: &mut impl FnMut(Token<'_>) -> bool) -> bool {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let dense = is_dense(first);
            let end = rest.find(|c| is_dense(c) != dense).unwrap_or(rest.len());
            let (run, tail) = rest.split_at(end);
            rest = tail;
            let more = if dense { self.dense(run, each) } else { self.spaced(run, each) };
            if !more {
                return false;
            }
        }
        true
    }

    fn spaced(&mut self, run: &str, each: &mut impl FnMut(Token<'_>) -> bool) -> bool {
        for piece in run.unicode_words().flat_map(|w| w.split(|c: char| !is_word_char(c))) {
            if !piece.chars().any(char::is_alphanumeric) {
                continue;
            }
            self.folded.clear();
            fold(piece, &mut self.folded);
            self.folded.retain(is_word_char);
            truncate(&mut self.folded, WORD_LENGTH);
            if self.folded.is_empty() {
                continue;
            }
            self.lower.clear();
            self.lower.extend(piece.nfc().flat_map(char::to_lowercase).take(WORD_LENGTH));
            let token =
                Token { lower: &self.lower, folded: &self.folded, kind: Kind::Word, position: self.position };
            if !each(token) {
                return false;
            }
            self.position += 1;
        }
        true
    }

    fn dense(&mut self, run: &str, each: &mut impl FnMut(Token<'_>) -> bool) -> bool {
        self.folded.clear();
        fold(run, &mut self.folded);
        let mut chars = self.folded.char_indices().map(|(i, c)| (i, i + c.len_utf8())).peekable();
        let mut is_first = true;
        while let Some((start, end)) = chars.next() {
            let pair = chars.peek().map(|(_, next)| &self.folded[start..*next]);
            let position = if pair.is_none() && !is_first { self.position - 1 } else { self.position };
            let single = &self.folded[start..end];
            let kind = if is_first && pair.is_none() { Kind::Pair } else { Kind::Single };
            if let Some(pair) = pair
                && !each(Token { lower: pair, folded: pair, kind: Kind::Pair, position })
            {
                return false;
            }
            if !each(Token { lower: single, folded: single, kind, position }) {
                return false;
            }
            // The last character shares the position of the last pair.
            if pair.is_some() || is_first {
                self.position += 1;
            }
            is_first = false;
        }
        true
    }
}

fn truncate(text: &mut String, chars: usize) {
    if text.len() > chars
        && let Some((at, _)) = text.char_indices().nth(chars)
    {
        text.truncate(at);
    }
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c)
}

/// Letters of scripts that are written without spaces, or (Hangul) with endings glued on.
fn is_dense(c: char) -> bool {
    matches!(c,
        '\u{0e01}'..='\u{0e3a}' | '\u{0e40}'..='\u{0e4e}' | '\u{0e80}'..='\u{0ecf}' // Thai, Lao
        | '\u{1000}'..='\u{1049}' | '\u{1100}'..='\u{11ff}' | '\u{1780}'..='\u{17d3}' // Burmese, Jamo, Khmer
        | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}'
        | '\u{3131}'..='\u{318e}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ffdc}' | '\u{20000}'..='\u{3ffff}')
}

/// Accents that fold away: those of Latin, Greek and Cyrillic, Hebrew and Arabic points. Vowel signs of other
/// scripts are letters to their readers.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0487}' | '\u{0591}'..='\u{05c7}' | '\u{0610}'..='\u{061a}'
        | '\u{0640}' | '\u{064b}'..='\u{065f}' | '\u{0670}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}')
}

/// Appends a text without case, compatibility forms and accents.
pub(crate) fn fold(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
        return;
    }
    let plain =
        text.nfkd().filter(|c| !is_accent(*c)).flat_map(char::to_lowercase).filter(|c| !is_accent(*c));
    // What was taken apart and is no accent (Hangul, kana) is put together again.
    for c in plain.nfc() {
        match c {
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'ø' => out.push('o'),
            'đ' | 'ð' => out.push('d'),
            'þ' => out.push_str("th"),
            'ħ' => out.push('h'),
            'ı' => out.push('i'),
            'ł' => out.push('l'),
            'ŋ' => out.push('n'),
            'ŧ' => out.push('t'),
            'ς' => out.push('σ'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        analyse(text, |t| {
            found.push((t.folded.to_string(), t.position));
            true
        });
        found
    }

    #[test]
    fn a_text_becomes_its_folded_words() {
        let cases: &[(&str, &[&str])] = &[
            ("Hello, World!", &["hello", "world"]),
            ("foo-bar_baz", &["foo", "bar", "baz"]),
            ("www.example.org", &["www", "example", "org"]),
            ("don't l’homme", &["don", "t", "l", "homme"]),
            ("3.14 2024-01-02", &["3", "14", "2024", "01", "02"]),
            ("Café ÉCOLE naïve", &["cafe", "ecole", "naive"]),
            ("cafe\u{301}", &["cafe"]), // decomposed
            ("Straße STRASSE", &["strasse", "strasse"]),
            ("Łódź Ørsted Œuvre", &["lodz", "orsted", "oeuvre"]),
            ("ﬁne ＡＢＣ", &["fine", "abc"]), // compatibility forms
            ("Ёлка й", &["елка", "и"]),
            ("ΣΊΣΥΦΟΣ", &["σισυφοσ"]),
            ("İstanbul", &["istanbul"]),
            ("नमस्ते", &["नमस्ते"]), // vowel signs are letters
            ("...", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let words: Vec<_> = folded(text).into_iter().map(|(w, _)| w).collect();
            assert_eq!(words, *expected, "{text}");
        }
        assert_eq!(folded(&"x".repeat(100))[0].0.len(), 64);
    }

    #[test]
    fn scripts_without_spaces_become_pairs_and_singles() {
        let found = folded("日本語 ok");
        let expected = [("日本", 0), ("日", 0), ("本語", 1), ("本", 1), ("語", 1), ("ok", 2)];
        assert_eq!(found, expected.map(|(w, p)| (w.to_string(), p)));
        assert_eq!(folded("日"), [("日".to_string(), 0)]);
        assert_eq!(folded("ガ")[0].0, "ガ");
        assert_eq!(folded("ｶﾞ")[0].0, "ガ"); // half width
    }
}
