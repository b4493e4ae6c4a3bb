//! The start of a text, as a listing shows it.

/// Characters of a preview, at most.
pub(crate) const LENGTH: usize = 256;

/// The first [`LENGTH`] characters of what the sender wrote: no quotes, signature, URLs, rulers or invisible
/// padding. Where nothing else is there, of what is quoted.
pub(crate) fn of(text: &str) -> String {
    let preview = read(text, false);
    if preview.is_empty() { read(text, true) } else { preview }
}

fn read(text: &str, with_quotes: bool) -> String {
    let mut out = String::with_capacity(LENGTH + 64);
    let mut count = 0;
    // A line that may introduce a quote waits for the next one.
    let mut introduction: Option<&str> = None;
    // The head of a message that was forwarded, up to its first empty line.
    let mut in_head = false;
    for line in text.lines() {
        let mut trimmed = line.trim();
        if with_quotes {
            trimmed = trimmed.trim_start_matches(['>', '|', ' ']);
        }
        let quoted = trimmed.starts_with('>') || trimmed.starts_with("|>");
        if quoted {
            introduction = None;
            continue;
        }
        in_head &= !trimmed.is_empty();
        if trimmed.is_empty() || in_head {
            continue;
        }
        if starts_original(trimmed) && count == 0 && introduction.is_none() {
            in_head = true;
            continue;
        }
        if let Some(before) = introduction.take() {
            add(before, &mut out, &mut count);
        }
        if line == "-- " || trimmed == "--" && count > 0 || starts_original(trimmed) {
            break;
        }
        if trimmed.ends_with(':') {
            introduction = Some(trimmed);
        } else {
            add(trimmed, &mut out, &mut count);
        }
        if count >= LENGTH {
            break;
        }
    }
    if let Some(before) = introduction {
        add(before, &mut out, &mut count);
    }
    let end = out.char_indices().nth(LENGTH).map_or(out.len(), |(i, _)| i);
    out.truncate(end);
    out.truncate(out.trim_end().len());
    out
}

fn starts_original(line: &str) -> bool {
    // `-----Original Message-----`, in any language; longer ones are rulers with a sentence in them.
    let words = line.trim_matches('-').split_whitespace().filter(|w| w.contains(char::is_alphabetic)).count();
    line.starts_with("-----") && line.ends_with("-----") && (1..=3).contains(&words)
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fffc}')
}

fn is_url(word: &str) -> bool {
    let start = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let starts = |p: &str| start.get(..p.len()).is_some_and(|s| s.eq_ignore_ascii_case(p));
    starts("http:")
        || starts("https:")
        || starts("www.")
        || starts("ftp:")
        || starts("mailto:")
        || starts("cid:")
}

fn add(line: &str, out: &mut String, count: &mut usize) {
    for word in line.split_whitespace() {
        if *count >= LENGTH {
            return;
        }
        // Rulers (=====, * * *) say nothing.
        let ruler =
            word.chars().count() > 2 && word.chars().all(|c| c.is_ascii_punctuation() || c == '\u{2014}');
        let url = is_url(word);
        if ruler || url {
            continue;
        }
        let start = out.len();
        if !out.is_empty() {
            out.push(' ');
        }
        let before = out.len();
        for c in word.chars().filter(|c| !is_invisible(*c)).take(LENGTH) {
            out.push(c);
        }
        if out.len() == before || matches!(&out[before..], "<" | ">" | "()" | "[]" | "<>" | "[" | "]" | "|") {
            out.truncate(start);
            continue;
        }
        *count += out[start..].chars().count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_what_the_sender_wrote() {
        let cases: &[(&str, &str)] = &[
            ("Hello\r\nworld", "Hello world"),
            ("On Monday Ada wrote:\n> old\n\nnew", "new"), // attribution and quote
            ("Ada wrote:\n\n> old\nnew", "new"),           // an empty line between
            ("Dear all:\nnew", "Dear all: new"),           // no quote follows
            ("yes\n-- \nAda\nphone", "yes"),               // signature
            ("yes\n-----Original Message-----\nFrom: x", "yes"),
            ("no\n----- The following addresses failed -----\na", "no The following addresses failed a"),
            ("see https://example.org/?utm=1 now", "see now"), // tracking
            ("see <https://example.org/> now", "see now"),
            ("=======\nTitle\n* * *", "Title * * *"),
            ("a\u{200b}\u{34f}\u{ad}b \u{feff} c", "ab c"), // padding
            ("> only\n> quoted", "only quoted"),            // nothing else is there
            ("---------- Forwarded message ----------\nFrom: x\nSubject: y\n\nold news", "old news"),
            ("----- Original Message -----\nFrom: x\n\n> old\n\nnew", "new"),
            ("Ada wrote:\n> old", "Ada wrote: old"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text), *expected, "{text}");
        }
        assert_eq!(of(&"é".repeat(1000)).chars().count(), LENGTH);
        assert!(of(&"word ".repeat(1000)).chars().count() <= LENGTH);
    }
}
