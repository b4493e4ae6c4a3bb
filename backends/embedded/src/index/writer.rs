//! What changes an account's part of the index. Each call of [`Writer`] is made under the account's lock, and what it
//! makes visible, it makes visible in one batch.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::{Bound, Range};

use fjall::{Keyspace, OwnedWriteBatch, Readable, UserKey};
use schema::index::{IndexedMessage, Posting};
use schema::{AccountId, MessageId, Result};

use super::block::Block;
use super::coding::put_varint;
use super::documents::{Document, Documents};
use super::manifest::{Entry, Manifest};
use super::merge::{Input, merge};
use super::removed::{Removals, live};
use super::rows::{self, Kind, WRITTEN_ONCE};
use super::segment::{Encoded, Rows, SegmentWriter};
use super::{Store, damaged, failed};

/// Blocks that take more than this together, in octets, are written in batches of about this size, so that others get
/// at the journal in between.
const BATCH_LIMIT: usize = 256 * 1024;
/// How many rows one batch removes.
const REMOVED_ROWS: usize = 4096;

/// One account's state, about to change.
pub struct Writer<'a> {
    store: &'a Store,
    rows: Rows<'a>,
    /// As it is stored.
    stored: Manifest,
    /// As it is to be.
    manifest: Manifest,
    removals: Removals,
    batch: OwnedWriteBatch,
    /// Segments that this change replaces.
    replaced: Vec<u64>,
}

impl<'a> Writer<'a> {
    /// Reads the account's state. The caller holds its lock.
    pub fn open(store: &'a Store, account: AccountId) -> Result<Self> {
        let rows = store.rows(account);
        let mut stored = match rows.manifest()? {
            Some(manifest) => manifest,
            None => Manifest { next_segment: store.first_segment(), ..Manifest::default() },
        };
        if let Some(segment) = stored.unfinished.take() {
            for kind in [Kind::Postings, Kind::Positions] {
                remove_rows(store, &rows, &rows::blocks(account, kind, segment), kind)?;
            }
        }
        let manifest = stored.clone();
        let batch = store.database.batch();
        Ok(Self { store, rows, stored, manifest, removals: Removals::default(), batch, replaced: Vec::new() })
    }

    /// Adds messages as one segment; true if a merge is due.
    pub fn put(mut self, messages: &[IndexedMessage]) -> Result<bool> {
        let latest: HashMap<MessageId, usize> =
            messages.iter().enumerate().map(|(index, message)| (message.id, index)).collect();
        let messages: Vec<&IndexedMessage> = messages
            .iter()
            .enumerate()
            .filter(|(index, message)| latest[&message.id] == *index)
            .map(|(_, message)| message)
            .collect();
        let first_sequence = self.manifest.next_sequence;
        let mut documents = Documents::default();
        for message in &messages {
            self.forget(message.id)?;
            let sequence = self.manifest.next_sequence;
            self.manifest.next_sequence += 1;
            let key = rows::sequence(self.rows.account, message.id);
            self.batch.insert(self.keyspace(), key, sequence.to_be_bytes());
            documents.push(Document {
                sequence,
                id: message.id,
                received_at: message.received_at,
                size: message.size,
                has_attachment: message.has_attachment,
                words: message.words,
            });
        }
        let encoded = encode(&messages, &documents)?;
        let entry = self.add_segment(first_sequence, encoded)?;
        self.manifest.entries.push(entry);
        let due = self.manifest.due().is_some();
        self.commit()?;
        Ok(due)
    }

    /// Takes messages out, unknown ones are ignored; true if a merge is due.
    pub fn remove(mut self, messages: &[MessageId]) -> Result<bool> {
        let mut messages = messages.to_vec();
        messages.sort_unstable();
        messages.dedup();
        let mut changed = false;
        for id in messages {
            if self.forget(id)? {
                let key = rows::sequence(self.rows.account, id);
                self.batch.remove(self.keyspace(), key);
                changed = true;
            }
        }
        let due = self.manifest.due().is_some();
        if changed {
            self.commit()?;
        }
        Ok(due)
    }

    /// Makes one segment of the neighbours that `due` picks; false if it picks none.
    pub fn merge(mut self, due: impl FnOnce(&Manifest) -> Option<Range<usize>>) -> Result<bool> {
        let Some(range) = due(&self.manifest) else { return Ok(false) };
        let entries = &self.manifest.entries[range.clone()];
        let first_sequence = entries[0].first_sequence;
        let one_at_a_time = (entries.iter().map(|entry| entry.bytes).sum::<u64>() > BATCH_LIMIT as u64)
            .then(|| self.store.lock_merging());
        let mut inputs = Vec::with_capacity(entries.len());
        for entry in entries {
            let segment = self.rows.segment(entry.id)?;
            let live = if entry.removed > 0 { Some(live(&self.rows, &segment.documents)?) } else { None };
            self.replaced.push(entry.id);
            self.batch.remove_weak(&self.store.keyspace, rows::segment(self.rows.account, entry.id));
            if !segment.blocks_are_inside() {
                for block in 0..segment.blocks() as u32 {
                    for kind in [Kind::Postings, Kind::Positions] {
                        if kind == Kind::Postings || segment.has_positions(block as usize) {
                            let key = rows::block(self.rows.account, kind, entry.id, block);
                            self.batch.remove_weak(&self.store.keyspace, key);
                        }
                    }
                }
            }
            inputs.push(Input { segment, live });
        }
        let merged = merge(&self.rows, &inputs)?;
        drop(inputs);
        let entry = merged.map(|encoded| self.add_segment(first_sequence, encoded)).transpose()?;
        drop(one_at_a_time);
        self.manifest.entries.splice(range, entry);
        self.commit()?;
        Ok(true)
    }

    /// Takes out every row of the account. Should it not come to its end, the account is empty all the same, and the
    /// next call does the rest.
    pub fn remove_account(mut self) -> Result<()> {
        if self.rows.get(rows::manifest(self.rows.account))?.is_some() {
            self.replaced.extend(self.manifest.entries.drain(..).map(|entry| entry.id));
            self.write_manifest();
            self.store.retire_segments(self.manifest.next_segment);
        }
        let Self { store, rows, batch, replaced, .. } = self;
        batch.commit().map_err(failed)?;
        store.forget_segments(rows.account, &replaced);
        let kinds =
            [Kind::Sequence, Kind::Removed, Kind::Segment, Kind::Postings, Kind::Positions, Kind::Manifest];
        kinds
            .into_iter()
            .try_for_each(|kind| remove_rows(store, &rows, &rows::kind(rows.account, kind), kind))
    }

    fn keyspace(&self) -> &'a Keyspace {
        &self.store.keyspace
    }

    /// Notes that a message's document is gone; false if there is none.
    fn forget(&mut self, id: MessageId) -> Result<bool> {
        let Some(row) = self.rows.get(rows::sequence(self.rows.account, id))? else { return Ok(false) };
        let sequence = u64::from_be_bytes(row[..].try_into().map_err(|_| damaged())?);
        // None where the removal of an account was interrupted and the row is a leftover of it.
        if let Some(entry) = self.manifest.holder(sequence) {
            if entry.removed == entry.documents {
                return Err(damaged());
            }
            entry.removed += 1;
            self.removals.mark(&self.rows, sequence)?;
        }
        Ok(true)
    }

    /// Writes a segment's blocks and puts its head in the batch.
    fn add_segment(&mut self, first_sequence: u64, encoded: Encoded) -> Result<Entry> {
        let id = self.manifest.take_segment();
        let account = self.rows.account;
        let entry = Entry {
            id,
            first_sequence,
            documents: encoded.documents,
            removed: 0,
            bytes: encoded.bytes(),
            newest: encoded.newest,
        };
        let insert = |batch: &mut OwnedWriteBatch, index: usize, block: Block| {
            let index = index as u32;
            let key = rows::block(account, Kind::Postings, id, index);
            batch.insert(&self.store.keyspace, key, block.postings);
            if !block.positions.is_empty() {
                let key = rows::block(account, Kind::Positions, id, index);
                batch.insert(&self.store.keyspace, key, block.positions);
            }
        };
        if entry.bytes <= BATCH_LIMIT as u64 {
            for (index, block) in encoded.blocks.into_iter().enumerate() {
                insert(&mut self.batch, index, block);
            }
        } else {
            let mut batch = self.store.database.batch();
            let unfinished =
                Manifest { unfinished: Some(id), next_segment: id + 1, ..self.stored.clone() }.encode();
            batch.insert(&self.store.keyspace, rows::manifest(account), unfinished);
            let mut bytes = 0;
            for (index, block) in encoded.blocks.into_iter().enumerate() {
                bytes += block.postings.len() + block.positions.len();
                insert(&mut batch, index, block);
                if bytes > BATCH_LIMIT {
                    let full = std::mem::replace(&mut batch, self.store.database.batch());
                    full.commit().map_err(failed)?;
                    bytes = 0;
                }
            }
            batch.commit().map_err(failed)?;
        }
        self.batch.insert(&self.store.keyspace, rows::segment(account, id), encoded.head);
        Ok(entry)
    }

    fn write_manifest(&mut self) {
        self.batch.insert(&self.store.keyspace, rows::manifest(self.rows.account), self.manifest.encode());
    }

    fn commit(mut self) -> Result<()> {
        self.write_manifest();
        self.removals.write(&self.rows, &self.store.keyspace, &mut self.batch);
        self.batch.commit().map_err(failed)?;
        self.store.forget_segments(self.rows.account, &self.replaced);
        Ok(())
    }
}

/// Removes every row whose key begins with `prefix`, which are all of `kind`, in batches.
fn remove_rows(store: &Store, rows: &Rows<'_>, prefix: &[u8], kind: Kind) -> Result<()> {
    let mut batch = store.database.batch();
    for guard in rows.snapshot.prefix(rows.keyspace, prefix) {
        let key: UserKey = guard.key().map_err(failed)?;
        if WRITTEN_ONCE.contains(&kind) {
            batch.remove_weak(rows.keyspace, key);
        } else {
            batch.remove(rows.keyspace, key);
        }
        if batch.len() == REMOVED_ROWS {
            let full = std::mem::replace(&mut batch, store.database.batch());
            full.commit().map_err(failed)?;
        }
    }
    batch.commit().map_err(failed)
}

/// The ids of an account's messages, ascending, after `after`.
pub fn ids(rows: &Rows<'_>, after: Option<MessageId>, limit: usize) -> Result<Vec<MessageId>> {
    let first = rows::kind(rows.account, Kind::Sequence);
    let start = match after {
        None => Bound::Included(first.to_vec()),
        Some(after) => Bound::Excluded(rows::sequence(rows.account, after).to_vec()),
    };
    let end = Bound::Included(rows::sequence(rows.account, MessageId([0xff; 16])).to_vec());
    rows.snapshot
        .range::<Vec<u8>, _>(rows.keyspace, (start, end))
        .take(limit)
        .map(|guard| rows::message(&guard.key().map_err(failed)?).ok_or_else(damaged))
        .collect()
}

/// Makes a segment of messages, whose documents are in the same order.
fn encode(messages: &[&IndexedMessage], documents: &Documents) -> Result<Encoded> {
    let mut order: Vec<(u64, u32, u32)> = Vec::with_capacity(messages.iter().map(|m| m.postings.len()).sum());
    for (document, message) in messages.iter().enumerate() {
        for (index, posting) in message.postings.iter().enumerate() {
            order.push((posting.token, document as u32, index as u32));
        }
    }
    order.sort_unstable();
    let mut writer = SegmentWriter::default();
    for group in order.chunk_by(|left, right| (left.0, left.1) == (right.0, right.1)) {
        let (token, document, _) = group[0];
        let postings = &messages[document as usize].postings;
        let posting = match group {
            [(_, _, index)] => Cow::Borrowed(&postings[*index as usize]),
            several => Cow::Owned(unite(several.iter().map(|(_, _, index)| &postings[*index as usize]))),
        };
        let ascending = match &posting.positions {
            positions if positions.is_sorted() => Cow::Borrowed(positions),
            positions => {
                let mut positions = positions.clone();
                positions.sort_unstable();
                Cow::Owned(positions)
            }
        };
        let out = writer.add(token, document, posting.frequency.max(1), ascending.len() as u32);
        let mut before = 0;
        for &position in ascending.iter() {
            put_varint(out, u64::from(position - before));
            before = position;
        }
    }
    writer.finish(documents)
}

/// One posting of several for the same token: what the trait forbids must still not damage a segment.
fn unite<'a>(postings: impl Iterator<Item = &'a Posting>) -> Posting {
    let mut united = Posting { token: 0, stream: 0, frequency: 0, positions: Vec::new() };
    for posting in postings {
        united.token = posting.token;
        united.frequency = united.frequency.saturating_add(posting.frequency);
        united.positions.extend_from_slice(&posting.positions);
    }
    united
}

#[cfg(test)]
mod tests {
    use fjall::Database;
    use schema::index::{Query, SearchIndex, Sort};

    use super::super::{Index, keyspace_options};
    use super::*;

    #[tokio::test]
    async fn blocks_that_a_crash_left_without_a_segment_go_with_the_next_put() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::builder(directory.path()).open().unwrap();
        let keyspace = database.keyspace("index", keyspace_options).unwrap();
        let account = AccountId([3; 16]);
        let manifest = Manifest { unfinished: Some(4), next_segment: 5, ..Manifest::default() };
        keyspace.insert(rows::manifest(account), manifest.encode()).unwrap();
        for kind in [Kind::Postings, Kind::Positions] {
            for block in 0..10 {
                keyspace.insert(rows::block(account, kind, 4, block), [1, 2, 3]).unwrap();
            }
        }
        let index = Index::new(database, keyspace.clone(), 1024);
        let message = IndexedMessage {
            id: MessageId([1; 16]),
            received_at: 1,
            size: 1,
            has_attachment: false,
            words: 1,
            postings: vec![Posting { token: 9, stream: 0, frequency: 1, positions: vec![0] }],
        };
        index.put(account, vec![message]).await.unwrap();
        // The manifest, the segment and the sequence number.
        assert_eq!(keyspace.prefix(account.as_bytes()).count(), 3);
        assert_eq!(index.search(account, &Query::All, Sort::Date, 0, 1).await.unwrap().total, 1);
    }

    #[test]
    fn a_token_given_twice_counts_as_one_with_all_its_positions() {
        let posting =
            |positions: &[u32]| Posting { token: 5, stream: 0, frequency: 2, positions: positions.to_vec() };
        let (first, second) = (posting(&[7, 9]), posting(&[1, 3]));
        let united = unite([&first, &second].into_iter());
        assert_eq!((united.frequency, united.positions), (4, vec![7, 9, 1, 3]));
    }
}
