//! Answers that are octets of a message: entity tags, ranges, names for downloads.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::conditions::unmet;
use crate::error::{Answer, Problem};
use crate::memory::Held;

/// The most characters of a file name that is handed on.
const NAME_CHARACTERS: usize = 200;

const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// Octets to be answered, which never change.
pub(crate) struct Octets {
    pub bytes: Bytes,
    /// The memory they take, where that is counted.
    pub held: Option<Held>,
    /// Without quotes; characters of an entity tag only.
    pub tag: String,
    pub content_type: HeaderValue,
    pub disposition: HeaderValue,
}

/// What a `Range` header asks for of `length` octets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Everything: no range, one that cannot be read, or several (RFC 9110 §14.2 lets a server ignore those).
    All,
    /// From the first number up to, not including, the second.
    Part(usize, usize),
    /// Nothing of what is there.
    Unsatisfiable,
}

/// Reads a single byte range (RFC 9110 §14.1.2).
pub(crate) fn read_range(range: &str, length: usize) -> Asked {
    let Some((unit, set)) = range.split_once('=') else { return Asked::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Asked::All;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Asked::All };
    let number = |text: &str| -> Option<usize> {
        let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        // More digits than fit are still a number, and a very large one.
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    match (first, last) {
        ("", last) => match number(last) {
            None => Asked::All,
            Some(0) => Asked::Unsatisfiable,
            Some(_) if length == 0 => Asked::Unsatisfiable,
            Some(count) => Asked::Part(length - count.min(length), length),
        },
        (first, last) => match (number(first), last, number(last)) {
            (None, ..) => Asked::All,
            (Some(_), last, None) if !last.is_empty() => Asked::All,
            (Some(first), _, Some(last)) if last < first => Asked::All,
            (Some(first), ..) if first >= length => Asked::Unsatisfiable,
            (Some(first), _, last) => {
                Asked::Part(first, last.map_or(length, |last| last.saturating_add(1).min(length)))
            }
        },
    }
}

impl Octets {
    /// 200, 206, 304, 412 or 416, as the request's headers ask.
    pub(crate) fn answer(self, headers: &HeaderMap) -> Answer {
        let tag = HeaderValue::from_str(&format!("\"{}\"", self.tag)).map_err(|_| Problem::internal())?;
        let length = self.bytes.len();
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if let Some(mut unmet) = unmet(headers, &tag)? {
            unmet.headers_mut().insert(header::CACHE_CONTROL, IMMUTABLE);
            return Ok(unmet);
        }
        let same_version =
            text(header::IF_RANGE).is_none_or(|given| given.trim().as_bytes() == tag.as_bytes());
        let asked = match text(header::RANGE) {
            Some(range) if same_version => read_range(range, length),
            _ => Asked::All,
        };
        let (status, bytes, range) = match asked {
            Asked::All => (StatusCode::OK, self.bytes, None),
            Asked::Part(from, to) => {
                let range = format!("bytes {from}-{}/{length}", to - 1);
                // A slice would keep all of the octets in memory, of which only these are counted from now on.
                (StatusCode::PARTIAL_CONTENT, Bytes::copy_from_slice(&self.bytes[from..to]), Some(range))
            }
            Asked::Unsatisfiable => {
                let mut problem = Problem::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "range-not-satisfiable",
                    "nothing of it lies in the range",
                );
                problem.length = Some(length);
                return Err(problem);
            }
        };
        let body = match self.held {
            Some(held) => held.body(bytes),
            None => Body::from(bytes),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let answer = response.headers_mut();
        answer.insert(header::CACHE_CONTROL, IMMUTABLE);
        answer.insert(header::ETAG, tag);
        answer.insert(header::CONTENT_TYPE, self.content_type);
        answer.insert(header::CONTENT_DISPOSITION, self.disposition);
        answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // Whatever a browser makes of the type, nothing in it runs or loads.
        answer.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'none'"),
        );
        if let Some(range) = range.and_then(|range| HeaderValue::from_str(&range).ok()) {
            answer.insert(header::CONTENT_RANGE, range);
        }
        Ok(response)
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 100
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&octet))
}

/// The type that a part is served as, and whether a browser may show it. A type that a browser could run is served as
/// octets.
pub(crate) fn safe_type(declared: &str, charset: Option<&str>) -> (HeaderValue, bool) {
    let plain = (HeaderValue::from_static("application/octet-stream"), false);
    let declared = declared.to_ascii_lowercase();
    let Some((kind, subtype)) = declared.split_once('/') else { return plain };
    if !is_token(kind) || !is_token(subtype) {
        return plain;
    }
    let is_active = subtype.contains("html")
        || subtype.contains("xml")
        || subtype.contains("script")
        || subtype.contains("svg")
        || matches!(subtype, "x-shockwave-flash" | "pdf" | "hta" | "mhtml" | "multipart" | "cache-manifest")
        || matches!(kind, "multipart" | "message" | "model");
    if is_active {
        return plain;
    }
    let is_shown = match kind {
        "image" => matches!(subtype, "png" | "jpeg" | "gif" | "webp" | "avif" | "bmp"),
        "text" => subtype == "plain",
        "audio" | "video" => true,
        _ => false,
    };
    let value = match charset.filter(|charset| kind == "text" && is_token(charset)) {
        Some(charset) => format!("{declared}; charset={charset}"),
        None => declared,
    };
    HeaderValue::from_str(&value).map_or(plain, |value| (value, is_shown))
}

/// `Content-Disposition` (RFC 6266) that no file name can break out of or disguise itself in.
pub(crate) fn disposition(is_shown: bool, name: Option<&str>) -> HeaderValue {
    let kind = if is_shown { "inline" } else { "attachment" };
    let plain = HeaderValue::from_static(if is_shown { "inline" } else { "attachment" });
    let name: String =
        name.unwrap_or_default().chars().filter(|c| is_visible(*c)).take(NAME_CHARACTERS).collect();
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim_matches(['.', ' ']);
    if name.is_empty() {
        return plain;
    }
    let fallback: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || " ._-".contains(c) { c } else { '_' }).collect();
    let mut value = format!("{kind}; filename=\"{fallback}\"");
    if fallback != name {
        value.push_str("; filename*=UTF-8''");
        for octet in name.bytes() {
            // attr-char of RFC 5987 §3.2.1
            match octet {
                octet if octet.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&octet) => {
                    value.push(char::from(octet))
                }
                octet => value.push_str(&format!("%{octet:02X}")),
            }
        }
    }
    HeaderValue::from_str(&value).unwrap_or(plain)
}

/// Not a control and not a mark that changes the order in which a name is shown.
fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let table = [
            ("bytes=0-", 10, Asked::Part(0, 10)),
            ("bytes=0-0", 10, Asked::Part(0, 1)),
            ("Bytes=2-4", 10, Asked::Part(2, 5)),
            ("bytes=9-", 10, Asked::Part(9, 10)),
            ("bytes=9-100", 10, Asked::Part(9, 10)),
            ("bytes=-3", 10, Asked::Part(7, 10)),
            ("bytes=-30", 10, Asked::Part(0, 10)),
            ("bytes=0-99999999999999999999999", 10, Asked::Part(0, 10)),
            // Nothing of it is there.
            ("bytes=10-", 10, Asked::Unsatisfiable),
            ("bytes=-0", 10, Asked::Unsatisfiable),
            ("bytes=0-", 0, Asked::Unsatisfiable),
            ("bytes=-1", 0, Asked::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Asked::Unsatisfiable),
            // Not valid, or more than one: ignored.
            ("bytes=5-2", 10, Asked::All),
            ("bytes=a-2", 10, Asked::All),
            ("bytes=1-b", 10, Asked::All),
            ("bytes=+1-2", 10, Asked::All),
            ("bytes=-", 10, Asked::All),
            ("bytes=1", 10, Asked::All),
            ("bytes=0-1,3-4", 10, Asked::All),
            ("lines=0-1", 10, Asked::All),
            ("", 10, Asked::All),
        ];
        for (range, length, expected) in table {
            assert_eq!(read_range(range, length), expected, "{range} of {length}");
        }
    }

    #[test]
    fn no_name_breaks_out_of_the_disposition() {
        let table = [
            (None, "attachment"),
            (Some(""), "attachment"),
            (Some("a.txt"), "attachment; filename=\"a.txt\""),
            (
                Some("a\r\nSet-Cookie: x=1"),
                "attachment; filename=\"aSet-Cookie_ x_1\"; filename*=UTF-8''aSet-Cookie%3A%20x%3D1",
            ),
            (
                Some("a\"; filename=\"b.exe"),
                "attachment; filename=\"a__ filename__b.exe\"; filename*=UTF-8''a%22%3B%20filename%3D%22b.exe",
            ),
            (Some("../../etc/passwd"), "attachment; filename=\"passwd\""),
            (Some("c:\\windows\\evil.exe"), "attachment; filename=\"evil.exe\""),
            (Some("..."), "attachment"),
            (Some("é.txt"), "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt"),
            // Written from right to left this would look like a text file.
            (Some("gpj\u{202e}txt.exe"), "attachment; filename=\"gpjtxt.exe\""),
            (Some("100%41.txt"), "attachment; filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
        ];
        for (name, expected) in table {
            assert_eq!(disposition(false, name).to_str().unwrap(), expected, "{name:?}");
        }
    }

    #[test]
    fn what_a_browser_could_run_is_octets() {
        for declared in [
            "text/html",
            "TEXT/HTML",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/xml",
            "text/javascript",
            "application/pdf",
            "",
            "text",
            "a/b\r\nc: d",
            "text/html; x",
        ] {
            assert_eq!(
                safe_type(declared, None),
                (HeaderValue::from_static("application/octet-stream"), false),
                "{declared}"
            );
        }
        assert_eq!(safe_type("image/png", Some("x")), (HeaderValue::from_static("image/png"), true));
        assert_eq!(
            safe_type("text/plain", Some("utf-8")),
            (HeaderValue::from_static("text/plain; charset=utf-8"), true)
        );
        assert_eq!(safe_type("text/plain", Some("a\r\nb")), (HeaderValue::from_static("text/plain"), true));
        assert_eq!(safe_type("application/zip", None), (HeaderValue::from_static("application/zip"), false));
    }

    proptest! {
        #[test]
        fn any_name_gives_one_header_with_one_file_name(name: String, shown: bool) {
            let value = disposition(shown, Some(&name));
            let text = value.to_str().unwrap();
            prop_assert!(text.matches('"').count() == 0 || text.matches('"').count() == 2);
            prop_assert!(text.matches("filename=").count() <= 1);
            prop_assert!(text.bytes().all(|octet| (32..127).contains(&octet)));
        }

        #[test]
        fn any_range_stays_inside(range: String, length in 0usize..1000) {
            if let Asked::Part(from, to) = read_range(&format!("bytes={range}"), length) {
                prop_assert!(from < to && to <= length);
            }
        }
    }
}
