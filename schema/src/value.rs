//! Values of rows: a version, the fields, sealed.

use seal::{AccountKeys, InstanceKey, Place};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, RowKey};

/// The form of values that this version writes. A reader refuses any other.
const VERSION: u8 = 1;

/// The octets of a value before it is sealed.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("a value of ours has a known length and no maps")
}

/// The value in octets that were sealed.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    match bytes.split_first() {
        Some((&VERSION, fields)) => postcard::from_bytes(fields).map_err(|_| Error::Damaged { what }),
        _ => Err(Error::Damaged { what }),
    }
}

fn associated(key: &RowKey) -> Vec<u8> {
    [key.partition.as_slice(), &key.clustering].concat()
}

/// Seals a value for its row under the account's key.
pub(crate) fn seal<T: Serialize>(keys: &AccountKeys, key: &RowKey, value: &T) -> Vec<u8> {
    let place = associated(key);
    keys.seal(Place { table: key.table.name(), key: &place, field: "value" }, &encode(value))
}

/// Opens the value of a row under the account's key.
pub(crate) fn open<T: DeserializeOwned>(keys: &AccountKeys, key: &RowKey, sealed: &[u8]) -> Result<T> {
    let (place, what) = (associated(key), key.table.name());
    let bytes = keys
        .open(Place { table: what, key: &place, field: "value" }, sealed)
        .map_err(|_| Error::Sealed { what })?;
    decode(&bytes, what)
}

/// Seals a value of the whole instance for its row.
pub(crate) fn seal_instance<T: Serialize>(instance: &InstanceKey, key: &RowKey, value: &T) -> Vec<u8> {
    let place = associated(key);
    instance.seal(Place { table: key.table.name(), key: &place, field: "value" }, &encode(value))
}

/// Opens a value of the whole instance.
pub(crate) fn open_instance<T: DeserializeOwned>(
    instance: &InstanceKey,
    key: &RowKey,
    sealed: &[u8],
) -> Result<T> {
    let (place, what) = (associated(key), key.table.name());
    let bytes = instance
        .open(Place { table: what, key: &place, field: "value" }, sealed)
        .map_err(|_| Error::Sealed { what })?;
    decode(&bytes, what)
}
