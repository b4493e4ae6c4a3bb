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
