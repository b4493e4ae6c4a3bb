//! Rows, in Cassandra.

mod bucket;
mod claim;
mod feed;
mod lists;
mod looks;
mod partitions;
mod reads;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::{TryStreamExt as _, stream};
use schema::{
    AccountId, ChangePage, Durability, MailStore, Millis, Partitions, Position, Result, Row, RowKey, Scan,
    Table, Write,
};
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::unprepared::Statement;
use scylla::value::CqlValue;

use self::feed::Positions;
use self::lists::{ListWrite, Lists};
use crate::calls::timed;
use crate::cassandra::Cassandra;

/// Requests that one call has under way at most.
pub(crate) const AT_ONCE: usize = 64;
/// Octets of a batch: Cassandra refuses those above 50 KiB as it comes.
const BATCH_OCTETS: usize = 32 * 1024;
/// Statements of a batch.
const BATCH_STATEMENTS: usize = 100;
/// Minutes that this process remembers to have noted.
const MINUTES: u64 = 100;

/// How the rows of a table are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As they are: a partition stays small.
    Plain,
    /// In buckets of time, which their clustering begins with.
    ByTime,
    /// Compared and set.
    Claimed,
}

fn kind(table: Table) -> Kind {
    use Table as T;

    match table {
        T::MessagesByAccount
        | T::MessagesByMailbox
        | T::MessagesByKeyword
        | T::MessagesByThread
        | T::MessagesByDiscussion
        | T::ThreadsByActivity
        | T::DiscussionsByActivity
        | T::ThreadsBySubject
        | T::Unindexed
        | T::DeletionsByTime
        | T::Changes => Kind::ByTime,
        table if table.is_compared() => Kind::Claimed,
        _ => Kind::Plain,
    }
}

/// One statement of a batch.
#[derive(Clone)]
struct Request {
    text: String,
    values: Vec<CqlValue>,
    octets: usize,
}

impl Request {
    fn put(key: &RowKey, bucket: &[u8], value: Vec<u8>, as_of: i64) -> Self {
        let octets = value.len() + key.partition.len() + key.clustering.len();
        Self {
            text: format!(
                "INSERT INTO {} (partition, bucket, clustering, value) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
                key.table.name()
            ),
            values: vec![
                blob(&key.partition),
                blob(bucket),
                blob(&key.clustering),
                CqlValue::Blob(value),
                CqlValue::BigInt(as_of),
            ],
            octets,
        }
    }

    fn delete(key: &RowKey, bucket: &[u8], as_of: i64) -> Self {
        Self {
            text: format!(
                "DELETE FROM {} USING TIMESTAMP ? WHERE partition = ? AND bucket = ? AND clustering = ?",
                key.table.name()
            ),
            values: vec![CqlValue::BigInt(as_of), blob(&key.partition), blob(bucket), blob(&key.clustering)],
            octets: key.partition.len() + key.clustering.len(),
        }
    }
}

fn blob(octets: &[u8]) -> CqlValue {
    CqlValue::Blob(octets.to_vec())
}

/// The rows of every table.
pub(crate) struct CassandraStore {
    cassandra: Arc<Cassandra>,
    lists: Arc<Lists>,
    positions: Positions,
    /// Minutes whose intents are noted to be looked for.
    minutes: moka::sync::Cache<Vec<u8>, ()>,
}

impl CassandraStore {
    /// Works on `cassandra`; a list's bucket is split once it holds `bucket_rows` rows.
    pub(crate) fn new(cassandra: Arc<Cassandra>, bucket_rows: u64) -> Arc<Self> {
        let lists = Arc::new(Lists::new(cassandra.clone(), bucket_rows));
        let minutes = moka::sync::Cache::new(MINUTES);
        Arc::new(Self { cassandra, lists, positions: Positions::default(), minutes })
    }

    /// Carries out writes as of `as_of` (microseconds). Entries of the feed may be seen before what they tell of, but no
    /// cursor stands behind them before that is seen, too.
    async fn carry_out(&self, writes: Vec<Write>, as_of: i64) -> Result<()> {
        let (mut last, mut changes) = (HashMap::new(), Vec::new());
        for write in writes {
            let (key, value, as_of, is_new) = match write {
                Write::Put(key, value) => (key, Some(value), as_of, false),
                Write::PutAsOf(key, value, at) => (key, Some(value), micros(at), true),
                Write::Delete(key) => (key, None, as_of, false),
                Write::Change(account, change) => {
                    changes.push((account, change));
                    continue;
                }
            };
            last.insert(key, (value, as_of, is_new));
        }
        let (mut requests, mut claimed, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        for (key, (value, as_of, is_new)) in last {
            match (kind(key.table), value) {
                (Kind::Claimed, value) => claimed.push((key, value, is_new)),
                (Kind::Plain, Some(value)) => {
                    let bucket = bucket::of_row(&key);
                    requests.push(Request::put(&key, &bucket, value, as_of));
                }
                (Kind::Plain, None) => requests.push(Request::delete(&key, &bucket::of_row(&key), as_of)),
                (Kind::ByTime, value) => listed.push(ListWrite { key, value, as_of }),
            }
        }
        requests.extend(self.lists.requests(listed).await?);
        // First what makes a message what it is: without it others would take it for one in the inbox.
        let (new, set): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|(_, _, is_new)| *is_new);
        try_join_all(new.into_iter().map(|(key, value, _)| self.compare_and_set(key, None, value, vec![])))
            .await?;
        if set.is_empty() {
            return self.send_with_changes(requests, changes).await;
        }
        self.send(requests).await?;
        try_join_all(set.into_iter().map(|(key, value, _)| self.force(key, value))).await?;
        self.send_with_changes(vec![], changes).await
    }

    /// Sends statements in batches: what goes to the server together costs it less.
    async fn send(&self, requests: Vec<Request>) -> Result<()> {
        let mut batches: Vec<Vec<Request>> = Vec::new();
        let mut octets = BATCH_OCTETS;
        for request in requests {
            let is_full = octets + request.octets > BATCH_OCTETS
                || batches.last().is_none_or(|batch| batch.len() >= BATCH_STATEMENTS);
            if is_full {
                batches.push(Vec::new());
                octets = 0;
            }
            octets += request.octets;
            if let Some(batch) = batches.last_mut() {
                batch.push(request);
            }
        }
        stream::iter(batches.into_iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |batch| self.send_batch(batch))
            .await
    }

    async fn send_batch(&self, mut requests: Vec<Request>) -> Result<()> {
        const WHAT: &str = "writing rows";

        if requests.len() == 1 {
            let request = requests.remove(0);
            return self.cassandra.run(WHAT, &request.text, request.values).await.map(drop);
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        let mut values = Vec::with_capacity(requests.len());
        for request in requests {
            batch.append_statement(Statement::new(request.text));
            values.push(request.values);
        }
        self.cassandra.run_batch(WHAT, batch, values).await
    }
}

/// Milliseconds as Cassandra counts time.
fn micros(at: Millis) -> i64 {
    i64::try_from(at.saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[async_trait]
impl MailStore for CassandraStore {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>> {
        let _timed = timed("get");
        self.values(keys).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Vec<Row>> {
        let _timed = timed("scan");
        match kind(scan.table) {
            Kind::ByTime => self.lists.scan(scan).await,
            _ => self.plain_scan(scan).await,
        }
    }

    async fn partitions(
        &self,
        table: Table,
        of: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Partitions> {
        let _timed = timed("partitions");
        self.partitions_of(table, of, after, limit).await
    }

    async fn write(&self, writes: Vec<Write>, _: Durability) -> Result<()> {
        let _timed = timed("write");
        self.cassandra.check_clock()?;
        self.carry_out(writes, self.cassandra.stamp()).await
    }

    async fn replace(
        &self,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool> {
        let _timed = timed("replace");
        self.cassandra.check_clock()?;
        self.compare_and_set(key, expected, new, then).await
    }

    async fn changes(&self, account: AccountId, since: Position, limit: usize) -> Result<ChangePage> {
        let _timed = timed("changes");
        self.changes_after(account, since, limit).await
    }

    async fn has_changes(&self, account: AccountId, since: Position) -> Result<bool> {
        let _timed = timed("has_changes");
        self.has_changes_after(account, since).await
    }

    async fn position(&self, account: AccountId) -> Result<Position> {
        self.newest_position(account).await
    }

    async fn forget_changes(&self, account: AccountId, until: Position) -> Result<()> {
        self.forget_changes_until(account, until).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        self.remove_rows_of(account).await
    }

    async fn flush(&self) -> Result<()> {
        // Every write was on disk when it returned.
        Ok(())
    }
}
