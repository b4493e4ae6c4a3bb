//! Rows, partition by partition, on both sides.

use std::collections::BTreeMap;
use std::ops::Bound;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{AccountId, Backend, Durability, MessageId, Result, Row, RowKey, Scan, Table, Write};

use super::tables::{job, source_of};
use super::{AT_ONCE, Migration, PAGE, Report, patiently};

/// How a stretch of a partition differs: what is to be written so that it does not.
#[derive(Default)]
struct Difference {
    /// Rows that are only on the source.
    missing: Vec<Row>,
    /// Rows that hold something else there.
    changed: Vec<Row>,
    /// Rows that are only on the target.
    surplus: Vec<Vec<u8>>,
}

impl Difference {
    fn rows(&self) -> u64 {
        (self.missing.len() + self.changed.len() + self.surplus.len()) as u64
    }
}

impl Migration {
    /// Makes the target's table what it is to be. Returns how many rows were written.
    pub(super) async fn copy_table(&self, table: Table) -> Result<u64> {
        let Some(from) = source_of(table) else { return Ok(0) };
        let removed = self.surplus(table, from, true).await?;
        let mut written = 0;
        let mut after = None;
        loop {
            let (page, next) = partitions(&self.source.backend, from, after).await?;
            let copied = self.copied(table, page).map(|partition| async move {
                let written = patiently(async || self.partition(table, from, &partition, true).await).await;
                schema::step!("migration.partition");
                written.map(|(_, written)| written)
            });
            let counts: Vec<u64> = stream::iter(copied).buffer_unordered(AT_ONCE).try_collect().await?;
            written += counts.iter().sum::<u64>();
            if next.is_none() {
                return Ok(removed + written);
            }
            after = next;
        }
    }

    /// Counts the rows of a table, and those that differ, which it returns too.
    pub(super) async fn compare_table(&self, table: Table, report: &mut Report) -> Result<u64> {
        let Some(from) = source_of(table) else { return Ok(0) };
        let mut differing = self.surplus(table, from, false).await?;
        let mut after = None;
        loop {
            let (page, next) = partitions(&self.source.backend, from, after).await?;
            let compared = self.copied(table, page).map(|partition| async move {
                patiently(async || self.partition(table, from, &partition, false).await).await
            });
            let counts: Vec<(u64, u64)> =
                stream::iter(compared).buffer_unordered(AT_ONCE).try_collect().await?;
            for (rows, differ) in counts {
                report.rows += rows;
                differing += differ;
            }
            if next.is_none() {
                report.note_differing(table, differing);
                return Ok(differing);
            }
            after = next;
        }
    }

    fn copied(&self, table: Table, page: Vec<Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
        page.into_iter().filter(move |partition| self.is_copied(table, partition))
    }

    /// One partition: how many rows the source has, and how many differ, which are written if they are to be `mended`.
    async fn partition(
        &self,
        table: Table,
        from: Table,
        partition: &[u8],
        mended: bool,
    ) -> Result<(u64, u64)> {
        let mut ours = Scan::all(from, partition, PAGE);
        let (mut rows, mut differing) = (0, 0);
        loop {
            let page = self.source.backend.store.scan(&ours).await?;
            let is_last = page.len() < PAGE;
            let theirs = Scan {
                lower: ours.lower.clone(),
                upper: match page.last() {
                    Some((last, _)) if !is_last => Bound::Included(last.clone()),
                    _ => Bound::Unbounded,
                },
                ..Scan::all(table, partition, PAGE)
            };
            if let Some((last, _)) = page.last() {
                ours = ours.above(last.clone());
            }
            rows += page.len() as u64;
            let difference = difference(self.as_in(table, page), self.target.store.rows(theirs).await?);
            differing += difference.rows();
            if mended {
                self.mend(table, partition, difference).await?;
            }
            if is_last {
                return Ok((rows, differing));
            }
        }
    }

    async fn mend(&self, table: Table, partition: &[u8], difference: Difference) -> Result<()> {
        let jobs = difference.missing.iter().filter_map(|(clustering, _)| job(table, partition, clustering));
        let jobs: Vec<_> = jobs.collect();
        if !jobs.is_empty() {
            // Before the rows, by which a run that goes on sees that it was done.
            self.target.queue.publish(jobs).await?;
        }
        let now = self.source.clock.now();
        let key = |clustering| RowKey::new(table, partition, clustering);
        let missing = difference.missing.into_iter().map(|(clustering, value)| match table.is_compared() {
            true => Write::Put(key(clustering), value),
            // The row is nowhere yet, so that it need not be looked for.
            false => Write::PutAsOf(key(clustering), value, now),
        });
        let changed =
            difference.changed.into_iter().map(|(clustering, value)| Write::Put(key(clustering), value));
        let surplus = difference.surplus.into_iter().map(|clustering| Write::Delete(key(clustering)));
        let writes: Vec<_> = missing.chain(changed).chain(surplus).collect();
        for writes in writes.chunks(AT_ONCE) {
            self.target.store.write(writes.to_vec(), Durability::Later).await?;
        }
        Ok(())
    }

    /// How many rows the target has in partitions that the source has not; they are taken away if they are to be `mended`.
    async fn surplus(&self, table: Table, from: Table, mended: bool) -> Result<u64> {
        if table.partition_octets() == 0 {
            return Ok(0);
        }
        let (mut after, mut surplus) = (None, 0);
        loop {
            let (page, next) = partitions(&self.target, table, after).await?;
            let counts = page.iter().map(|partition| async move {
                patiently(async || self.surplus_of(table, from, partition, mended).await).await
            });
            let counts: Vec<u64> = stream::iter(counts).buffer_unordered(AT_ONCE).try_collect().await?;
            surplus += counts.iter().sum::<u64>();
            if next.is_none() {
                return Ok(surplus);
            }
            after = next;
        }
    }

    async fn surplus_of(&self, table: Table, from: Table, partition: &[u8], mended: bool) -> Result<u64> {
        if self.is_copied(table, partition) {
            let ours = self.source.backend.store.scan(&Scan::all(from, partition, 1)).await?;
            if !ours.is_empty() {
                return Ok(0);
            }
        }
        let theirs = self.target.store.rows(Scan::all(table, partition, PAGE)).await?;
        let difference = difference(vec![], theirs);
        let count = difference.rows();
        if mended && count > 0 {
            if table == Table::Messages {
                self.remove_message(partition).await?;
            }
            self.mend(table, partition, difference).await?;
        }
        Ok(count)
    }

    /// Takes away the bytes and the index entry of a message that the source has no more.
    async fn remove_message(&self, partition: &[u8]) -> Result<()> {
        let Some((account, own)) = partition.split_at_checked(16) else { return Ok(()) };
        let (Some(account), Some(message)) = (AccountId::from_slice(account), MessageId::from_slice(own))
        else {
            return Ok(());
        };
        self.target.index.remove(account, &[message]).await?;
        match self.target.blobs.written(account, message).await? {
            Some(written) => self.target.blobs.remove(account, message, written.at, Durability::Later).await,
            None => Ok(()),
        }
    }
}

/// A page of the partitions of a table, and what gives the next one.
pub(super) async fn partitions(
    backend: &Backend,
    table: Table,
    after: Option<Vec<u8>>,
) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>)> {
    if table.partition_octets() == 0 {
        return Ok((vec![vec![]], None));
    }
    let page = patiently(async || backend.store.partitions(table, &[], after.clone(), PAGE).await).await?;
    Ok((page.found, page.next))
}

fn difference(ours: Vec<Row>, theirs: Vec<Row>) -> Difference {
    let mut difference = Difference::default();
    let mut theirs: BTreeMap<Vec<u8>, Vec<u8>> = theirs.into_iter().collect();
    for (clustering, value) in ours {
        match theirs.remove(&clustering) {
            Some(there) if there == value => {}
            Some(_) => difference.changed.push((clustering, value)),
            None => difference.missing.push((clustering, value)),
        }
    }
    difference.surplus = theirs.into_keys().collect();
    difference
}
