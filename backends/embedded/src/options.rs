//! What can be tuned, with the values that a small server starts from.

use std::sync::Arc;
use std::time::Duration;

use schema::{Clock, SystemClock};

/// How the embedded backend uses memory, disk and time. The defaults keep an idle process with 100,000 messages well
/// under 100 MB.
#[derive(Clone)]
pub struct Options {
    /// Octets of decompressed blocks that reads share, 1 MiB and up. Default: 24 MiB.
    pub block_cache_bytes: u64,
    /// Octets of rows kept in memory before they become a file, 1 MiB and up. Up to three such buffers wait for the
    /// disk before writers are slowed down. In a directory that was made with another value that one holds, but for
    /// a buffer that grows to twice this. Default: 8 MiB.
    pub rows_buffer_bytes: u64,
    /// The same for message bytes. Default: 16 MiB.
    pub blobs_buffer_bytes: u64,
    /// The same for the search index. Default: 16 MiB.
    pub index_buffer_bytes: u64,
    /// Octets of journals above which the parts that hold the oldest one back are written out, at least 64 MiB; it
    /// bounds what a start after a crash has to read. Default: 96 MiB.
    pub journal_bytes: u64,
    /// Threads that write buffers out and merge files, 1 and up. Default: 2.
    pub worker_threads: usize,
    /// Files kept open at most, 10 and up. Default: 256.
    pub open_files: usize,
    /// Octets of cached heads, sessions and the like ([`schema::Cache`]). Default: 16 MiB.
    pub cache_bytes: u64,
    /// A write that nobody waits for is synced after this long, 1 ms and up. Default: 1 s.
    pub sync_within: Duration,
    /// Without a write for this long, the index is merged, buffers are written out and the journal is let go, so that
    /// memory and disk shrink to what is needed; zero means never. Default: 500 ms.
    pub settle_after: Duration,
    /// While the journal takes less than this nothing settles: letting go of one costs about 64 MB of writing, since
    /// the database only drops full ones. Default: 16 MiB.
    pub settle_journal_bytes: u64,
    /// Positions of change feeds are given out above this: what cursors from elsewhere, where the data come from, may
    /// say. Default: 0.
    pub positions_above: u64,
    /// Tells when jobs are published, due and buried. Default: the machine's clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            block_cache_bytes: 24 * MIB,
            rows_buffer_bytes: 8 * MIB,
            blobs_buffer_bytes: 16 * MIB,
            index_buffer_bytes: 16 * MIB,
            journal_bytes: 96 * MIB,
            worker_threads: 2,
            open_files: 256,
            cache_bytes: 16 * MIB,
            sync_within: Duration::from_secs(1),
            settle_after: Duration::from_millis(500),
            settle_journal_bytes: 16 * MIB,
            positions_above: 0,
            clock: Arc::new(SystemClock),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("block_cache_bytes", &self.block_cache_bytes)
            .field("rows_buffer_bytes", &self.rows_buffer_bytes)
            .field("blobs_buffer_bytes", &self.blobs_buffer_bytes)
            .field("index_buffer_bytes", &self.index_buffer_bytes)
            .field("journal_bytes", &self.journal_bytes)
            .field("worker_threads", &self.worker_threads)
            .field("open_files", &self.open_files)
            .field("cache_bytes", &self.cache_bytes)
            .field("sync_within", &self.sync_within)
            .field("settle_after", &self.settle_after)
            .field("settle_journal_bytes", &self.settle_journal_bytes)
            .field("positions_above", &self.positions_above)
            .finish_non_exhaustive()
    }
}
