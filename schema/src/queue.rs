//! Jobs: background work that is done at least once.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{AccountId, MessageId, Millis, Result, ThreadId};

/// Background work. It carries ids only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Job {
    /// Put a message into the search index.
    IndexMessage {
        /// Whose.
        account: AccountId,
        /// Which.
        message: MessageId,
    },
    /// Take a message that was finally deleted out of the search index and the blobs.
    RemoveMessage {
        /// Whose.
        account: AccountId,
        /// Which.
        message: MessageId,
    },
    /// Move the messages of a thread that became part of another.
    CompressThread {
        /// Whose.
        account: AccountId,
        /// The thread that is an alias now.
        thread: ThreadId,
    },
    /// Take away what is left of an account whose key is destroyed.
    PurgeAccount {
        /// Whose.
        account: AccountId,
    },
}

impl Job {
    /// The job's name in metrics and listings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::IndexMessage { .. } => "index_message",
            Self::RemoveMessage { .. } => "remove_message",
            Self::CompressThread { .. } => "compress_thread",
            Self::PurgeAccount { .. } => "purge_account",
        }
    }

    /// Whose job it is.
    pub fn account(&self) -> AccountId {
        match *self {
            Self::IndexMessage { account, .. }
            | Self::RemoveMessage { account, .. }
            | Self::CompressThread { account, .. }
            | Self::PurgeAccount { account } => account,
        }
    }
}

/// Leases of one job that may be lost before it is given up. A lease is lost if nobody ends it: its time is over, or
/// its process is.
pub const LOST_LEASES: u32 = 20;

/// One worker's hold on a job. It ends with ack, retry, bury or release, or by itself when its time is over, and then
/// another worker gets the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Which published job.
    pub id: u64,
    /// What to do.
    pub job: Job,
    /// How often it has been leased before: 0 the first time.
    pub attempts: u32,
    /// When it was first published.
    pub published_at: Millis,
}

/// A job that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Which published job.
    pub id: u64,
    /// What was to be done.
    pub job: Job,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it was given up, without personal data.
    pub reason: String,
    /// When it was given up.
    pub buried_at: Millis,
}

/// How much work there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Depth {
    /// Jobs that could be leased now.
    pub ready: u64,
    /// Jobs that wait for their retry.
    pub delayed: u64,
    /// Jobs that a worker holds.
    pub leased: u64,
    /// Jobs that were given up.
    pub dead: u64,
    /// When the oldest job that is not dead was published.
    pub oldest: Option<Millis>,
}

/// The queue. Jobs are leased roughly in the order of their publication.
#[async_trait]
pub trait JobQueue: Send + Sync {
    /// Adds jobs; durable when it returns, together with everything this process wrote before.
    async fn publish(&self, jobs: Vec<Job>) -> Result<()>;

    /// Takes up to `limit` jobs for `time`, waiting up to `wait` for the first one. Empty if none came.
    ///
    /// A lost lease counts as an attempt, and the count outlives the process; a job that has lost [`LOST_LEASES`] is a
    /// dead letter. It may have been any of those that were leased together: a queue hands them out in smaller numbers
    /// then, so that one that ends the process does not take others with it.
    async fn lease(&self, limit: usize, time: Duration, wait: Duration) -> Result<Vec<Lease>>;

    /// The jobs are done. An id whose lease is over is ignored.
    async fn ack(&self, ids: &[u64]) -> Result<()>;

    /// Gives a job back, to be leased again after `delay`, with one more attempt on its count.
    async fn retry(&self, id: u64, delay: Duration) -> Result<()>;

    /// Gives jobs back at once, as if they had not been leased.
    async fn release(&self, ids: &[u64]) -> Result<()>;

    /// Gives a job up: it becomes a dead letter.
    async fn bury(&self, id: u64, reason: &str) -> Result<()>;

    /// Dead letters with ids above `after`, ascending, at most `limit`.
    async fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>>;

    /// Makes a dead letter a job again, with no attempts on its count. False if there is none with that id.
    async fn requeue(&self, id: u64) -> Result<bool>;

    /// How much work there is.
    async fn depth(&self) -> Result<Depth>;
}
