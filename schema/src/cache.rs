//! What may be forgotten at any time.

use std::time::Duration;

use async_trait::async_trait;

use tokio::sync::broadcast;

use crate::{AccountId, Change, Result};

/// Values that can be had again elsewhere, and counts that may start anew. Values are sealed, keys are keyed hashes or
/// ids.
#[async_trait]
pub trait Cache: Send + Sync {
    /// The value under `key`, if it is still there.
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Keeps a value for at most `time`.
    async fn put(&self, key: &[u8], value: Vec<u8>, time: Duration) -> Result<()>;

    /// Forgets a value.
    async fn remove(&self, key: &[u8]) -> Result<()>;

    /// Adds one to the count under `key`, which starts at 0 and anew `time` after its first use; returns the new count.
    async fn count(&self, key: &[u8], time: Duration) -> Result<u64>;

    /// Tells those who watch the account, in whatever process. It waits for nobody, and may be lost.
    fn tell(&self, account: AccountId, change: Change);

    /// What is told of the account from now on, in the order of each who tells.
    fn watch(&self, account: AccountId) -> broadcast::Receiver<Change>;
}
