//! Header fields: what their values mean. mail-parser reads the structured ones; what it is handed is
//! unfolded, in UTF-8, and bounded.

use std::borrow::Cow;

use mail_parser::{HeaderValue, parsers::MessageStream};

use crate::{charset, transfer::Transfer, word};

/// A structured value longer than this (octets) is cut: parameters and dates are never so long.
const STRUCTURED_BYTES: usize = 32 << 10;
/// Ids kept per field, the newest.
const IDS: usize = 1_000;

/// One field of a header section, by its place in the octets.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: std::ops::Range<usize>,
    pub(crate) value: std::ops::Range<usize>,
}

/// What a Content-Type field says.
#[derive(Debug, Clone, Default)]
pub(crate) struct MediaType {
    /// `type/subtype`, lower-cased; empty when there is no field.
    pub(crate) essence: String,
    pub(crate) boundary: Option<Vec<u8>>,
    pub(crate) charset: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) method: Option<String>,
}

/// What a Content-Disposition field says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disposition {
    /// Lower-cased.
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
}

/// A value without its line breaks, in UTF-8. `charset` is the message's, for octets that declare nothing.
pub(crate) fn unfold<'a>(value: &'a [u8], charset: Option<&str>) -> Cow<'a, [u8]> {
    let value = value.trim_ascii();
    let unfolded: Cow<'a, [u8]> = if value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        let mut out = Vec::with_capacity(value.len());
        out.extend(value.iter().filter(|b| !matches!(b, b'\r' | b'\n' | 0)));
        Cow::Owned(out)
    } else {
        Cow::Borrowed(value)
    };
    if std::str::from_utf8(&unfolded).is_ok() {
        unfolded
    } else {
        Cow::Owned(charset::decode(&unfolded, charset).into_owned().into_bytes())
    }
}

/// One line of text: runs of white space become a space, other control characters go.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut space = false;
    for c in text.chars() {
        if c.is_whitespace() {
            space = !out.is_empty();
        } else if !c.is_control() {
            if space {
                out.push(' ');
                space = false;
            }
            out.push(c);
        }
    }
    out
}

/// The text of an unstructured field.
pub(crate) fn text(value: &[u8], charset: Option<&str>) -> String {
    let value = unfold(value, charset);
    if memchr::memmem::find(&value, b"=?").is_some() {
        clean(&word::decode(&value))
    } else {
        clean(&String::from_utf8_lossy(&value))
    }
}

/// A value as mail-parser reads it: one line, ended.
pub(crate) fn line(value: &[u8], charset: Option<&str>, max: usize) -> Vec<u8> {
    let value = unfold(&value[..value.len().min(max)], charset);
    let mut out =
        if memchr::memmem::find(&value, b"=?").is_some() { word::recode(&value) } else { value.into_owned() };
    out.push(b'\n');
    out
}

/// The ids of a field, without angle brackets, in order.
pub(crate) fn ids(value: &[u8]) -> Vec<String> {
    let value = unfold(value, None);
    let mut out = Vec::new();
    let mut rest = &value[..];
    while let Some(open) = memchr::memchr(b'<', rest) {
        rest = &rest[open + 1..];
        let Some(end) = memchr::memchr2(b'>', b'<', rest) else { break };
        let id = &rest[..end];
        if rest[end] == b'>' && !id.is_empty() && !id.iter().any(u8::is_ascii_whitespace) {
            out.push(String::from_utf8_lossy(id).into_owned());
        }
        rest = &rest[end..];
    }
    if out.is_empty() && memchr::memchr(b'<', &value).is_none() {
        // Without brackets, ids are ids where nothing else stands between them (`your message of Monday`).
        let separates = |b: &u8| b.is_ascii_whitespace() || *b == b',';
        let words = || value.split(separates).filter(|w| !w.is_empty());
        if words().all(|w| w.len() > 2 && memchr::memchr(b'@', w).is_some()) {
            out.extend(words().map(|w| String::from_utf8_lossy(w).into_owned()));
        }
    }
    let surplus = out.len().saturating_sub(IDS);
    out.drain(..surplus);
    out
}

/// `Message-ID:`: the id in brackets, else the first word.
pub(crate) fn message_id(value: &[u8]) -> Option<String> {
    ids(value).into_iter().next().or_else(|| {
        let value = unfold(value, None);
        let word =
            value.split(|b| b.is_ascii_whitespace() || matches!(b, b'<' | b'>')).find(|w| !w.is_empty())?;
        Some(String::from_utf8_lossy(word).into_owned())
    })
}

/// A date in milliseconds since the epoch; `None` when it cannot be read or lies before it.
pub(crate) fn date(value: &[u8]) -> Option<u64> {
    let mut line = line(value, None, STRUCTURED_BYTES);
    if let Some(end) = zone_end(&line) {
        line.truncate(end);
        line.push(b'\n');
    }
    // A day of `029` and a year of `101` (RFC 5322 §4.3) are both read wrong by a parser that counts columns.
    let is_odd = line
        .split(|b| b.is_ascii_whitespace())
        .any(|word| word.len() == 3 && word.iter().all(u8::is_ascii_digit));
    let date = match MessageStream::new(&line).parse_date() {
        HeaderValue::DateTime(date) if !is_odd => date,
        _ => loose_date(&String::from_utf8_lossy(&line))?,
    };
    if date.tz_hour > 23 || date.tz_minute > 59 {
        return None;
    }
    // A leap second is the last of its minute.
    let second = if date.second == 60 { 59 } else { date.second };
    let civil = jiff::civil::DateTime::new(
        i16::try_from(date.year).ok()?,
        i8::try_from(date.month).ok()?,
        i8::try_from(date.day).ok()?,
        i8::try_from(date.hour).ok()?,
        i8::try_from(date.minute).ok()?,
        i8::try_from(second).ok()?,
        0,
    )
    .ok()?;
    let local = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    let offset = i64::from(date.tz_hour) * 3600 + i64::from(date.tz_minute) * 60;
    let seconds = if date.tz_before_gmt { local + offset } else { local - offset };
    u64::try_from(seconds).ok().map(|s| s * 1000)
}

/// Where the offset of a zone (`+0100`) ends that follows a time: what stands behind it is not of the date.
fn zone_end(line: &[u8]) -> Option<usize> {
    let time = memchr::memchr(b':', line)?;
    let sign = time + memchr::memchr2(b'+', b'-', &line[time..])?;
    let digits = line[sign + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    (digits == 4).then_some(sign + 5)
}

/// Dates that lack a zone or seconds, or stand in another order (`Mon Jan  1 10:00:00 2001`), as UTC where no
/// offset is given.
fn loose_date(text: &str) -> Option<mail_parser::DateTime> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    // RFC 5322 §4.3, hours west.
    const ZONES: [(&str, u8); 8] =
        [("edt", 4), ("est", 5), ("cdt", 5), ("cst", 6), ("mdt", 6), ("mst", 7), ("pdt", 7), ("pst", 8)];
    let mut date = mail_parser::DateTime::default();
    let (mut day, mut year, mut time) = (None, None, None);
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')'));
    for word in words.filter(|w| !w.is_empty() && w.is_ascii()) {
        if word.contains(':') {
            let mut numbers = word.split(':').map(|n| n.parse::<u8>());
            let (hour, minute) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            time = Some((hour, minute, numbers.next().and_then(Result::ok).unwrap_or(0)));
        } else if let Some(digits) = word.strip_prefix(['+', '-']).filter(|_| time.is_some()) {
            if let (4, Ok(offset)) = (digits.len(), digits.parse::<u16>()) {
                date.tz_before_gmt = word.starts_with('-');
                (date.tz_hour, date.tz_minute) = ((offset / 100) as u8, (offset % 100) as u8);
            }
        } else if let Ok(number) = word.parse::<u16>() {
            if day.is_none() && number <= 31 && word.len() <= 3 {
                day = Some(number as u8);
            } else if year.is_none() {
                year = Some(match number {
                    0..=49 if word.len() == 2 => number + 2000,
                    50..=999 => number + 1900,
                    number => number,
                });
            }
        } else if let Some((_, hours)) =
            ZONES.iter().find(|(name, _)| time.is_some() && word.eq_ignore_ascii_case(name))
        {
            (date.tz_before_gmt, date.tz_hour) = (true, *hours);
        } else if date.month == 0
            && let Some(start) = word.get(..3)
        {
            let index = MONTHS.iter().position(|m| start.eq_ignore_ascii_case(m));
            date.month = index.map_or(0, |i| i as u8 + 1);
        }
    }
    (date.day, date.year) = (day?, year?);
    (date.hour, date.minute, date.second) = time?;
    Some(date)
}

fn parameters(value: &[u8], charset: Option<&str>, mut each: impl FnMut(&str, &str)) -> Option<String> {
    // Encoded words in parameters are not allowed and not rare; they are decoded after the parsing.
    let mut line = unfold(&value[..value.len().min(STRUCTURED_BYTES)], charset).into_owned();
    line.push(b'\n');
    let HeaderValue::ContentType(parsed) = MessageStream::new(&line).parse_content_type() else {
        return None;
    };
    for attribute in parsed.attributes.iter().flatten() {
        each(&attribute.name, &attribute.value);
    }
    Some(match &parsed.c_subtype {
        Some(subtype) => format!("{}/{}", parsed.c_type.trim(), subtype.trim()),
        None => parsed.c_type.trim().to_string(),
    })
}

fn set_once(slot: &mut Option<String>, value: &str) {
    if slot.is_none() && !value.is_empty() {
        *slot = Some(value.to_string());
    }
}

/// Reads a Content-Type field (RFC 2045 §5).
pub(crate) fn media_type(value: &[u8], charset: Option<&str>) -> MediaType {
    let mut media = MediaType::default();
    let mut boundary = None;
    let essence = parameters(&separated(value), charset, |name, value| match name {
        "boundary" => set_once(&mut boundary, value),
        "charset" => set_once(&mut media.charset, value),
        "name" => set_once(&mut media.name, value),
        "method" => set_once(&mut media.method, value),
        _ => {}
    })
    .unwrap_or_default();
    let valid = matches!(essence.split_once('/'), Some((kind, sub)) if is_token(kind) && is_token(sub));
    media.essence = if valid { essence } else { "text/plain".into() };
    media.boundary = boundary.map(|b| b.trim_end().as_bytes().to_vec()).filter(|b| !b.is_empty());
    media.name = media.name.as_deref().and_then(file_name);
    media
}

/// A value with the semicolon that was forgotten before its first parameter (`text/plain charset=utf-8`).
fn separated(value: &[u8]) -> Cow<'_, [u8]> {
    let start = value.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let essence = value[start..].iter().take_while(|b| !b.is_ascii_whitespace() && **b != b';').count();
    let space = value[start + essence..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    let rest = &value[start + essence + space..];
    let name =
        rest.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*')).count();
    let is_forgotten = space > 0
        && name > 0
        && rest.get(name) == Some(&b'=')
        && value[start..start + essence].contains(&b'/');
    if !is_forgotten {
        return Cow::Borrowed(value);
    }
    Cow::Owned([&value[..start + essence], b"; ", rest].concat())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
}

/// Reads a Content-Disposition field (RFC 2183).
pub(crate) fn disposition(value: &[u8], charset: Option<&str>) -> Disposition {
    let mut name = None;
    let kind = parameters(value, charset, |key, value| {
        if key == "filename" {
            set_once(&mut name, value);
        }
    });
    Disposition { kind: kind.unwrap_or_default(), name: name.as_deref().and_then(file_name) }
}

/// A file's name without path, control and direction characters; `None` when nothing is left.
pub(crate) fn file_name(name: &str) -> Option<String> {
    let decoded = if name.contains("=?") { word::decode(name.as_bytes()) } else { name.to_string() };
    let visible: String = clean(&decoded)
        .chars()
        // Direction marks make `gpj.exe` read as `exe.jpg`.
        .filter(|c| !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'))
        .collect();
    let last = visible.rsplit(['/', '\\']).find(|part| !part.trim().is_empty())?;
    let last = last.trim().trim_matches('"').trim();
    let last = if last.chars().all(|c| c == '.') { "" } else { last };
    let short: String = last.chars().take(255).collect();
    (!short.is_empty()).then_some(short)
}

/// A content id without angle brackets.
pub(crate) fn content_id(value: &[u8]) -> Option<String> {
    let value = unfold(value, None);
    let text = String::from_utf8_lossy(&value);
    let id = text.trim().trim_start_matches('<').trim_end_matches('>').trim();
    (!id.is_empty()).then(|| id.to_string())
}

/// The transfer encoding that a field names.
pub(crate) fn transfer(value: &[u8]) -> Transfer {
    Transfer::named(&unfold(value, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_without_a_charset_take_the_message_s() {
        assert_eq!(text(b"\xf0\xd2\xc9", Some("koi8-r")), "При");
        assert_eq!(text(b"caf\xe9\r\n au lait", None), "café au lait");
        assert_eq!(text(b"a\0b", None), "ab");
    }

    #[test]
    fn ids_lose_their_brackets_and_keep_their_order() {
        let cases: &[(&str, &[&str])] = &[
            ("<a@x> <b@x>", &["a@x", "b@x"]),
            ("<a@x><b@x>", &["a@x", "b@x"]),
            ("Your message of Monday <a@x>", &["a@x"]),
            ("a@x", &["a@x"]),           // no brackets
            ("<a b@x> <c@x>", &["c@x"]), // white space inside
            ("<open", &[]),
            ("", &[]),
        ];
        for (value, expected) in cases {
            assert_eq!(ids(value.as_bytes()), *expected, "{value}");
        }
        assert_eq!(message_id(b"no-at-sign").as_deref(), Some("no-at-sign"));
    }

    #[test]
    fn dates_become_milliseconds() {
        let cases: &[(&str, Option<u64>)] = &[
            ("Thu, 01 Jan 1970 00:00:01 +0000", Some(1_000)),
            ("Fri, 21 Nov 1997 09:55:06 -0600", Some(880_127_706_000)),
            ("21 Nov 97 09:55 GMT", Some(880_106_100_000)), // two digits, no seconds
            ("Sat, 31 Dec 2016 23:59:60 +0000", Some(1_483_228_799_000)), // a leap second
            ("Thu, 01 Jan 1970 00:00:00 +0100", None),      // before the epoch
            ("Fri, 30 Feb 2001 00:00:00 +0000", None),
            ("Wed, 21 Nov 2001 10:00:00", Some(1_006_336_800_000)), // no zone
            ("Wed Nov 21 10:00:00 2001", Some(1_006_336_800_000)),  // asctime
            ("21 Nov 2001 10:00 -0100", Some(1_006_340_400_000)),   // no seconds
            ("Tue, 029 Apr 2019 23:34:45 -0800", Some(1_556_609_685_000)), // three digits of day
            ("21 Nov 101 10:00:00 +0000", Some(1_006_336_800_000)), // the year 2000 problem
            ("Wed, 11 Feb 98 11:51 CST", Some(887_219_460_000)),    // a zone by name
            ("Sat, 29 Apr 1995 23:34:45 -0800 From: somebody", Some(799_227_285_000)), // a line end lost
            ("yesterday", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(date(value.as_bytes()), *expected, "{value}");
        }
    }

    #[test]
    fn names_of_files_are_whole_and_harmless() {
        let cases: &[(&str, Option<&str>)] = &[
            ("attachment; filename=a.txt", Some("a.txt")),
            ("attachment; filename=\"a b.txt\"", Some("a b.txt")),
            ("attachment; filename*=utf-8''caf%C3%A9.txt", Some("café.txt")), // RFC 2231
            ("attachment; filename*0=\"long-\"; filename*1=\"name.txt\"", Some("long-name.txt")),
            ("attachment; filename=\"=?utf-8?Q?caf=C3=A9.txt?=\"", Some("café.txt")), // RFC 2047, not allowed
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\"C:\\\\temp\\\\a.exe\"", Some("a.exe")),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename=\"a\u{202e}txt.exe\"", Some("atxt.exe")), // a direction override
            ("attachment", None),
        ];
        for (value, expected) in cases {
            assert_eq!(disposition(value.as_bytes(), None).name.as_deref(), *expected, "{value}");
        }
    }

    #[test]
    fn media_types_that_are_none_are_plain_text() {
        let cases: &[(&str, &str)] = &[
            ("text/html; charset=utf-8", "text/html"),
            ("TEXT/HTML", "text/html"),
            ("text", "text/plain"),
            ("", "text/plain"),
            ("multipart/mixed; boundary=\"a b\"", "multipart/mixed"),
            ("application/octet-stream;", "application/octet-stream"),
            ("application/pdf name=\"a.pdf\"", "application/pdf"), // a semicolon forgotten
        ];
        for (value, expected) in cases {
            assert_eq!(media_type(value.as_bytes(), None).essence, *expected, "{value}");
        }
        let media = media_type(b"multipart/mixed;\r\n boundary=\"=_a b\"", None);
        assert_eq!(media.boundary.as_deref(), Some(&b"=_a b"[..]));
        let media = media_type(b"multipart/mixed\r\n\tboundary=b", None);
        assert_eq!(media.boundary.as_deref(), Some(&b"b"[..]));
    }
}
