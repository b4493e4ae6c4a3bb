//! Sealed bytes: AES-256-GCM-SIV (RFC 8452) and the few octets around it.
//!
//! Layout: version (1 octet, [`VERSION`]), key id (LEB128, 1 to 5 octets, shortest form), nonce (12), ciphertext (as long
//! as the plaintext), tag (16). With a key id below 128 that is 30 octets more than the plaintext.
//!
//! GCM-SIV because nonces are random: should two ever meet under one key, it tells that two equal values are equal and
//! nothing else, where GCM would give its authentication key away.

use crate::error::{Error, Result};
use crate::random::random_bytes;
use aes::Aes256Enc;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{AesGcmSiv, Nonce, Tag};
use zeroize::Zeroize;

/// The first octet of everything sealed.
const VERSION: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;

/// A key made ready for sealing. Its key schedule is overwritten when it is dropped.
///
/// AES forwards only: the mode never runs it backwards, and accounts in use hold half the key schedule that way.
pub(crate) struct Cipher(AesGcmSiv<Aes256Enc>);

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Cipher {
        Cipher(AesGcmSiv::new(key.into()))
    }

    /// Seals under a fresh random nonce.
    pub(crate) fn seal(&self, key_id: u32, associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.seal_with(key_id, &random_bytes(), associated, plaintext)
    }

    fn seal_with(&self, key_id: u32, nonce: &[u8; NONCE], associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(6 + NONCE + plaintext.len() + TAG);
        sealed.push(VERSION);
        push_key_id(&mut sealed, key_id);
        sealed.extend_from_slice(nonce);
        let start = sealed.len();
        sealed.extend_from_slice(plaintext);
        let tag = self
            .0
            .encrypt_inout_detached(nonce.into(), associated, (&mut sealed[start..]).into())
            .expect("a value is shorter than 64 GiB, the cipher's limit");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what [`split`] left of a sealed value.
    pub(crate) fn open(&self, associated: &[u8], body: &[u8]) -> Result<Vec<u8>> {
        let mut plaintext = Vec::with_capacity(body.len().saturating_sub(NONCE + TAG));
        self.open_onto(associated, body, &mut plaintext)?;
        Ok(plaintext)
    }

    /// Opens like [`Cipher::open`], and appends to `plaintext`, which is left as it was if the value does not open.
    pub(crate) fn open_onto(&self, associated: &[u8], body: &[u8], plaintext: &mut Vec<u8>) -> Result<()> {
        let (nonce, rest) = body.split_first_chunk::<NONCE>().ok_or(Error::DoesNotOpen)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(Error::DoesNotOpen)?;
        let start = plaintext.len();
        plaintext.extend_from_slice(ciphertext);
        let opened = self.0.decrypt_inout_detached(
            <&Nonce>::from(nonce),
            associated,
            (&mut plaintext[start..]).into(),
            <&Tag>::from(tag),
        );
        opened.map_err(|_| {
            plaintext[start..].zeroize();
            plaintext.truncate(start);
            Error::DoesNotOpen
        })
    }
}

/// The key id that a sealed value names, and what follows it (nonce, ciphertext, tag).
pub(crate) fn split(sealed: &[u8]) -> Result<(u32, &[u8])> {
    let (&version, rest) = sealed.split_first().ok_or(Error::DoesNotOpen)?;
    if version != VERSION {
        return Err(Error::DoesNotOpen);
    }
    pull_key_id(rest).ok_or(Error::DoesNotOpen)
}

fn push_key_id(sealed: &mut Vec<u8>, mut key_id: u32) {
    while key_id >= 0x80 {
        sealed.push(key_id as u8 | 0x80);
        key_id >>= 7;
    }
    sealed.push(key_id as u8);
}

/// Reads the shortest form only: a sealed value has exactly one spelling.
fn pull_key_id(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut key_id = 0u32;
    for (at, &byte) in bytes.iter().enumerate().take(5) {
        if at == 4 && byte > 0x0f {
            return None;
        }
        key_id |= u32::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return (byte != 0 || at == 0).then_some((key_id, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::{read_hex_vec, write_hex};

    /// RFC 8452 appendix C.2 (AEAD_AES_256_GCM_SIV), all with key 0100…00 and nonce 0300…00.
    const RFC_8452: [(&str, &str, &str); 5] = [
        // associated data, plaintext, ciphertext with tag
        ("", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
        ("", "0100000000000000", "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"),
        ("", "010000000000000000000000", "9aab2aeb3faa0a34aea8e2b18ca50da9ae6559e48fd10f6e5c9ca17e"),
        (
            "",
            "0100000000000000000000000000000002000000000000000000000000000000",
            "4a6a9db4c8c6549201b9edb53006cba821ec9cf850948a7c86c68ac7539d027fe819e63abcd020b006a976397632eb5d",
        ),
        ("01", "0200000000000000", "1de22967237a813291213f267e3b452f02d01ae33e4ec854"),
    ];

    fn first_octet<const N: usize>(octet: u8) -> [u8; N] {
        let mut bytes = [0; N];
        bytes[0] = octet;
        bytes
    }

    #[test]
    fn the_cipher_is_the_one_of_rfc_8452() {
        let cipher = Cipher::new(&first_octet(1));
        let nonce = first_octet(3);
        for (associated, plaintext, expected) in RFC_8452 {
            let [associated, plaintext] = [associated, plaintext].map(|hex| read_hex_vec(hex).unwrap());
            let sealed = cipher.seal_with(0, &nonce, &associated, &plaintext);
            assert_eq!(sealed[..2], [VERSION, 0]);
            assert_eq!(sealed[2..14], nonce);
            assert_eq!(write_hex(&sealed[14..]), expected);
            let (_, body) = split(&sealed).unwrap();
            assert_eq!(cipher.open(&associated, body).unwrap(), *plaintext);
        }
    }

    #[test]
    fn a_key_id_has_one_spelling() {
        for key_id in [0, 1, 127, 128, 16_383, 16_384, (1 << 28) - 1, 1 << 28, u32::MAX] {
            let mut bytes = vec![VERSION];
            push_key_id(&mut bytes, key_id);
            bytes.push(0xaa);
            assert_eq!(split(&bytes).unwrap(), (key_id, &[0xaa][..]));
        }
        let bad: [&[u8]; 7] = [
            &[],
            &[VERSION],
            // A second octet that adds nothing.
            &[VERSION, 0x80, 0x00],
            &[VERSION, 0xff, 0x80, 0x00],
            // Cut short.
            &[VERSION, 0x80],
            // More than 32 bits.
            &[VERSION, 0xff, 0xff, 0xff, 0xff, 0x10],
            &[VERSION, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ];
        for bytes in bad {
            assert!(matches!(split(bytes), Err(Error::DoesNotOpen)), "{bytes:?}");
        }
        assert!(matches!(split(&[2, 1, 0, 0]), Err(Error::DoesNotOpen)), "another version");
    }

    #[test]
    fn what_does_not_open_appends_nothing() {
        let cipher = Cipher::new(&[1; 32]);
        let mut sealed = cipher.seal(1, b"a", b"plain");
        let mut out = b"before".to_vec();
        *sealed.last_mut().unwrap() ^= 1;
        let (_, body) = split(&sealed).unwrap();
        assert!(cipher.open_onto(b"a", body, &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn the_same_value_is_never_sealed_to_the_same_bytes() {
        let cipher = Cipher::new(&[1; 32]);
        let sealed: std::collections::HashSet<_> = (0..1000).map(|_| cipher.seal(1, b"", b"")).collect();
        assert_eq!(sealed.len(), 1000);
    }
}
