//! Lists by time, in their buckets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use moka::sync::Cache;
use schema::{Error, Result, Row, RowKey, Scan, Table};
use scylla::value::CqlValue;

use super::bucket::{Bucket, time};
use super::looks::Looks;
use super::{Request, blob};
use crate::cassandra::Cassandra;

/// Buckets that this process knows to be split, or to have been noted, at most.
const KNOWN: u64 = 200_000;
/// How long a list that was not split is taken for one that is not, where a row that is left does no harm.
const ASKED: Duration = Duration::from_secs(60);
/// Buckets of a list that are read at once.
const BUCKETS_AT_ONCE: usize = 8;
/// Buckets of one list that are known of at most: 20 years and more of 50 days each, and the fine ones of busy times.
const BUCKETS: i32 = 100_000;

/// Notes that something may stand there: a bucket of a list, or intents under a minute.
pub(super) const NOTE: &str =
    "INSERT INTO buckets_by_list (partition, bucket, clustering, value) VALUES (?, 0x, ?, 0x)";

/// A list: table and partition.
pub(super) type List = (Table, Vec<u8>);

/// A write to a row of a list.
pub(super) struct ListWrite {
    pub key: RowKey,
    /// `None` takes the row away.
    pub value: Option<Vec<u8>>,
    pub as_of: i64,
}

/// What is known of the buckets of lists. A bucket that is split stays so.
pub(super) struct Lists {
    pub(super) cassandra: Arc<Cassandra>,
    pub(super) looks: Looks,
    split: Cache<(List, Bucket), ()>,
    noted: Cache<(List, Bucket), ()>,
    /// Listings that lately had no finer buckets.
    whole: Cache<List, ()>,
}

/// Rows of a bucket, with when they were written.
struct Slice {
    rows: Vec<(Vec<u8>, Vec<u8>, i64)>,
    /// Not so where a row says that the bucket is not split.
    may_be_split: bool,
}

impl Slice {
    /// Of two rows in one place the one that was written later counts.
    fn merge_into(self, rows: &mut BTreeMap<Vec<u8>, (i64, Vec<u8>)>) {
        for (clustering, value, written_at) in self.rows {
            if rows.get(&clustering).is_none_or(|(at, _)| *at < written_at) {
                rows.insert(clustering, (written_at, value));
            }
        }
    }
}

impl Lists {
    pub(super) fn new(cassandra: Arc<Cassandra>, bucket_rows: u64) -> Self {
        let (split, noted) = (Cache::new(KNOWN), Cache::new(KNOWN));
        let whole = Cache::builder().max_capacity(KNOWN).time_to_live(ASKED).build();
        Self { cassandra, looks: Looks::new(bucket_rows), split, noted, whole }
    }

    /// The statements of writes to lists. The buckets that they name are noted before.
    pub(super) async fn requests(self: &Arc<Self>, writes: Vec<ListWrite>) -> Result<Vec<Request>> {
        let place =
            |write: &ListWrite| ((write.key.table, write.key.partition.clone()), time(&write.key.clustering));
        let deleted: HashSet<(List, u64)> =
            writes.iter().filter(|write| write.value.is_none()).map(place).collect();
        let chains = try_join_all(deleted.iter().map(|(list, at)| self.chain_to_delete(list, *at))).await?;
        let chains: HashMap<_, _> = deleted.iter().zip(chains).collect();
        let mut requests = Vec::new();
        for write in writes {
            let place = place(&write);
            match write.value {
                // It may have come before its bucket was split. Where it is put anew that copy stays: the later one counts, and
                // at no moment is there none.
                Some(value) => {
                    let (list, at) = place;
                    let leaf = self.known_leaf(&list, at);
                    self.note(&list, leaf).await?;
                    self.grows(list, leaf);
                    requests.push(Request::put(&write.key, &leaf.to_bytes(), value, write.as_of));
                }
                None => {
                    let chain = chains.get(&place).into_iter().flatten().map(|bucket| bucket.to_bytes());
                    requests.extend(chain.map(|bucket| Request::delete(&write.key, &bucket, write.as_of)));
                }
            }
        }
        Ok(requests)
    }

    /// The bucket where a new row at `at` goes, as far as this process knows.
    fn known_leaf(&self, list: &List, at: u64) -> Bucket {
        let mut leaf = Bucket::ROOT;
        while let Some(child) = leaf.child(at)
            && self.knows_split(list, leaf)
        {
            leaf = child;
        }
        leaf
    }

    /// From the root to the finest bucket where a row at `at` can stand.
    async fn chain(&self, list: &List, at: u64) -> Result<Vec<Bucket>> {
        let mut chain = vec![Bucket::ROOT];
        while let Some(&last) = chain.last() {
            match last.child(at) {
                Some(child) if self.has_finer(list, last).await? => {
                    // Whoever never reads the list learns of the split here.
                    if !self.knows_split(list, last) {
                        self.split(list, last).await?;
                    }
                    chain.push(child);
                }
                _ => break,
            }
        }
        Ok(chain)
    }

    /// The same, for who takes a row away. Readers of the listings put a row right that is left, so these are asked about once
    /// a minute.
    async fn chain_to_delete(&self, list: &List, at: u64) -> Result<Vec<Bucket>> {
        if !matches!(list.0, Table::ThreadsByActivity | Table::DiscussionsByActivity) {
            return self.chain(list, at).await;
        }
        if self.whole.contains_key(list) && !self.knows_split(list, Bucket::ROOT) {
            return Ok(vec![Bucket::ROOT]);
        }
        let chain = self.chain(list, at).await?;
        if chain.len() == 1 {
            self.whole.insert(list.clone(), ());
        }
        Ok(chain)
    }

    /// Whether finer buckets within a bucket are noted: rows may stand there, once its mark is set too. That mark costs more
    /// to read, for where its rows have gone all that is left of them is read over.
    pub(super) async fn has_finer(&self, list: &List, bucket: Bucket) -> Result<bool> {
        const TEXT: &str = "SELECT clustering FROM buckets_by_list \
             WHERE partition = ? AND bucket = 0x AND clustering >= ? AND clustering <= ? LIMIT 1";
        if self.knows_split(list, bucket) {
            return Ok(true);
        }
        let Some([first, last]) = bucket.children() else { return Ok(false) };
        let values = (list_key(list), first.to_bytes(), last.to_bytes());
        let found = self.cassandra.rows("looking for buckets", TEXT, values).await?;
        Ok(found.maybe_first_row::<(Vec<u8>,)>().map_err(unreadable)?.is_some())
    }

    /// Whether this process knows that a bucket is noted and marked as split.
    pub(super) fn knows_split(&self, list: &List, bucket: Bucket) -> bool {
        self.split.contains_key(&(list.clone(), bucket))
    }

    pub(super) fn note_split(&self, list: &List, bucket: Bucket) {
        self.split.insert((list.clone(), bucket), ());
    }

    /// Notes that a bucket may hold rows, before it does.
    pub(super) async fn note(&self, list: &List, bucket: Bucket) -> Result<()> {
        if bucket == Bucket::ROOT || self.noted.contains_key(&(list.clone(), bucket)) {
            return Ok(());
        }
        self.cassandra.run("noting a bucket", NOTE, (list_key(list), bucket.to_bytes())).await?;
        self.noted.insert((list.clone(), bucket), ());
        Ok(())
    }

    /// The finer buckets of a list.
    pub(super) async fn buckets(&self, list: &List) -> Result<Vec<Bucket>> {
        let text = format!(
            "SELECT clustering FROM buckets_by_list WHERE partition = ? AND bucket = 0x LIMIT {BUCKETS}"
        );
        let found = self.cassandra.rows("reading buckets", &text, (list_key(list),)).await?;
        let rows = found.rows::<(Vec<u8>,)>().map_err(unreadable)?;
        let mut buckets = Vec::new();
        for row in rows {
            let (octets,) = row.map_err(unreadable)?;
            buckets.push(Bucket::from_bytes(&octets).ok_or(Error::Damaged { what: "buckets_by_list" })?);
        }
        Ok(buckets)
    }

    /// The value of one row.
    pub(super) async fn value(&self, key: &RowKey) -> Result<Option<Vec<u8>>> {
        let list = (key.table, key.partition.clone());
        let exactly = Scan {
            lower: Bound::Included(key.clustering.clone()),
            upper: Bound::Included(key.clustering.clone()),
            ..Scan::all(key.table, key.partition.clone(), 1)
        };
        let root = self.slice(&list, Bucket::ROOT, &exactly).await?;
        if !root.may_be_split {
            return Ok(root.rows.into_iter().next().map(|(_, value, _)| value));
        }
        let mut newest: Option<(i64, Vec<u8>)> = None;
        let finer = self.chain(&list, time(&key.clustering)).await?.split_off(1);
        let finer = try_join_all(finer.iter().map(|&bucket| self.slice(&list, bucket, &exactly))).await?;
        for (_, value, written_at) in finer.into_iter().chain([root]).flat_map(|slice| slice.rows) {
            if newest.as_ref().is_none_or(|(at, _)| *at < written_at) {
                newest = Some((written_at, value));
            }
        }
        Ok(newest.map(|(_, value)| value))
    }

    /// Rows of a list in order, whichever buckets they stand in.
    pub(super) async fn scan(&self, scan: &Scan) -> Result<Vec<Row>> {
        let list = (scan.table, scan.partition.clone());
        let (root, mut buckets) = match self.knows_split(&list, Bucket::ROOT) {
            true => tokio::try_join!(self.slice(&list, Bucket::ROOT, scan), self.buckets(&list))?,
            false => {
                let root = self.slice(&list, Bucket::ROOT, scan).await?;
                if !root.may_be_split {
                    let rows = root.rows.into_iter();
                    return Ok(rows.map(|(clustering, value, _)| (clustering, value)).collect());
                }
                (root, self.buckets(&list).await?)
            }
        };
        if !buckets.is_empty() {
            self.whole.invalidate(&list);
        }
        buckets.retain(|bucket| bucket.overlaps(&scan.lower, &scan.upper));
        // Those first whose rows could come first.
        match scan.descending {
            true => buckets.sort_by_key(|bucket| std::cmp::Reverse(bucket.last())),
            false => buckets.sort_by_key(|bucket| bucket.first()),
        }
        let mut rows = BTreeMap::new();
        root.merge_into(&mut rows);
        for group in buckets.chunks(BUCKETS_AT_ONCE) {
            // Enough rows that come before all that is left end the search.
            let comes_before = |clustering: &[u8]| match scan.descending {
                true => time(clustering) > group[0].last(),
                false => time(clustering) < group[0].first(),
            };
            if rows.keys().filter(|clustering| comes_before(clustering)).count() >= scan.limit {
                break;
            }
            let slices = try_join_all(group.iter().map(|&bucket| self.slice(&list, bucket, scan))).await?;
            for slice in slices {
                slice.merge_into(&mut rows);
            }
        }
        let rows = rows.into_iter().map(|(clustering, (_, value))| (clustering, value));
        Ok(match scan.descending {
            true => rows.rev().take(scan.limit).collect(),
            false => rows.take(scan.limit).collect(),
        })
    }

    /// Rows of one bucket within the bounds.
    async fn slice(&self, list: &List, bucket: Bucket, scan: &Scan) -> Result<Slice> {
        let mut text = format!(
            "SELECT clustering, value, WRITETIME(value), is_split FROM {} WHERE partition = ? AND bucket = ?",
            list.0.name()
        );
        let mut values = vec![blob(&list.1), CqlValue::Blob(bucket.to_bytes())];
        if super::partitions::bounds(scan, &mut text, &mut values).is_none() {
            return Ok(Slice { rows: vec![], may_be_split: true });
        }
        // The server keeps lists newest first.
        text.push_str(if scan.descending {
            " ORDER BY clustering DESC LIMIT ?"
        } else {
            " ORDER BY clustering ASC LIMIT ?"
        });
        values.push(CqlValue::Int(i32::try_from(scan.limit).unwrap_or(i32::MAX)));
        let found = self.cassandra.rows("reading a list", &text, values).await?;
        let (mut rows, mut is_split) = (Vec::new(), None);
        // A split bucket without rows has one that says this alone.
        type Found = (Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, Option<bool>);
        for row in found.rows::<Found>().map_err(unreadable)? {
            let (clustering, value, written_at, says_split) = row.map_err(unreadable)?;
            is_split = Some(says_split == Some(true));
            if let (Some(clustering), Some(value), Some(written_at)) = (clustering, value, written_at) {
                rows.push((clustering, value, written_at));
            }
        }
        if is_split == Some(true) {
            self.note_split(list, bucket);
        }
        Ok(Slice { rows, may_be_split: is_split.unwrap_or(true) })
    }
}

/// Where the finer buckets of a list are noted.
fn list_key(list: &List) -> Vec<u8> {
    [&[list.0 as u8][..], &list.1].concat()
}

pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::transient("reading rows of a form that is not ours", error)
}
