//! Messages as they were received.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{AccountId, Durability, Entry, List, ListPosition, MessageId, Result, Row, Scan};
use tokio::sync::SemaphorePermit;

use super::{AT_ONCE, HELD_KIB, Migration, PAGE, patiently};

impl Migration {
    /// Copies the bytes of every listed message that the target lacks.
    pub(super) async fn copy_bytes(&self) -> Result<()> {
        for &account in &self.accounts {
            let (table, partition) = List::Account.partition(account);
            let mut scan = Scan::all(table, partition, PAGE);
            let mut copied = 0;
            loop {
                let rows = patiently(async || self.source.backend.store.scan(&scan).await).await?;
                let is_last = rows.len() < PAGE;
                if let Some((last, _)) = rows.last() {
                    scan = scan.above(last.clone());
                }
                copied += self.copy_bytes_of(account, &rows).await?;
                if is_last {
                    break;
                }
            }
            tracing::info!(%account, messages = copied, "the bytes of messages were copied");
        }
        Ok(())
    }

    async fn copy_bytes_of(&self, account: AccountId, rows: &[Row]) -> Result<u64> {
        let listed = rows.iter().filter_map(|(clustering, entry)| {
            Some((MessageId(ListPosition::from_clustering(clustering)?.id), Entry::from_bytes(entry).size))
        });
        let copied = listed.map(|(id, size)| async move {
            let _held = self.hold(size).await;
            let is_new = patiently(async || self.copy_message(account, id).await).await?;
            schema::step!("migration.bytes");
            Ok(u64::from(is_new))
        });
        let copied: Vec<u64> = stream::iter(copied).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(copied.iter().sum())
    }

    /// Whether the target lacked it. Bytes of one id are always the same, however they are sealed.
    async fn copy_message(&self, account: AccountId, id: MessageId) -> Result<bool> {
        if self.target.blobs.written(account, id).await?.is_some() {
            return Ok(false);
        }
        let Some(chunks) = self.source.backend.blobs.get(account, id).await? else { return Ok(false) };
        self.target.blobs.put(account, id, chunks, Durability::Later).await?;
        Ok(true)
    }

    /// Waits until so many octets more may be held; one message may always.
    pub(super) async fn hold(&self, size: u64) -> SemaphorePermit<'_> {
        let kib = u32::try_from(size / 1024 + 1).unwrap_or(HELD_KIB).min(HELD_KIB);
        self.held.acquire_many(kib).await.expect("it is never closed")
    }
}
