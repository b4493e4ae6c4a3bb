//! Copies an instance from one backend to another, and verifies every message there.
//!
//! Rows and bytes are sealed for their place and not for the backend, so they are copied as they are, and the keys stay
//! what they were. What means something on its backend only is made anew: the index, by jobs, and the positions of the
//! change feeds. Nobody else uses either side meanwhile. A run that was cut short is repeated: what is there already is
//! compared and not written, what the source does not hold (any more) is taken away.

mod bytes;
mod feeds;
mod messages;
mod report;
mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::{AccountId, Backend, Durability, Instance, Result, RowKey, Scan, Table, Write};
use tokio::sync::Semaphore;

use crate::key_copy::instance_row;

pub use feeds::greatest_position;
pub use report::Report;

/// Rows of one scan or write, and partitions of one page.
const PAGE: usize = 500;
/// Partitions, or messages, under way at once.
const AT_ONCE: usize = 48;
/// KiB of messages that are held at once.
const HELD_KIB: u32 = 64 * 1024;
/// How long servers that do not answer are asked again, and how often.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// One instance on its way.
pub struct Migration {
    source: Arc<Instance>,
    target: Backend,
    /// Those that have a key: of others there are only remains.
    accounts: BTreeSet<AccountId>,
    /// A permit for each KiB of messages that is held.
    held: Arc<Semaphore>,
}

impl Migration {
    /// From `source` to `target`, which nobody else uses.
    ///
    /// # Errors
    /// What the source says.
    pub async fn new(source: Arc<Instance>, target: Backend) -> Result<Self> {
        let keys = source.backend.store.rows(Scan::all(Table::AccountKeys, [], PAGE)).await?;
        let accounts = keys.iter().filter_map(|(id, _)| AccountId::from_slice(id)).collect();
        Ok(Self { source, target, accounts, held: Arc::new(Semaphore::new(HELD_KIB as usize)) })
    }

    /// Copies everything. When it returns, the target opens with the keys of the source.
    ///
    /// # Errors
    /// What the backends say; what was copied until then stays, and may be copied again.
    pub async fn copy(&self) -> Result<()> {
        self.remove_purged().await?;
        self.begin_feeds().await?;
        self.copy_instance_key().await?;
        schema::step!("migration.begun");
        for &table in Table::ALL {
            let changed = self.copy_table(table).await?;
            tracing::info!(table = table.name(), rows = changed, "rows were copied");
        }
        self.copy_bytes().await?;
        self.target.store.flush().await?;
        schema::step!("migration.copied");
        Ok(())
    }

    /// Compares every row, and opens every message on `target`, which was opened with the keys of the source. Expires
    /// every cursor of the source's change feeds there.
    ///
    /// # Errors
    /// What the backends say.
    pub async fn verify(&self, target: &Arc<Instance>) -> Result<Report> {
        let mut report = Report { accounts: self.accounts.len() as u64, ..Report::default() };
        for &table in Table::ALL {
            let differing = self.compare_table(table, &mut report).await?;
            tracing::info!(table = table.name(), differing, "rows were compared");
        }
        self.open_messages(target, &mut report).await?;
        self.end_feeds().await?;
        schema::step!("migration.verified");
        Ok(report)
    }

    async fn copy_instance_key(&self) -> Result<()> {
        let key = self.source.backend.store.get(&[instance_row()]).await?.pop().flatten();
        let put = key.map(|key| Write::Put(instance_row(), key));
        patiently(async || self.target.store.write(put.iter().cloned().collect(), Durability::Later).await)
            .await
    }

    /// Accounts that were purged on the source since they were copied.
    async fn remove_purged(&self) -> Result<()> {
        for (id, _) in self.target.store.rows(Scan::all(Table::AccountKeys, [], PAGE)).await? {
            let Some(id) = AccountId::from_slice(&id).filter(|id| !self.accounts.contains(id)) else {
                continue;
            };
            let gone =
                [Table::AccountKeys, Table::Accounts].map(|table| RowKey::new(table, [], *id.as_bytes()));
            self.target.store.remove_account(id).await?;
            self.target.blobs.remove_account(id).await?;
            self.target.index.remove_account(id).await?;
            self.target.store.write(gone.map(Write::Delete).to_vec(), Durability::Later).await?;
        }
        Ok(())
    }
}

/// Calls again while a server does not answer. The call may be repeated.
async fn patiently<T>(call: impl AsyncFn() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match call().await {
            Err(error) if error.is_transient() && began.elapsed() < PATIENCE => {
                tracing::warn!(%error, "a call is made again");
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}
