//! What happens when nothing happens: small segments of the index become one, buffers become files, and the journal that
//! held them goes.
//!
//! fjall begins a new journal only when the old one has reached 64 MB and a buffer is written out, and lets an old one
//! go when all it holds is in files. A small server's journal would so hold tens of megabytes for ever that stand in
//! files as well. Filling it up with zeros, in a part that is cleared in the same breath, brings the moment about. That
//! is writing for nothing, so it is done only where much is won by it, or seldom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::{AbstractTree, Keyspace, Slice};
use schema::Result;

use crate::database::Stop;
use crate::index::Index;
use crate::log::{Log, failed};
use crate::options::Options;
use crate::parts::Parts;

/// The size at which fjall begins a new journal, in octets.
const FULL: u64 = 64_000_000;
/// Octets of one row of zeros.
const ROW: usize = 1024 * 1024;
/// A journal at least half full is always let go, a smaller one if none was for so long.
const SELDOM: Duration = Duration::from_secs(600);
/// A part that takes more octets than this is not written anew as a whole; fjall drops what is gone from it bit by bit.
const REWRITTEN: u64 = 256 * 1024 * 1024;

/// A row that says nothing.
const MARK: &[u8] = b"settled";
const MEASURED: &str = "the journals were not measured";
const UNWRITTEN: &str = "a buffer was not written out";

/// Settles a data directory.
pub(crate) struct Settler {
    log: Arc<Log>,
    parts: Parts,
    index: Index,
    /// When the journal was last let go.
    let_go: Option<Instant>,
    /// What the part of the index took on disk when it was last written anew, in octets.
    rewritten: u64,
    /// What the parts took on disk when replaced files were last let go, in octets.
    size: u64,
}

impl Settler {
    pub(crate) fn new(log: Arc<Log>, parts: Parts, index: Index) -> Self {
        let size = size(&parts);
        Self { log, parts, index, let_go: None, rewritten: 0, size }
    }

    /// Settles whenever nothing was written for [`Options::settle_after`], until `stop`.
    pub(crate) fn run(mut self, stop: &Stop, options: &Options) {
        let tick = (options.settle_after / 2).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let (mut seen, mut since) = (self.activity(), Instant::now());
        let mut settled = None;
        while !stop.wait(tick) {
            let now = self.activity();
            if now != seen {
                (seen, since) = (now, Instant::now());
                continue;
            }
            if since.elapsed() < options.settle_after {
                continue;
            }
            let done = if settled == Some(seen) {
                self.let_files_go()
            } else {
                self.settle(stop, options.settle_journal_bytes)
            };
            if let Err(error) = done {
                tracing::warn!(error = %error, "the data directory was not settled");
            }
            seen = self.activity();
            settled = Some(seen);
        }
    }

    /// What changes with every write: ours by count, the index's by the size of its buffer.
    fn activity(&self) -> (u64, u64) {
        (self.log.writes(), self.parts.index.tree.active_memtable().size())
    }

    /// Settles what journals of `least` octets or more hold, as long as nobody writes.
    fn settle(&mut self, stop: &Stop, least: u64) -> Result<()> {
        let writes = self.log.writes();
        let (before, used) = self.log.journal_bytes().map_err(failed(MEASURED))?;
        let seldom = self.let_go.is_none_or(|at| at.elapsed() >= SELDOM);
        let lets_go = used >= least && (seldom || used >= FULL / 2);
        if !lets_go && before == 0 {
            return Ok(());
        }
        let is_quiet = |log: &Log| log.writes() == writes && !stop.is_set();
        self.index.merge_changed(|| is_quiet(&self.log))?;
        if lets_go {
            settle(&self.log, &self.parts)?;
            self.let_go = Some(Instant::now());
        } else {
            write_out(&self.log, &self.parts)?;
        }
        if is_quiet(&self.log) {
            self.rewrite_index()?;
        }
        self.let_files_go()
    }

    /// The database keeps the files that merges have replaced, in whatever part, until it begins another buffer. Its own
    /// merges may end long after the last write.
    fn let_files_go(&mut self) -> Result<()> {
        let size = size(&self.parts);
        if std::mem::replace(&mut self.size, size) == size {
            return Ok(());
        }
        self.parts.padding.insert(MARK, b"").map_err(failed("files were not let go"))?;
        write_part_out(&self.log, &self.parts.padding)
    }

    /// Drops what merges of segments have replaced, which may be half of the part, once it has grown by half.
    fn rewrite_index(&mut self) -> Result<()> {
        let index = &self.parts.index;
        let size = index.disk_space();
        if size > REWRITTEN || size < self.rewritten + self.rewritten / 2 {
            return Ok(());
        }
        index.major_compact().map_err(failed("the index was not written anew"))?;
        self.rewritten = index.disk_space();
        Ok(())
    }
}

/// Writes all buffers out, and lets the journal go.
pub(crate) fn settle(log: &Log, parts: &Parts) -> Result<()> {
    log.check()?;
    log.sync_blocking()?;
    let (_, used) = log.journal_bytes().map_err(failed(MEASURED))?;
    fill_journal(log, &parts.padding, FULL.saturating_sub(used))
        .map_err(failed("the journal was not filled"))?;
    // Outside of the journal's lock, so that the sync inside it has little left to do.
    log.sync_blocking()?;
    write_out(log, parts)?;
    // The thread that wrote the last buffer removes the journals only after it has said that the buffer is written.
    wait_until(log, "a journal was not let go", || Ok(log.journal_bytes()?.0 == 0))
}

/// Writes all buffers out.
pub(crate) fn write_out(log: &Log, parts: &Parts) -> Result<()> {
    parts.all().into_iter().try_for_each(|part| write_part_out(log, part))
}

/// As fjall's own `rotate_memtable_and_wait`, but it ends even if the thread that writes has failed.
fn write_part_out(log: &Log, part: &Keyspace) -> Result<()> {
    part.rotate_memtable().map_err(failed(UNWRITTEN))?;
    wait_until(log, UNWRITTEN, || Ok(part.sealed_memtable_count() == 0))
}

/// Waits for what fjall's threads do.
fn wait_until(log: &Log, what: &'static str, mut is_done: impl FnMut() -> fjall::Result<bool>) -> Result<()> {
    const TICK: Duration = Duration::from_millis(5);
    const LIMIT: Duration = Duration::from_secs(60);
    let began = Instant::now();
    while !is_done().map_err(failed(what))? {
        log.check_threads()?;
        if began.elapsed() > LIMIT {
            return Err(failed(what)(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// What the parts that hold something take on disk, in octets. It changes with every merge of files.
fn size(parts: &Parts) -> u64 {
    [&parts.rows, &parts.blobs, &parts.index, &parts.jobs].into_iter().map(|part| part.disk_space()).sum()
}

fn fill_journal(log: &Log, padding: &Keyspace, missing: u64) -> fjall::Result<()> {
    // One slice for all rows: memory holds the zeros once.
    let zeros = Slice::from(vec![0; ROW]);
    let rows = missing.div_ceil(ROW as u64) + 1;
    let mut batch = log.batch();
    for number in 0..rows {
        batch.insert(padding, number.to_be_bytes(), zeros.clone());
    }
    batch.commit()?;
    padding.clear()?;
    // A part with something to write out is what makes fjall look at the journal's size.
    padding.insert(MARK, b"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Embedded;

    #[test]
    fn files_that_were_replaced_after_the_last_write_are_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { settle_after: Duration::from_millis(50), ..Options::default() };
        let embedded = Embedded::open(dir.path(), options).unwrap();
        let rows = &embedded.parts().rows;
        let mut octet = 1_u32;
        for _ in 0..3 {
            // Nothing that could be compressed.
            let value: Vec<u8> = std::iter::repeat_with(|| {
                octet = octet.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                octet.to_be_bytes()[0]
            })
            .take(1 << 20)
            .collect();
            rows.insert("one", value).unwrap();
            rows.rotate_memtable_and_wait().unwrap();
        }
        let before = embedded.disk_bytes().unwrap();
        rows.major_compact().unwrap();
        let began = Instant::now();
        while embedded.disk_bytes().unwrap() + (3 << 19) > before {
            assert!(began.elapsed() < Duration::from_secs(30), "{before} octets before");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
