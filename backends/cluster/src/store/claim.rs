//! Rows that are compared and set, by lightweight transactions.
//!
//! Cassandra cannot set such a row and write others in one step. So what is to be written with it is noted first, as an
//! intent under the revision that the row will have, and forgotten when it is done. Who finds the intent of a dead
//! process finishes it: the next to set the row, or [`CassandraStore::settle_intents`]. The writes carry the time that
//! the row was set as of, which grows with each revision, so done late or twice they undo nothing newer.

use std::time::Duration;

use schema::{AccountId, Change, Error, Result, RowKey, Table, Write};
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::value::CqlValue;
use serde::{Deserialize, Serialize};

use super::lists::NOTE;
use super::{CassandraStore, Kind, bucket, kind};
use crate::cassandra::failed;

const WHAT: &str = "comparing and setting a row";
/// Seconds after which a row that counts as not there is gone.
const GONE_AFTER: i32 = 30 * 24 * 3600;
/// Where the minutes are noted that intents may be found under.
const MINUTES: &[u8] = b"intents";
/// After so long no intent is noted under a minute any more, whatever the clock that it comes from.
const CLOSED_AFTER: i64 = 600 * 1_000_000;
/// Intents read at once.
const PAGE: i32 = 500;
/// An intent this young may be that of a process that is at it.
const YOUNG: Duration = Duration::from_secs(30);

/// Names one setting of one row: microseconds, then random octets.
type Revision = [u8; 16];

/// A row as it stands.
#[derive(Default)]
pub(super) struct Claim {
    /// What callers see.
    pub value: Option<Vec<u8>>,
    revision: Option<Vec<u8>>,
    as_of: i64,
}

#[derive(Serialize, Deserialize)]
struct Intent {
    table: u8,
    partition: Vec<u8>,
    clustering: Vec<u8>,
    as_of: i64,
    then: Vec<Then>,
}

/// A [`Write`] as it is stored. The order of the variants never changes.
#[derive(Serialize, Deserialize)]
enum Then {
    Put(u8, Vec<u8>, Vec<u8>, Vec<u8>),
    PutAsOf(u8, Vec<u8>, Vec<u8>, Vec<u8>, u64),
    Delete(u8, Vec<u8>, Vec<u8>),
    Change(AccountId, Vec<u8>),
}

fn stored(write: Write) -> Then {
    match write {
        Write::Put(key, value) => Then::Put(key.table as u8, key.partition, key.clustering, value),
        Write::PutAsOf(key, value, at) => {
            Then::PutAsOf(key.table as u8, key.partition, key.clustering, value, at)
        }
        Write::Delete(key) => Then::Delete(key.table as u8, key.partition, key.clustering),
        Write::Change(account, change) => Then::Change(account, change.to_bytes().to_vec()),
    }
}

fn damaged() -> Error {
    Error::Damaged { what: "intents" }
}

fn key(table: u8, partition: Vec<u8>, clustering: Vec<u8>) -> Result<RowKey> {
    let table = Table::ALL.iter().find(|known| **known as u8 == table).ok_or_else(damaged)?;
    Ok(RowKey { table: *table, partition, clustering })
}

fn write(then: Then) -> Result<Write> {
    Ok(match then {
        Then::Put(table, partition, clustering, value) => {
            Write::Put(key(table, partition, clustering)?, value)
        }
        Then::PutAsOf(table, partition, clustering, value, at) => {
            Write::PutAsOf(key(table, partition, clustering)?, value, at)
        }
        Then::Delete(table, partition, clustering) => Write::Delete(key(table, partition, clustering)?),
        Then::Change(account, change) => {
            Write::Change(account, Change::from_bytes(&change).ok_or_else(damaged)?)
        }
    })
}

/// The minute of a revision: its intent stands there.
fn minute(revision: &[u8]) -> Vec<u8> {
    let micros = revision.first_chunk().map_or(0, |micros| i64::from_be_bytes(*micros));
    (micros / 60_000_000).to_be_bytes().to_vec()
}

/// The microsecond after a minute.
fn end_of(minute: &[u8]) -> i64 {
    let minute = minute.try_into().map_or(0, i64::from_be_bytes);
    minute.saturating_add(1).saturating_mul(60_000_000)
}

fn new_revision(as_of: i64) -> Revision {
    let mut revision = [0; 16];
    revision[..8].copy_from_slice(&as_of.to_be_bytes());
    revision[8..].copy_from_slice(&rand::random::<[u8; 8]>());
    revision
}

impl CassandraStore {
    /// The row as the last setting that was answered left it.
    pub(super) async fn claim(&self, key: &RowKey) -> Result<Option<Claim>> {
        let text = format!(
            "SELECT value, revision, as_of FROM {} WHERE partition = ? AND bucket = ? AND clustering = ?",
            key.table.name()
        );
        let values = (&key.partition, bucket::of_row(key), &key.clustering);
        let found = self.cassandra.rows("reading a row", &text, values).await?;
        type Found = (Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>);
        let row = found.maybe_first_row::<Found>();
        let row = row.map_err(|error| Error::transient("reading a row", error))?;
        Ok(row.map(|(value, revision, as_of)| Claim { value, revision, as_of: as_of.unwrap_or(0) }))
    }

    /// Sets the row if it is still at the revision of `current`.
    async fn set(
        &self,
        key: &RowKey,
        current: &Claim,
        value: Option<Vec<u8>>,
        revision: Revision,
        as_of: i64,
    ) -> Result<bool> {
        let text = format!(
            "UPDATE {} USING TTL ? SET value = ?, revision = ?, as_of = ? \
             WHERE partition = ? AND bucket = ? AND clustering = ? IF revision = ?",
            key.table.name()
        );
        let blob = |octets: &[u8]| Some(CqlValue::Blob(octets.to_vec()));
        let values = vec![
            Some(CqlValue::Int(if value.is_some() { 0 } else { GONE_AFTER })),
            value.map(CqlValue::Blob),
            blob(&revision),
            Some(CqlValue::BigInt(as_of)),
            blob(&key.partition),
            blob(&bucket::of_row(key)),
            blob(&key.clustering),
            current.revision.clone().map(CqlValue::Blob),
        ];
        match self.cassandra.compare_and_set(&text, values).await {
            Ok(is_set) => Ok(is_set),
            // It may have been set all the same.
            Err(error) => match self.claim(key).await {
                Ok(Some(now)) if now.revision.as_deref() == Some(&revision[..]) => Ok(true),
                _ => Err(failed(WHAT, error)),
            },
        }
    }

    /// As of when a row is set anew: later than ever before, and than what `then` touches came in, which another clock may
    /// have stamped.
    fn next_as_of(&self, current: &Claim, then: &[Write]) -> i64 {
        let now = self.cassandra.stamp();
        let latest = now.saturating_add(self.cassandra.options.skew_micros());
        let touched = then.iter().filter_map(|write| match write {
            Write::Put(key, _) | Write::Delete(key) if kind(key.table) == Kind::ByTime => {
                Some(super::micros(bucket::time(&key.clustering)).saturating_add(1))
            }
            _ => None,
        });
        let touched = touched.filter(|at| *at <= latest).max().unwrap_or(0);
        now.max(current.as_of.saturating_add(1)).max(touched)
    }

    /// Sets the row whatever it holds.
    pub(super) async fn force(&self, key: RowKey, value: Option<Vec<u8>>) -> Result<()> {
        loop {
            let current = self.claim(&key).await?.unwrap_or_default();
            if current.value == value {
                return Ok(());
            }
            self.finish_before(&key, &current).await?;
            let as_of = self.next_as_of(&current, &[]);
            if self.set(&key, &current, value.clone(), new_revision(as_of), as_of).await? {
                return Ok(());
            }
        }
    }

    pub(super) async fn compare_and_set(
        &self,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool> {
        loop {
            let current = self.claim(&key).await?.unwrap_or_default();
            if current.value != expected {
                return Ok(false);
            }
            self.finish_before(&key, &current).await?;
            let as_of = self.next_as_of(&current, &then);
            let revision = new_revision(as_of);
            if then.is_empty() {
                if self.set(&key, &current, new.clone(), revision, as_of).await? {
                    return Ok(true);
                }
                continue;
            }
            self.note_intent(&key, revision, as_of, &then).await?;
            // Where it is not known whether the row was set the intent stays, for who looks later.
            if self.set(&key, &current, new.clone(), revision, as_of).await? {
                self.carry_out(then, as_of).await?;
                self.forget_intent(&revision).await?;
                return Ok(true);
            }
            self.forget_intent(&revision).await?;
        }
    }

    async fn note_intent(&self, of: &RowKey, revision: Revision, as_of: i64, then: &[Write]) -> Result<()> {
        const TEXT: &str = "INSERT INTO intents (partition, bucket, clustering, value) VALUES (?, 0x, ?, ?)";
        let intent = Intent {
            table: of.table as u8,
            partition: of.partition.clone(),
            clustering: of.clustering.clone(),
            as_of,
            then: then.iter().cloned().map(stored).collect(),
        };
        let value = postcard::to_stdvec(&intent).map_err(|error| Error::permanent(WHAT, error))?;
        let minute = minute(&revision);
        self.note_minute(&minute).await?;
        self.cassandra.run("noting an intent", TEXT, (minute, revision.to_vec(), value)).await.map(drop)
    }

    async fn note_minute(&self, minute: &Vec<u8>) -> Result<()> {
        if !self.minutes.contains_key(minute) {
            self.cassandra.run("noting a minute", NOTE, (MINUTES, minute)).await?;
            self.minutes.insert(minute.clone(), ());
        }
        Ok(())
    }

    async fn forget_intent(&self, revision: &[u8]) -> Result<()> {
        const TEXT: &str = "DELETE FROM intents WHERE partition = ? AND bucket = 0x AND clustering = ?";
        self.cassandra.run("forgetting an intent", TEXT, (minute(revision), revision)).await.map(drop)
    }

    /// Finishes what the setting that made the row what it is has left to do.
    async fn finish_before(&self, of: &RowKey, current: &Claim) -> Result<()> {
        const TEXT: &str = "SELECT value FROM intents WHERE partition = ? AND bucket = 0x AND clustering = ?";
        let Some(revision) = &current.revision else { return Ok(()) };
        let found = self.cassandra.rows("reading an intent", TEXT, (minute(revision), revision)).await?;
        let row = found.maybe_first_row::<(Vec<u8>,)>();
        let row = row.map_err(|error| Error::transient("reading an intent", error))?;
        let Some((value,)) = row else { return Ok(()) };
        let intent: Intent = postcard::from_bytes(&value).map_err(|_| damaged())?;
        debug_assert_eq!(intent.partition, of.partition);
        self.finish(intent, revision).await
    }

    async fn finish(&self, intent: Intent, revision: &[u8]) -> Result<()> {
        let then = intent.then.into_iter().map(write).collect::<Result<Vec<_>>>()?;
        self.carry_out(then, intent.as_of).await?;
        self.forget_intent(revision).await
    }

    /// Finishes what processes that died have left to do. To be called now and then, by any number of processes.
    pub(crate) async fn settle_intents(&self) -> Result<u64> {
        const TEXT: &str = "SELECT clustering FROM buckets_by_list WHERE partition = ? AND bucket = 0x";
        const FORGET: &str =
            "DELETE FROM buckets_by_list WHERE partition = ? AND bucket = 0x AND clustering = ?";
        let now = self.cassandra.stamp();
        let mut settled = 0;
        for (minute,) in self.rows_of::<(Vec<u8>,)>(TEXT, (MINUTES,)).await? {
            let (here, is_empty) = self.settle_minute(&minute, now).await?;
            settled += here;
            if is_empty && end_of(&minute).saturating_add(CLOSED_AFTER) < now {
                self.cassandra.run("forgetting a minute", FORGET, (MINUTES, &minute)).await?;
            }
        }
        Ok(settled)
    }

    /// How many intents of a minute were finished, and whether none is left.
    async fn settle_minute(&self, minute: &[u8], now: i64) -> Result<(u64, bool)> {
        const TEXT: &str = "SELECT clustering, value FROM intents \
             WHERE partition = ? AND bucket = 0x AND clustering > ? LIMIT ?";
        let until = now.saturating_sub(i64::try_from(YOUNG.as_micros()).unwrap_or(i64::MAX)).to_be_bytes();
        let (mut after, mut settled, mut is_empty) = (Vec::new(), 0, true);
        loop {
            let rows = self.rows_of::<(Vec<u8>, Vec<u8>)>(TEXT, (minute, &after, PAGE)).await?;
            let Some((last, _)) = rows.last() else { return Ok((settled, is_empty)) };
            after.clone_from(last);
            for (revision, value) in rows {
                if revision[..] >= until[..] {
                    return Ok((settled, false));
                }
                match self.settle_intent(&revision, &value).await {
                    Ok(is_done) => settled += u64::from(is_done),
                    Err(error) if error.is_transient() => return Err(error),
                    // The others do not wait for it.
                    Err(error) => {
                        tracing::error!(%error, "what a process has left half done cannot be finished");
                        is_empty = false;
                    }
                }
            }
        }
    }

    /// Finishes an intent whose process is dead; false if it is not in force.
    async fn settle_intent(&self, revision: &[u8], value: &[u8]) -> Result<bool> {
        let intent: Intent = postcard::from_bytes(value).map_err(|_| damaged())?;
        let row = key(intent.table, intent.partition.clone(), intent.clustering.clone())?;
        let current = self.claim(&row).await?.unwrap_or_default();
        if current.revision.as_deref() == Some(revision) {
            self.finish(intent, revision).await?;
            return Ok(true);
        }
        // Who set the row anew has seen to it, or it was never set so; but a setting may still be under way. One more
        // setting completes that, or lets it fail. If it fails itself the row is looked at again.
        let as_of = self.next_as_of(&current, &[]);
        let value = current.value.clone();
        if self.set(&row, &current, value, new_revision(as_of), as_of).await? {
            self.forget_intent(revision).await?;
        }
        Ok(false)
    }

    /// All rows that a statement gives.
    async fn rows_of<R>(&self, text: &str, values: impl SerializeRow) -> Result<Vec<R>>
    where
        R: for<'a, 'b> DeserializeRow<'a, 'b>,
    {
        const WHAT: &str = "reading intents";
        let found = self.cassandra.rows(WHAT, text, values).await?;
        let rows = found.rows::<R>().map_err(|error| Error::transient(WHAT, error))?;
        rows.map(|row| row.map_err(|error| Error::transient(WHAT, error))).collect()
    }
}
