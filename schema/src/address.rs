//! Addresses and domains as Signet compares them: lower-cased, without quotes that are not needed.

use crate::{Error, Result};

/// Octets of a local part (RFC 5321 §4.5.3.1.1).
const LOCAL_PART: usize = 64;
/// Octets of a domain (RFC 5321 §4.5.3.1.2).
const DOMAIN: usize = 255;

/// An address that mail is sent to, or the catch-all of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailAddress {
    /// The local part, lower-cased; empty for the catch-all `@domain`.
    pub local: String,
    /// The domain, lower-cased.
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

/// Reads a domain name: labels of letters (also outside ASCII), digits and hyphens, or an address literal.
pub(crate) fn parse_domain(text: &str) -> Result<String> {
    let refused = Err(Error::Refused { what: "this is not a domain name" });
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || text.len() > DOMAIN {
        return refused;
    }
    let is_literal = text.starts_with('[') && text.ends_with(']') && text.len() > 2;
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    if !is_literal && !text.split('.').all(is_label) {
        return refused;
    }
    Ok(text.to_lowercase())
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
            ("jörg@BÜCHER.example", "jörg@bücher.example"),
            ("ada@[127.0.0.1]", "ada@[127.0.0.1]"),
        ] {
            assert_eq!(MailAddress::parse(text).map(|a| a.to_string()).unwrap(), same, "{text}");
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
