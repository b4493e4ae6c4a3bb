//! Holds: the jobs that were leased together and are leased still, in one row, which goes with the last of them.
//!
//! A hold that a start finds tells what the last process died with; that counts against those jobs. The row is handed
//! to the kernel before the jobs are handed out, so that it outlives the process, but not synced: a power cut is no
//! job's fault.

use std::collections::HashSet;

use fjall::{Keyspace, OwnedWriteBatch};
use schema::{Millis, Result};

use super::{DEAD, DeadRecord, HOLD, JOB, READ, Record, key, read, write};
use crate::database::Core;
use crate::log::failed;

/// Why a job is given up that no worker gave up.
const LOST: &str = "its lease ran out, or ended with the process, too often";

/// Counts the holds that the last process left against their jobs.
pub(super) fn count_left(core: &Core, now: Millis) -> Result<()> {
    let part = &core.parts.jobs;
    let mut batch = core.log.batch();
    let mut held = HashSet::new();
    for guard in part.prefix([HOLD]) {
        let (key, value) = guard.into_inner().map_err(failed(READ))?;
        held.extend(read_ids(&value)?);
        batch.remove(part, key);
    }
    for id in held {
        let Some(value) = part.get(key(JOB, id)).map_err(failed(READ))? else { continue };
        let mut record: Record = read(&value)?;
        record.lose();
        note_lost(&mut batch, part, id, record, now)?;
    }
    if batch.is_empty() { Ok(()) } else { core.log.commit(batch) }
}

/// The rows of a job whose lease nobody ended, as it is counted in `record`.
pub(super) fn note_lost(
    batch: &mut OwnedWriteBatch,
    part: &Keyspace,
    id: u64,
    record: Record,
    now: Millis,
) -> Result<()> {
    if !record.is_given_up() {
        batch.insert(part, key(JOB, id), write(&record)?);
        return Ok(());
    }
    tracing::error!(job = record.job.name(), id, account = %record.job.account(), reason = LOST, "a job is given up");
    let dead = DeadRecord { record, reason: LOST.to_owned(), buried_at: now };
    batch.remove(part, key(JOB, id));
    batch.insert(part, key(DEAD, id), write(&dead)?);
    Ok(())
}

/// The ids of a hold, each as its distance from the one before, since they lie close together.
pub(super) fn write_ids(ids: &[u64]) -> Result<Vec<u8>> {
    let mut last = 0;
    let distance = |&id: &u64| id.wrapping_sub(std::mem::replace(&mut last, id));
    write(&ids.iter().map(distance).collect::<Vec<u64>>())
}

pub(super) fn read_ids(value: &[u8]) -> Result<Vec<u64>> {
    let mut last = 0_u64;
    let distances: Vec<u64> = read(value)?;
    let id = |distance: u64| {
        last = last.wrapping_add(distance);
        last
    };
    Ok(distances.into_iter().map(id).collect())
}
