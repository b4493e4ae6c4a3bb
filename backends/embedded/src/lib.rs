//! The embedded backend: one directory, one process, one sync for whatever is written together.
//!
//! Rows, blobs, jobs and the search index are parts of one fjall database; what may be forgotten is in memory.
//! `Embedded` opens it, [`Embedded::backend`] gives the five traits.

mod backup;
mod blobs;
mod cache;
mod calls;
mod database;
pub mod index;
mod journal;
mod log;
mod options;
mod parts;
mod queue;
mod settle;
mod store;

pub use backup::{BackupError, restore};
pub use database::{Embedded, OpenError};
pub use options::Options;
