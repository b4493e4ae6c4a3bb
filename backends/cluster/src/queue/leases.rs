//! What this process holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use schema::{Lease, Millis};
use tokio::time::Instant;

use super::message::Message;
use super::receipt::Receipt;
use super::session::Session;

/// A job that has lost so many leases is leased by itself, and while it is held no other of its kind is: it may be what
/// ends the process. One lease is lost by every job that is held when the connection breaks, or beside such a job, and
/// says nothing yet.
const SUSPECT: u32 = 2;

/// A job that was delivered.
#[derive(Clone)]
pub(super) struct Delivered {
    pub(super) message: Message,
    pub(super) receipt: Receipt,
}

struct Held {
    delivered: Delivered,
    until: Instant,
    /// It is on its way elsewhere: nobody else may end it.
    moving: bool,
}

/// What a lease does next.
pub(super) enum Step {
    /// Here is the job.
    Take(Lease),
    /// Up to so many are asked for.
    Fetch(u16),
    /// Nothing, until a lease ends.
    Wait,
}

/// Leases by their ids.
#[derive(Default)]
pub(super) struct Leases {
    last_id: u64,
    held: HashMap<u64, Held>,
    ends: BTreeSet<(Instant, u64)>,
    /// The suspect that is leased.
    alone: Option<u64>,
    /// A suspect that came with others and waits for its turn.
    kept: Option<Delivered>,
    /// The last job to come was none that is suspect.
    confident: bool,
}

impl Leases {
    /// What comes next when up to `limit` jobs are wanted until `until`.
    pub(super) fn step(&mut self, limit: u16, until: Instant) -> Step {
        if self.alone.is_none() {
            if let Some(kept) = self.kept.take() {
                return Step::Take(self.add_alone(kept, until));
            }
        } else if !self.confident {
            return Step::Wait;
        }
        // One by one while what comes may be suspect: what is not asked for does not count as lost with the process.
        Step::Fetch(if self.confident { limit } else { 1 })
    }

    /// Whether many may be asked for at once.
    pub(super) fn is_confident(&self) -> bool {
        self.confident
    }

    /// Leases what came, and gives back what may not be leased beside it.
    pub(super) fn add(&mut self, delivered: Vec<Delivered>, until: Instant) -> (Vec<Lease>, Vec<Delivered>) {
        let (suspects, others): (Vec<_>, Vec<_>) =
            delivered.into_iter().partition(|delivered| delivered.message.lost >= SUSPECT);
        if !suspects.is_empty() || !others.is_empty() {
            self.confident = suspects.is_empty();
        }
        let mut leases: Vec<_> = others.into_iter().map(|delivered| self.insert(delivered, until)).collect();
        let mut left = Vec::new();
        for suspect in suspects {
            if leases.is_empty() && self.alone.is_none() {
                leases.push(self.add_alone(suspect, until));
            } else if self.kept.is_none() {
                self.kept = Some(suspect);
            } else {
                left.push(suspect);
            }
        }
        (leases, left)
    }

    fn add_alone(&mut self, delivered: Delivered, until: Instant) -> Lease {
        let lease = self.insert(delivered, until);
        self.alone = Some(lease.id);
        lease
    }

    fn insert(&mut self, delivered: Delivered, until: Instant) -> Lease {
        self.last_id += 1;
        let id = self.last_id;
        let Message { job, attempts, published_at, .. } = delivered.message;
        self.ends.insert((until, id));
        self.held.insert(id, Held { delivered, until, moving: false });
        Lease { id, job, attempts, published_at }
    }

    /// Begins to move a job elsewhere: from here to [`Leases::end`] or [`Leases::stay`] it is leased still, and nobody
    /// else can end it. `None` if its lease is over.
    pub(super) fn begin_move(&mut self, id: u64) -> Option<Delivered> {
        let held = self.held.get_mut(&id).filter(|held| !held.moving)?;
        held.moving = true;
        Some(held.delivered.clone())
    }

    /// A job that was to be moved stays where it was.
    pub(super) fn stay(&mut self, id: u64) {
        if let Some(held) = self.held.get_mut(&id) {
            held.moving = false;
            self.ends.insert((held.until, id));
        }
    }

    /// Ends a lease that nobody is moving.
    pub(super) fn end_unmoved(&mut self, id: u64) -> Option<Delivered> {
        self.held.get(&id).filter(|held| !held.moving)?;
        self.end(id)
    }

    /// Ends a lease.
    pub(super) fn end(&mut self, id: u64) -> Option<Delivered> {
        let held = self.held.remove(&id)?;
        self.ends.remove(&(held.until, id));
        if self.alone == Some(id) {
            self.alone = None;
        }
        Some(held.delivered)
    }

    /// Begins to move the jobs whose time is over.
    pub(super) fn begin_expiry(&mut self, now: Instant) -> Vec<(u64, Delivered)> {
        let mut expired = Vec::new();
        while let Some(&(until, id)) = self.ends.first().filter(|(until, _)| *until <= now) {
            // One that is being moved is looked at again if it stays.
            self.ends.remove(&(until, id));
            expired.extend(self.begin_move(id).map(|delivered| (id, delivered)));
        }
        expired
    }

    /// When [`Leases::begin_expiry`] will next find something.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Forgets what came by a connection that broke: RabbitMQ delivers it again.
    pub(super) fn forget(&mut self, session: &Arc<Session>) {
        let lost = |delivered: &Delivered| Arc::ptr_eq(delivered.receipt.session(), session);
        let ids: Vec<_> =
            self.held.iter().filter(|(_, held)| lost(&held.delivered)).map(|(id, _)| *id).collect();
        for id in ids {
            self.end(id);
        }
        self.kept.take_if(|kept| lost(kept));
    }

    /// Takes the job that waits for its turn.
    pub(super) fn take_kept(&mut self) -> Option<Delivered> {
        self.kept.take()
    }

    /// How many are leased.
    pub(super) fn leased(&self) -> u64 {
        self.held.len() as u64
    }

    /// How many wait for their turn.
    pub(super) fn waiting(&self) -> u64 {
        self.kept.iter().len() as u64
    }

    /// When the oldest job here was published.
    pub(super) fn oldest(&self) -> Option<Millis> {
        let here = self.held.values().map(|held| &held.delivered).chain(&self.kept);
        here.map(|delivered| delivered.message.published_at).min()
    }
}
