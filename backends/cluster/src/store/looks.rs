//! When a bucket is split: who adds rows has it looked at now and then, and goes on meanwhile.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use schema::{Millis, Result, Table};
use tokio::sync::Semaphore;

use super::bucket::Bucket;
use super::lists::{List, Lists, unreadable};
use crate::cassandra::now_micros;

/// Of the rows that fill a bucket so many have it looked at.
const LOOKS: u32 = 128;
/// Of these looks so many split a bucket whose rows come and go: at a quarter of its rows, give or take, and at twice as
/// many as it may have in one of 3,000 cases.
const SPLITS: u32 = 4;
/// Buckets that this process has counted at the same time: each keeps a server busy for as long as reading all of it takes.
const COUNTED_AT_ONCE: usize = 2;
/// Buckets that wait to be counted, at most. Those that find no place are looked at for another of their rows.
const WAITING: usize = 1_000;

/// Which buckets are to be looked at, and when.
pub(super) struct Looks {
    bucket_rows: u64,
    /// Of so many new rows one has its bucket looked at.
    every: u32,
    /// Those that are counted, or wait for it.
    counted: Mutex<HashSet<(List, Bucket)>>,
    counting: Semaphore,
}

/// The turn of a bucket to be counted: nobody else has it counted meanwhile.
struct Turn {
    lists: Arc<Lists>,
    list: List,
    bucket: Bucket,
}

impl Looks {
    /// A bucket is split once it holds `bucket_rows` rows.
    pub(super) fn new(bucket_rows: u64) -> Self {
        let every = u32::try_from((bucket_rows / u64::from(LOOKS)).max(1)).unwrap_or(u32::MAX);
        Self { bucket_rows, every, counted: Mutex::default(), counting: Semaphore::new(COUNTED_AT_ONCE) }
    }
}

/// Whether rows come and go in a list: those that went are read over all the same for a while, so what was written counts,
/// and chance splits its buckets.
fn comes_and_goes(table: Table) -> bool {
    matches!(table, Table::Unindexed | Table::ThreadsByActivity | Table::DiscussionsByActivity)
}

impl Lists {
    /// A bucket gets one more row: one in so many has it looked at, behind its writer's back.
    pub(super) fn grows(self: &Arc<Self>, list: List, bucket: Bucket) {
        if bucket.child(0).is_none() || !rand::random_ratio(1, self.looks.every) {
            return;
        }
        let table = list.0;
        let report = move |looked: Result<()>| {
            if let Err(error) = looked {
                tracing::warn!(%error, table = table.name(), "a bucket was not looked at");
            }
        };
        if comes_and_goes(table) {
            if rand::random_ratio(SPLITS, LOOKS) {
                let lists = self.clone();
                tokio::spawn(async move { report(lists.split(&list, bucket).await) });
            }
        } else if let Some(turn) = self.turn(list, bucket) {
            tokio::spawn(async move { report(turn.look().await) });
        }
    }

    /// The bucket's turn, unless it is being counted, or waits for that.
    fn turn(self: &Arc<Self>, list: List, bucket: Bucket) -> Option<Turn> {
        let mut counted = self.looks.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let has_turn = counted.len() < WAITING && counted.insert((list.clone(), bucket));
        has_turn.then(|| Turn { lists: self.clone(), list, bucket })
    }

    /// Splits a bucket: notes the finer one of the moment, for who takes rows away, then marks it, for who reads it. Rows go to
    /// finer ones only then, so neither misses any. Twice is as good as once.
    pub(super) async fn split(&self, list: &List, bucket: Bucket) -> Result<()> {
        let now = Millis::try_from(now_micros() / 1000).unwrap_or(0);
        let Some(child) = bucket.child(now.clamp(bucket.first(), bucket.last())) else { return Ok(()) };
        let text = format!("UPDATE {} SET is_split = true WHERE partition = ? AND bucket = ?", list.0.name());
        self.note(list, child).await?;
        self.cassandra.run("splitting a bucket", &text, (&list.1, bucket.to_bytes())).await?;
        self.note_split(list, bucket);
        Ok(())
    }

    async fn count(&self, list: &List, bucket: Bucket) -> Result<u64> {
        let text = format!("SELECT COUNT(*) FROM {} WHERE partition = ? AND bucket = ?", list.0.name());
        let found = self.cassandra.rows("counting a bucket", &text, (&list.1, bucket.to_bytes())).await?;
        let (rows,) = found.first_row::<(i64,)>().map_err(unreadable)?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }
}

impl Turn {
    /// Splits the bucket if it has become large. One that has finer ones was split by another, who may have died before its mark.
    async fn look(self) -> Result<()> {
        let Self { lists, list, bucket } = &self;
        // It is never closed.
        let _counting = lists.looks.counting.acquire().await;
        if lists.has_finer(list, *bucket).await?
            || lists.count(list, *bucket).await? >= lists.looks.bucket_rows
        {
            lists.split(list, *bucket).await?;
        }
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counted = self.lists.looks.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.remove(&(self.list.clone(), self.bucket));
    }
}
