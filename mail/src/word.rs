//! Encoded words (RFC 2047) in header values.
//!
//! Neighbours of one charset are joined before they are decoded, because many senders split a character
//! between two words.

use crate::{charset, transfer};

struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

/// Parses the word at the start of `input` (`=?charset?Q?…?=`) and says how long it is.
fn parse(input: &[u8]) -> Option<(Word<'_>, usize)> {
    let rest = input.strip_prefix(b"=?")?;
    let charset_end = memchr::memchr(b'?', rest)?;
    let charset = std::str::from_utf8(&rest[..charset_end]).ok()?;
    if charset.is_empty() || charset.len() > 64 || charset.contains(|c: char| c.is_whitespace() || c == '=') {
        return None;
    }
    // RFC 2231 §5 lets a language follow the charset.
    let charset = charset.split('*').next().unwrap_or(charset);
    let [encoding, b'?', payload @ ..] = &rest[charset_end + 1..] else { return None };
    let mut end = memchr::memmem::find(payload, b"?=")?;
    // A Q word that ends in an escape: `=?utf-8?Q?a?==20?=` is rare, `…=?=` before a space is not.
    if matches!(encoding, b'q' | b'Q') && payload[..end].is_empty() && payload.get(end + 2..end + 4).is_some()
    {
        let next = &payload[end + 2..];
        if transfer::hex_pair(next).is_some() {
            end += 1 + memchr::memmem::find(&payload[end + 1..], b"?=")?;
        }
    }
    let text = &payload[..end];
    let bytes = match encoding {
        b'b' | b'B' => transfer::base64(text, usize::MAX),
        b'q' | b'Q' => {
            let mut out = Vec::with_capacity(text.len());
            let mut rest = text;
            while let [byte, tail @ ..] = rest {
                rest = tail;
                match byte {
                    b'_' => out.push(b' '),
                    b'=' => match transfer::hex_pair(tail) {
                        Some(value) => {
                            out.push(value);
                            rest = &tail[2..];
                        }
                        None => out.push(b'='),
                    },
                    other => out.push(*other),
                }
            }
            out
        }
        _ => return None,
    };
    let length = 2 + charset_end + 1 + 2 + end + 2;
    Some((Word { charset, bytes }, length))
}

/// Walks a value: `plain` gets what stands between words, `word` what a run of words says.
fn walk(value: &[u8], mut plain: impl FnMut(&[u8]), mut word: impl FnMut(&str)) {
    let mut from = 0;
    let mut search = 0;
    while let Some(at) = memchr::memmem::find(&value[search..], b"=?").map(|at| at + search) {
        let Some((first, length)) = parse(&value[at..]) else {
            search = at + 2;
            continue;
        };
        plain(&value[from..at]);
        let mut run = first;
        let mut end = at + length;
        loop {
            let space = value[end..].iter().take_while(|b| b.is_ascii_whitespace()).count();
            let Some((next, length)) = parse(&value[end + space..]) else { break };
            if next.charset.eq_ignore_ascii_case(run.charset) {
                run.bytes.extend_from_slice(&next.bytes);
            } else {
                word(&charset::decode(&run.bytes, Some(run.charset)));
                run = next;
            }
            end += space + length;
        }
        word(&charset::decode(&run.bytes, Some(run.charset)));
        from = end;
        search = end;
    }
    plain(&value[from..]);
}

/// The text of an unstructured value, which is UTF-8 already.
pub(crate) fn decode(value: &[u8]) -> String {
    let text = std::cell::RefCell::new(String::with_capacity(value.len()));
    walk(
        value,
        |plain| text.borrow_mut().push_str(&String::from_utf8_lossy(plain)),
        |word| text.borrow_mut().push_str(word),
    );
    text.into_inner()
}

/// The same value with each run of words as one of UTF-8, so that a parser of structured fields sees whole
/// characters of a charset it knows.
pub(crate) fn recode(value: &[u8]) -> Vec<u8> {
    let out = std::cell::RefCell::new(Vec::with_capacity(value.len() * 2));
    walk(
        value,
        |plain| out.borrow_mut().extend_from_slice(plain),
        |word| {
            let mut out = out.borrow_mut();
            out.extend_from_slice(b"=?utf-8?Q?");
            for byte in word.bytes() {
                if byte.is_ascii_alphanumeric() {
                    out.push(byte);
                } else {
                    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                    out.extend_from_slice(&[b'=', DIGITS[byte as usize >> 4], DIGITS[byte as usize & 15]]);
                }
            }
            out.extend_from_slice(b"?=");
        },
    );
    out.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_text() {
        let cases: &[(&str, &str)] = &[
            ("plain", "plain"),
            ("=?utf-8?Q?caf=C3=A9?= au lait", "café au lait"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"), // the space between words is none
            ("=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=", "é"),        // a character split between words
            ("=?utf-8?B?5pel?=\t=?utf-8?B?5pys?=", "日本"),
            ("=?koi8-r?B?8NLJ?= =?utf-8?Q?_x?=", "При x"), // two charsets
            ("=?ISO-2022-JP?B?GyRCJUclIyVsGyhC?= =?ISO-2022-JP?B?GyRCJS8bKEI=?=", "ディレク"), // escapes meet
            ("=?utf-8*en?Q?hi?=", "hi"),                   // a language
            ("=?broken", "=?broken"),
            ("=?utf-8?X?a?=", "=?utf-8?X?a?="), // an encoding that is none
            ("a =?utf-8?Q?b?=c", "a bc"),       // no space after: not allowed, but meant
            ("=?utf-8?Q??=", ""),
        ];
        for (value, expected) in cases {
            assert_eq!(decode(value.as_bytes()), *expected, "{value}");
        }
    }

    #[test]
    fn recoded_words_say_the_same() {
        let value = b"=?utf-8?Q?=C3?= =?utf-8?Q?=A9?= <a@example.org>";
        assert_eq!(recode(value), b"=?utf-8?Q?=C3=A9?= <a@example.org>");
    }
}
