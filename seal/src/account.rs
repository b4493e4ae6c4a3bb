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

    /// The account's key wrapped by an epoch's key, for the store (67 octets while key ids are small).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::{read_hex_vec, write_hex};
    use proptest::prelude::*;

    const ACCOUNT: [u8; 16] = [9; 16];
    const PLACE: Place<'static> = Place { table: "messages", key: b"key", field: "head" };

    fn keys() -> AccountKeys {
        AccountKeys::from_key(ACCOUNT, 1, Secret::new([0xab; 32]))
    }

    #[test]
    fn sub_keys_are_hkdf_of_rfc_5869() {
        let long = |hex: &str| read_hex_vec(hex).unwrap();
        let [key, salt, info] =
            ["0b".repeat(22), "000102030405060708090a0b0c".into(), "f0f1f2f3f4f5f6f7f8f9".into()];
        let mut okm = [0; 42];
        // Appendix A.1
        Hkdf::<Sha256>::new(Some(&long(&salt)), &long(&key)).expand(&long(&info), &mut okm).unwrap();
        assert_eq!(
            write_hex(&okm),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
        // Appendix A.3: no salt and no info
        Hkdf::<Sha256>::new(None, &long(&key)).expand(&[], &mut okm).unwrap();
        assert_eq!(
            write_hex(&okm),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        );
        let mut expected = [0; 32];
        let info = [b"label".as_slice(), &ACCOUNT].concat();
        Hkdf::<Sha256>::new(None, &[1; 32]).expand(&info, &mut expected).unwrap();
        assert_eq!(*SubKeys::new(&[1; 32], &ACCOUNT).derive("label"), expected);
    }

    #[test]
    fn each_use_and_each_account_has_a_key_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for account in [[0; 16], [1; 16]] {
            let sub_keys = SubKeys::new(&[1; 32], &account);
            for label in ["rows", "blobs", "tokens", "digests"] {
                assert!(seen.insert(*sub_keys.derive(label)));
            }
        }
    }

    #[test]
    fn values_of_the_first_format_open_for_ever() {
        let keys = keys();
        let sealed = read_hex_vec(FROZEN_VALUE).unwrap();
        assert_eq!(keys.open(PLACE, &sealed).unwrap(), b"frozen value");
        let chunk = read_hex_vec(FROZEN_CHUNK).unwrap();
        assert_eq!(keys.open_blob(&[3; 16], &[&*chunk]).unwrap(), b"frozen blob");
        assert_eq!(keys.token(2, 1, "frozen"), FROZEN_TOKEN);
        assert_eq!(write_hex(&keys.digest("frozen", &[b"a", b"b"])), FROZEN_DIGEST);
        assert_eq!(write_hex(&keys.digest_bytes(b"frozen message")), FROZEN_BYTES);
    }

    const FROZEN_VALUE: &str =
        "01014ad152ba8b5f7009758ccef57d973b1a619ac0b570381c2936a2c7a2eb0e1f4767e022f808a61390";
    const FROZEN_CHUNK: &str =
        "0101be3eb3cdacb37a9ed9c590f190113db54d3914777e1294f32b9863a16c940034d09e2b63fb5b18";
    const FROZEN_TOKEN: u64 = 37_822_204_964_159_325;
    const FROZEN_DIGEST: &str = "faa64b6a28e24d8d30b118b9e5fd9deb5b17f4eab394425813be87a1b88fe1bf";
    const FROZEN_BYTES: &str = "828028b28beb15c49a60c6308c48c4e2e7f365a107e56ae3746e94286576a944";

    #[test]
    fn a_value_is_30_octets_longer_sealed() {
        for length in [0, 1, 15, 16, 17, 4096] {
            assert_eq!(keys().seal(PLACE, &vec![0; length]).len(), length + 30);
        }
    }

    #[test]
    fn a_value_moved_anywhere_does_not_open() {
        let sealed = keys().seal(PLACE, b"value");
        assert_eq!(keys().open(PLACE, &sealed).unwrap(), b"value");
        let elsewhere = [
            Place { table: "threads", ..PLACE },
            Place { table: "", ..PLACE },
            Place { key: b"kez", ..PLACE },
            Place { key: b"", ..PLACE },
            Place { key: b"key\0", ..PLACE },
            Place { field: "body", ..PLACE },
            Place { field: "", ..PLACE },
            // The same octets, split elsewhere.
            Place { table: "message", key: b"skey", field: "head" },
            Place { table: "messages", key: b"keyh", field: "ead" },
            Place { table: "messageskeyhead", key: b"", field: "" },
        ];
        for place in elsewhere {
            assert!(matches!(keys().open(place, &sealed), Err(Error::DoesNotOpen)), "{place:?}");
        }
        let other_account = AccountKeys::from_key([8; 16], 1, Secret::new([0xab; 32]));
        assert!(
            matches!(other_account.open(PLACE, &sealed), Err(Error::DoesNotOpen)),
            "even with the same key"
        );
        let other_key = AccountKeys::from_key(ACCOUNT, 1, Secret::new([0xac; 32]));
        assert!(matches!(other_key.open(PLACE, &sealed), Err(Error::DoesNotOpen)));
        let other_id = AccountKeys::from_key(ACCOUNT, 2, Secret::new([0xab; 32]));
        assert!(matches!(other_id.open(PLACE, &sealed), Err(Error::UnknownKey { id: 1 })));
        let mut renamed = sealed.clone();
        renamed[1] = 2;
        assert!(
            matches!(other_id.open(PLACE, &renamed), Err(Error::DoesNotOpen)),
            "the key id is authenticated"
        );
        assert!(keys().open_blob(&[3; 16], &[&sealed]).is_err(), "a row is not a chunk");
        let chunk = keys().seal_blob(&[3; 16], b"value").remove(0);
        assert!(keys().open(PLACE, &chunk).is_err(), "a chunk is not a row");
    }

    fn key_file() -> (tempfile::TempDir, KeyFile) {
        let directory = tempfile::tempdir().unwrap();
        let key_file = KeyFile::create(&directory.path().join("a.key"), &[5; 16]).unwrap();
        (directory, key_file)
    }

    #[test]
    fn a_wrapped_key_unwraps_for_its_account_only() {
        let (_directory, key_file) = key_file();
        let keys = AccountKeys::generate(ACCOUNT);
        let wrapped = keys.wrap(key_file.newest());
        assert_eq!(wrapped.len(), 67);
        let unwrapped = AccountKeys::unwrap(ACCOUNT, &wrapped, &key_file).unwrap();
        assert_eq!((unwrapped.account(), unwrapped.key_id()), (ACCOUNT, 1));
        assert_eq!(unwrapped.open(PLACE, &keys.seal(PLACE, b"value")).unwrap(), b"value");
        assert_eq!(unwrapped.token(1, 1, "a"), keys.token(1, 1, "a"));
        assert_eq!(unwrapped.digest_bytes(b"a"), keys.digest_bytes(b"a"));

        let unwrap = |account, wrapped: &[u8]| AccountKeys::unwrap(account, wrapped, &key_file);
        assert!(matches!(unwrap([8; 16], &wrapped), Err(Error::DoesNotOpen)));
        for at in 0..wrapped.len() {
            let mut flipped = wrapped.clone();
            flipped[at] ^= 1;
            assert!(unwrap(ACCOUNT, &flipped).is_err(), "octet {at}");
            assert!(unwrap(ACCOUNT, &wrapped[..at]).is_err(), "cut at {at}");
        }
        let instance = crate::InstanceKey::generate(ACCOUNT).wrap(key_file.newest());
        assert!(unwrap(ACCOUNT, &instance).is_err(), "an instance key is not an account key");
        let (_other_directory, other) = tests::key_file();
        assert!(AccountKeys::unwrap(ACCOUNT, &wrapped, &other).is_err(), "another instance's epoch 1");
        assert_eq!(crate::wrapped_epoch(&wrapped), Some(1));
        for bad in [&[][..], &[1, 0, 0, 0], &[2, 0, 0, 0, 1, 0]] {
            assert_eq!(crate::wrapped_epoch(bad), None);
        }
    }

    #[test]
    fn rotation_and_a_new_epoch_leave_sealed_values_as_they_are() {
        let (_directory, mut key_file) = key_file();
        let keys = AccountKeys::generate(ACCOUNT);
        let sealed = keys.seal(PLACE, b"value");
        let token = keys.token(1, 1, "term");
        let before = keys.wrap(key_file.newest());
        key_file.rotate_master().unwrap();
        key_file.add_epoch().unwrap();
        let keys = AccountKeys::unwrap(ACCOUNT, &before, &key_file).unwrap();
        let after = keys.wrap(key_file.newest());
        key_file.destroy_epochs_before(2).unwrap();
        let keys = AccountKeys::unwrap(ACCOUNT, &after, &key_file).unwrap();
        assert_eq!(keys.open(PLACE, &sealed).unwrap(), b"value");
        assert_eq!(keys.token(1, 1, "term"), token);
    }

    #[test]
    fn keys_are_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<AccountKeys>();
        shared::<crate::InstanceKey>();
        shared::<KeyFile>();
    }

    #[test]
    fn printing_keys_shows_nothing_of_them() {
        assert_eq!(format!("{:?}", keys()), "AccountKeys { key_id: 1, .. }");
    }

    proptest! {
        #[test]
        fn any_value_opens_where_it_was_sealed(key: Vec<u8>, value: Vec<u8>) {
            let place = Place { key: &key, ..PLACE };
            let keys = AccountKeys::generate(ACCOUNT);
            let sealed = keys.seal(place, &value);
            prop_assert_eq!(keys.open(place, &sealed).unwrap(), value);
        }

        #[test]
        fn a_value_flipped_cut_or_lengthened_anywhere_does_not_open(
            value in proptest::collection::vec(any::<u8>(), 0..100),
            at: prop::sample::Index,
            flip in 1u8..,
            more in proptest::collection::vec(any::<u8>(), 1..20),
        ) {
            let keys = keys();
            let sealed = keys.seal(PLACE, &value);
            let at = at.index(sealed.len());
            prop_assert!(keys.open(PLACE, &sealed[..at]).is_err());
            prop_assert!(keys.open(PLACE, &sealed[at..]).is_err() || at == 0);
            let mut flipped = sealed.clone();
            flipped[at] ^= flip;
            prop_assert!(keys.open(PLACE, &flipped).is_err());
            prop_assert!(keys.open(PLACE, &[sealed, more].concat()).is_err());
        }

        #[test]
        fn noise_does_not_open(noise: Vec<u8>) {
            prop_assert!(keys().open(PLACE, &noise).is_err());
            prop_assert!(keys().open_chunk(&[3; 16], 0, true, &noise).is_err());
        }

        #[test]
        fn a_value_opens_at_no_other_row(one: Vec<u8>, other: Vec<u8>, value: Vec<u8>) {
            prop_assume!(one != other);
            let sealed = keys().seal(Place { key: &one, ..PLACE }, &value);
            let elsewhere = Place { key: &other, ..PLACE };
            prop_assert!(keys().open(elsewhere, &sealed).is_err());
        }
    }
}
