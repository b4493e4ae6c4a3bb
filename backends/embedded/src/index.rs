//! The search index: per account a few immutable segments of blinded tokens, on the same database as everything else.
//!
//! A put makes one segment; eight segments of about one size become one of the next, by a merge that reads 8 MiB at
//! most, so that a message is written some four times in all. What is gone is noted in bitmaps and dropped by the next
//! merge. Every change shows itself in one batch of the database; why it is not a library's index stands in
//! docs/decisions/0001-own-search-index.md.
//!
//! What the rows show to who reads them: tokens, positions, sizes, times and ids, as docs/privacy.md tells. They are
//! not sealed.

mod bits;
mod block;
mod coding;
mod documents;
mod frequencies;
mod manifest;
mod merge;
mod plan;
mod ranking;
mod removed;
mod rows;
mod search;
mod segment;
mod writer;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions};
use moka::sync::Cache;
use schema::index::{Hits, IndexedMessage, Query, SearchIndex, Sort};
use schema::{AccountId, Error, MessageId, Result};

use crate::parts::growing;
use manifest::Manifest;
use plan::Plan;
use segment::{Rows, Segment};
use writer::Writer;

/// How the index's keyspace is to be opened: its rows do not compress, and are read whole.
pub fn keyspace_options() -> KeyspaceCreateOptions {
    growing()
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .data_block_size_policy(BlockSizePolicy::all(8 * 1024))
        .max_memtable_size(16 * 1024 * 1024)
}

/// The embedded search index.
///
/// Durability: [`SearchIndex::put`] and the removals are visible on return and stand in the database's journal before
/// whatever the caller writes next, but are flushed to the disk only by the next flush of the database. A caller that
/// acknowledges a job after a put, in the same database, therefore never keeps the acknowledgement and loses the put.
#[derive(Clone)]
pub struct Index {
    store: Arc<Store>,
}

const LOCKS: usize = 64;

struct Store {
    database: Database,
    keyspace: Keyspace,
    /// Heads of segments, by account and segment: what is cached under a key never changes.
    segments: Cache<(AccountId, u64), Arc<Segment>>,
    /// One writer at a time for each account.
    locks: Vec<Mutex<()>>,
    /// Accounts that have more segments than at the last [`Index::merge_changed`].
    changed: Mutex<HashSet<AccountId>>,
    /// One large merge at a time, for the sake of memory.
    merging: Mutex<()>,
    /// Above every id of a segment that an account removed by this process had, so that a cached one never answers
    /// for another.
    retired: AtomicU64,
}

impl Index {
    /// An index on `keyspace` of `database`, which was opened with [`keyspace_options`] and holds nothing else. At most
    /// `cache_bytes` (32 MiB is usual) are kept in memory to make searches fast.
    pub fn new(database: Database, keyspace: Keyspace, cache_bytes: u64) -> Self {
        let segments = Cache::builder()
            .max_capacity(cache_bytes)
            .weigher(|_, segment: &Arc<Segment>| segment.weight().try_into().unwrap_or(u32::MAX))
            .build();
        let locks = std::iter::repeat_with(Mutex::default).take(LOCKS).collect();
        let store = Store {
            database,
            keyspace,
            segments,
            locks,
            changed: Mutex::default(),
            merging: Mutex::new(()),
            retired: AtomicU64::new(0),
        };
        Self { store: Arc::new(store) }
    }

    /// Brings an account's segments into as few as they fit in and drops what is gone from them. Puts do what is
    /// needed of it by themselves.
    ///
    /// # Errors
    /// As for [`SearchIndex::put`].
    pub async fn compact(&self, account: AccountId) -> Result<()> {
        self.run(move |store| store.merge_all(account, Manifest::compaction)).await
    }

    /// Merges what is worth it in each account that has changed since the last time, while `go_on` says so. Blocks.
    pub(crate) fn merge_changed(&self, go_on: impl Fn() -> bool) -> Result<()> {
        let mut changed = std::mem::take(&mut *lock(&self.store.changed)).into_iter();
        while go_on() {
            let Some(account) = changed.next() else { return Ok(()) };
            self.store.merge_all(account, Manifest::settling)?;
        }
        lock(&self.store.changed).extend(changed);
        Ok(())
    }

    /// Runs on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || call(&store))
            .await
            .map_err(|error| Error::permanent("a call of the search index did not come to its end", error))?
    }
}

#[async_trait]
impl SearchIndex for Index {
    async fn put_all(&self, messages: Vec<(AccountId, Vec<IndexedMessage>)>) -> Result<()> {
        if messages.iter().all(|(_, messages)| messages.is_empty()) {
            return Ok(());
        }
        self.run(move |store| {
            for (account, messages) in messages.into_iter().filter(|(_, messages)| !messages.is_empty()) {
                lock(&store.changed).insert(account);
                let _lock = store.lock(account);
                if Writer::open(store, account)?.put(&messages)? {
                    // Each put makes one segment, so that one merge for each put keeps up.
                    Writer::open(store, account)?.merge(Manifest::due)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, account: AccountId, messages: &[MessageId]) -> Result<()> {
        let messages = messages.to_vec();
        self.run(move |store| {
            let _lock = store.lock(account);
            if Writer::open(store, account)?.remove(&messages)? {
                // Each put makes one segment, so that one merge for each put keeps up.
                Writer::open(store, account)?.merge(Manifest::due)?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        self.run(move |store| {
            let _lock = store.lock(account);
            Writer::open(store, account)?.remove_account()
        })
        .await
    }

    async fn search(
        &self,
        account: AccountId,
        query: &Query,
        sort: Sort,
        offset: usize,
        limit: usize,
    ) -> Result<Hits> {
        let plan = Plan::of(query)?;
        self.run(move |store| search::search(store, account, &plan, sort, offset, limit)).await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        self.run(move |store| writer::ids(&store.rows(account), after, limit)).await
    }
}

impl Store {
    fn rows(&self, account: AccountId) -> Rows<'_> {
        Rows { snapshot: self.database.snapshot(), keyspace: &self.keyspace, account }
    }

    /// A segment's head, from memory if it is there.
    fn segment(&self, rows: &Rows<'_>, id: u64) -> Result<Arc<Segment>> {
        let key = (rows.account, id);
        if let Some(segment) = self.segments.get(&key) {
            return Ok(segment);
        }
        let segment = Arc::new(rows.segment(id)?);
        self.segments.insert(key, Arc::clone(&segment));
        Ok(segment)
    }

    fn merge_all(&self, account: AccountId, next: fn(&Manifest) -> Option<Range<usize>>) -> Result<()> {
        let _lock = self.lock(account);
        while Writer::open(self, account)?.merge(next)? {}
        Ok(())
    }

    fn forget_segments(&self, account: AccountId, segments: &[u64]) {
        segments.iter().for_each(|&segment| self.segments.invalidate(&(account, segment)));
    }

    /// The id of a new account's first segment.
    fn first_segment(&self) -> u64 {
        self.retired.load(Ordering::Acquire)
    }

    /// Notes that ids below `next_segment` were in use.
    fn retire_segments(&self, next_segment: u64) {
        self.retired.fetch_max(next_segment, Ordering::AcqRel);
    }

    fn lock(&self, account: AccountId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        account.hash(&mut hasher);
        lock(&self.locks[hasher.finish() as usize % LOCKS])
    }

    fn lock_merging(&self) -> MutexGuard<'_, ()> {
        lock(&self.merging)
    }
}

/// A panic under a lock leaves nothing half done behind: the database's batches are whole or absent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn damaged() -> Error {
    Error::Damaged { what: "a row of the search index" }
}

fn failed(error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(_) => Error::transient("the search index could not be read or written", error),
        _ => Error::permanent("the search index could not be read or written", error),
    }
}
