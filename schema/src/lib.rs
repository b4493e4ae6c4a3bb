//! WHAT IS STORED: the nouns, the five traits that a backend implements, and what is built on them.

mod backend;
mod blobs;
mod cache;
mod change;
mod clock;
pub mod contract;
mod error;
mod ids;
pub mod index;
mod queue;
mod store;
mod table;

pub use backend::Backend;
pub use blobs::BlobStore;
pub use cache::Cache;
pub use change::{Change, ChangeKind, ChangePage, Position};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
pub use ids::{AccountId, DiscussionId, InvalidId, MailboxId, MessageId, ThreadId, uuid_v8};
pub use index::SearchIndex;
pub use queue::{DeadLetter, Depth, Job, JobQueue, Lease};
pub use store::{Durability, MailStore, Write};
pub use table::{List, ListPosition, Row, RowKey, Scan, Table, pair};

/// Milliseconds since 1970-01-01T00:00:00Z, never negative.
pub type Millis = u64;
