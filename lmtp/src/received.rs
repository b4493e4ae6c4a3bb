//! When a relay of ours took a message, by the `Received:` field that it put on top (RFC 5321 §4.4).

use jiff::fmt::rfc2822::DateTimeParser;
use schema::Millis;

/// Octets looked at for the end of the field.
const LONGEST_FIELD: usize = 4096;
/// A relay's clock may run this far ahead of ours: 5 minutes in milliseconds.
const AHEAD: Millis = 5 * 60 * 1000;
/// A message waits no longer than this at a relay: 30 days in milliseconds.
const BEHIND: Millis = 30 * 24 * 3600 * 1000;

/// The time in the topmost header field if that is a `Received:` with a date that can be right `now`.
pub(crate) fn received_at(message: &[u8], now: Millis) -> Option<Millis> {
    let field = top_field(message)?;
    let (name, value) = field.split_at_checked("Received:".len())?;
    if !name.eq_ignore_ascii_case("Received:") {
        return None;
    }
    let (_, date) = value.rsplit_once(';')?;
    let date = date.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let parser = DateTimeParser::new().relaxed_weekday(true);
    let time = u64::try_from(parser.parse_timestamp(&date).ok()?.as_millisecond()).ok()?;
    (now.saturating_sub(BEHIND)..=now.saturating_add(AHEAD)).contains(&time).then_some(time)
}

/// The first header field with the lines that continue it.
fn top_field(message: &[u8]) -> Option<&str> {
    let window = &message[..message.len().min(LONGEST_FIELD)];
    let ends = memchr::memchr_iter(b'\n', window);
    let end = ends.map(|at| at + 1).find(|&at| !matches!(message.get(at), Some(b' ' | b'\t')))?;
    std::str::from_utf8(&window[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T08:00:00Z
    const NOW: Millis = 1_795_248_000_000;

    #[test]
    fn the_topmost_received_tells_when_a_relay_took_the_message() {
        for (message, expected) in [
            (
                "Received: from client.example (client.example [192.0.2.1])\r\n\tby mx.example (Postfix) with ESMTP id 1\r\n\
                 \tfor <a@b.example>; Sat, 21 Nov 2026 08:59:58 +0100 (CET)\r\nSubject: x\r\n\r\n",
                Some(NOW - 2000),
            ),
            ("received: by x; 21 Nov 2026 07:59:58 GMT\r\n\r\n", Some(NOW - 2000)),
            // A date folded in its middle.
            ("Received: by x; Sat, 21 Nov 2026\r\n 07:59:58 +0000\r\n\r\n", Some(NOW - 2000)),
            // It waited for a day.
            ("Received: by x; Fri, 20 Nov 2026 08:00:00 +0000\r\n\r\n", Some(NOW - 86_400_000)),
            // Not on top: anybody could have written it.
            ("Subject: x\r\nReceived: by x; Sat, 21 Nov 2026 07:59:58 +0000\r\n\r\n", None),
            // It cannot be right.
            ("Received: by x; Sat, 21 Nov 2026 09:00:00 +0000\r\n\r\n", None),
            ("Received: by x; Sat, 21 Nov 2020 07:59:58 +0000\r\n\r\n", None),
            ("Received: by x; the other day\r\n\r\n", None),
            ("Received: by x\r\n\r\n", None),
            ("", None),
            ("Received: by x; Sat, 21 Nov 2026 07:59:58 +0000", None),
        ] {
            assert_eq!(received_at(message.as_bytes(), NOW), expected, "{message:?}");
        }
    }
}
