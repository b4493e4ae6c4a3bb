//! The data directory: who owns it, what is in it, how it is opened and closed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use fjall::{CompressionType, Database, PersistMode};
use rustix::fs::{FlockOperation, flock};
use schema::{Backend, Result};

use crate::blobs::Blobs;
use crate::cache::MemoryCache;
use crate::index::Index;
use crate::log::{Log, failed, lock};
use crate::options::Options;
use crate::parts::Parts;
use crate::queue::Queue;
use crate::settle::Settler;
use crate::store::Store;
use crate::{journal, settle};

/// Where the database stands inside the data directory.
pub(crate) const DATABASE: &str = "db";
/// While it is being made.
const PREPARED: &str = "db.unfinished";
const OWNER: &str = "owner.lock";
/// Of the search index's segment heads.
const INDEX_CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("another process uses the data directory; one at a time may")]
    InUse,
    /// It could not be made, read or written.
    #[error("the data directory cannot be used")]
    Io(#[from] std::io::Error),
    /// The database in it does not open.
    #[error("the database in the data directory does not open")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<fjall::Error> for OpenError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::InUse,
            fjall::Error::Io(error) => Self::Io(error),
            other => Self::Database(Box::new(other)),
        }
    }
}

impl From<schema::Error> for OpenError {
    fn from(error: schema::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// Tells a thread to end, and wakes it.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    fn set(&self) {
        *lock(&self.stopped) = true;
        self.wake.notify_all();
    }

    /// Whether the thread is to end.
    pub(crate) fn is_set(&self) -> bool {
        *lock(&self.stopped)
    }

    /// Waits for `time`; true if the thread is to end.
    pub(crate) fn wait(&self, time: std::time::Duration) -> bool {
        let stopped = lock(&self.stopped);
        let end = |stopped: &mut bool| !*stopped;
        *self.wake.wait_timeout_while(stopped, time, end).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What all traits share. The threads end when the last of them is gone.
pub(crate) struct Core {
    pub(crate) log: Arc<Log>,
    pub(crate) parts: Parts,
    stop: Arc<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Core {
    fn stop(&self) {
        self.stop.set();
        let threads = std::mem::take(&mut *lock(&self.threads));
        let mut threads = threads.into_iter();
        // The one that settles first: it may still want a sync.
        let syncing = threads.next();
        for thread in threads {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        self.log.stop();
        if let Some(thread) = syncing {
            let _ = thread.join();
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An open data directory. The traits it gives keep it open for as long as one of them is held.
pub struct Embedded {
    core: Arc<Core>,
    backend: Backend,
    directory: PathBuf,
}

impl Embedded {
    /// Opens the data directory `dir` and makes it (mode 0700) if there is none. What a crash left is brought in
    /// order: everything that was durable is there, the last writes that were not may be gone, latest first.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if another process, or this one, has it open.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let owner = own(dir)?;
        let path = dir.join(DATABASE);
        if !path.try_exists()? {
            make_database(dir, &options, |_, _| Ok::<_, OpenError>(()))?;
        }
        let (database, parts) = match open_database(&path, &options) {
            Err(fjall::Error::JournalRecovery(_)) => {
                // A power cut may leave the end of the journal torn, which fjall takes for damage and refuses.
                journal::mend(&path)?;
                open_database(&path, &options)?
            }
            opened => opened?,
        };
        let above = options.positions_above;
        let log = Arc::new(Log::open(database.clone(), parts.rows.clone(), path, owner, above)?);
        let stop = Arc::new(Stop::default());
        let mut threads = vec![spawn("signet-sync", {
            let (log, within) = (Arc::clone(&log), options.sync_within);
            move || log.run(within)
        })?];
        let index = Index::new(database, parts.index.clone(), INDEX_CACHE_BYTES);
        if !options.settle_after.is_zero() {
            let settler = Settler::new(Arc::clone(&log), parts.clone(), index.clone());
            let (stop, options) = (Arc::clone(&stop), options.clone());
            threads.push(spawn("signet-settle", move || settler.run(&stop, &options))?);
        }
        let core = Arc::new(Core { log, parts, stop, threads: Mutex::new(threads) });
        let backend = Backend {
            store: Arc::new(Store::open(Arc::clone(&core))?),
            blobs: Arc::new(Blobs::new(Arc::clone(&core))),
            index: Arc::new(index),
            queue: Arc::new(Queue::open(Arc::clone(&core), Arc::clone(&options.clock))?),
            cache: Arc::new(MemoryCache::new(options.cache_bytes)),
            is_shared: false,
            clocks_apart: std::time::Duration::ZERO,
        };
        Ok(Self { core, backend, directory: dir.to_owned() })
    }

    /// The five traits on this directory.
    pub fn backend(&self) -> Backend {
        self.backend.clone()
    }

    #[cfg(test)]
    pub(crate) fn log(&self) -> &Log {
        &self.core.log
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> &Parts {
        &self.core.parts
    }

    /// Returns when everything written before is durable.
    ///
    /// # Errors
    /// [`schema::Error::Backend`] if it did not become so; then nothing is written any more until the next start.
    pub async fn sync(&self) -> Result<()> {
        self.core.log.sync().await
    }

    /// How often the disk was told to keep what was written: fewer than the calls that waited for it, where they come
    /// together.
    pub fn syncs(&self) -> u64 {
        self.core.log.syncs()
    }

    /// Whether a write or a sync has failed: nothing is written any more, and only a new start helps.
    pub fn is_broken(&self) -> bool {
        self.core.log.is_broken()
    }

    /// Octets that the data directory takes on disk (allocated, not apparent).
    ///
    /// # Errors
    /// What reading the directory says.
    pub fn disk_bytes(&self) -> std::io::Result<u64> {
        allocated(&self.directory)
    }

    /// Writes buffers out now and lets the journal go, as happens by itself after [`Options::settle_after`]. Blocks.
    ///
    /// # Errors
    /// [`schema::Error::Backend`] if a write fails.
    pub fn settle(&self) -> Result<()> {
        settle::settle(&self.core.log, &self.core.parts)
    }

    /// Writes a copy of everything to the file `to` (mode 0600, made anew), as of one moment, while calls go on. Blocks;
    /// memory stays bounded. Returns the number of entries.
    ///
    /// # Errors
    /// [`crate::BackupError`] if the file exists or cannot be written.
    pub fn backup(&self, to: &Path) -> Result<u64, crate::BackupError> {
        crate::backup::write(&self.core.log, &self.core.parts, to)
    }

    /// Makes the data directory `dir`, which must not hold a database, from the backup `from`.
    ///
    /// # Errors
    /// As [`crate::restore`].
    pub fn restore(from: &Path, dir: &Path) -> Result<u64, crate::BackupError> {
        crate::backup::restore(from, dir)
    }

    /// Ends cleanly: everything durable and written out, so that the next start reads no journal. Blocks. Calls on
    /// traits that are still held fail from then on.
    ///
    /// # Errors
    /// [`schema::Error::Backend`] if the last writes did not become durable.
    pub fn close(self) -> Result<()> {
        let Self { core, backend, directory } = self;
        core.log.sync_blocking()?;
        core.stop();
        core.log.close();
        core.log.sync_blocking()?;
        settle::write_out(&core.log, &core.parts)?;
        core.log.sync_blocking()?;
        let written_out = core.parts.are_written_out();
        drop(backend);
        // Only the last holder knows that nothing is written any more.
        let Ok(core) = Arc::try_unwrap(core).map_err(drop) else { return Ok(()) };
        let owner =
            core.log.owner().map_err(|error| failed("the data directory was not kept")(error.into()))?;
        drop(core);
        if written_out {
            journal::empty(&directory.join(DATABASE))
                .map_err(|error| failed("the journal was not emptied")(error.into()))?;
        }
        drop(owner);
        Ok(())
    }
}

/// Makes the directory if need be and takes it for this process.
pub(crate) fn own(dir: &Path) -> Result<File, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let owner =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(OWNER))?;
    flock(&owner, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => OpenError::InUse,
        other => OpenError::Io(other.into()),
    })?;
    Ok(owner)
}

fn open_database(path: &Path, options: &Options) -> fjall::Result<(Database, Parts)> {
    let database = Database::builder(path)
        .cache_size(options.block_cache_bytes)
        // What is large in the journal is sealed.
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .max_journaling_size(options.journal_bytes)
        .worker_threads(options.worker_threads)
        .max_cached_files(Some(options.open_files))
        .open()?;
    let parts = Parts::open(&database, options)?;
    Ok((database, parts))
}

/// Makes a database beside its place in `dir`, lets `fill` fill it, and puts it in its place when it is whole: of one
/// whose making was cut short, which the next open would take for damage, nothing is seen but by the next call.
pub(crate) fn make_database<T, E: From<fjall::Error> + From<std::io::Error>>(
    dir: &Path,
    options: &Options,
    fill: impl FnOnce(&Database, &Parts) -> Result<T, E>,
) -> Result<T, E> {
    let prepared = dir.join(PREPARED);
    if prepared.try_exists()? {
        std::fs::remove_dir_all(&prepared)?;
    }
    let (database, parts) = open_database(&prepared, options)?;
    let filled = fill(&database, &parts)?;
    database.persist(PersistMode::SyncAll)?;
    drop((parts, database));
    std::fs::rename(&prepared, dir.join(DATABASE))?;
    File::open(dir)?.sync_all()?;
    Ok(filled)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn allocated(path: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        sum += match entry.metadata() {
            Ok(data) if data.is_dir() => allocated(&entry.path())?,
            Ok(data) => data.blocks() * 512,
            // The database drops files while we look.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(sum)
}
