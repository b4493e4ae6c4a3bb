//! The master key: 32 octets, written as 64 hexadecimal digits.

use crate::Secret;
use crate::cipher::Cipher;
use crate::error::{Error, Result};
use crate::random::random_key;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// The key above all others. It wraps epoch keys and does nothing else.
#[derive(Clone)]
pub struct MasterKey(Secret<[u8; 32]>);

impl MasterKey {
    /// A new random key.
    pub fn generate() -> MasterKey {
        MasterKey(random_key())
    }

    /// Reads 64 hexadecimal digits of either case, with white space around them: what a variable, a command or the one
    /// line of a key file gives.
    ///
    /// # Errors
    /// [`Error::BadMasterKey`] for anything else.
    pub fn parse(text: &str) -> Result<MasterKey> {
        let mut key = [0; 32];
        let read = read_hex(text.trim(), &mut key);
        let master = MasterKey(Secret::new(key));
        key.zeroize();
        read.map(|()| master).ok_or(Error::BadMasterKey)
    }

    /// The key as 64 lower-case hexadecimal digits, for its keeper and nobody else.
    pub fn to_hex(&self) -> Secret<String> {
        Secret::new(write_hex(self.0.expose()))
    }

    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> &Secret<[u8; 32]> {
        &self.0
    }

    pub(crate) fn cipher(&self) -> Cipher {
        Cipher::new(self.0.expose())
    }
}

impl std::str::FromStr for MasterKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<MasterKey> {
        MasterKey::parse(text)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([hidden])")
    }
}

/// Lower-case hexadecimal digits, written without leaving a partial copy in memory.
pub(crate) fn write_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(digit), 16).expect("four bits are one hexadecimal digit"));
        }
    }
    text
}

/// Fills `bytes` from exactly twice as many hexadecimal digits.
pub(crate) fn read_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(())
}

/// As [`read_hex`], for as many octets as there are digits for.
pub(crate) fn read_hex_vec(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; text.len() / 2]);
    read_hex(text, &mut bytes)?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_reads_back_from_its_text() {
        let key = MasterKey::generate();
        let text = key.to_hex().expose().clone();
        assert_eq!(text.len(), 64);
        assert_eq!(MasterKey::parse(&text).unwrap().0.expose(), key.0.expose());
        assert_eq!(
            MasterKey::parse(&format!(" {}\n", text.to_uppercase())).unwrap().0.expose(),
            key.0.expose()
        );
        assert_eq!(text.parse::<MasterKey>().unwrap().0.expose(), key.0.expose());
    }

    #[test]
    fn nothing_but_64_hexadecimal_digits_is_a_master_key() {
        let text = "0".repeat(64);
        let bad = [
            "",
            " ",
            &text[1..],
            &format!("{text}0"),
            &format!("{}g", &text[1..]),
            &format!("+{}", &text[1..]),
        ];
        for bad in bad {
            assert!(matches!(MasterKey::parse(bad), Err(Error::BadMasterKey)), "{bad}");
        }
    }

    #[test]
    fn two_master_keys_are_never_the_same() {
        assert_ne!(MasterKey::generate().0.expose(), MasterKey::generate().0.expose());
    }
}
