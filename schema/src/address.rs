//! Addresses and domains as Signet compares and stores them: lower-cased, without quotes that are not needed, the domain
//! in ASCII as DNS has it.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::{Error, Result};

/// Octets of a local part (RFC 5321 §4.5.3.1.1).
const LOCAL_PART: usize = 64;
/// Octets of a domain (RFC 5321 §4.5.3.1.2).
const DOMAIN: usize = 255;
/// Octets of a label of a domain (RFC 1035 §2.3.4).
const LABEL: usize = 63;

/// An address that mail is sent to, or the catch-all of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailAddress {
    /// The local part, lower-cased; empty for the catch-all `@domain`.
    pub local: String,
    /// The domain, as [`parse_domain`] gives it.
    pub domain: String,
}

impl MailAddress {
    /// Reads an address or a catch-all.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is neither.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refused = Error::Refused { what: "this is not an address" };
        let (local, domain) = text.rsplit_once('@').ok_or(Error::Refused { what: "an address has an @" })?;
        let local = unquote(local);
        if local.len() > LOCAL_PART || local.chars().any(|c| c.is_control() || c == '@') {
            return Err(refused);
        }
        Ok(Self { local: local.to_lowercase(), domain: parse_domain(domain)? })
    }

    /// The address without its subaddress (RFC 5233), if it has one.
    pub(crate) fn without_tag(&self) -> Option<Self> {
        let (user, _) = self.local.split_once('+')?;
        (!user.is_empty()).then(|| Self { local: user.to_owned(), domain: self.domain.clone() })
    }

    /// The catch-all of its domain.
    pub(crate) fn catch_all(&self) -> Self {
        Self { local: String::new(), domain: self.domain.clone() }
    }
}

impl std::fmt::Display for MailAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// An address in the one form in which it is compared and stored; `None` if it is none.
pub fn normal_address(text: &str) -> Option<String> {
    MailAddress::parse(text).ok().map(|address| address.to_string())
}

/// Reads a domain name, in ASCII or not, or an address literal. The result is lower-cased and in ASCII (A-labels): the
/// form in which a name is stored, hashed and shown, so that it is one whichever way it is written.
pub(crate) fn parse_domain(text: &str) -> Result<String> {
    let refused = Error::Refused { what: "this is not a domain name" };
    // What DNS takes has at most four octets for each of its own.
    if text.is_empty() || text.len() > 4 * DOMAIN {
        return Err(refused);
    }
    if text.starts_with('[') && text.ends_with(']') && (3..=DOMAIN).contains(&text.len()) {
        return Ok(text.to_lowercase());
    }
    let Some(name) = to_ascii(text) else { return Err(refused) };
    let name = name.strip_suffix('.').unwrap_or(&name);
    let is_label = |label: &str| {
        (1..=LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    match name.len() <= DOMAIN && name.split('.').all(is_label) {
        true => Ok(name.to_owned()),
        false => Err(refused),
    }
}

/// The name as DNS has it (UTS #46, without the transitional mappings). A name in ASCII is what DNS has, whatever IDNA
/// says of it: underscores, and labels that begin with `xn--` and decode to nothing.
fn to_ascii(text: &str) -> Option<String> {
    let ascii = Uts46::new().to_ascii(
        text.as_bytes(),
        AsciiDenyList::EMPTY,
        Hyphens::CheckFirstLast,
        DnsLength::Ignore,
    );
    match ascii {
        Ok(name) => Some(name.into_owned()),
        Err(_) => text.is_ascii().then(|| text.to_ascii_lowercase()),
    }
}

/// What a quoted local part means (RFC 5321 §4.1.2: quotes and backslashes that are not needed change nothing).
fn unquote(local: &str) -> String {
    let Some(quoted) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return local.to_owned();
    };
    let mut plain = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mean_the_same_are_the_same() {
        for (text, same) in [
            ("Ada@Example.ORG", "ada@example.org"),
            ("\"ada\"@example.org", "ada@example.org"),
            ("\"a\\da\"@example.org.", "ada@example.org"),
            ("@example.org", "@example.org"),
            ("jörg@BÜCHER.example", "jörg@xn--bcher-kva.example"),
            ("ada@[127.0.0.1]", "ada@[127.0.0.1]"),
        ] {
            assert_eq!(MailAddress::parse(text).map(|a| a.to_string()).unwrap(), same, "{text}");
        }
    }

    #[test]
    fn a_domain_is_one_however_it_is_written() {
        let long = format!("{}.example", "a".repeat(63));
        for (text, same) in [
            // U-label and A-label, in upper and lower case.
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example.", "xn--bcher-kva.example"),
            // The same letter in one code point and in two.
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            // Letters of full width, and the full stop of another script.
            ("ｅｘａｍｐｌｅ。org", "example.org"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("例え。テスト。", "xn--r8jz45g.xn--zckzah"),
            ("почта.рф", "xn--80a1acny.xn--p1ai"),
            // Written from right to left.
            ("דוגמה.example", "xn--6dbbec0c.example"),
            // A sharp s is a letter of its own.
            ("straße.example", "xn--strae-oqa.example"),
            ("strasse.example", "strasse.example"),
            // Names that IDNA refuses in its strict form, and that there are.
            ("localhost", "localhost"),
            ("mail_host.example", "mail_host.example"),
            ("_dmarc.Example.org", "_dmarc.example.org"),
            ("r3---sn-4g5e.example", "r3---sn-4g5e.example"),
            ("1.2.example", "1.2.example"),
            ("xn--a.example", "xn--a.example"),
            ("XN--9999999.example", "xn--9999999.example"),
            (long.as_str(), long.as_str()),
            ("[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"),
        ] {
            assert_eq!(parse_domain(text).unwrap(), same, "{text}");
            assert_eq!(parse_domain(same).unwrap(), same, "{text}, again");
        }
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        let label = format!("{}.example", "a".repeat(64));
        // Short enough as it is written, too long as DNS has it.
        let wide = format!("{}.example", "ü".repeat(60));
        let name = vec!["a".repeat(60); 5].join(".");
        for text in [
            "",
            ".",
            "。",
            "a..b",
            "-a.example",
            "a-.example",
            "a b",
            "a\u{0}b",
            "bü cher.example",
            "bü@cher.example",
            "-ü.example",
            "[]",
            // A mark that nothing stands before, and a script that runs both ways.
            "\u{308}a.example",
            "אa.example",
            "\u{FFFD}.example",
            label.as_str(),
            wide.as_str(),
            name.as_str(),
        ] {
            assert!(parse_domain(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_domain_that_is_taken_reads_back_as_itself(text in "[a-zA-Z0-9üßИ日א_.。\u{308}-]{1,40}") {
            if let Ok(name) = parse_domain(&text) {
                assert!(name.is_ascii());
                assert_eq!(parse_domain(&name).unwrap(), name);
            }
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.org", "a".repeat(65));
        for text in [
            "",
            "ada",
            "ada@",
            "ada@-x.org",
            "ada@x..org",
            "a\n@x.org",
            "\"a@b\"@x.org",
            long.as_str(),
            "ada@a b",
        ] {
            assert!(MailAddress::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_tag_is_what_follows_the_first_plus() {
        let tagged = MailAddress::parse("ada+a+b@example.org").unwrap();
        assert_eq!(tagged.without_tag().unwrap().to_string(), "ada@example.org");
        assert_eq!(MailAddress::parse("+b@example.org").unwrap().without_tag(), None);
        assert_eq!(MailAddress::parse("ada@example.org").unwrap().without_tag(), None);
    }
}
