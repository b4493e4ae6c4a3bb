//! The paths of MAIL and RCPT: RFC 5321 §4.1.2, with RFC 6531's UTF-8 where it was announced.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets of a recipient's local part (RFC 5321 §4.5.3.1.1).
const LOCAL_PART: usize = 64;
/// Octets of a domain (RFC 5321 §4.5.3.1.2).
const DOMAIN: usize = 255;

/// Octets of an address, its path's brackets not included (RFC 5321 §4.5.3.1.3).
const ADDRESS: usize = 254;

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not have the form of one.
    Syntax,
    /// It holds UTF-8, which was not announced by SMTPUTF8.
    NeedsUtf8,
}

/// The path at the start of `text`, and what follows it.
///
/// # Errors
/// [`Fault::Syntax`] if there is no `<…>` at the start.
pub(crate) fn split_path(text: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let inside = text.strip_prefix(b"<").ok_or(Fault::Syntax)?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, &octet) in inside.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Ok((&inside[..at], &inside[at + 1..])),
            _ => {}
        }
    }
    Err(Fault::Syntax)
}

/// The sender in a reverse-path; `None` is the null sender.
///
/// Neither the length of its local part nor the look of its domain's labels is checked: it is kept, not sent to, and
/// a refusal would bounce mail that the relay took.
pub(crate) fn parse_sender(path: &[u8], utf8: bool) -> Result<Option<String>, Fault> {
    if path.is_empty() {
        return Ok(None);
    }
    let (local, domain) = split_mailbox(path)?;
    if !is_local_part(local) || !(is_literal(domain) || is_lenient_domain(domain)) {
        return Err(Fault::Syntax);
    }
    text_of(local, domain, utf8).map(Some)
}

/// The recipient in a forward-path. `<Postmaster>` without a domain (RFC 5321 §4.5.1) is a recipient too.
pub(crate) fn parse_recipient(path: &[u8], utf8: bool) -> Result<String, Fault> {
    if path.eq_ignore_ascii_case(b"postmaster") {
        return Ok("postmaster".to_owned());
    }
    let (local, domain) = split_mailbox(path)?;
    let is_too_long = local.len() > LOCAL_PART || local.len() + 1 + domain.len() > ADDRESS;
    if is_too_long || !is_local_part(local) || !(is_literal(domain) || is_domain(domain)) {
        return Err(Fault::Syntax);
    }
    text_of(local, domain, utf8)
}

fn text_of(local: &[u8], domain: &[u8], utf8: bool) -> Result<String, Fault> {
    let mailbox = [local, b"@", domain].concat();
    if !utf8 && !mailbox.is_ascii() {
        return Err(Fault::NeedsUtf8);
    }
    String::from_utf8(mailbox).map_err(|_| Fault::Syntax)
}

/// Local part and domain, without the source route that RFC 5321 §4.1.1.3 says to ignore.
fn split_mailbox(path: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let mailbox = if path.starts_with(b"@") {
        let end = memchr::memchr(b':', path).ok_or(Fault::Syntax)?;
        let is_hop = |hop: &[u8]| hop.strip_prefix(b"@").is_some_and(is_domain);
        if !path[..end].split(|&octet| octet == b',').all(is_hop) {
            return Err(Fault::Syntax);
        }
        &path[end + 1..]
    } else {
        path
    };
    let at = memchr::memrchr(b'@', mailbox).ok_or(Fault::Syntax)?;
    Ok((&mailbox[..at], &mailbox[at + 1..]))
}

fn is_local_part(local: &[u8]) -> bool {
    match local.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\"").is_some_and(is_quoted_content),
        None => local.split(|&octet| octet == b'.').all(|atom| !atom.is_empty() && atom.iter().all(is_atext)),
    }
}

fn is_atext(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || !octet.is_ascii() || b"!#$%&'*+-/=?^_`{|}~".contains(octet)
}

fn is_quoted_content(content: &[u8]) -> bool {
    let mut octets = content.iter();
    while let Some(&octet) = octets.next() {
        let fits = match octet {
            b'"' => false,
            b'\\' => octets.next().is_some_and(|escaped| matches!(escaped, b' '..=b'~')),
            b' '..=b'~' => true,
            _ => !octet.is_ascii(),
        };
        if !fits {
            return false;
        }
    }
    true
}

fn is_domain(domain: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
            && label.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-' || !octet.is_ascii())
    };
    domain.len() <= DOMAIN && domain.split(|&octet| octet == b'.').all(is_label)
}

fn is_lenient_domain(domain: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        !label.is_empty()
            && label
                .iter()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(octet) || !octet.is_ascii())
    };
    domain.len() <= DOMAIN && domain.split(|&octet| octet == b'.').all(is_label)
}

/// RFC 5321 §4.1.3; `IPv6` is the only tag that is registered.
fn is_literal(domain: &[u8]) -> bool {
    let Some(inside) = domain.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) else {
        return false;
    };
    let Ok(inside) = std::str::from_utf8(inside) else { return false };
    match inside.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address.parse::<Ipv6Addr>().is_ok(),
        _ => inside.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_have_the_form_of_rfc_5321() {
        for good in [
            "anna@one.example",
            "anna+lists@one.example",
            "a.b.c@one.example",
            "!#$%&'*+-/=?^_`{|}~@one.example",
            "\"anna smith\"@one.example",
            "\"a@b>c\\\"d\"@one.example",
            "\"\"@one.example",
            "anna@io",
            "anna@[192.0.2.1]",
            "anna@[IPv6:2001:db8::1]",
            "1@1.example",
            "anna@xn--bcher-kva.example",
        ] {
            assert_eq!(parse_recipient(good.as_bytes(), false).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "anna",
            "@",
            "anna@",
            "@one.example",
            ".anna@one.example",
            "anna.@one.example",
            "an..na@one.example",
            "anna@.example",
            "anna@one..example",
            "anna@one.example.",
            "anna@-one.example",
            "anna@one-.example",
            "an na@one.example",
            "anna@one example",
            "\"anna@one.example",
            "an\"na@one.example",
            "anna@[192.0.2]",
            "anna@[IPv6:zz]",
            "anna@[192.0.2.1",
            "anna@on_e.example",
            "\"an\x01na\"@one.example",
            "(c)anna@one.example",
            "anna@one.example(c)",
            "an\0na@one.example",
        ] {
            assert_eq!(parse_recipient(bad.as_bytes(), true), Err(Fault::Syntax), "{bad:?}");
        }
        assert!(parse_recipient(format!("{}@one.example", "a".repeat(64)).as_bytes(), false).is_ok());
        assert!(parse_recipient(format!("{}@one.example", "a".repeat(65)).as_bytes(), false).is_err());
    }

    #[test]
    fn a_source_route_is_ignored_and_postmaster_needs_no_domain() {
        let recipient = parse_recipient(b"@a.example,@b.example:anna@one.example", false);
        assert_eq!(recipient.as_deref(), Ok("anna@one.example"));
        assert_eq!(parse_recipient(b"@a.example,b.example:anna@one.example", false), Err(Fault::Syntax));
        assert_eq!(parse_recipient(b"PostMaster", false).as_deref(), Ok("postmaster"));
    }

    #[test]
    fn utf_8_needs_to_be_announced_and_to_be_utf_8() {
        let address = "grüße@bücher.example";
        assert_eq!(parse_recipient(address.as_bytes(), true).as_deref(), Ok(address));
        assert_eq!(parse_recipient(address.as_bytes(), false), Err(Fault::NeedsUtf8));
        assert_eq!(parse_sender(address.as_bytes(), false), Err(Fault::NeedsUtf8));
        assert_eq!(parse_recipient(b"gr\xfc@one.example", true), Err(Fault::Syntax));
    }

    #[test]
    fn a_sender_is_looked_at_less_closely() {
        assert_eq!(parse_sender(b"", false), Ok(None));
        let verp = format!("bounces-{}@my_host.example", "x".repeat(80));
        assert_eq!(parse_sender(verp.as_bytes(), false), Ok(Some(verp.clone())));
        assert_eq!(parse_sender(b"pepe", false), Err(Fault::Syntax));
    }

    #[test]
    fn a_path_ends_at_the_first_bracket_that_is_not_quoted() {
        assert_eq!(split_path(b"<\"a>\\\">b\"@x> SIZE=1"), Ok((&b"\"a>\\\">b\"@x"[..], &b" SIZE=1"[..])));
        assert_eq!(split_path(b"<a@x"), Err(Fault::Syntax));
        assert_eq!(split_path(b"a@x>"), Err(Fault::Syntax));
    }

    /// The public address suite of Dominic Sayers (BSD-3-Clause), where `SIGNET_MESSAGES` has it.
    #[test]
    fn the_isemail_suite_agrees() {
        let Some(folder) = std::env::var_os("SIGNET_MESSAGES") else {
            println!("SIGNET_MESSAGES is not set: only the addresses above were looked at");
            return;
        };
        let Ok(suite) = std::fs::read_to_string(std::path::Path::new(&folder).join("isemail/tests.xml"))
        else {
            return;
        };
        let field = |test: &str, name: &str| {
            let (_, rest) = test.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(value, _)| value.to_owned())
        };
        let mut seen = 0;
        for test in suite.split("<test id=").skip(1) {
            let Some(address) = field(test, "address") else { continue };
            // Control characters stand for themselves in the block at U+2400.
            let address: String = unescape(&address)
                .chars()
                .map(|c| match u32::from(c) {
                    code @ 0x2400..=0x2421 => char::from_u32(code - 0x2400).unwrap(),
                    _ => c,
                })
                .collect();
            let category = field(test, "category").unwrap();
            let diagnosis = field(test, "diagnosis").unwrap();
            let ok = parse_recipient(address.as_bytes(), false).is_ok();
            seen += 1;
            match category.as_str() {
                "ISEMAIL_VALID_CATEGORY" | "ISEMAIL_RFC5321" | "ISEMAIL_DNSWARN" => {
                    assert!(ok, "{address:?} {diagnosis}");
                }
                // `::` for a single group is deprecated, but says which address is meant.
                "ISEMAIL_DEPREC" if diagnosis == "ISEMAIL_RFC5321_IPV6DEPRECATED" => assert!(ok),
                _ => assert!(!ok, "{address:?} {diagnosis}"),
            }
        }
        assert!(seen > 150, "{seen}");
    }

    fn unescape(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('&') {
            out.push_str(before);
            let (entity, after) = after.split_once(';').unwrap();
            out.push(match entity {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let code = entity.strip_prefix("#x").unwrap();
                    char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap()
                }
            });
            rest = after;
        }
        out + rest
    }
}
