//! Sealed bytes: AES-256-GCM-SIV (RFC 8452) and the few octets around it.
//!
//! Layout: version (1 octet, [`VERSION`]), key id (LEB128, 1 to 5 octets, shortest form), nonce (12), ciphertext (as long
//! as the plaintext), tag (16). With a key id below 128 that is 30 octets more than the plaintext.
//!
//! GCM-SIV because nonces are random: should two ever meet under one key, it tells that two equal values are equal and
//! nothing else, where GCM would give its authentication key away.

use crate::error::{Error, Result};
use crate::random::random_bytes;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use zeroize::Zeroize;

/// The first octet of everything sealed.
const VERSION: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;

/// A key made ready for sealing. Its key schedule is overwritten when it is dropped.
pub(crate) struct Cipher(Aes256GcmSiv);

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Cipher {
        Cipher(Aes256GcmSiv::new(key.into()))
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
