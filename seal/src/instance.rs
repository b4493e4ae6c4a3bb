//! The instance's key: look-up hashes of addresses and domains, and rows that belong to no account.

use crate::account::SubKeys;
use crate::associated::{Associated, Kind, Place};
use crate::cipher::{self, Cipher};
use crate::error::{Error, Result};
use crate::random::random_key;
use crate::token::digest;
use crate::{EpochKey, KeyFile, Secret, wrapped};
use std::fmt;

/// The random key of one instance. It is wrapped and stored like an account's, and like those wrapped anew by a purge.
pub struct InstanceKey {
    instance: [u8; 16],
    key_id: u32,
    key: Secret<[u8; 32]>,
    rows: Cipher,
    hashes: Secret<[u8; 32]>,
}

impl InstanceKey {
    /// A new random key for the instance with this id. Store [`InstanceKey::wrap`] before anything made with it.
    pub fn generate(instance: [u8; 16]) -> InstanceKey {
        InstanceKey::from_key(instance, 1, random_key())
    }

    pub(crate) fn from_key(instance: [u8; 16], key_id: u32, key: Secret<[u8; 32]>) -> InstanceKey {
        let sub_keys = SubKeys::new(key.expose(), &instance);
        InstanceKey {
            instance,
            key_id,
            rows: Cipher::new(&sub_keys.derive("signet instance rows")),
            hashes: Secret::new(*sub_keys.derive("signet instance hashes")),
            key,
        }
    }

    /// The instance's key wrapped by an epoch's key, for the store.
    pub fn wrap(&self, epoch: &EpochKey) -> Vec<u8> {
        wrapped::wrap(Kind::InstanceKey, &self.instance, self.key_id, self.key.expose(), epoch)
    }

    /// The instance's key from what [`InstanceKey::wrap`] gave.
    ///
    /// # Errors
    /// [`Error::UnknownEpoch`] if the epoch was destroyed, [`Error::DoesNotOpen`] if the bytes are not this instance's.
    pub fn unwrap(instance: [u8; 16], wrapped: &[u8], epochs: &KeyFile) -> Result<InstanceKey> {
        let (key_id, key) = wrapped::unwrap(Kind::InstanceKey, &instance, wrapped, epochs)?;
        Ok(InstanceKey::from_key(instance, key_id, key))
    }

    /// The look-up hash of an address, a domain or a credential. `domain` names the kind of thing, so that equal bytes of
    /// two kinds have unrelated hashes. The caller brings the bytes to their canonical form first.
    pub fn hash(&self, domain: &'static str, bytes: &[u8]) -> [u8; 32] {
        digest(self.hashes.expose(), domain, &[bytes])
    }

    /// Seals a value of a row that belongs to no account; see [`crate::AccountKeys::seal`].
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8]) -> Vec<u8> {
        let associated = Associated::of_place(Kind::InstanceValue, &self.instance, self.key_id, place);
        self.rows.seal(self.key_id, associated.bytes(), plaintext)
    }

    /// Opens a value at the place it was sealed for.
    ///
    /// # Errors
    /// [`Error::DoesNotOpen`], or [`Error::UnknownKey`] if it names another key of the instance.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>> {
        let (key_id, body) = cipher::split(sealed)?;
        if key_id != self.key_id {
            return Err(Error::UnknownKey { id: key_id });
        }
        let associated = Associated::of_place(Kind::InstanceValue, &self.instance, key_id, place);
        self.rows.open(associated.bytes(), body)
    }
}

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
