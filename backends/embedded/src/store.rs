//! Rows: one key space for all tables, each key the table's number, the partition and the clustering.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use fjall::{AbstractTree, Keyspace, OwnedWriteBatch};
use schema::{
    AccountId, Change, ChangePage, Durability, Error, MailStore, Partitions, Position, Result, Row, RowKey,
    Scan, Table, Write,
};

use crate::calls::{run, timed};
use crate::database::Core;
use crate::log::{Log, failed, read_number};

/// Rows deleted in one batch.
const SWEEP: usize = 4096;
/// Begins the row of an account that holds the greatest position dropped from its feed. Table 0 is no table of the
/// schema.
const FLOOR: &[u8] = b"\0floor";
/// The row that lists the stretches of positions that a restored backup left unused, as pairs of 8 octets each.
const GAPS: &[u8] = b"\0gaps";

const READ: &str = "a row was not read";

/// The rows of every table.
pub(crate) struct Store {
    core: Arc<Core>,
    /// Positions that no entry has, because a backup was restored: the last before, the first after.
    gaps: Vec<(u64, u64)>,
    /// Shared by plain writes, alone for a replace, so that nothing changes between its look and its write.
    gate: RwLock<()>,
}

impl Store {
    pub(crate) fn open(core: Arc<Core>) -> Result<Self> {
        let gaps = core
            .parts
            .rows
            .get(GAPS)
            .map_err(failed(READ))?
            .map(|value| read_gaps(&value))
            .unwrap_or_default();
        Ok(Self { core, gaps, gate: RwLock::new(()) })
    }

    fn log(&self) -> &Log {
        &self.core.log
    }

    fn rows(&self) -> &Keyspace {
        &self.core.parts.rows
    }

    /// Puts `writes` into `batch` and applies it.
    fn apply(&self, mut batch: OwnedWriteBatch, writes: Vec<Write>) -> Result<()> {
        let mut changes = Vec::new();
        for write in writes {
            match write {
                Write::Put(key, value) | Write::PutAsOf(key, value, _) => {
                    batch.insert(self.rows(), key_of(&key), value)
                }
                Write::Delete(key) => batch.remove(self.rows(), key_of(&key)),
                Write::Change(account, change) => changes.push((account, change)),
            }
        }
        if changes.is_empty() {
            return if batch.is_empty() { Ok(()) } else { self.log().commit(batch) };
        }
        let count = changes.len() as u64;
        self.log().commit_numbered(batch, count, |batch, first| {
            for (position, (account, change)) in (first..).zip(changes) {
                batch.insert(self.rows(), change_key(account, position), change.to_bytes());
            }
        })
    }

    async fn finish(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::Now => self.log().sync().await,
            Durability::Later => Ok(()),
        }
    }

    /// The greatest position that was dropped from the account's feed; 0 if none was.
    fn floor(&self, account: AccountId) -> Result<u64> {
        let floor = self.rows().get(floor_key(account)).map_err(failed(READ))?;
        Ok(floor.map_or(0, |value| read_number(&value)))
    }

    /// The position of the account's last durable entry at or before `until`.
    fn last_entry(&self, account: AccountId, until: u64) -> Result<Option<u64>> {
        let until = until.min(self.log().durable());
        let range = change_key(account, 0)..=change_key(account, until);
        let Some(last) = self.rows().range(range).next_back() else { return Ok(None) };
        let key = last.key().map_err(failed(READ))?;
        Ok(Some(position_of(&key)))
    }
}

#[async_trait]
impl MailStore for Store {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>> {
        let _time = timed("rows.get");
        self.log().check()?;
        let get = |key: &RowKey| -> Result<Option<Vec<u8>>> {
            Ok(self.rows().get(key_of(key)).map_err(failed(READ))?.map(|value| value.to_vec()))
        };
        keys.iter().map(get).collect()
    }

    async fn scan(&self, scan: &Scan) -> Result<Vec<Row>> {
        let _time = timed("rows.scan");
        self.log().check()?;
        let prefix = prefix_of(scan.table, &scan.partition);
        let at = |clustering: &Vec<u8>| [prefix.as_slice(), clustering].concat();
        let lower = match &scan.lower {
            Bound::Included(clustering) => Bound::Included(at(clustering)),
            Bound::Excluded(clustering) => Bound::Excluded(at(clustering)),
            Bound::Unbounded => Bound::Included(prefix.clone()),
        };
        let upper = match &scan.upper {
            Bound::Included(clustering) => Bound::Included(at(clustering)),
            Bound::Excluded(clustering) => Bound::Excluded(at(clustering)),
            Bound::Unbounded => Bound::Excluded(successor(&prefix)),
        };
        if is_empty(&lower, &upper) {
            return Ok(Vec::new());
        }
        let rows = self.rows().range::<Vec<u8>, _>((lower, upper));
        let row = |guard: fjall::Guard| -> Result<Row> {
            let (key, value) = guard.into_inner().map_err(failed(READ))?;
            Ok((key[prefix.len()..].to_vec(), value.to_vec()))
        };
        if scan.descending {
            rows.rev().take(scan.limit).map(row).collect()
        } else {
            rows.take(scan.limit).map(row).collect()
        }
    }

    async fn partitions(
        &self,
        table: Table,
        of: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Partitions> {
        let _time = timed("rows.partitions");
        self.log().check()?;
        let first = prefix_of(table, of);
        let upper = successor(&first);
        let beyond = |partition: &[u8]| successor(&prefix_of(table, partition));
        let mut lower = after.as_deref().map_or(first, beyond);
        let mut found = Vec::new();
        while lower < upper {
            let Some(guard) = self.rows().range(lower..upper.clone()).next() else { break };
            let key = guard.key().map_err(failed(READ))?;
            let partition = key.get(1..=table.partition_octets());
            let partition = partition.ok_or(Error::Damaged { what: table.name() })?.to_vec();
            lower = beyond(&partition);
            found.push(partition);
            if found.len() >= limit.max(1) {
                return Ok(Partitions { next: found.last().cloned(), found });
            }
        }
        Ok(Partitions { found, next: None })
    }

    async fn write(&self, writes: Vec<Write>, durability: Durability) -> Result<()> {
        let _time = timed("rows.write");
        self.log().check()?;
        self.core.wait_for_room(self.rows(), 3).await?;
        {
            let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            self.apply(self.log().batch(), writes)?;
        }
        self.finish(durability).await
    }

    async fn replace(
        &self,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool> {
        let _time = timed("rows.replace");
        self.log().check()?;
        self.core.wait_for_room(self.rows(), 3).await?;
        {
            let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            let found = self.rows().get(key_of(&key)).map_err(failed(READ))?;
            if found.as_deref() != expected.as_deref() {
                return Ok(false);
            }
            let mut batch = self.log().batch();
            match new {
                Some(value) => batch.insert(self.rows(), key_of(&key), value),
                None => batch.remove(self.rows(), key_of(&key)),
            }
            self.apply(batch, then)?;
        }
        self.log().sync().await?;
        Ok(true)
    }

    async fn changes(&self, account: AccountId, since: Position, limit: usize) -> Result<ChangePage> {
        let _time = timed("rows.changes");
        self.log().check()?;
        let lost = self.gaps.iter().any(|(last, first)| (last + 1..*first).contains(&since.0));
        let empty = ChangePage { changes: Vec::new(), cursor: since, has_more: false };
        // Before the floor: what is dropped meanwhile is then noticed.
        let durable = self.log().durable();
        let mut changes = Vec::new();
        let mut has_more = false;
        if since.0 < durable {
            let range = change_key(account, since.0 + 1)..=change_key(account, durable);
            for guard in self.rows().range(range) {
                if changes.len() == limit.max(1) {
                    has_more = true;
                    break;
                }
                let (key, value) = guard.into_inner().map_err(failed(READ))?;
                let change =
                    Change::from_bytes(&value).ok_or(Error::Damaged { what: Table::Changes.name() })?;
                changes.push((Position(position_of(&key)), change));
            }
        }
        if lost || since.0 < self.floor(account)? {
            return Err(Error::CursorExpired);
        }
        let cursor = changes.last().map_or(empty.cursor, |(position, _)| *position);
        Ok(ChangePage { changes, cursor, has_more })
    }

    async fn position(&self, account: AccountId) -> Result<Position> {
        let _time = timed("rows.position");
        self.log().check()?;
        let last = self.last_entry(account, u64::MAX)?.unwrap_or(0);
        Ok(Position(last.max(self.floor(account)?)))
    }

    async fn forget_changes(&self, account: AccountId, until: Position) -> Result<()> {
        let _time = timed("rows.forget_changes");
        self.log().check()?;
        let Some(last) = self.last_entry(account, until.0)? else { return Ok(()) };
        let mut batch = self.log().batch();
        let floor = last.max(self.floor(account)?);
        batch.insert(self.rows(), floor_key(account), floor.to_be_bytes());
        self.log().commit(batch)?;
        let sweep = Bound::Included(change_key(account, 0));
        self.core.sweep(self.rows(), sweep, Bound::Included(change_key(account, last)))
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        let _time = timed("rows.remove_account");
        self.log().check()?;
        run(usize::MAX, || -> Result<()> {
            for table in Table::ALL.iter().filter(|table| table.is_of_account()) {
                let prefix = prefix_of(*table, account.as_bytes());
                let upper = Bound::Excluded(successor(&prefix));
                self.core.sweep(self.rows(), Bound::Included(prefix), upper)?;
            }
            let mut batch = self.log().batch();
            batch.remove(self.rows(), floor_key(account));
            self.log().commit(batch)
        })?;
        self.log().sync().await
    }

    async fn flush(&self) -> Result<()> {
        let _time = timed("rows.flush");
        self.log().sync().await
    }
}

impl Core {
    /// Deletes every row of a part between the bounds, some thousands in a batch.
    pub(crate) fn sweep(&self, part: &Keyspace, lower: Bound<Vec<u8>>, upper: Bound<Vec<u8>>) -> Result<()> {
        let mut lower = lower;
        loop {
            let mut batch = self.log.batch();
            let mut last = None;
            for guard in part.range::<Vec<u8>, _>((lower.clone(), upper.clone())).take(SWEEP) {
                let key = guard.key().map_err(failed(READ))?;
                last = Some(key.to_vec());
                batch.remove(part, key);
            }
            let full = batch.len() == SWEEP;
            let Some(last) = last else { return Ok(()) };
            self.log.commit(batch)?;
            if !full {
                return Ok(());
            }
            lower = Bound::Excluded(last);
        }
    }

    /// Waits while `buffers` full buffers of a part or more are on their way to the disk, or one is overfull, so that
    /// memory stays bounded; and keeps the thread free meanwhile. fjall itself would put it to sleep at four.
    pub(crate) async fn wait_for_room(&self, part: &Keyspace, buffers: usize) -> Result<()> {
        const TICK: Duration = Duration::from_millis(2);
        let overfull = 2 * self.parts.buffer_bytes(part);
        if part.tree.active_memtable().size() > overfull {
            part.rotate_memtable().map_err(failed("a buffer was not written out"))?;
        }
        while part.sealed_memtable_count() >= buffers {
            self.log.check_database()?;
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }
}

/// Where the row stands.
fn key_of(key: &RowKey) -> Vec<u8> {
    let mut octets = Vec::with_capacity(1 + key.partition.len() + key.clustering.len());
    octets.push(key.table as u8);
    octets.extend_from_slice(&key.partition);
    octets.extend_from_slice(&key.clustering);
    octets
}

/// What the keys of a partition begin with.
fn prefix_of(table: Table, partition: &[u8]) -> Vec<u8> {
    [&[table as u8], partition].concat()
}

fn change_key(account: AccountId, position: u64) -> Vec<u8> {
    [&[Table::Changes as u8], account.as_bytes().as_slice(), &position.to_be_bytes()].concat()
}

fn position_of(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |octets| u64::from_be_bytes(*octets))
}

fn floor_key(account: AccountId) -> Vec<u8> {
    [FLOOR, account.as_bytes().as_slice()].concat()
}

/// The least key above all that begin with `prefix`, which begins with a table's number and so has one.
pub(crate) fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            break;
        }
    }
    next
}

fn is_empty(lower: &Bound<Vec<u8>>, upper: &Bound<Vec<u8>>) -> bool {
    match (lower, upper) {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Excluded(upper) | Bound::Included(upper),
        ) => lower >= upper,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

fn read_gaps(value: &[u8]) -> Vec<(u64, u64)> {
    value.chunks_exact(16).map(|pair| (read_number(&pair[..8]), read_number(&pair[8..]))).collect()
}

/// Notes in a restored database that positions between `last` and `first` were given out by the one it is a copy of,
/// if at all: who comes with one of them has seen what the copy does not know.
pub(crate) fn note_gap(rows: &Keyspace, last: u64, first: u64) -> fjall::Result<()> {
    let mut gaps = rows.get(GAPS)?.map(|value| value.to_vec()).unwrap_or_default();
    gaps.extend_from_slice(&last.to_be_bytes());
    gaps.extend_from_slice(&first.to_be_bytes());
    rows.insert(GAPS, gaps)
}
