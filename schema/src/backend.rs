//! The five traits together.

use std::sync::Arc;
use std::time::Duration;

use crate::blobs::BlobStore;
use crate::cache::Cache;
use crate::index::SearchIndex;
use crate::queue::JobQueue;
use crate::store::MailStore;

/// Where everything is kept: embedded or cluster.
#[derive(Clone)]
pub struct Backend {
    /// Rows.
    pub store: Arc<dyn MailStore>,
    /// Messages as received.
    pub blobs: Arc<dyn BlobStore>,
    /// Blind search.
    pub index: Arc<dyn SearchIndex>,
    /// Background work.
    pub queue: Arc<dyn JobQueue>,
    /// What may be forgotten.
    pub cache: Arc<dyn Cache>,
    /// Whether other processes work on it too, so that what this one remembers may not be so any more.
    pub is_shared: bool,
    /// How far the clocks of any two of these processes may be apart: who finds its own further off writes nothing.
    pub clocks_apart: Duration,
}
