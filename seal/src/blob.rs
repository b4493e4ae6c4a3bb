//! Blobs: sealed in chunks, so that a store need not hold one in one piece and a reader need not fetch all of it.

use crate::associated::{Associated, Kind};
use crate::cipher::{self, Cipher};
use crate::error::{Error, Result};

/// Octets of plaintext in every chunk but the last (256 KiB).
pub const CHUNK: usize = 256 * 1024;

/// The sub-key for an account's blobs.
pub(crate) struct Blobs {
    account: [u8; 16],
    key_id: u32,
    cipher: Cipher,
}

impl Blobs {
    pub(crate) fn new(account: [u8; 16], key_id: u32, key: &[u8; 32]) -> Blobs {
        Blobs { account, key_id, cipher: Cipher::new(key) }
    }

    fn associated(&self, blob: &[u8; 16], index: u32, is_last: bool) -> Associated {
        Associated::new(Kind::AccountChunk, &self.account, self.key_id)
            .with(blob)
            .with(&index.to_le_bytes())
            .with(&[u8::from(is_last)])
    }

    pub(crate) fn seal(&self, blob: &[u8; 16], plaintext: &[u8]) -> Vec<Vec<u8>> {
        let count = plaintext.len().div_ceil(CHUNK).max(1);
        let mut sealed = Vec::with_capacity(count);
        for index in 0..count {
            let chunk = &plaintext[index * CHUNK..plaintext.len().min((index + 1) * CHUNK)];
            let number = u32::try_from(index).expect("a blob has fewer than 2^32 chunks");
            let associated = self.associated(blob, number, index + 1 == count);
            sealed.push(self.cipher.seal(self.key_id, associated.bytes(), chunk));
        }
        sealed
    }

    pub(crate) fn open(&self, blob: &[u8; 16], chunks: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
        let last = chunks.len().checked_sub(1).ok_or(Error::DoesNotOpen)?;
        let size = chunks.iter().map(|chunk| chunk.as_ref().len()).sum();
        let mut plaintext = Vec::with_capacity(size);
        for (index, sealed) in chunks.iter().enumerate() {
            let number = u32::try_from(index).map_err(|_| Error::DoesNotOpen)?;
            self.open_onto(blob, number, index == last, sealed.as_ref(), &mut plaintext)?;
        }
        Ok(plaintext)
    }

    pub(crate) fn open_chunk(&self, blob: &[u8; 16], index: u32, is_last: bool, sealed: &[u8]) -> Result<Vec<u8>> {
        let mut plaintext = Vec::with_capacity(sealed.len());
        self.open_onto(blob, index, is_last, sealed, &mut plaintext)?;
        Ok(plaintext)
    }

    fn open_onto(
        &self,
        blob: &[u8; 16],
        index: u32,
        is_last: bool,
        sealed: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<()> {
        let (key_id, body) = cipher::split(sealed)?;
        if key_id != self.key_id {
            return Err(Error::UnknownKey { id: key_id });
        }
        self.cipher.open_onto(self.associated(blob, index, is_last).bytes(), body, plaintext)
    }
}
