//! WHAT IS STORED: the nouns, the five traits that a backend implements, and what is built on them.

mod error;
mod ids;
pub mod index;

pub use error::{Error, Result};
pub use ids::{AccountId, DiscussionId, InvalidId, MailboxId, MessageId, ThreadId};
pub use index::SearchIndex;

/// Milliseconds since 1970-01-01T00:00:00Z, never negative.
pub type Millis = u64;
