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

    pub(crate) fn open_chunk(
        &self,
        blob: &[u8; 16],
        index: u32,
        is_last: bool,
        sealed: &[u8],
    ) -> Result<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: [u8; 16] = [3; 16];

    fn blobs() -> Blobs {
        Blobs::new([9; 16], 1, &[0xab; 32])
    }

    fn plaintext(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 251 + at) as u8).collect()
    }

    #[test]
    fn a_blob_of_any_length_opens_and_has_the_chunks_it_needs() {
        let cases =
            [(0, 1), (1, 1), (CHUNK - 1, 1), (CHUNK, 1), (CHUNK + 1, 2), (2 * CHUNK, 2), (2 * CHUNK + 7, 3)];
        for (length, count) in cases {
            let plaintext = plaintext(length);
            let chunks = blobs().seal(&BLOB, &plaintext);
            assert_eq!(chunks.len(), count, "{length}");
            assert_eq!(chunks.iter().map(Vec::len).sum::<usize>(), length + 30 * count);
            assert!(blobs().open(&BLOB, &chunks).unwrap() == plaintext);
            for (index, chunk) in chunks.iter().enumerate() {
                let opened = blobs().open_chunk(&BLOB, index as u32, index + 1 == count, chunk).unwrap();
                assert!(opened == plaintext[index * CHUNK..length.min((index + 1) * CHUNK)]);
            }
        }
    }

    #[test]
    fn a_blob_with_chunks_missing_doubled_moved_or_changed_does_not_open() {
        let sealed = blobs().seal(&BLOB, &plaintext(2 * CHUNK + 7));
        let [a, b, c] = [&sealed[0], &sealed[1], &sealed[2]];
        assert!(blobs().open(&BLOB, &[a, b, c]).is_ok());
        let other = blobs().seal(&[4; 16], &plaintext(2 * CHUNK + 7));
        let flipped = {
            let mut chunk = b.clone();
            chunk[CHUNK / 2] ^= 0x10;
            chunk
        };
        let cut = b[..b.len() - 1].to_vec();
        let nothing = Vec::new();
        let cases: [(&str, &[&Vec<u8>]); 13] = [
            ("no chunk at all", &[]),
            ("the last is missing", &[a, b]),
            ("all but the first are missing", &[a]),
            ("the first is missing", &[b, c]),
            ("one between is missing", &[a, c]),
            ("two are swapped", &[b, a, c]),
            ("the last stands in the middle", &[a, c, b]),
            ("one is doubled", &[a, b, b, c]),
            ("the last is doubled", &[a, b, c, c]),
            ("one is of another blob", &[a, &other[1], c]),
            ("one has a bit flipped", &[a, &flipped, c]),
            ("one is cut", &[a, &cut, c]),
            ("one is empty", &[a, &nothing, c]),
        ];
        for (case, chunks) in cases {
            assert!(matches!(blobs().open(&BLOB, chunks), Err(Error::DoesNotOpen)), "{case}");
        }
        assert!(blobs().open(&[4; 16], &[a, b, c]).is_err(), "another blob's name");
        let other_account = Blobs::new([8; 16], 1, &[0xab; 32]);
        assert!(other_account.open(&BLOB, &[a, b, c]).is_err(), "another account, even with the same key");
        let other_id = Blobs::new([9; 16], 2, &[0xab; 32]);
        assert!(matches!(other_id.open(&BLOB, &[a, b, c]), Err(Error::UnknownKey { id: 1 })));
    }

    #[test]
    fn a_chunk_opens_alone_at_its_own_number_and_with_its_own_mark() {
        let sealed = blobs().seal(&BLOB, &plaintext(CHUNK + 1));
        for (chunk, number, is_last) in [(0, 1, false), (0, 0, true), (1, 0, true), (1, 1, false)] {
            assert!(blobs().open_chunk(&BLOB, number, is_last, &sealed[chunk]).is_err());
        }
        assert!(blobs().open_chunk(&BLOB, 0, false, &sealed[0]).is_ok());
        assert_eq!(blobs().open_chunk(&BLOB, 1, true, &sealed[1]).unwrap().len(), 1);
    }
}
