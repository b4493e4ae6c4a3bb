//! Content-Transfer-Encoding (RFC 2045 §6), lenient and bounded.

use std::borrow::Cow;

/// Octets of a body that show whether it is encoded as it says.
const SHOWN: usize = 1 << 10;

/// How a part's octets are encoded for transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Transfer {
    /// 7bit, 8bit, binary, and every encoding that is not known.
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
    Uuencode,
}

impl Transfer {
    /// The encoding that a field value names.
    pub(crate) fn named(value: &[u8]) -> Self {
        let token = value.trim_ascii();
        let end = token
            .iter()
            .position(|b| matches!(b, b';' | b'(' | b' ' | b'\t' | b'\r' | b'\n'))
            .unwrap_or(token.len());
        let token = token[..end].trim_ascii();
        let is = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
        if is("base64") {
            Self::Base64
        } else if is("quoted-printable") {
            Self::QuotedPrintable
        } else if is("x-uuencode") || is("uuencode") || is("x-uue") || is("uue") {
            Self::Uuencode
        } else {
            Self::Identity
        }
    }
}

/// The first `max` octets of what was encoded. What does not decode is passed over, never an error.
pub(crate) fn decode(encoding: Transfer, body: &[u8], max: usize) -> Cow<'_, [u8]> {
    match encoding {
        Transfer::Identity => Cow::Borrowed(&body[..body.len().min(max)]),
        Transfer::Base64 => Cow::Owned(base64(body, max)),
        Transfer::QuotedPrintable => Cow::Owned(quoted_printable(body, max)),
        Transfer::Uuencode => Cow::Owned(uuencode(body, max)),
    }
}

/// Whether a body that is declared to be base64 can be: text that was left as it is shows in its first octets.
pub(crate) fn is_base64(body: &[u8]) -> bool {
    let start = &body[..body.len().min(SHOWN)];
    let (mut known, mut foreign) = (0, 0);
    for line in start.split(|b| *b == b'\n') {
        for byte in line.trim_ascii() {
            match byte {
                // What follows the padding is a footer that something appended.
                b'=' => return foreign * 16 <= known + foreign,
                byte if VALUES[*byte as usize] < 64 => known += 1,
                _ => foreign += 1,
            }
        }
    }
    foreign * 16 <= known + foreign
}

/// How many octets were encoded.
pub(crate) fn decoded_len(encoding: Transfer, body: &[u8]) -> u64 {
    match encoding {
        Transfer::Identity => body.len() as u64,
        Transfer::Base64 => {
            let mut sextets = 0u64;
            let mut padding = 0;
            for &b in body {
                if VALUES[b as usize] < 64 {
                    sextets += 1;
                    padding = 0;
                } else if b == b'=' && sextets % 4 >= 2 {
                    padding += 1;
                    if sextets % 4 + padding >= 4 {
                        break;
                    }
                }
            }
            sextets * 3 / 4
        }
        _ => decode(encoding, body, usize::MAX).len() as u64,
    }
}

const VALUES: [u8; 256] = {
    let mut table = [0xff; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut i = 0;
    while i < alphabet.len() {
        table[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    table
};

pub(crate) fn base64(body: &[u8], max: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity((body.len() / 4 * 3 + 3).min(max.saturating_add(3)));
    let (mut chunk, mut count, mut padding) = (0u32, 0u32, 0u32);
    let mut rest = body;
    while out.len() < max {
        if count == 0 {
            while let [a, b, c, d, tail @ ..] = rest {
                let (a, b, c, d) =
                    (VALUES[*a as usize], VALUES[*b as usize], VALUES[*c as usize], VALUES[*d as usize]);
                if a | b | c | d > 63 || out.len() >= max {
                    break;
                }
                let word = (a as u32) << 18 | (b as u32) << 12 | (c as u32) << 6 | d as u32;
                out.extend_from_slice(&word.to_be_bytes()[1..]);
                rest = tail;
            }
        }
        let [byte, tail @ ..] = rest else { break };
        rest = tail;
        let value = VALUES[*byte as usize];
        if value < 64 {
            chunk = chunk << 6 | value as u32;
            count += 1;
            padding = 0;
            if count == 4 {
                out.extend_from_slice(&chunk.to_be_bytes()[1..]);
                (chunk, count) = (0, 0);
            }
        } else if *byte == b'=' && count >= 2 {
            padding += 1;
            // What follows complete padding is a footer that something appended.
            if count + padding >= 4 {
                break;
            }
        }
    }
    match count {
        2 => out.push((chunk >> 4) as u8),
        3 => out.extend_from_slice(&[(chunk >> 10) as u8, (chunk >> 2) as u8]),
        _ => {}
    }
    out.truncate(max);
    out
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|d| d as u8)
}

/// Undoes `=XX` at the start of a slice.
pub(crate) fn hex_pair(rest: &[u8]) -> Option<u8> {
    Some(hex(*rest.first()?)? << 4 | hex(*rest.get(1)?)?)
}

fn quoted_printable(body: &[u8], max: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len().min(max));
    for line in body.split_inclusive(|b| *b == b'\n') {
        if out.len() >= max {
            break;
        }
        let (text, ending): (&[u8], &[u8]) = match line {
            [text @ .., b'\r', b'\n'] => (text, b"\r\n"),
            [text @ .., b'\n'] => (text, b"\n"),
            text => (text, b""),
        };
        let trimmed = text.len() - text.iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let mut rest = if ending.is_empty() { text } else { &text[..trimmed] };
        let mut soft = false;
        while let Some(at) = memchr::memchr(b'=', rest) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(byte) = hex_pair(rest) {
                out.push(byte);
                rest = &rest[2..];
            } else if rest.trim_ascii().is_empty() {
                soft = true;
                rest = &[];
            } else {
                out.push(b'=');
            }
        }
        out.extend_from_slice(rest);
        if !soft {
            out.extend_from_slice(ending);
        }
    }
    out.truncate(max);
    out
}

fn uuencode(body: &[u8], max: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity((body.len() / 4 * 3).min(max));
    let mut begun = false;
    for line in body.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !begun {
            begun = line.starts_with(b"begin ");
            continue;
        }
        if line == b"end" || out.len() >= max {
            break;
        }
        let [count, data @ ..] = line else { continue };
        let wanted = out.len() + (count.wrapping_sub(32) & 63) as usize;
        for group in data.chunks(4) {
            let value = |i: usize| (group.get(i).unwrap_or(&b' ').wrapping_sub(32) & 63) as u32;
            let word = value(0) << 18 | value(1) << 12 | value(2) << 6 | value(3);
            out.extend_from_slice(&word.to_be_bytes()[1..]);
        }
        out.truncate(wanted);
    }
    out.truncate(max);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_comes_back_and_junk_is_passed_over() {
        let cases: &[(Transfer, &[u8], &[u8])] = &[
            (Transfer::Base64, b"aGVsbG8=\r\n", b"hello"), // padded
            (Transfer::Base64, b"aGVs\r\nbG8", b"hello"),  // lines, padding missing
            (Transfer::Base64, b"aG!Vs bG8=", b"hello"),   // junk between
            (Transfer::Base64, b"aGVsbG8=\n____\nlist footer", b"hello"), // a footer after the padding
            (Transfer::Base64, b"", b""),
            (Transfer::Base64, b"a", b""), // a lone sextet is no octet
            (Transfer::QuotedPrintable, b"a=3Db =\r\nc  \r\nd", b"a=b c\r\nd"), // soft break, trailing space
            (Transfer::QuotedPrintable, b"50=% =zz =", b"50=% =zz "), // what is no escape stays
            (Transfer::Uuencode, b"begin 644 x\n%:&5L;&\\\n`\nend\n", b"hello"),
            (Transfer::Identity, b"as it is", b"as it is"),
        ];
        for (encoding, body, expected) in cases {
            assert_eq!(&*decode(*encoding, body, 1000), *expected, "{}", String::from_utf8_lossy(body));
            assert_eq!(
                decoded_len(*encoding, body),
                expected.len() as u64,
                "{}",
                String::from_utf8_lossy(body)
            );
            assert_eq!(&*decode(*encoding, body, 2), &expected[..expected.len().min(2)]);
        }
    }

    #[test]
    fn what_is_called_base64_and_is_none_stays_as_it_is() {
        let cases: &[(&[u8], bool)] = &[
            (b"aGVsbG8=\r\n", true),
            (b"  aGVs\r\n  bG8=\r\n", true),        // indented
            (b"aGVs*bG8gd29ybGQsIGhlbGxv\n", true), // an octet was damaged
            (b"aGVsbG8=\nthe footer of a list, which is text", true),
            (b"", true),
            (b"This text was never encoded.\n", false),
            (b"?garbage", false),
        ];
        for (body, expected) in cases {
            assert_eq!(is_base64(body), *expected, "{}", String::from_utf8_lossy(body));
        }
    }
}
