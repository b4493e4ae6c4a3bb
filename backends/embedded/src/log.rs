//! The order of all writes and when they are on disk.
//!
//! Every write is one fjall batch: appended to the journal, then visible. The journal is one sequence of batches, and
//! recovery stops at the first that is not whole, so what survives a crash is always a prefix of what was written.
//! fjall keeps the last octets of the journal in the process ([`PersistMode::Buffer`] hands them to the kernel); a
//! killed process may therefore lose its last writes, but only those that nobody waited for.
//!
//! Waiting is shared: one thread syncs the journal, and all who asked before it began wait for the same sync. It syncs
//! through a file of its own, because fjall holds the journal's lock while it syncs and every writer would stand still
//! for that time.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};
use schema::{Error, Result};
use tokio::sync::oneshot;

use crate::journal::Journal;

/// The row that holds the number up to which numbers may have been given out. Table 0 is no table of the schema.
const RESERVED: &[u8] = b"\0numbers";
/// How many numbers one such row allows.
const RESERVATION: u64 = 1 << 16;

/// Nothing is written any more: a sync failed, and what the disk holds is not known until the next start.
#[derive(Debug, thiserror::Error)]
#[error("a write did not reach the disk; the process must be started again")]
pub(crate) struct Stopped;

/// The data directory was closed while the call was on its way.
#[derive(Debug, thiserror::Error)]
#[error("the data directory is closed")]
pub(crate) struct Closed;

/// How long a sync waits for more callers while several sessions write: about as long as the sync itself takes.
const GATHER: Duration = Duration::from_micros(150);

/// Turns fjall's error into ours. All of them are transient: none is the message's fault, and a fault never bounces.
pub(crate) fn failed(what: &'static str) -> impl FnOnce(fjall::Error) -> Error {
    move |source| Error::transient(what, source)
}

/// Takes a lock whose holder can only have panicked outside of any half-done change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Numbers {
    next: u64,
    reserved: u64,
}

#[derive(Default)]
struct Waiting {
    callers: Vec<oneshot::Sender<Result<()>>>,
    stop: bool,
    /// After the last sync, so that no caller waits for a thread that is gone.
    stopped: bool,
}

/// Orders writes, numbers them, and syncs them.
pub(crate) struct Log {
    database: Database,
    rows: Keyspace,
    directory: PathBuf,
    /// Taken before [`Log::waiting`] where both are.
    numbers: Mutex<Numbers>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    journal: Mutex<Journal>,
    /// The greatest number that is on disk, and all below it with it.
    durable: AtomicU64,
    dirty: AtomicBool,
    broken: AtomicBool,
    closed: AtomicBool,
    writes: AtomicU64,
    syncs: AtomicU64,
    /// The one owner's mark: the directory stays taken for as long as anything can write to it.
    owner: File,
    #[cfg(test)]
    pub(crate) fail_sync: AtomicBool,
}

impl Log {
    /// The log of an open database that was flushed or recovered, so that all it holds is durable. It gives out numbers
    /// above `numbers_above`.
    pub(crate) fn open(
        database: Database,
        rows: Keyspace,
        directory: PathBuf,
        owner: File,
        numbers_above: u64,
    ) -> fjall::Result<Self> {
        let mut reserved = match rows.get(RESERVED)? {
            Some(value) => read_number(&value),
            None => 0,
        };
        if reserved < numbers_above {
            reserved = numbers_above;
            rows.insert(RESERVED, reserved.to_be_bytes())?;
        }
        // What the last process left in the kernel's buffers only is visible now, so it must be made durable.
        database.persist(PersistMode::SyncData)?;
        let journal = Journal::newest(&directory)?;
        journal.sync()?;
        Ok(Self {
            database,
            rows,
            directory,
            numbers: Mutex::new(Numbers { next: reserved + 1, reserved }),
            waiting: Mutex::default(),
            wake: Condvar::new(),
            journal: Mutex::new(journal),
            durable: AtomicU64::new(reserved),
            dirty: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            owner,
            #[cfg(test)]
            fail_sync: AtomicBool::new(false),
        })
    }

    /// The database that the log orders.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// A batch to fill and commit.
    pub(crate) fn batch(&self) -> OwnedWriteBatch {
        self.database.batch()
    }

    /// Refuses if nothing can be relied on any more.
    pub(crate) fn check(&self) -> Result<()> {
        if self.broken.load(Ordering::Acquire) {
            return Err(Error::transient("the store has stopped", Stopped));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::transient("the store has stopped", Closed));
        }
        Ok(())
    }

    /// Refuses calls from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Another hold on the directory, to keep it a little longer than the log.
    pub(crate) fn owner(&self) -> std::io::Result<File> {
        self.owner.try_clone()
    }

    /// Whether a write or sync has failed, so that only a new start helps.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Refuses if nothing can be relied on any more, fjall's own threads included.
    pub(crate) fn check_database(&self) -> Result<()> {
        self.check()?;
        self.check_threads()
    }

    /// Refuses if one of fjall's own threads has failed.
    pub(crate) fn check_threads(&self) -> Result<()> {
        self.database.persist(PersistMode::Buffer).map_err(|error| {
            self.stop_all("the database has stopped", &error);
            Error::transient("the store has stopped", error)
        })
    }

    /// Applies the batch: visible when this returns, durable after a later sync.
    pub(crate) fn commit(&self, batch: OwnedWriteBatch) -> Result<()> {
        self.check()?;
        batch.commit().map_err(|error| {
            self.stop_all("a batch was not written", &error);
            Error::transient("the rows were not written", error)
        })?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes `count` numbers, lets `fill` put them into the batch (it gets the first), and applies it, all in one
    /// step: a number is never visible before a smaller one.
    pub(crate) fn commit_numbered(
        &self,
        mut batch: OwnedWriteBatch,
        count: u64,
        fill: impl FnOnce(&mut OwnedWriteBatch, u64),
    ) -> Result<()> {
        let mut numbers = lock(&self.numbers);
        let first = numbers.next;
        let next = first + count;
        let mut reserved = numbers.reserved;
        if next - 1 > reserved {
            reserved = next + RESERVATION;
            batch.insert(&self.rows, RESERVED, reserved.to_be_bytes());
        }
        fill(&mut batch, first);
        self.commit(batch)?;
        *numbers = Numbers { next, reserved };
        Ok(())
    }

    /// The database as it is now, with the last number that it may hold.
    pub(crate) fn snapshot(&self) -> (u64, fjall::Snapshot) {
        let numbers = lock(&self.numbers);
        (numbers.next - 1, self.database.snapshot())
    }

    /// The greatest number that is on disk.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// How many batches were applied.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// How many syncs there were.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Returns when a sync that began after this call has ended.
    pub(crate) async fn sync(&self) -> Result<()> {
        self.ask()?.await.unwrap_or_else(|_| Err(Error::transient("the store has stopped", Closed)))
    }

    /// [`Log::sync`] for a thread that may block, and for the last one after [`Log::close`].
    pub(crate) fn sync_blocking(&self) -> Result<()> {
        if self.is_broken() {
            return self.check();
        }
        self.sync_now(&[])
    }

    fn ask(&self) -> Result<oneshot::Receiver<Result<()>>> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        if waiting.stopped {
            return Err(Error::transient("the store has stopped", Closed));
        }
        waiting.callers.push(sender);
        drop(waiting);
        self.wake.notify_one();
        Ok(receiver)
    }

    /// Syncs for whoever waits, and after `within` for whatever was written, until [`Log::stop`].
    pub(crate) fn run(&self, within: Duration) {
        let mut gather = false;
        loop {
            let mut waiting = lock(&self.waiting);
            let began = Instant::now();
            while waiting.callers.is_empty() && !waiting.stop {
                let left = within.saturating_sub(began.elapsed());
                if left.is_zero() {
                    break;
                }
                waiting = self.wake.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if gather && !waiting.callers.is_empty() && !waiting.stop {
                drop(waiting);
                std::thread::sleep(GATHER);
                waiting = lock(&self.waiting);
            }
            let callers = std::mem::take(&mut waiting.callers);
            let stop = waiting.stop && callers.is_empty();
            waiting.stopped = stop;
            drop(waiting);
            if (!callers.is_empty() || self.dirty.load(Ordering::Acquire)) && !self.is_broken() {
                let result = self.sync_now(&callers);
                answer(callers, result);
            } else {
                answer(callers, self.check());
            }
            if stop {
                return;
            }
            // Callers that came during the sync show that several sessions are writing: waiting a little for the
            // others to catch up makes one sync of many. A session alone never waits.
            gather = !lock(&self.waiting).callers.is_empty();
        }
    }

    /// Makes [`Log::run`] return after a last sync.
    pub(crate) fn stop(&self) {
        lock(&self.waiting).stop = true;
        self.wake.notify_one();
    }

    fn sync_now(&self, callers: &[oneshot::Sender<Result<()>>]) -> Result<()> {
        let began = Instant::now();
        self.dirty.store(false, Ordering::Release);
        // Before the sync: a number given out during it may or may not be covered.
        let covered = lock(&self.numbers).next - 1;
        self.sync_journal().map_err(|error| {
            self.stop_all("a sync failed", &error);
            Error::transient("the journal was not synced", error)
        })?;
        self.durable.fetch_max(covered, Ordering::AcqRel);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        metrics::histogram!("signet_store_sync_seconds").record(began.elapsed());
        if !callers.is_empty() {
            metrics::histogram!("signet_store_sync_callers").record(callers.len() as f64);
        }
        Ok(())
    }

    /// Puts all that was committed before the call on disk.
    fn sync_journal(&self) -> fjall::Result<()> {
        #[cfg(test)]
        if self.fail_sync.load(Ordering::Acquire) {
            return Err(std::io::Error::other("failed on purpose").into());
        }
        let mut journal = lock(&self.journal);
        self.database.persist(PersistMode::Buffer)?;
        // fjall syncs a journal in full before it begins the next, so the newest is the only one that can lack
        // something. One that begins after the look has nothing that this call must cover.
        journal.follow(&self.directory)?;
        Ok(journal.sync()?)
    }

    /// Octets that journals take on disk: those before the one in use, and that.
    pub(crate) fn journal_bytes(&self) -> fjall::Result<(u64, u64)> {
        let mut journal = lock(&self.journal);
        journal.follow(&self.directory)?;
        Ok(journal.octets(&self.directory)?)
    }

    fn stop_all(&self, what: &'static str, error: &fjall::Error) {
        if !self.broken.swap(true, Ordering::AcqRel) {
            tracing::error!(error = %error, "{what}: nothing is written any more until the next start");
        }
    }
}

fn answer(callers: Vec<oneshot::Sender<Result<()>>>, result: Result<()>) {
    for caller in callers {
        let each = match &result {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::transient("the journal was not synced", Stopped)),
        };
        // A caller that is gone needs no answer.
        let _ = caller.send(each);
    }
}

/// A number of 8 octets, big-endian; 0 where there are others.
pub(crate) fn read_number(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}

/// Moves the numbers of a restored database past all that its like may have given out after `last`. Returns the first
/// after the jump.
pub(crate) fn jump_numbers(rows: &Keyspace, last: u64) -> fjall::Result<u64> {
    /// Far more than one instance gives out between two backups.
    const JUMP: u64 = 1 << 44;
    let first = last + JUMP;
    rows.insert(RESERVED, first.to_be_bytes())?;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use schema::{AccountId, Durability, MessageId, RowKey, Table, Write};

    use crate::{Embedded, Options};

    #[tokio::test]
    async fn a_failed_sync_stops_everything_until_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let row = |number: u8| RowKey::new(Table::Instance, [], [number]);
        let put = |number: u8| vec![Write::Put(row(number), vec![number])];
        {
            let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
            let backend = embedded.backend();
            backend.store.write(put(1), Durability::Now).await.unwrap();
            embedded.log().fail_sync.store(true, Ordering::Release);
            let failed = backend.store.write(put(2), Durability::Now).await.err().unwrap();
            assert!(failed.is_transient());
            // The disk would do its work again, but what it holds is not known.
            embedded.log().fail_sync.store(false, Ordering::Release);
            assert!(embedded.is_broken());
            assert!(backend.store.write(put(3), Durability::Later).await.is_err());
            assert!(backend.store.get(&[row(1)]).await.is_err());
            assert!(backend.queue.publish(Vec::new()).await.is_err());
            assert!(backend.queue.depth().await.is_err());
            let account = AccountId([1; 16]);
            assert!(
                backend
                    .blobs
                    .put(account, MessageId([1; 16]), vec![vec![1]], Durability::Later)
                    .await
                    .is_err()
            );
            assert!(embedded.sync().await.is_err());
            assert!(embedded.close().is_err());
        }
        let backend = Embedded::open(dir.path(), Options::default()).unwrap().backend();
        assert_eq!(backend.store.get(&[row(1), row(3)]).await.unwrap(), [Some(vec![1]), None]);
    }
}
