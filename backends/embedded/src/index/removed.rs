//! Which documents are gone, by sequence number: bitmaps that outlive the segments, so that a merge need not touch them.

use std::collections::BTreeMap;

use fjall::{Keyspace, OwnedWriteBatch, Readable};
use schema::Result;

use super::bits::Bits;
use super::documents::Documents;
use super::rows;
use super::segment::Rows;
use super::{damaged, failed};

/// How many sequence numbers one row covers.
const SPAN: u64 = 1024;
type Bitmap = [u8; SPAN as usize / 8];

/// Bitmaps that a write changes.
#[derive(Default)]
pub struct Removals {
    chunks: BTreeMap<u64, Bitmap>,
}

impl Removals {
    /// Notes that the document of `sequence` is gone.
    pub fn mark(&mut self, rows: &Rows<'_>, sequence: u64) -> Result<()> {
        let chunk = sequence / SPAN;
        let bitmap = match self.chunks.entry(chunk) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let stored = rows.get(rows::removed(rows.account, chunk))?;
                entry.insert(stored.map_or(Ok([0; SPAN as usize / 8]), |row| {
                    Bitmap::try_from(&row[..]).map_err(|_| damaged())
                })?)
            }
        };
        let bit = (sequence % SPAN) as usize;
        bitmap[bit / 8] |= 1 << (bit % 8);
        Ok(())
    }

    /// Adds the changed bitmaps to `batch`.
    pub fn write(&self, rows: &Rows<'_>, keyspace: &Keyspace, batch: &mut OwnedWriteBatch) {
        for (&chunk, bitmap) in &self.chunks {
            batch.insert(keyspace, rows::removed(rows.account, chunk), *bitmap);
        }
    }
}

/// Which of a segment's documents are not gone.
pub fn live(rows: &Rows<'_>, documents: &Documents) -> Result<Bits> {
    let (Some(&first), Some(&last)) = (documents.sequences.first(), documents.sequences.last()) else {
        return Ok(Bits::none(0));
    };
    let mut chunks = BTreeMap::new();
    let range = rows::removed(rows.account, first / SPAN)..=rows::removed(rows.account, last / SPAN);
    for guard in rows.snapshot.range(rows.keyspace, range) {
        let (key, row) = guard.into_inner().map_err(failed)?;
        let chunk = key.last_chunk().map(|chunk| u64::from_be_bytes(*chunk)).ok_or_else(damaged)?;
        chunks.insert(chunk, Bitmap::try_from(&row[..]).map_err(|_| damaged())?);
    }
    let gone = |sequence: u64| {
        let bit = (sequence % SPAN) as usize;
        chunks.get(&(sequence / SPAN)).is_some_and(|bitmap| bitmap[bit / 8] >> (bit % 8) & 1 == 1)
    };
    Ok(Bits::of(documents.len(), |index| !gone(documents.sequences[index])))
}
