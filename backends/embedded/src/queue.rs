//! Jobs: each a row until it is done; who holds it is known in memory only, since there is one process.
//!
//! A row is looked for once, when its turn comes, by going on from the last one taken; so a scan never walks over what
//! was done. Leases end with the process: after a start every job is ready again, or waits for its retry.
//!
//! What a process died with is told by its holds: see [`hold`].

mod hold;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fjall::{Keyspace, OwnedWriteBatch, PersistMode};
use schema::{Clock, DeadLetter, Depth, Error, Job, JobQueue, Lease, Millis, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::calls::timed;
use crate::database::Core;
use crate::log::{Log, failed, lock, read_number};
use state::State;

/// Begins the rows of jobs that are to be done.
const JOB: u8 = b'j';
/// Begins the rows of dead letters.
const DEAD: u8 = b'd';
/// Begins the rows of holds: the ids of jobs that were leased together.
const HOLD: u8 = b'h';
/// Jobs known in memory at most, beyond those that are leased or wait: the rest stays in rows until its turn.
const READY: usize = 16_384;
/// Jobs read from rows at once.
const READ_AHEAD: usize = 1024;

const READ: &str = "a job was not read";

/// A job as its row holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    job: Job,
    /// How often it was leased.
    attempts: u32,
    /// How many of these leases nobody ended.
    lost: u32,
    published_at: Millis,
    /// When it may be leased again; 0 if at once.
    due: Millis,
}

/// A dead letter as its row holds it.
#[derive(Debug, Serialize, Deserialize)]
struct DeadRecord {
    record: Record,
    reason: String,
    buried_at: Millis,
}

/// The queue.
pub(crate) struct Queue {
    core: Arc<Core>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    wake: Notify,
}

impl Queue {
    /// The queue as the rows of `core` tell it.
    pub(crate) fn open(core: Arc<Core>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut state = State::default();
        hold::count_left(&core, clock.now())?;
        let (now, at) = (clock.now(), Instant::now());
        for guard in core.parts.jobs.prefix([JOB]) {
            let (key, value) = guard.into_inner().map_err(failed(READ))?;
            let (id, record) = (id_of(&key), read::<Record>(&value)?);
            if record.due > now {
                state.delay(id, record.clone(), at + Duration::from_millis(record.due - now));
            } else {
                state.add(id, record);
            }
        }
        for guard in core.parts.jobs.prefix([DEAD]) {
            guard.key().map_err(failed(READ))?;
            state.dead += 1;
        }
        Ok(Self { core, clock, state: Mutex::new(state), wake: Notify::new() })
    }

    fn log(&self) -> &Log {
        &self.core.log
    }

    fn part(&self) -> &Keyspace {
        &self.core.parts.jobs
    }

    /// Jobs for one worker, and when to look again if there are none.
    fn take(&self, limit: usize, time: Duration) -> Result<(Vec<Lease>, Option<Instant>)> {
        let mut state = lock(&self.state);
        self.advance(&mut state)?;
        if !state.can_lease() {
            self.read_ahead(&mut state)?;
        }
        let leases = state.lease(limit, Instant::now() + time);
        self.commit(&mut state, self.log().batch())?;
        let next = state.next_event();
        drop(state);
        if !leases.is_empty() {
            let handed_over = self.log().database().persist(PersistMode::Buffer);
            handed_over.map_err(failed("a lease was not noted"))?;
        }
        Ok((leases, next))
    }

    /// Notes what has become of time: what is due, and what was held for too long.
    fn advance(&self, state: &mut State) -> Result<()> {
        let lost = state.advance(Instant::now());
        if lost.is_empty() {
            return Ok(());
        }
        let mut batch = self.log().batch();
        for (id, record) in lost {
            hold::note_lost(&mut batch, self.part(), id, record, self.clock.now())?;
        }
        self.commit(state, batch)
    }

    /// Applies the batch, with the holds that have changed. A batch that fails stops the whole store, so that the state
    /// may be changed before.
    fn commit(&self, state: &mut State, mut batch: OwnedWriteBatch) -> Result<()> {
        for (hold, ids) in state.take_changed_holds() {
            match ids.is_empty() {
                true => batch.remove(self.part(), key(HOLD, hold)),
                false => batch.insert(self.part(), key(HOLD, hold), hold::write_ids(&ids)?),
            }
        }
        if batch.is_empty() { Ok(()) } else { self.log().commit(batch) }
    }

    /// Takes jobs that are known by their rows only into memory.
    fn read_ahead(&self, state: &mut State) -> Result<()> {
        let Some(from) = state.unread_from() else { return Ok(()) };
        let mut read_all = true;
        for (number, guard) in self.part().range(key(JOB, from)..=key(JOB, u64::MAX)).enumerate() {
            if number >= READ_AHEAD {
                read_all = false;
                break;
            }
            let (key, value) = guard.into_inner().map_err(failed(READ))?;
            state.read(id_of(&key), read(&value)?);
        }
        if read_all {
            state.all_read();
        }
        Ok(())
    }
}

#[async_trait]
impl JobQueue for Queue {
    async fn publish(&self, jobs: Vec<Job>) -> Result<()> {
        let _time = timed("queue.publish");
        self.log().check()?;
        if !jobs.is_empty() {
            // In one step with the state, so that rows and memory agree on what comes next.
            let mut state = lock(&self.state);
            let published_at = self.clock.now();
            let new = |job| Record { job, attempts: 0, lost: 0, published_at, due: 0 };
            let records: Vec<_> = jobs.into_iter().map(new).collect();
            let rows = records.iter().map(write).collect::<Result<Vec<_>>>()?;
            let mut first_id = 0;
            self.log().commit_numbered(self.log().batch(), rows.len() as u64, |batch, first| {
                first_id = first;
                for (id, row) in (first..).zip(rows) {
                    batch.insert(self.part(), key(JOB, id), row);
                }
            })?;
            for (id, record) in (first_id..).zip(records) {
                state.add(id, record);
            }
        }
        // A worker may begin before the job is durable: what it does stands after the job in the journal.
        self.wake.notify_waiters();
        self.log().sync().await
    }

    async fn lease(&self, limit: usize, time: Duration, wait: Duration) -> Result<Vec<Lease>> {
        let until = Instant::now() + wait;
        loop {
            self.log().check()?;
            // Before the look, so that nothing published after it goes unnoticed.
            let mut woken = std::pin::pin!(self.wake.notified());
            woken.as_mut().enable();
            let (leases, next) = self.take(limit.max(1), time)?;
            if !leases.is_empty() || Instant::now() >= until {
                return Ok(leases);
            }
            let next = next.map_or(until, |next| next.min(until));
            // Both a wake-up and the end of the time lead to another look.
            let _ = tokio::time::timeout_at(next, woken).await;
        }
    }

    async fn ack(&self, ids: &[u64]) -> Result<()> {
        let _time = timed("queue.ack");
        self.log().check()?;
        let mut state = lock(&self.state);
        self.advance(&mut state)?;
        let mut batch = self.log().batch();
        for &id in ids {
            if state.leased(id).is_some() {
                state.end(id);
                batch.remove(self.part(), key(JOB, id));
            }
        }
        self.commit(&mut state, batch)
    }

    async fn retry(&self, id: u64, delay: Duration) -> Result<()> {
        let _time = timed("queue.retry");
        self.log().check()?;
        {
            let mut state = lock(&self.state);
            let now = Instant::now();
            self.advance(&mut state)?;
            let Some(mut record) = state.leased(id).cloned() else { return Ok(()) };
            record.attempts += 1;
            let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            record.due = if delay.is_zero() { 0 } else { self.clock.now().saturating_add(millis) };
            let mut batch = self.log().batch();
            batch.insert(self.part(), key(JOB, id), write(&record)?);
            state.end(id);
            self.commit(&mut state, batch)?;
            state.delay(id, record, now + delay);
            self.advance(&mut state)?;
        }
        // Whoever waits counts the new time in, or takes the job.
        self.wake.notify_waiters();
        Ok(())
    }

    async fn release(&self, ids: &[u64]) -> Result<()> {
        let _time = timed("queue.release");
        self.log().check()?;
        {
            let mut state = lock(&self.state);
            self.advance(&mut state)?;
            for id in ids {
                state.release(*id);
            }
            self.commit(&mut state, self.log().batch())?;
        }
        self.wake.notify_waiters();
        Ok(())
    }

    async fn bury(&self, id: u64, reason: &str) -> Result<()> {
        let _time = timed("queue.bury");
        self.log().check()?;
        let mut state = lock(&self.state);
        self.advance(&mut state)?;
        let Some(record) = state.leased(id) else { return Ok(()) };
        let record = Record { attempts: record.attempts + 1, ..record.clone() };
        let dead = DeadRecord { record, reason: reason.to_owned(), buried_at: self.clock.now() };
        let mut batch = self.log().batch();
        batch.remove(self.part(), key(JOB, id));
        batch.insert(self.part(), key(DEAD, id), write(&dead)?);
        state.end(id);
        state.dead += 1;
        self.commit(&mut state, batch)
    }

    async fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>> {
        let _time = timed("queue.dead_letters");
        self.log().check()?;
        let Some(from) = after.checked_add(1) else { return Ok(Vec::new()) };
        let rows = self.part().range(key(DEAD, from)..=key(DEAD, u64::MAX));
        let letter = |guard: fjall::Guard| -> Result<DeadLetter> {
            let (key, value) = guard.into_inner().map_err(failed(READ))?;
            let DeadRecord { record, reason, buried_at } = read(&value)?;
            Ok(DeadLetter { id: id_of(&key), job: record.job, attempts: record.attempts, reason, buried_at })
        };
        rows.take(limit).map(letter).collect()
    }

    async fn requeue(&self, id: u64) -> Result<bool> {
        let _time = timed("queue.requeue");
        self.log().check()?;
        {
            let mut state = lock(&self.state);
            let Some(value) = self.part().get(key(DEAD, id)).map_err(failed(READ))? else { return Ok(false) };
            let DeadRecord { record, .. } = read(&value)?;
            let record = Record { attempts: 0, lost: 0, due: 0, ..record };
            let mut batch = self.log().batch();
            batch.remove(self.part(), key(DEAD, id));
            batch.insert(self.part(), key(JOB, id), write(&record)?);
            self.log().commit(batch)?;
            state.dead = state.dead.saturating_sub(1);
            state.again(id, record);
        }
        self.wake.notify_waiters();
        self.log().sync().await?;
        Ok(true)
    }

    async fn depth(&self) -> Result<Depth> {
        self.log().check()?;
        let mut state = lock(&self.state);
        self.advance(&mut state)?;
        let mut depth = state.depth();
        // The first job that is known by its row only may be the oldest. Nothing between it and the place to look
        // from was ever done, so this is one step.
        let first = |from| self.part().range(key(JOB, from)..=key(JOB, u64::MAX)).next();
        if let Some(guard) = state.unread_from().and_then(first) {
            let record: Record = read(&guard.value().map_err(failed(READ))?)?;
            depth.oldest =
                Some(depth.oldest.map_or(record.published_at, |oldest| oldest.min(record.published_at)));
        }
        Ok(depth)
    }
}

fn key(kind: u8, id: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn id_of(key: &[u8]) -> u64 {
    key.get(1..).map_or(0, read_number)
}

/// The kinds of jobs are told apart by their order in [`Job`]: new ones come last.
fn write<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|error| Error::permanent("a job was not written", error))
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T> {
    postcard::from_bytes(value).map_err(|_| Error::Damaged { what: "a job" })
}
