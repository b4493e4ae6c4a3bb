//! What happens when nothing happens: buffers become files, and the journal that held them goes.
//!
//! fjall begins a new journal only when the old one has reached 64 MB and a buffer is written out, and lets an old one
//! go when all it holds is in files. A small server's journal would so hold tens of megabytes for ever that stand in
//! files as well. Filling it up with zeros, in a part that is cleared in the same breath, brings the moment about.

use std::time::{Duration, Instant};

use fjall::{AbstractTree, Keyspace, Slice};
use schema::Result;

use crate::database::{Parts, Stop};
use crate::log::{Log, failed};
use crate::options::Options;

/// The size at which fjall begins a new journal, in octets.
const FULL: u64 = 64_000_000;
/// Octets of one row of zeros.
const ROW: usize = 1024 * 1024;

/// Settles whenever nothing was written for [`Options::settle_after`], until `stop`.
pub(crate) fn run(log: &Log, parts: &Parts, stop: &Stop, options: &Options) {
    let tick = (options.settle_after / 5).clamp(Duration::from_millis(20), Duration::from_secs(1));
    let (mut seen, mut since) = (activity(log, parts), Instant::now());
    let mut settled = None;
    while !stop.wait(tick) {
        let now = activity(log, parts);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() >= options.settle_after && settled != Some(seen) {
            if let Err(error) = settle(log, parts, options.settle_journal_bytes) {
                tracing::warn!(error = %error, "buffers were not written out");
            }
            seen = activity(log, parts);
            settled = Some(seen);
        }
    }
}

/// What changes with every write: ours by count, the index's by the size of its buffer.
fn activity(log: &Log, parts: &Parts) -> (u64, u64) {
    (log.writes(), parts.index.tree.active_memtable().size())
}

/// Writes all buffers out, and lets the journal go if it takes `journal` octets or more.
pub(crate) fn settle(log: &Log, parts: &Parts, journal: u64) -> Result<()> {
    log.check()?;
    log.sync_blocking()?;
    let used = log.journal_bytes().map_err(failed("the journal was not measured"))?;
    if used >= journal.max(1) {
        fill_journal(log, &parts.padding, FULL.saturating_sub(used))
            .map_err(failed("the journal was not filled"))?;
        // Outside of the journal's lock, so that the sync inside it has little left to do.
        log.sync_blocking()?;
    }
    write_out(parts)
}

/// Writes all buffers out.
pub(crate) fn write_out(parts: &Parts) -> Result<()> {
    parts.all().into_iter().try_for_each(write_part_out).map_err(failed("a buffer was not written out"))
}

/// As fjall's own `rotate_memtable_and_wait`, but it ends even if the thread that writes has failed.
fn write_part_out(part: &Keyspace) -> fjall::Result<()> {
    const TICK: Duration = Duration::from_millis(5);
    const LIMIT: Duration = Duration::from_secs(60);
    part.rotate_memtable()?;
    let began = Instant::now();
    while part.sealed_memtable_count() > 0 {
        if began.elapsed() > LIMIT {
            return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        }
        std::thread::sleep(TICK);
    }
    Ok(())
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
    padding.insert(b"settled".as_slice(), b"".as_slice())
}
