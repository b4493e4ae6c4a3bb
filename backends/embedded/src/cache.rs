//! What may be forgotten, in this process's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::Expiry;
use moka::sync::Cache as Moka;
use schema::{AccountId, Cache, Change, Result, Watchers};
use tokio::sync::broadcast;

/// What an entry takes beside its key and value, in octets, as a rule of thumb.
const OVERHEAD: usize = 96;
/// Counts kept at most: a flood of keys pushes counts out, never memory up.
const COUNTS: u64 = 100_000;

#[derive(Clone)]
struct Kept<T> {
    value: T,
    time: Duration,
}

/// Each entry lives for its own time, whether it is read or not.
struct OwnTime;

impl<T> Expiry<Vec<u8>, Kept<T>> for OwnTime {
    fn expire_after_create(&self, _: &Vec<u8>, kept: &Kept<T>, _: Instant) -> Option<Duration> {
        Some(kept.time)
    }

    fn expire_after_update(
        &self,
        _: &Vec<u8>,
        kept: &Kept<T>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(kept.time)
    }
}

/// Values and counts.
pub(crate) struct MemoryCache {
    values: Moka<Vec<u8>, Kept<Arc<Vec<u8>>>>,
    counts: Moka<Vec<u8>, Kept<Arc<AtomicU64>>>,
    watchers: Watchers,
}

impl MemoryCache {
    /// A cache of about `octets` in all.
    pub(crate) fn new(octets: u64) -> Self {
        let weigh = |key: &Vec<u8>, kept: &Kept<Arc<Vec<u8>>>| {
            u32::try_from(key.len() + kept.value.len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self {
            values: Moka::builder().max_capacity(octets).weigher(weigh).expire_after(OwnTime).build(),
            counts: Moka::builder().max_capacity(COUNTS).expire_after(OwnTime).build(),
            watchers: Watchers::default(),
        }
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.values.get(key);
        let hit = if found.is_some() { "hit" } else { "miss" };
        metrics::counter!("signet_cache_reads_total", "result" => hit).increment(1);
        Ok(found.map(|kept| kept.value.to_vec()))
    }

    async fn put(&self, key: &[u8], value: Vec<u8>, time: Duration) -> Result<()> {
        self.values.insert(key.to_vec(), Kept { value: Arc::new(value), time });
        Ok(())
    }

    async fn remove(&self, key: &[u8]) -> Result<()> {
        self.values.invalidate(key);
        Ok(())
    }

    async fn count(&self, key: &[u8], time: Duration) -> Result<u64> {
        let start = || Kept { value: Arc::new(AtomicU64::new(0)), time };
        let kept = self.counts.get_with_by_ref(key, start);
        Ok(kept.value.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn tell(&self, account: AccountId, change: Change) {
        self.watchers.tell(account, change);
    }

    fn watch(&self, account: AccountId) -> broadcast::Receiver<Change> {
        self.watchers.watch(account)
    }
}
