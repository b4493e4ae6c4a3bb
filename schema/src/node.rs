//! This process among the nodes: what it is doing, and whether it is to take on anything more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Millis, Node, NodeId};

/// What does not change from a process's start to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What it does: `all`, `lmtp`, `workers` or `api`.
    pub role: String,
    /// The name of its machine.
    pub host: String,
    /// The program's version.
    pub version: String,
    /// The version of the tables that it reads and writes, where they have one.
    pub schema_version: Option<u32>,
    /// Its listeners by name, and where each is reached.
    pub listeners: Vec<(String, String)>,
}

/// What a process can be busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A connection that brings mail.
    Session,
    /// A client's call.
    Call,
    /// A job that is leased, or a periodic one.
    Job,
}

/// How much of each a process is busy with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Connections that bring mail.
    pub sessions: u64,
    /// Calls of clients.
    pub calls: u64,
    /// Jobs.
    pub jobs: u64,
}

impl Load {
    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

/// This process. It drains when it is asked to, and stays then, idle, until it is stopped or asked to go on.
#[derive(Debug)]
pub struct LocalNode {
    id: NodeId,
    about: About,
    started_at: Millis,
    stop: CancellationToken,
    /// Cancelled while the process drains, and once it is to stop.
    leaving: watch::Sender<CancellationToken>,
    sessions: AtomicU64,
    calls: AtomicU64,
    jobs: AtomicU64,
}

/// Work that a process is busy with until this is dropped.
#[derive(Debug)]
pub struct Busy {
    node: Arc<LocalNode>,
    work: Work,
    amount: u64,
}

impl LocalNode {
    /// A process that starts now, and ends once `stop` is cancelled.
    pub fn new(about: About, started_at: Millis, stop: CancellationToken) -> Arc<Self> {
        let leaving = watch::Sender::new(stop.child_token());
        Arc::new(Self {
            id: NodeId::random(),
            about,
            started_at,
            stop,
            leaving,
            sessions: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
        })
    }

    /// One that nobody knows anything about.
    pub fn unnamed(stop: CancellationToken) -> Arc<Self> {
        Self::new(About::default(), 0, stop)
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Cancelled once the process is to end.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled once the process is to begin nothing more, because it drains or ends. Where it goes on after a drain,
    /// that is another one.
    pub fn leaving(&self) -> CancellationToken {
        self.leaving.borrow().clone()
    }

    /// Whether it is to begin nothing more.
    pub fn is_leaving(&self) -> bool {
        self.leaving.borrow().is_cancelled()
    }

    /// Says whether it is to drain; whether that is news.
    pub fn set_draining(&self, is_draining: bool) -> bool {
        if self.is_leaving() == is_draining || self.stop.is_cancelled() {
            return false;
        }
        match is_draining {
            true => self.leaving().cancel(),
            false => drop(self.leaving.send_replace(self.stop.child_token())),
        }
        true
    }

    /// Returns once it takes on work; never, if it is to end.
    pub async fn until_staying(&self) {
        // The sender is ours, so it is never gone.
        let _ = self.leaving.subscribe().wait_for(|leaving| !leaving.is_cancelled()).await;
    }

    fn count(&self, work: Work) -> &AtomicU64 {
        match work {
            Work::Session => &self.sessions,
            Work::Call => &self.calls,
            Work::Job => &self.jobs,
        }
    }

    /// Counts `amount` pieces of work until what it returns is dropped.
    pub fn begin(self: &Arc<Self>, work: Work, amount: u64) -> Busy {
        self.count(work).fetch_add(amount, Ordering::AcqRel);
        Busy { node: self.clone(), work, amount }
    }

    /// What it is busy with.
    pub fn load(&self) -> Load {
        let of = |work| self.count(work).load(Ordering::Acquire);
        Load { sessions: of(Work::Session), calls: of(Work::Call), jobs: of(Work::Job) }
    }

    /// What it has to tell of itself at `now`.
    pub fn tell(&self, now: Millis) -> Node {
        Node {
            id: self.id,
            about: self.about.clone(),
            started_at: self.started_at,
            told_at: now,
            is_draining: self.is_leaving(),
            load: self.load(),
            is_asked: false,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.node.count(self.work).fetch_sub(self.amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_ends_what_began_before_it_and_not_what_began_after_it() {
        let stop = CancellationToken::new();
        let node = LocalNode::unnamed(stop.clone());
        let before = node.leaving();
        node.until_staying().await;
        assert!(node.set_draining(true) && !node.set_draining(true));
        assert!(before.is_cancelled() && node.is_leaving() && !stop.is_cancelled());
        let resumed = tokio::spawn({
            let node = node.clone();
            async move { node.until_staying().await }
        });
        assert!(node.set_draining(false) && !node.set_draining(false));
        resumed.await.unwrap();
        assert!(before.is_cancelled() && !node.is_leaving());
        stop.cancel();
        assert!(node.is_leaving() && !node.set_draining(false) && node.is_leaving());
    }

    #[test]
    fn work_counts_until_it_ends() {
        let node = LocalNode::unnamed(CancellationToken::new());
        let (jobs, call) = (node.begin(Work::Job, 7), node.begin(Work::Call, 1));
        assert_eq!(node.load(), Load { sessions: 0, calls: 1, jobs: 7 });
        drop(jobs);
        assert!(!node.load().is_idle());
        drop(call);
        assert!(node.load().is_idle());
    }
}
