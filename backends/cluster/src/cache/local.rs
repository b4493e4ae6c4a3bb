//! Counts of this process, for the time that Redis is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache as Moka;

/// Counts kept at most: a flood of keys pushes counts out, never memory up.
const COUNTS: u64 = 100_000;

#[derive(Clone)]
struct Count {
    count: Arc<AtomicU64>,
    time: Duration,
}

/// Each count lives for its own time, whether it is used or not.
struct OwnTime;

impl Expiry<Vec<u8>, Count> for OwnTime {
    fn expire_after_create(&self, _: &Vec<u8>, count: &Count, _: Instant) -> Option<Duration> {
        Some(count.time)
    }
}

pub(super) struct LocalCounts(Moka<Vec<u8>, Count>);

impl Default for LocalCounts {
    fn default() -> Self {
        Self::of(COUNTS)
    }
}

impl LocalCounts {
    fn of(most: u64) -> Self {
        Self(Moka::builder().max_capacity(most).expire_after(OwnTime).build())
    }

    /// Adds one to the count under `key`; returns the new count.
    pub(super) fn count(&self, key: &[u8], time: Duration) -> u64 {
        let start = || Count { count: Arc::default(), time };
        self.0.get_with_by_ref(key, start).count.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_grows_until_its_time_is_over() {
        let counts = LocalCounts::default();
        let long = Duration::from_secs(600);
        assert_eq!([1, 2, 3].map(|_| counts.count(b"one", long)), [1, 2, 3]);
        assert_eq!(counts.count(b"two", long), 1);
        let began = Instant::now();
        let short = Duration::from_millis(20);
        counts.count(b"short", short);
        while counts.count(b"short", short) != 1 {
            assert!(began.elapsed() < Duration::from_secs(20), "it never starts anew");
        }
        assert!(began.elapsed() >= short);
    }

    #[test]
    fn a_flood_of_keys_is_forgotten() {
        let counts = LocalCounts::of(100);
        for key in 0..10_000_u64 {
            counts.count(&key.to_be_bytes(), Duration::from_secs(600));
        }
        counts.0.run_pending_tasks();
        assert!(counts.0.entry_count() <= 100);
    }
}
