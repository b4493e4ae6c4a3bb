//! What the process knows about its jobs beyond their rows.

use std::collections::{BTreeSet, HashMap};

use schema::{Depth, LOST_LEASES, Lease};
use tokio::time::Instant;

use super::{READY, Record};

/// Of jobs that were leased when a process died, one in this many is leased at once the next time.
const FEW: usize = 8;

/// How a job is handed out. A job may be what ended the process that held it, and all that were leased beside it are
/// under suspicion; so that they are not given up with it, the circle grows smaller with each loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    /// No lease of it was lost: with many others.
    Batch,
    /// One was: with a few of its kind.
    Few,
    /// More were: by itself, and while it is held no other of its kind is.
    Alone,
}

impl Manner {
    fn of(record: &Record) -> Self {
        match record.lost {
            0 => Self::Batch,
            1 => Self::Few,
            _ => Self::Alone,
        }
    }
}

/// Where a job in memory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    Delayed(Instant),
    Leased {
        until: Instant,
        /// The number of the hold.
        hold: u64,
    },
}

/// Every job is either here, in one place, or it is unread: known by its row only and counted.
#[derive(Default)]
pub(super) struct State {
    jobs: HashMap<u64, (Record, Place)>,
    ready: BTreeSet<(Manner, u64)>,
    delayed: BTreeSet<(Instant, u64)>,
    leased: BTreeSet<(Instant, u64)>,
    /// By id, for the oldest.
    ids: BTreeSet<u64>,
    /// The first unread id and how many there are from it on. Ids in memory may lie among them.
    unread: Option<(u64, u64)>,
    /// Jobs that were leased together and are leased still, by the number of the hold.
    holds: HashMap<u64, BTreeSet<u64>>,
    last_hold: u64,
    /// Holds whose rows say something else.
    changed_holds: BTreeSet<u64>,
    /// The job that is leased by itself.
    alone: Option<u64>,
    /// Dead letters.
    pub(super) dead: u64,
}

impl State {
    /// A job that is new, with an id above all others.
    pub(super) fn add(&mut self, id: u64, record: Record) {
        match &mut self.unread {
            Some((_, count)) => *count += 1,
            None if self.ready.len() >= READY => self.unread = Some((id, 1)),
            None => self.place(id, record, Place::Ready),
        }
    }

    /// A job that may be leased at `due`.
    pub(super) fn delay(&mut self, id: u64, record: Record, due: Instant) {
        self.place(id, record, Place::Delayed(due));
    }

    /// A job that was dead.
    pub(super) fn again(&mut self, id: u64, record: Record) {
        // Where unread rows will be read it would be met again; until then it is one of them.
        match &mut self.unread {
            Some((from, count)) if *from <= id => *count += 1,
            _ => self.place(id, record, Place::Ready),
        }
    }

    /// A job whose row was met while reading ahead.
    pub(super) fn read(&mut self, id: u64, record: Record) {
        let known = self.jobs.contains_key(&id);
        if let Some((from, count)) = &mut self.unread {
            *from = id + 1;
            *count = if known { *count } else { count.saturating_sub(1) };
        }
        if !known {
            self.place(id, record, Place::Ready);
        }
    }

    /// Every row has been read.
    pub(super) fn all_read(&mut self) {
        self.unread = None;
    }

    /// Where reading ahead goes on.
    pub(super) fn unread_from(&self) -> Option<u64> {
        self.unread.map(|(from, _)| from)
    }

    /// Whether [`State::lease`] would give a job.
    pub(super) fn can_lease(&self) -> bool {
        match self.ready.first() {
            Some((Manner::Alone, _)) => self.alone.is_none(),
            first => first.is_some(),
        }
    }

    /// Makes ready what is due, and takes back what was held for too long: that counts. Those it returns, as they are
    /// now; one that was lost too often is a dead letter from here on.
    pub(super) fn advance(&mut self, now: Instant) -> Vec<(u64, Record)> {
        while let Some(&(due, id)) = self.delayed.first().filter(|(due, _)| *due <= now) {
            self.delayed.remove(&(due, id));
            self.make_ready(id);
        }
        let mut lost = Vec::new();
        while let Some(&(_, id)) = self.leased.first().filter(|(until, _)| *until <= now) {
            let Some(mut record) = self.end(id) else { continue };
            record.lose();
            if record.is_given_up() {
                self.dead += 1;
            } else {
                self.place(id, record.clone(), Place::Ready);
            }
            lost.push((id, record));
        }
        lost
    }

    /// Hands out up to `limit` jobs until `until`, lowest ids first.
    pub(super) fn lease(&mut self, limit: usize, until: Instant) -> Vec<Lease> {
        let mut leases = Vec::new();
        let Some(&(manner, first)) = self.ready.first().filter(|_| self.can_lease()) else { return leases };
        self.last_hold += 1;
        let hold = self.last_hold;
        let limit = match manner {
            Manner::Batch => limit,
            Manner::Few => (limit / FEW).max(1),
            Manner::Alone => {
                self.alone = Some(first);
                1
            }
        };
        while leases.len() < limit {
            let Some(&(_, id)) = self.ready.first().filter(|(other, _)| *other == manner) else { break };
            self.ready.remove(&(manner, id));
            let Some((record, place)) = self.jobs.get_mut(&id) else { continue };
            *place = Place::Leased { until, hold };
            self.leased.insert((until, id));
            leases.push(Lease {
                id,
                job: record.job,
                attempts: record.attempts,
                published_at: record.published_at,
            });
        }
        self.holds.insert(hold, leases.iter().map(|lease| lease.id).collect());
        self.changed_holds.insert(hold);
        leases
    }

    /// When [`State::advance`] will next find something.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, u64)>| set.first().map(|(at, _)| *at);
        first(&self.delayed).into_iter().chain(first(&self.leased)).min()
    }

    /// The job, if it is leased.
    pub(super) fn leased(&self, id: u64) -> Option<&Record> {
        match self.jobs.get(&id) {
            Some((record, Place::Leased { .. })) => Some(record),
            _ => None,
        }
    }

    /// Forgets a job.
    pub(super) fn end(&mut self, id: u64) -> Option<Record> {
        let (record, place) = self.jobs.remove(&id)?;
        self.ids.remove(&id);
        self.leave(id, &record, place);
        Some(record)
    }

    /// Makes a leased job ready, as if it had not been leased.
    pub(super) fn release(&mut self, id: u64) {
        if let Some((record, place @ Place::Leased { .. })) = self.jobs.get(&id).cloned() {
            self.leave(id, &record, place);
            self.make_ready(id);
        }
    }

    /// Holds that have changed since the last call, with the ids of their jobs; without any where the hold has ended.
    pub(super) fn take_changed_holds(&mut self) -> Vec<(u64, Vec<u64>)> {
        let changed = std::mem::take(&mut self.changed_holds);
        let ids = |hold| self.holds.get(&hold).into_iter().flatten().copied().collect();
        changed.into_iter().map(|hold| (hold, ids(hold))).collect()
    }

    pub(super) fn depth(&self) -> Depth {
        let oldest = self.ids.first().and_then(|id| self.jobs.get(id)).map(|(record, _)| record.published_at);
        Depth {
            ready: self.ready.len() as u64 + self.unread.map_or(0, |(_, count)| count),
            delayed: self.delayed.len() as u64,
            leased: self.leased.len() as u64,
            dead: self.dead,
            oldest,
        }
    }

    fn make_ready(&mut self, id: u64) {
        if let Some((record, place)) = self.jobs.get_mut(&id) {
            *place = Place::Ready;
            self.ready.insert((Manner::of(record), id));
        }
    }

    fn place(&mut self, id: u64, record: Record, place: Place) {
        match place {
            Place::Ready => self.ready.insert((Manner::of(&record), id)),
            Place::Delayed(due) => self.delayed.insert((due, id)),
            Place::Leased { until, .. } => self.leased.insert((until, id)),
        };
        self.ids.insert(id);
        self.jobs.insert(id, (record, place));
    }

    fn leave(&mut self, id: u64, record: &Record, place: Place) {
        match place {
            Place::Ready => {
                self.ready.remove(&(Manner::of(record), id));
            }
            Place::Delayed(due) => {
                self.delayed.remove(&(due, id));
            }
            Place::Leased { until, hold } => {
                self.leased.remove(&(until, id));
                if self.alone == Some(id) {
                    self.alone = None;
                }
                if let Some(left) = self.holds.get_mut(&hold) {
                    left.remove(&id);
                    if left.is_empty() {
                        self.holds.remove(&hold);
                    }
                    self.changed_holds.insert(hold);
                }
            }
        }
    }
}

impl Record {
    /// Counts a lease that its holder did not end.
    pub(super) fn lose(&mut self) {
        self.attempts += 1;
        self.lost += 1;
    }

    /// Whether so many were lost that it is a dead letter.
    pub(super) fn is_given_up(&self) -> bool {
        self.lost >= LOST_LEASES
    }
}
