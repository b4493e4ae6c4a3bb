//! What the process knows about its jobs beyond their rows.

use std::collections::{BTreeSet, HashMap};

use schema::{Depth, Lease};
use tokio::time::Instant;

use super::{READY, Record};

/// Where a job in memory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    Delayed(Instant),
    Leased(Instant),
}

/// Every job is either here, in one place, or it is unread: known by its row only and counted.
#[derive(Default)]
pub(super) struct State {
    jobs: HashMap<u64, (Record, Place)>,
    ready: BTreeSet<u64>,
    delayed: BTreeSet<(Instant, u64)>,
    leased: BTreeSet<(Instant, u64)>,
    /// By id, for the oldest.
    ids: BTreeSet<u64>,
    /// The first unread id and how many there are from it on. Ids in memory may lie among them.
    unread: Option<(u64, u64)>,
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

    pub(super) fn ready_in_memory(&self) -> usize {
        self.ready.len()
    }

    /// Makes ready what is due, and what was held for too long: that counts as an attempt.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.delayed.first().filter(|(due, _)| *due <= now) {
            self.delayed.remove(&(due, id));
            self.make_ready(id, 0);
        }
        while let Some(&(until, id)) = self.leased.first().filter(|(until, _)| *until <= now) {
            self.leased.remove(&(until, id));
            self.make_ready(id, 1);
        }
    }

    /// Hands out up to `limit` jobs until `until`, lowest ids first.
    pub(super) fn lease(&mut self, limit: usize, until: Instant) -> Vec<Lease> {
        let mut leases = Vec::new();
        while leases.len() < limit {
            let Some(id) = self.ready.pop_first() else { break };
            let Some((record, place)) = self.jobs.get_mut(&id) else { continue };
            *place = Place::Leased(until);
            self.leased.insert((until, id));
            leases.push(Lease {
                id,
                job: record.job,
                attempts: record.attempts,
                published_at: record.published_at,
            });
        }
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
            Some((record, Place::Leased(_))) => Some(record),
            _ => None,
        }
    }

    pub(super) fn is_leased(&self, id: u64) -> bool {
        self.leased(id).is_some()
    }

    /// Forgets a job.
    pub(super) fn end(&mut self, id: u64) {
        let Some((_, place)) = self.jobs.remove(&id) else { return };
        self.ids.remove(&id);
        match place {
            Place::Ready => self.ready.remove(&id),
            Place::Delayed(due) => self.delayed.remove(&(due, id)),
            Place::Leased(until) => self.leased.remove(&(until, id)),
        };
    }

    /// Makes a leased job ready, as if it had not been leased.
    pub(super) fn release(&mut self, id: u64) {
        if let Some((_, Place::Leased(until))) = self.jobs.get(&id) {
            let until = *until;
            self.leased.remove(&(until, id));
            self.make_ready(id, 0);
        }
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

    fn make_ready(&mut self, id: u64, attempts: u32) {
        if let Some((record, place)) = self.jobs.get_mut(&id) {
            record.attempts += attempts;
            *place = Place::Ready;
            self.ready.insert(id);
        }
    }

    fn place(&mut self, id: u64, record: Record, place: Place) {
        match place {
            Place::Ready => self.ready.insert(id),
            Place::Delayed(due) => self.delayed.insert((due, id)),
            Place::Leased(until) => self.leased.insert((until, id)),
        };
        self.ids.insert(id);
        self.jobs.insert(id, (record, place));
    }
}
