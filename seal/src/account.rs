//! The keys of one account: one random key, and a sub-key for each use.

use crate::associated::{Associated, Kind, Place};
use crate::blob::Blobs;
use crate::cipher::{self, Cipher};
use crate::error::{Error, Result};
use crate::random::random_key;
use crate::token::{self, Digests};
use crate::{EpochKey, KeyFile, Secret, wrapped};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// All keys of one account.
///
/// The sub-keys come from the account's random key by HKDF-SHA-256 (RFC 5869) with one label each, and from nothing else:
/// when the account's key is gone, so are they. Cheap to use from many threads at once, costly (some µs) to make: keep it
/// behind an `Arc` while the account is in use.
pub struct AccountKeys {
    account: [u8; 16],
    key_id: u32,
    key: Secret<[u8; 32]>,
    rows: Cipher,
    blobs: Blobs,
    tokens: Secret<[u8; 32]>,
    digests: Digests,
}

impl AccountKeys {
    /// A new random key for the account with this id. Store [`AccountKeys::wrap`] before anything sealed under it.
    pub fn generate(account: [u8; 16]) -> AccountKeys {
        AccountKeys::from_key(account, 1, random_key())
    }

    pub(crate) fn from_key(account: [u8; 16], key_id: u32, key: Secret<[u8; 32]>) -> AccountKeys {
        let sub_keys = SubKeys::new(key.expose(), &account);
        AccountKeys {
            account,
            key_id,
            rows: Cipher::new(&sub_keys.derive("signet account rows")),
            blobs: Blobs::new(account, key_id, &sub_keys.derive("signet account blobs")),
            tokens: Secret::new(*sub_keys.derive("signet account tokens")),
            digests: Digests::new(
                &sub_keys.derive("signet account digests"),
                &sub_keys.derive("signet account message digests"),
            ),
            key,
        }
    }

    /// The account's id.
    pub fn account(&self) -> [u8; 16] {
        self.account
    }

    /// The id of the account's key, which every value sealed under it names.
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// The account's key wrapped by an epoch's key, for the store (66 octets while key ids are small).
    pub fn wrap(&self, epoch: &EpochKey) -> Vec<u8> {
        wrapped::wrap(Kind::AccountKey, &self.account, self.key_id, self.key.expose(), epoch)
    }

    /// The keys of an account from what [`AccountKeys::wrap`] gave.
    ///
    /// # Errors
    /// [`Error::UnknownEpoch`] if the epoch was destroyed, [`Error::DoesNotOpen`] if the bytes are not this account's.
    pub fn unwrap(account: [u8; 16], wrapped: &[u8], epochs: &KeyFile) -> Result<AccountKeys> {
        let (key_id, key) = wrapped::unwrap(Kind::AccountKey, &account, wrapped, epochs)?;
        Ok(AccountKeys::from_key(account, key_id, key))
    }

    /// Seals a value for one place. It is 30 octets longer than the plaintext, and never twice the same.
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8]) -> Vec<u8> {
        let associated = Associated::of_place(Kind::AccountValue, &self.account, self.key_id, place);
        self.rows.seal(self.key_id, associated.bytes(), plaintext)
    }

    /// Opens a value at the place it was sealed for.
    ///
    /// # Errors
    /// [`Error::DoesNotOpen`], or [`Error::UnknownKey`] if it names another key of the account.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>> {
        let (key_id, body) = cipher::split(sealed)?;
        if key_id != self.key_id {
            return Err(Error::UnknownKey { id: key_id });
        }
        let associated = Associated::of_place(Kind::AccountValue, &self.account, key_id, place);
        self.rows.open(associated.bytes(), body)
    }

    /// Seals a blob in chunks of [`crate::CHUNK`] octets of plaintext, the last one shorter or equal; an empty blob is
    /// one chunk.
    pub fn seal_blob(&self, blob: &[u8; 16], plaintext: &[u8]) -> Vec<Vec<u8>> {
        self.blobs.seal(blob, plaintext)
    }

    /// Opens a blob from all of its chunks, in order.
    ///
    /// # Errors
    /// [`Error::DoesNotOpen`] if a chunk is missing, doubled, out of order, changed, or of another blob.
    pub fn open_blob(&self, blob: &[u8; 16], chunks: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
        self.blobs.open(blob, chunks)
    }

    /// Opens one chunk alone. `index` counts from 0; `is_last` must be true for the last chunk and for no other.
    ///
    /// # Errors
    /// As for [`AccountKeys::open_blob`].
    pub fn open_chunk(&self, blob: &[u8; 16], index: u32, is_last: bool, sealed: &[u8]) -> Result<Vec<u8>> {
        self.blobs.open_chunk(blob, index, is_last, sealed)
    }

    /// The blind token of a term: 56 bits of a keyed hash, so always below 2^56.
    ///
    /// `field` is where the term stands (subject, body, …) and `form` how it was made (folded, stemmed, prefix, …); the
    /// same text in another field or form is another, unrelated token. Odds of a collision: `docs/privacy.md`.
    pub fn token(&self, field: u8, form: u8, text: &str) -> u64 {
        token::token(self.tokens.expose(), field, form, text)
    }

    /// A keyed digest of a list of byte strings, for ids and equality inside the account. Each part's length counts, so
    /// `["ab", "c"]` and `["a", "bc"]` differ; `domain` keeps one use's digests apart from another's.
    pub fn digest(&self, domain: &'static str, bytes: &[&[u8]]) -> [u8; 32] {
        self.digests.of_parts(domain, bytes)
    }

    /// A keyed digest of a message's raw bytes, in one pass, under a sub-key of its own.
    pub fn digest_bytes(&self, bytes: &[u8]) -> [u8; 32] {
        self.digests.of_bytes(bytes)
    }
}

impl fmt::Debug for AccountKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKeys").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// HKDF-SHA-256 over a random key: no salt (RFC 5869 section 3.1 allows it for random input), one label and the owner's
/// id as info.
pub(crate) struct SubKeys<'a> {
    hkdf: Hkdf<Sha256>,
    owner: &'a [u8; 16],
}

impl<'a> SubKeys<'a> {
    pub(crate) fn new(key: &[u8; 32], owner: &'a [u8; 16]) -> SubKeys<'a> {
        SubKeys { hkdf: Hkdf::new(None, key), owner }
    }

    pub(crate) fn derive(&self, label: &'static str) -> Zeroizing<[u8; 32]> {
        let mut sub_key = Zeroizing::new([0; 32]);
        self.hkdf
            .expand_multi_info(&[label.as_bytes(), self.owner], sub_key.as_mut_slice())
            .expect("32 octets are less than HKDF's limit of 8160");
        sub_key
    }
}
