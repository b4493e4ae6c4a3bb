//! WHAT IS STORED: the nouns, the five traits that a backend implements, and what is built on them.
//!
//! A backend keeps rows, blobs, postings, jobs and passing values; it sees ids, numbers, keyed hashes and sealed octets.
//! What is written, in which order and under which key is decided here, once for both backends: [`Instance`] for what
//! belongs to all, [`Account`] for what belongs to one account.

mod activity;
mod address;
mod backend;
mod blobs;
mod cache;
mod change;
mod clock;
mod compression;
pub mod contract;
mod counts;
mod credential;
mod deletion;
mod delivery;
mod directory;
mod domains;
mod entry;
mod error;
mod foreseen;
mod housekeeping;
mod ids;
pub mod index;
mod indexing;
mod instance;
mod keyring;
mod listings;
mod locks;
mod mailbox;
mod mailboxes;
mod message;
mod messages;
mod news;
mod node;
mod nodes;
mod opened;
mod password;
mod periodic;
mod progress;
mod queue;
mod quota;
mod remembered;
mod restoring;
mod states;
pub mod step;
mod store;
mod table;
mod thread;
mod turn;
mod value;

pub use address::normal_address;
pub use backend::Backend;
pub use blobs::{BlobStore, Chunks, Written};
pub use cache::Cache;
pub use change::{Change, ChangeKind, ChangePage, Position};
pub use clock::{Clock, ManualClock, SystemClock};
pub use credential::{NewSession, Session};
pub use delivery::{Arrival, Incoming, Kept};
pub use directory::{AccountInfo, Purged, Recipient};
pub use domains::Domain;
pub use entry::Entry;
pub use error::{Error, Result};
pub use ids::{AccountId, DiscussionId, InvalidId, MailboxId, MessageId, NodeId, ThreadId, uuid_v8};
pub use index::SearchIndex;
pub use indexing::Source;
pub use instance::{Account, Instance, Settings};
pub use listings::{ActivityPage, Discussion, Thread};
pub use mail::Language;
pub use mailbox::{Mailbox, Role, Totals};
pub use mailboxes::MailboxDeleted;
pub use message::{Envelope, KEYWORDS, Message, MessageRow, Patched, State, StatePatch, is_keyword};
pub use messages::{ListFilter, MessagePage};
pub use news::Watchers;
pub use node::{About, Busy, Load, LocalNode, Work};
pub use nodes::{Node, TOLD_EVERY, count_living_nodes};
pub use periodic::{Counts, Due, LastRun, Lookout, PERIODIC_SIGN, PeriodicJob, Run, Turning};
pub use progress::Progress;
pub use queue::{DeadLetter, Depth, Job, JobQueue, LOST_LEASES, Lease};
pub use restoring::Remains;
pub use states::Deleted;
pub use store::{Durability, MailStore, Partitions, Write};
pub use table::{List, ListPosition, Row, RowKey, Scan, Table, pair};

/// Milliseconds since 1970-01-01T00:00:00Z, never negative.
pub type Millis = u64;
