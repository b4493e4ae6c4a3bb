//! Bearer credentials of the API: random, shown once, stored as their hash.

use crate::Secret;
use crate::error::{Error, Result};
use crate::master::{read_hex, write_hex};
use crate::random::random_key;
use std::fmt;
use zeroize::Zeroize;

const PREFIX: &str = "sig_";

/// 32 random octets that open a session.
#[derive(Clone)]
pub struct Credential(Secret<[u8; 32]>);

impl Credential {
    /// A new random credential.
    pub fn generate() -> Credential {
        Credential(random_key())
    }

    /// Reads what [`Credential::to_text`] wrote.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for anything else; nothing of the text is repeated in it.
    pub fn parse(text: &str) -> Result<Credential> {
        let digits = text.strip_prefix(PREFIX).ok_or(Error::BadCredential)?;
        let mut bytes = [0; 32];
        let read = read_hex(digits, &mut bytes);
        let credential = Credential(Secret::new(bytes));
        bytes.zeroize();
        read.map(|()| credential).ok_or(Error::BadCredential)
    }

    /// `sig_` and 64 lower-case hexadecimal digits, to be shown once. The prefix lets a scanner find leaked ones.
    pub fn to_text(&self) -> Secret<String> {
        let digits = Secret::new(write_hex(self.0.expose()));
        let mut text = String::with_capacity(PREFIX.len() + digits.expose().len());
        text.push_str(PREFIX);
        text.push_str(digits.expose());
        Secret::new(text)
    }

    /// What is stored and looked up. Not keyed and not slow, and need not be: 256 random bits cannot be guessed.
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key("signet 2026 hash of an API credential", self.0.expose())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_reads_back_from_its_text_with_the_same_hash() {
        let credential = Credential::generate();
        let text = credential.to_text();
        assert_eq!(text.expose().len(), 68);
        assert!(text.expose().starts_with("sig_"));
        assert_eq!(Credential::parse(text.expose()).unwrap().hash(), credential.hash());
        assert_ne!(Credential::generate().hash(), credential.hash());
    }

    #[test]
    fn a_hash_of_the_first_format_stays_the_same() {
        let credential = Credential::parse(&format!("sig_{}", "07".repeat(32))).unwrap();
        assert_eq!(write_hex(&credential.hash()), FROZEN);
    }

    const FROZEN: &str = "b848ed0e1743083c5bb7d565154646c55b61b2d0778d07868242e5e778dcf41b";

    #[test]
    fn nothing_else_is_a_credential() {
        let good = format!("sig_{}", "07".repeat(32));
        let bad = [
            "",
            "sig_",
            &good[4..],
            &good[..67],
            &format!("{good}0"),
            &format!(" {good}"),
            &good.replace('7', "x"),
        ];
        for bad in bad {
            assert!(matches!(Credential::parse(bad), Err(Error::BadCredential)), "{bad}");
        }
    }

    #[test]
    fn printing_a_credential_or_its_text_shows_nothing() {
        let credential = Credential::parse(&format!("sig_{}", "ab".repeat(32))).unwrap();
        let shown = format!("{credential:?} {:?}", credential.to_text());
        assert_eq!(shown, "Credential([hidden]) [hidden]");
    }
}
