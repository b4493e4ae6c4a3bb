//! A key wrapped by an epoch key, as it stands in a store.
//!
//! Layout: version (1 octet), epoch (4 octets, big-endian), then the key id and the key as [`crate::cipher`] seals them:
//! 4 octets of key id in clear are part of the sealed value's head.

use crate::associated::{Associated, Kind};
use crate::cipher::{self, Cipher};
use crate::error::{Error, Result};
use crate::{EpochKey, KeyFile, Secret};
use zeroize::{Zeroize, Zeroizing};

const VERSION: u8 = 1;

/// The epoch under which an account's or the instance's key is wrapped; `None` if this is no wrapped key.
///
/// A purge asks this to find the accounts it must wrap anew before it destroys an epoch.
pub fn wrapped_epoch(wrapped: &[u8]) -> Option<u32> {
    split(wrapped).map(|(epoch, _)| epoch)
}

fn split(wrapped: &[u8]) -> Option<(u32, &[u8])> {
    let (&version, rest) = wrapped.split_first()?;
    let (epoch, sealed) = rest.split_first_chunk::<4>()?;
    (version == VERSION).then_some((u32::from_be_bytes(*epoch), sealed))
}

fn associated(kind: Kind, owner: &[u8; 16], key_id: u32, epoch: u32) -> Associated {
    Associated::new(kind, owner, key_id).with(&epoch.to_be_bytes())
}

pub(crate) fn wrap(kind: Kind, owner: &[u8; 16], key_id: u32, key: &[u8; 32], epoch: &EpochKey) -> Vec<u8> {
    let associated = associated(kind, owner, key_id, epoch.id());
    let sealed = Cipher::new(epoch.key()).seal(key_id, associated.bytes(), key);
    let mut wrapped = Vec::with_capacity(5 + sealed.len());
    wrapped.push(VERSION);
    wrapped.extend_from_slice(&epoch.id().to_be_bytes());
    wrapped.extend_from_slice(&sealed);
    wrapped
}

/// The key id and the key.
pub(crate) fn unwrap(
    kind: Kind,
    owner: &[u8; 16],
    wrapped: &[u8],
    epochs: &KeyFile,
) -> Result<(u32, Secret<[u8; 32]>)> {
    let (epoch, sealed) = split(wrapped).ok_or(Error::DoesNotOpen)?;
    let epoch = epochs.epoch(epoch).ok_or(Error::UnknownEpoch { id: epoch })?;
    let (key_id, body) = cipher::split(sealed)?;
    let associated = associated(kind, owner, key_id, epoch.id());
    let opened = Zeroizing::new(Cipher::new(epoch.key()).open(associated.bytes(), body)?);
    let mut key: [u8; 32] = opened.as_slice().try_into().map_err(|_| Error::DoesNotOpen)?;
    let secret = Secret::new(key);
    key.zeroize();
    Ok((key_id, secret))
}
