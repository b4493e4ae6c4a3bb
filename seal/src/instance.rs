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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::{read_hex_vec, write_hex};

    const INSTANCE: [u8; 16] = [5; 16];
    const PLACE: Place<'static> = Place { table: "domains", key: b"key", field: "name" };

    fn key() -> InstanceKey {
        InstanceKey::from_key(INSTANCE, 1, Secret::new([0xab; 32]))
    }

    #[test]
    fn hashes_differ_by_instance_kind_and_bytes() {
        let mut seen = std::collections::HashSet::new();
        for key in [[1; 32], [2; 32]] {
            let key = InstanceKey::from_key(INSTANCE, 1, Secret::new(key));
            for domain in ["address", "domain", ""] {
                for bytes in ["", "a", "b@example.org"] {
                    let hash = key.hash(domain, bytes.as_bytes());
                    assert_eq!(hash, key.hash(domain, bytes.as_bytes()));
                    assert!(seen.insert(hash));
                }
            }
        }
    }

    #[test]
    fn values_of_the_first_format_open_for_ever() {
        assert_eq!(key().open(PLACE, &read_hex_vec(FROZEN_VALUE).unwrap()).unwrap(), b"frozen value");
        assert_eq!(write_hex(&key().hash("frozen", b"bytes")), FROZEN_HASH);
    }

    const FROZEN_VALUE: &str =
        "0101972c41de6d9933bf4f0a3f8ab42731d9498269886b04e15bd32228225c23dea769542fe49580e74d";
    const FROZEN_HASH: &str = "7483dae223807a4912a1fee0a2d76c0bf790e0d36b817a21265876eec3c24366";

    #[test]
    fn a_value_moved_anywhere_does_not_open() {
        let sealed = key().seal(PLACE, b"value");
        assert_eq!(key().open(PLACE, &sealed).unwrap(), b"value");
        for place in [
            Place { table: "jobs", ..PLACE },
            Place { key: b"kez", ..PLACE },
            Place { field: "note", ..PLACE },
        ] {
            assert!(matches!(key().open(place, &sealed), Err(Error::DoesNotOpen)));
        }
        let other = InstanceKey::from_key([6; 16], 1, Secret::new([0xab; 32]));
        assert!(other.open(PLACE, &sealed).is_err());
        let other = InstanceKey::from_key(INSTANCE, 2, Secret::new([0xab; 32]));
        assert!(matches!(other.open(PLACE, &sealed), Err(Error::UnknownKey { id: 1 })));
        let account = crate::AccountKeys::from_key(INSTANCE, 1, Secret::new([0xab; 32]));
        assert!(account.open(PLACE, &sealed).is_err(), "an account with the same id and key");
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 0x40;
            assert!(key().open(PLACE, &flipped).is_err());
            assert!(key().open(PLACE, &sealed[..at]).is_err());
        }
    }

    #[test]
    fn a_wrapped_instance_key_unwraps_for_its_instance_only() {
        let directory = tempfile::tempdir().unwrap();
        let key_file = KeyFile::create(&directory.path().join("a.key"), &INSTANCE).unwrap();
        let key = InstanceKey::generate(INSTANCE);
        let wrapped = key.wrap(key_file.newest());
        let unwrapped = InstanceKey::unwrap(INSTANCE, &wrapped, &key_file).unwrap();
        assert_eq!(unwrapped.hash("a", b"b"), key.hash("a", b"b"));
        assert!(InstanceKey::unwrap([6; 16], &wrapped, &key_file).is_err());
        let account = crate::AccountKeys::generate(INSTANCE).wrap(key_file.newest());
        assert!(InstanceKey::unwrap(INSTANCE, &account, &key_file).is_err());
    }

    #[test]
    fn printing_the_key_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", key()), "InstanceKey { key_id: 1, .. }");
    }
}
