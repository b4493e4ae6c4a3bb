//! Rows that are compared and set, by lightweight transactions.
//!
//! Cassandra cannot set such a row and write others in one step. So what is to be written with it is noted first, as an
//! intent under the revision that the row will have, and forgotten when it is done. Who finds the intent of a dead
//! process finishes it: the next to set the row, or [`CassandraStore::settle_intents`]. The writes carry the time that
//! the row was set as of, which grows with each revision, so done late or twice they undo nothing newer.

use std::time::Duration;

use schema::{AccountId, Change, Error, Result, RowKey, Table, Write};
use scylla::value::CqlValue;
use serde::{Deserialize, Serialize};

use super::{CassandraStore, bucket};
use crate::cassandra::failed;

const WHAT: &str = "comparing and setting a row";
/// Seconds after which a row that counts as not there is gone.
const GONE_AFTER: i32 = 30 * 24 * 3600;
/// Parts that intents are spread over.
const PARTS: u8 = 16;
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

fn part(revision: &[u8]) -> Vec<u8> {
    vec![revision.last().copied().unwrap_or(0) % PARTS]
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
        let row = row.map_err(|error| Error::permanent("reading a row", error))?;
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

    /// A row that has been set and may have been set anew since has no revision older than this.
    fn next_as_of(&self, current: &Claim) -> i64 {
        self.cassandra.stamp().max(current.as_of.saturating_add(1))
    }

    /// Sets the row whatever it holds.
    pub(super) async fn force(&self, key: RowKey, value: Option<Vec<u8>>) -> Result<()> {
        loop {
            let current = self.claim(&key).await?.unwrap_or_default();
            if current.value == value {
                return Ok(());
            }
            self.finish_before(&key, &current).await?;
            let as_of = self.next_as_of(&current);
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
            let as_of = self.next_as_of(&current);
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
        let values = (part(&revision), revision.to_vec(), value);
        self.cassandra.run("noting an intent", TEXT, values).await.map(drop)
    }

    async fn forget_intent(&self, revision: &[u8]) -> Result<()> {
        const TEXT: &str = "DELETE FROM intents WHERE partition = ? AND bucket = 0x AND clustering = ?";
        self.cassandra.run("forgetting an intent", TEXT, (part(revision), revision)).await.map(drop)
    }

    /// Finishes what the setting that made the row what it is has left to do.
    async fn finish_before(&self, of: &RowKey, current: &Claim) -> Result<()> {
        const TEXT: &str = "SELECT value FROM intents WHERE partition = ? AND bucket = 0x AND clustering = ?";
        let Some(revision) = &current.revision else { return Ok(()) };
        let found = self.cassandra.rows("reading an intent", TEXT, (part(revision), revision)).await?;
        let row = found.maybe_first_row::<(Vec<u8>,)>();
        let row = row.map_err(|error| Error::permanent("reading an intent", error))?;
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
        const TEXT: &str = "SELECT clustering, value FROM intents \
             WHERE partition = ? AND bucket = 0x AND clustering > ? AND clustering < ? LIMIT ?";
        let young = i64::try_from(YOUNG.as_micros()).unwrap_or(i64::MAX);
        let until = self.cassandra.stamp().saturating_sub(young).to_be_bytes().to_vec();
        let mut settled = 0;
        for part in 0..PARTS {
            let mut after = Vec::new();
            loop {
                let values = (vec![part], after.clone(), until.clone(), PAGE);
                let found = self.cassandra.rows("reading intents", TEXT, values).await?;
                let rows = found.rows::<(Vec<u8>, Vec<u8>)>();
                let rows = rows.map_err(|error| Error::permanent("reading intents", error))?;
                let rows: Vec<(Vec<u8>, Vec<u8>)> = rows
                    .collect::<std::result::Result<_, _>>()
                    .map_err(|error| Error::permanent("reading intents", error))?;
                let Some((last, _)) = rows.last() else { break };
                after.clone_from(last);
                for (revision, value) in rows {
                    let intent: Intent = postcard::from_bytes(&value).map_err(|_| damaged())?;
                    let row = key(intent.table, intent.partition.clone(), intent.clustering.clone())?;
                    let current = self.claim(&row).await?.unwrap_or_default();
                    if current.revision.as_deref() == Some(&revision[..]) {
                        self.finish(intent, &revision).await?;
                        settled += 1;
                        continue;
                    }
                    // Who set the row anew has seen to it, or it was never set so; but a setting may still be under way.
                    // One more setting completes that, or lets it fail. If it fails itself the row is looked at again.
                    let as_of = self.next_as_of(&current);
                    let value = current.value.clone();
                    if self.set(&row, &current, value, new_revision(as_of), as_of).await? {
                        self.forget_intent(&revision).await?;
                    }
                }
            }
        }
        Ok(settled)
    }
}
