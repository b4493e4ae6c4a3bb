//! The addresses of a field (RFC 5322 §3.4). mail-parser reads them, after what is often wrong in them is mended.

use std::{borrow::Cow, ops::Range};

use mail_parser::{HeaderValue, parsers::MessageStream};

use crate::{Address, field, word};

/// The addresses of a field, groups as their members; at most `max`.
pub(crate) fn addresses(value: &[u8], charset: Option<&str>, max: usize, out: &mut Vec<Address>) {
    let line = field::line(value, charset, usize::MAX);
    let line = mended(&line);
    let mut push = |addr: &mail_parser::Addr<'_>| {
        if out.len() >= max {
            return;
        }
        // Words inside a word (`H=?utf-8?Q?=C3=B6?=hn`) are not allowed, and meant.
        let decoded = |name: &str| {
            if name.contains("=?") {
                field::clean(&word::decode(name.as_bytes()))
            } else {
                field::clean(name)
            }
        };
        let name = addr.name.as_deref().map(decoded).filter(|n| !n.is_empty());
        let email = addr.address.as_deref().map(field::clean).filter(|e| !e.is_empty());
        match (name, email) {
            (name, Some(email)) => out.push(Address { name: name.filter(|n| *n != email), email }),
            // A bare word, such as MAILER-DAEMON, is an address of this host; several are only a name.
            (Some(word), None) if !word.contains(' ') => out.push(Address { name: None, email: word }),
            (Some(name), None) => out.push(Address { name: Some(name), email: String::new() }),
            (None, None) => {}
        }
    };
    match MessageStream::new(&line).parse_address() {
        HeaderValue::Address(mail_parser::Address::List(list)) => list.iter().for_each(&mut push),
        HeaderValue::Address(mail_parser::Address::Group(groups)) => {
            groups.iter().flat_map(|g| &g.addresses).for_each(&mut push);
        }
        _ => {}
    }
}

/// A value as mail-parser reads it right: with the comma that was forgotten behind an address in brackets,
/// without routes (RFC 5322 §4.4), and without members of a group that are only a comment. A value in which
/// something is not closed stays as it is.
fn mended(line: &[u8]) -> Cow<'_, [u8]> {
    let mut edits: Vec<(Range<usize>, &[u8])> = Vec::new();
    let mut member = Member::default();
    let mut at = 0;
    while at < line.len() {
        if let Some(end) = quoted_address(&line[at..]).filter(|_| !member.has_more && !member.is_ended) {
            edits.push((at..at, b"<"));
            edits.push((at + end..at + end, b">"));
            (member.has_more, member.is_ended) = (true, true);
            at += end;
            continue;
        }
        let Some(length) = length(&line[at..]) else { return Cow::Borrowed(line) };
        let end = at + length;
        match line[at] {
            b',' | b';' | b':' => {
                if line[at] == b';' && member.has_comment && !member.has_more {
                    edits.push((member.start..at, b""));
                }
                member = Member { start: end, ..Member::default() };
            }
            b'(' => member.has_comment = true,
            byte if byte.is_ascii_whitespace() => {}
            byte => {
                if member.is_ended {
                    edits.push((at..at, b", "));
                    member = Member { start: at, ..Member::default() };
                }
                member.has_more = true;
                if byte == b'<' {
                    member.is_ended = true;
                    edits.extend(
                        route(&line[at..end]).map(|range| (at + range.start..at + range.end, &b""[..])),
                    );
                }
            }
        }
        at = end;
    }
    if edits.is_empty() {
        return Cow::Borrowed(line);
    }
    let mut out = Vec::with_capacity(line.len() + edits.len() * 2);
    let mut from = 0;
    for (range, text) in edits {
        out.extend_from_slice(&line[from..range.start]);
        out.extend_from_slice(text);
        from = range.end;
    }
    out.extend_from_slice(&line[from..]);
    Cow::Owned(out)
}

/// The length of an address with a quoted local part that starts here without brackets, which mail-parser takes for a
/// name and an address.
fn quoted_address(rest: &[u8]) -> Option<usize> {
    if rest.first() != Some(&b'"') {
        return None;
    }
    let at = length(rest)?;
    let domain = rest.get(at..)?.strip_prefix(b"@")?;
    let octets = domain.iter().take_while(|b| !b.is_ascii_whitespace() && !b",;<>(\"".contains(b)).count();
    (octets > 0).then_some(at + 1 + octets)
}

/// One member of a list, as far as it was read.
#[derive(Default)]
struct Member {
    start: usize,
    has_comment: bool,
    has_more: bool,
    /// Its address in brackets was read.
    is_ended: bool,
}

/// The length of what starts here: a comment, a quoted string, an address in brackets, else an octet; `None` when
/// it is not closed.
fn length(rest: &[u8]) -> Option<usize> {
    let (open, close) = match rest[0] {
        b'(' => (b'(', b')'),
        b'"' => (b'"', b'"'),
        b'<' => (b'<', b'>'),
        _ => return Some(1),
    };
    let (mut depth, mut is_quoted, mut at) = (1, false, 1);
    while let Some(byte) = rest.get(at) {
        match *byte {
            b'\\' => at += 1,
            b'"' if open == b'<' => is_quoted = !is_quoted,
            byte if byte == close && !is_quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'(' if open == b'(' => depth += 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The route of an address in brackets: `@a,@b:` before the address itself.
fn route(bracketed: &[u8]) -> Option<Range<usize>> {
    let start = 1 + bracketed[1..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    if bracketed.get(start) != Some(&b'@') {
        return None;
    }
    let colon = start + memchr::memchr(b':', &bracketed[start..])?;
    memchr::memchr(b'@', &bracketed[colon..]).map(|_| start..colon + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_were_meant() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("a@example.org", &[("", "a@example.org")]),
            ("<a@example.org>", &[("", "a@example.org")]),
            ("\"q q\"@example.org, b@example.org", &[("", "\"q q\"@example.org"), ("", "b@example.org")]),
            ("Ada <a@example.org>, b@example.org", &[("Ada", "a@example.org"), ("", "b@example.org")]),
            ("\"Lovelace, Ada\" <a@example.org>", &[("Lovelace, Ada", "a@example.org")]),
            ("a@example.org (Ada)", &[("Ada", "a@example.org")]), // a name as comment
            ("Team: a@example.org, Bob <b@example.org>;", &[("", "a@example.org"), ("Bob", "b@example.org")]),
            ("undisclosed-recipients:;", &[]),
            ("=?utf-8?Q?=C3?=\r\n =?utf-8?Q?=A9?= <a@example.org>", &[("é", "a@example.org")]),
            ("\"=?utf-8?B?w6k=?=\" <a@example.org>", &[("é", "a@example.org")]), // quoted, yet meant
            ("=?iso-2022-jp?B?GyRCJU8lbRsoQg==?= <a@example.org>", &[("ハロ", "a@example.org")]),
            ("David H=?ISO-8859-1?B?9g==?=hn <d@example.org>", &[("David Höhn", "d@example.org")]),
            ("MAILER-DAEMON", &[("", "MAILER-DAEMON")]), // a bare word
            ("Mail Delivery", &[("Mail Delivery", "")]), // only a name
            ("Ada <a@x.org> Bob <b@x.org>", &[("Ada", "a@x.org"), ("Bob", "b@x.org")]), // a comma forgotten
            ("<a@x.org> (Ada), <b@x.org>", &[("Ada", "a@x.org"), ("", "b@x.org")]),
            ("<@relay.example,@b.example:a@x.org>", &[("", "a@x.org")]), // a route, RFC 5322 §4.4
            ("team:;, others: (none) ;", &[]),                           // nothing but a comment
            ("(nobody)", &[("", "nobody")]),
            ("\"<a@x.org> b\" <c@x.org>", &[("<a@x.org> b", "c@x.org")]), // all of it is quoted
            ("", &[]),
        ];
        for (value, expected) in cases {
            let mut found = Vec::new();
            addresses(value.as_bytes(), None, 100, &mut found);
            let found: Vec<_> =
                found.iter().map(|a| (a.name.as_deref().unwrap_or(""), a.email.as_str())).collect();
            assert_eq!(found, *expected, "{value}");
        }
        let mut some = Vec::new();
        addresses(b"a@x.org, b@x.org, c@x.org", None, 2, &mut some);
        assert_eq!(some.len(), 2);
    }
}
