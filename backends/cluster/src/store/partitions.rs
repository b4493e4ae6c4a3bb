//! Rows that are not in lists by time, and what goes through whole tables.

use std::collections::BTreeSet;
use std::ops::Bound;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{AccountId, Partitions, Result, Row, Scan, Table};
use scylla::value::CqlValue;

use super::bucket::{Bucket, shards};
use super::lists::unreadable;
use super::{AT_ONCE, CassandraStore, Kind, blob, kind};
use crate::cassandra::PAGE;

/// Where the finer buckets of lists are noted.
const BUCKETS: &str = "buckets_by_list";

const READING: &str = "reading rows";

/// Adds the bounds of a scan to a statement; `None` if nothing can lie within them.
pub(super) fn bounds(scan: &Scan, text: &mut String, values: &mut Vec<CqlValue>) -> Option<()> {
    let of = |bound: &Bound<Vec<u8>>| match bound {
        Bound::Included(at) | Bound::Excluded(at) => Some(at.clone()),
        Bound::Unbounded => None,
    };
    if let (Some(lower), Some(upper)) = (of(&scan.lower), of(&scan.upper)) {
        let is_point = matches!((&scan.lower, &scan.upper), (Bound::Included(_), Bound::Included(_)));
        if lower > upper || (lower == upper && !is_point) {
            return None;
        }
    }
    let mut add = |bound: &Bound<Vec<u8>>, included: &str, excluded: &str| {
        let (operator, at) = match bound {
            Bound::Included(at) => (included, at),
            Bound::Excluded(at) => (excluded, at),
            Bound::Unbounded => return,
        };
        text.push_str(&format!(" AND clustering {operator} ?"));
        values.push(blob(at));
    };
    add(&scan.lower, ">=", ">");
    add(&scan.upper, "<=", "<");
    Some(())
}

impl CassandraStore {
    /// Rows of a partition that is not a list by time.
    pub(super) async fn plain_scan(&self, scan: &Scan) -> Result<Vec<Row>> {
        if !scan.partition.is_empty() {
            return self.scan_bucket(scan, Vec::new(), scan.limit).await;
        }
        let mut shards: Vec<u8> = shards(&scan.lower, &scan.upper).collect();
        if scan.descending {
            shards.reverse();
        }
        let mut rows = Vec::new();
        let slices = shards.into_iter().map(|shard| self.scan_bucket(scan, vec![shard], scan.limit));
        let mut slices = stream::iter(slices).buffered(AT_ONCE / 8);
        while let Some(slice) = slices.try_next().await? {
            rows.extend(slice);
            if rows.len() >= scan.limit {
                break;
            }
        }
        rows.truncate(scan.limit);
        Ok(rows)
    }

    async fn scan_bucket(&self, scan: &Scan, bucket: Vec<u8>, limit: usize) -> Result<Vec<Row>> {
        let mut text =
            format!("SELECT clustering, value FROM {} WHERE partition = ? AND bucket = ?", scan.table.name());
        let mut values = vec![blob(&scan.partition), CqlValue::Blob(bucket)];
        if bounds(scan, &mut text, &mut values).is_none() {
            return Ok(vec![]);
        }
        if scan.descending {
            text.push_str(" ORDER BY clustering DESC");
        }
        // Of rows that are compared and set some count as not there: only here it is seen how many make the limit.
        if let (Ok(limit @ ..=PAGE), false) = (i32::try_from(limit), kind(scan.table) == Kind::Claimed) {
            text.push_str(" LIMIT ?");
            values.push(CqlValue::Int(limit));
            let found = self.cassandra.rows(READING, &text, values).await?;
            let rows = found.rows::<(Vec<u8>, Vec<u8>)>().map_err(unreadable)?;
            return rows.map(|row| row.map_err(unreadable)).collect();
        }
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = self.cassandra.page(READING, &text, &values, PAGE, after).await?;
            for row in page.rows::<(Vec<u8>, Option<Vec<u8>>)>().map_err(unreadable)? {
                let (clustering, value) = row.map_err(unreadable)?;
                rows.extend(value.map(|value| (clustering, value)));
            }
            if rows.len() >= limit || next.is_none() {
                rows.truncate(limit);
                return Ok(rows);
            }
            after = next;
        }
    }

    /// The partitions of a table that are an account's, with their buckets.
    async fn walk(&self, table: &str, account: AccountId) -> Result<BTreeSet<(Vec<u8>, Vec<u8>)>> {
        // Where buckets are noted, the table's number stands before the partition.
        let skipped = usize::from(table == BUCKETS);
        let mut own = BTreeSet::new();
        let visit = |partition: Vec<u8>, bucket| {
            if partition.get(skipped..).is_some_and(|partition| partition.starts_with(account.as_bytes())) {
                own.insert((partition, bucket));
            }
        };
        self.cassandra.walk(table, visit).await?;
        Ok(own)
    }

    pub(super) async fn partitions_of(
        &self,
        table: Table,
        of: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Partitions> {
        let (walked, next) = self.cassandra.walk_page(table.name(), after, limit).await?;
        // Finer buckets beside the root, which knows that it is split even without rows, make no other partition.
        let found =
            walked.into_iter().filter(|(partition, bucket)| bucket.is_empty() && partition.starts_with(of));
        Ok(Partitions { found: found.map(|(partition, _)| partition).collect(), next })
    }

    pub(super) async fn remove_rows_of(&self, account: AccountId) -> Result<()> {
        let mut names: Vec<&str> =
            Table::ALL.iter().filter(|table| table.is_of_account()).map(|table| table.name()).collect();
        names.push(BUCKETS);
        for table in names {
            let text = &format!("DELETE FROM {table} WHERE partition = ? AND bucket = ?");
            let partitions = self.walk(table, account).await?;
            stream::iter(partitions.into_iter().map(Ok))
                .try_for_each_concurrent(AT_ONCE, |key| async move {
                    self.cassandra.run("removing a partition", text, key).await.map(drop)
                })
                .await?;
        }
        Ok(())
    }

    /// Every bucket of a list, the root included.
    pub(super) async fn all_buckets(&self, table: Table, partition: &[u8]) -> Result<Vec<Bucket>> {
        let mut buckets = vec![Bucket::ROOT];
        buckets.extend(self.lists.buckets(&(table, partition.to_vec())).await?);
        Ok(buckets)
    }
}
