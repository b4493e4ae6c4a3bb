//! Charsets: the declared one when it fits the octets, the likely one when it does not.

use std::borrow::Cow;

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, WINDOWS_1252};
use mail_parser::decoders::charsets::map::charset_decoder;

/// Decodes octets of a declared charset. Never fails: what fits no charset becomes U+FFFD.
pub(crate) fn decode<'a>(bytes: &'a [u8], label: Option<&str>) -> Cow<'a, str> {
    let label = label.map(str::trim).filter(|l| !l.is_empty());
    if bytes.is_ascii()
        && memchr::memchr(0x1b, bytes).is_none()
        && !label.is_some_and(uses_ascii_octets_otherwise)
    {
        return from_utf8(bytes).unwrap_or(Cow::Borrowed(""));
    }
    let Some(label) = label.filter(|l| !says_nothing(l)) else {
        return guess(bytes);
    };
    match find(label) {
        Some(encoding) if encoding == UTF_8 => match from_utf8(bytes) {
            Some(text) => text,
            None => misdeclared_utf8(bytes),
        },
        // Joined words leave an escape behind an escape, which the decoder takes for an error.
        Some(encoding) if encoding == ISO_2022_JP && memchr::memmem::find(bytes, b"\x1b(B\x1b").is_some() => {
            let text = String::from_utf8_lossy(bytes).replace("\x1b(B\x1b", "\x1b");
            Cow::Owned(ISO_2022_JP.decode_without_bom_handling(text.as_bytes()).0.into_owned())
        }
        Some(encoding) => {
            let (text, malformed) = encoding.decode_without_bom_handling(bytes);
            match (malformed && !bytes.is_ascii()).then(|| from_utf8(bytes)).flatten() {
                Some(utf8) => utf8,
                None => text,
            }
        }
        None => match charset_decoder(label.as_bytes()) {
            Some(decoder) => Cow::Owned(decoder(bytes)),
            None => guess(bytes),
        },
    }
}

/// UTF-8 when it is, windows-1252 (a superset of ISO 8859-1 as it is used) when it is not.
pub(crate) fn guess(bytes: &[u8]) -> Cow<'_, str> {
    // Mail from Japan before UTF-8 declared nothing and escaped to JIS X 0208.
    if memchr::memmem::find(bytes, b"\x1b$").is_some() && bytes.is_ascii() {
        return ISO_2022_JP.decode_without_bom_handling(bytes).0;
    }
    if let Some(text) = from_utf8(bytes) {
        return text;
    }
    WINDOWS_1252.decode_without_bom_handling(bytes).0
}

fn from_utf8(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
}

/// A text cut in the middle of a character is still UTF-8; one without any sequence of it is not.
fn misdeclared_utf8(bytes: &[u8]) -> Cow<'_, str> {
    let has_sequence = bytes.utf8_chunks().any(|c| !c.valid().is_ascii());
    if has_sequence { String::from_utf8_lossy(bytes) } else { guess(bytes) }
}

fn find(label: &str) -> Option<&'static Encoding> {
    if let Some(encoding) = Encoding::for_label(label.as_bytes()) {
        // WHATWG maps what is dangerous in browsers to "replacement"; mail-parser or a guess does better.
        return (encoding != encoding_rs::REPLACEMENT).then_some(encoding);
    }
    let lower = label.to_ascii_lowercase();
    let name = match lower.as_str() {
        "utf8mb4" | "utf-8-mac" | "unicode" | "unicode-utf-8" => "utf-8",
        "cp932" | "x-ms-cp932" | "ms932" | "sjis-win" => "shift_jis",
        "iso-2022-jp-ms" | "iso-2022-jp-1" | "iso-2022-jp-2" | "cp50220" | "cp50221" | "cp50222" => {
            "iso-2022-jp"
        }
        "cp936" | "ms936" | "gb2312-80" | "euc-cn" | "x-gbk" => "gbk",
        "cp949" | "ms949" | "uhc" => "euc-kr",
        "cp950" | "ms950" => "big5",
        "eucjp-win" | "eucjp-ms" | "eucjp" | "cp51932" => "euc-jp",
        "iso-8859-8-e" => "iso-8859-8",
        "cp874" | "tis620" => "windows-874",
        "koi8" => "koi8-r",
        _ => return by_squeezed_name(&lower),
    };
    Encoding::for_label(name.as_bytes())
}

/// `win-1251`, `windows1251`, `ISO_8859_15`, `utf_8` and the like.
fn by_squeezed_name(lower: &str) -> Option<&'static Encoding> {
    let squeezed: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = if let Some(number) = squeezed.strip_prefix("windows").or_else(|| squeezed.strip_prefix("win"))
    {
        format!("windows-{number}")
    } else if let Some(number) = squeezed.strip_prefix("iso8859") {
        format!("iso-8859-{number}")
    } else {
        squeezed
    };
    Encoding::for_label(name.as_bytes()).filter(|e| *e != encoding_rs::REPLACEMENT)
}

fn says_nothing(label: &str) -> bool {
    ["us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "default", "8bit", "binary", "none"]
        .iter()
        .any(|l| label.eq_ignore_ascii_case(l))
}

/// Charsets in which octets below 128 do not stand for ASCII.
fn uses_ascii_octets_otherwise(label: &str) -> bool {
    let lower = label.to_ascii_lowercase();
    [
        "utf-16",
        "utf16",
        "utf-7",
        "utf7",
        "ucs-2",
        "unicode-1-1-utf-7",
        "iso-2022",
        "iso2022",
        "csiso2022",
        "hz-",
        "cp5022",
    ]
    .iter()
    .any(|p| lower.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_become_the_text_that_was_meant() {
        let cases: &[(&[u8], Option<&str>, &str)] = &[
            (b"plain", None, "plain"),
            (b"caf\xc3\xa9", None, "café"),                  // undeclared UTF-8
            (b"caf\xe9", None, "café"),                      // undeclared Latin-1
            (b"caf\xe9", Some("us-ascii"), "café"),          // declared as less than it is
            (b"caf\xe9", Some("utf-8"), "café"),             // declared as what it is not
            (b"\xc3\xa9t\xc3", Some("utf-8"), "ét\u{fffd}"), // cut inside a character
            (b"\xef\xbb\xbfhi", Some("utf-8"), "hi"),        // a byte order mark
            (b"\x805", Some("iso-8859-1"), "€5"),            // the euro that is not in Latin-1
            (b"\xcf\xf0\xe8", Some("win-1251"), "При"),      // an alias nobody registered
            (b"\xf0\xd2\xc9", Some("KOI8-R"), "При"),
            (b"\x1b$B%O%m!<\x1b(B", Some("iso-2022-jp"), "ハロー"), // escapes
            (b"\x1b$B%O%m\x1b(B", None, "ハロ"),                    // undeclared escapes
            (b"\x83n\x83\x8D", Some("cp932"), "ハロ"),
            (b"\xa7A\xa6n", Some("big5"), "你好"),
            (b"+ZYeB9FH6-", Some("utf-7"), "文致出"), // only mail-parser knows it
            (b"\x9b", Some("ibm850"), "ø"),           // the same
            (b"h\0i\0", Some("utf-16le"), "hi"),
            (b"caf\xe9", Some("x-made-up"), "café"), // a charset that is none
        ];
        for (bytes, label, expected) in cases {
            assert_eq!(decode(bytes, *label), *expected, "{label:?}");
        }
    }
}
