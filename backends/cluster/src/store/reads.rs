//! Rows by their keys: many of them by few requests.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{Result, RowKey, Table};

use super::lists::unreadable;
use super::{AT_ONCE, CassandraStore, Kind, bucket, kind};

/// Rows that one request asks for: its coordinator waits for the slowest of their nodes.
const ROWS_AT_ONCE: usize = 25;

const WHAT: &str = "reading rows";

/// Whether a row is the only one of its partition, which then needs no bucket.
fn is_alone(key: &RowKey) -> bool {
    kind(key.table) != Kind::ByTime && key.clustering.is_empty() && !key.partition.is_empty()
}

impl CassandraStore {
    /// The values of rows, in the order of their keys.
    pub(super) async fn values(&self, keys: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>> {
        let (mut alone, mut others): (HashMap<Table, Vec<&RowKey>>, Vec<&RowKey>) = Default::default();
        for key in keys {
            match is_alone(key) {
                true => alone.entry(key.table).or_default().push(key),
                false => others.push(key),
            }
        }
        let groups = alone.values().flat_map(|keys| keys.chunks(ROWS_AT_ONCE));
        let groups: Vec<_> = groups.chain(others.chunks(1)).map(|keys| self.group(keys)).collect();
        let groups = stream::iter(groups).buffer_unordered(AT_ONCE);
        let found: HashMap<&RowKey, Vec<u8>> = groups
            .try_fold(HashMap::with_capacity(keys.len()), async |mut found, group| {
                found.extend(group);
                Ok(found)
            })
            .await?;
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    /// Those of the rows that there are: one row, or several of a table that are each alone in their partition.
    async fn group<'k>(&self, keys: &'k [&'k RowKey]) -> Result<Vec<(&'k RowKey, Vec<u8>)>> {
        if let [key] = keys {
            return Ok(self.value(key).await?.map(|value| (*key, value)).into_iter().collect());
        }
        let text = format!(
            "SELECT partition, value FROM {} WHERE partition IN ? AND bucket = 0x AND clustering = 0x",
            keys[0].table.name()
        );
        let partitions: Vec<_> = keys.iter().map(|key| &key.partition).collect();
        let found = self.cassandra.rows(WHAT, &text, (partitions,)).await?;
        let by_partition: HashMap<_, _> = keys.iter().map(|key| (&key.partition, *key)).collect();
        let mut rows = Vec::with_capacity(keys.len());
        for row in found.rows::<(Vec<u8>, Option<Vec<u8>>)>().map_err(unreadable)? {
            let (partition, value) = row.map_err(unreadable)?;
            rows.extend(by_partition.get(&partition).zip(value).map(|(key, value)| (*key, value)));
        }
        Ok(rows)
    }

    async fn value(&self, key: &RowKey) -> Result<Option<Vec<u8>>> {
        match kind(key.table) {
            Kind::ByTime => self.lists.value(key).await,
            Kind::Claimed => Ok(self.claim(key).await?.and_then(|claim| claim.value)),
            Kind::Plain => self.plain_value(key).await,
        }
    }

    async fn plain_value(&self, key: &RowKey) -> Result<Option<Vec<u8>>> {
        let text = format!(
            "SELECT value FROM {} WHERE partition = ? AND bucket = ? AND clustering = ?",
            key.table.name()
        );
        let bucket = bucket::of_row(key);
        let found = self.cassandra.rows(WHAT, &text, (&key.partition, bucket, &key.clustering));
        let row = found.await?.maybe_first_row::<(Vec<u8>,)>().map_err(unreadable)?;
        Ok(row.map(|(value,)| value))
    }
}
