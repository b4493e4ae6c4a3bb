//! The parts of the database, each a keyspace with options of its own.

use fjall::config::{BlockSizePolicy, CompressionPolicy, PartitioningPolicy};
use fjall::{AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

use crate::options::Options;

/// The parts of the database.
#[derive(Clone)]
pub(crate) struct Parts {
    /// All tables: number of the table, partition, clustering.
    pub(crate) rows: Keyspace,
    /// Chunks: account, message, number of the chunk.
    pub(crate) blobs: Keyspace,
    /// Jobs and dead letters.
    pub(crate) jobs: Keyspace,
    /// The search index.
    pub(crate) index: Keyspace,
    /// Holds nothing for long: see [`crate::settle`].
    pub(crate) padding: Keyspace,
    rows_buffer_bytes: u64,
    blobs_buffer_bytes: u64,
}

/// Options of a part that may grow without bounds: what finds a row in a large file is itself read block by block, so
/// that a look-up costs as much in a file of a million rows, which the cache could not hold the filter of, as in a small
/// one.
pub(crate) fn growing() -> KeyspaceCreateOptions {
    let all_but_the_newest = || PartitioningPolicy::new([false, true]);
    KeyspaceCreateOptions::default()
        .filter_block_partitioning_policy(all_but_the_newest())
        .index_block_partitioning_policy(all_but_the_newest())
}

impl Parts {
    pub(crate) fn open(database: &Database, options: &Options) -> fjall::Result<Self> {
        let keys_compress = || CompressionPolicy::new([CompressionType::None, CompressionType::Lz4]);
        Ok(Self {
            // Sealed values do not compress, the keys around them do.
            rows: database.keyspace("rows", || {
                growing()
                    .max_memtable_size(options.rows_buffer_bytes)
                    .data_block_size_policy(BlockSizePolicy::all(4 * 1024))
                    .data_block_compression_policy(keys_compress())
            })?,
            // Values stand in files of their own that merging does not copy: messages are written twice in all,
            // journal and file.
            blobs: database.keyspace("blobs", || {
                let apart = KvSeparationOptions::default()
                    .compression(CompressionType::None)
                    .separation_threshold(512)
                    .file_target_size(64 * 1024 * 1024);
                growing()
                    .max_memtable_size(options.blobs_buffer_bytes)
                    .data_block_compression_policy(keys_compress())
                    .with_kv_separation(Some(apart))
            })?,
            jobs: database
                .keyspace("jobs", || KeyspaceCreateOptions::default().max_memtable_size(2 * 1024 * 1024))?,
            index: database.keyspace("index", || {
                crate::index::keyspace_options().max_memtable_size(options.index_buffer_bytes)
            })?,
            padding: database.keyspace("padding", || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(256 * 1024 * 1024)
                    .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
            })?,
            rows_buffer_bytes: options.rows_buffer_bytes,
            blobs_buffer_bytes: options.blobs_buffer_bytes,
        })
    }

    pub(crate) fn all(&self) -> [&Keyspace; 5] {
        [&self.rows, &self.blobs, &self.jobs, &self.index, &self.padding]
    }

    /// How full a buffer of the part may be before it is to be written out.
    pub(crate) fn buffer_bytes(&self, part: &Keyspace) -> u64 {
        if *part == self.blobs { self.blobs_buffer_bytes } else { self.rows_buffer_bytes }
    }

    /// Whether every row of every part stands in a file of its own, so that no journal is needed.
    pub(crate) fn are_written_out(&self) -> bool {
        self.all()
            .iter()
            .all(|part| part.tree.active_memtable().is_empty() && part.sealed_memtable_count() == 0)
    }
}
