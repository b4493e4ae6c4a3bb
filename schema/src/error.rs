//! What can fail below the three edges (LMTP, workers, API), which translate it.

use std::error::Error as StdError;

/// A result of the store, the blobs, the index, the queue or the cache.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call on a backend or on what is built on it failed. A look-up that finds nothing is an `Option`, not an error.
/// No variant carries personal data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server, disk or file did not do what was asked. `transient` says whether the same call may succeed later.
    #[error("{what}")]
    Backend {
        /// What was attempted, without personal data.
        what: &'static str,
        /// Decided once, in the backend.
        transient: bool,
        /// The library's own error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Something sealed did not open: it was changed, moved, or belongs to another key.
    #[error("{what} does not open")]
    Sealed {
        /// Which value, by its table.
        what: &'static str,
    },
    /// A stored value opened but does not have the form this version writes.
    #[error("{what} is not in a form this version reads")]
    Damaged {
        /// Which value, by its table.
        what: &'static str,
    },
    /// The state has moved on since the caller read it, or the name is taken.
    #[error("{what}")]
    Conflict {
        /// What is in the way, without personal data.
        what: &'static str,
    },
    /// The request cannot be carried out as it is.
    #[error("{what}")]
    Refused {
        /// Why, without personal data.
        what: &'static str,
    },
    /// A cursor of the change feed is older than what the feed still holds: start again from a fresh listing.
    #[error("the cursor is older than the change feed")]
    CursorExpired,
    /// A limit of the configuration is met.
    #[error("{what} is at its limit")]
    Limit {
        /// Which limit.
        what: &'static str,
    },
}

impl Error {
    /// What failed and, as far as they say more, its causes: for logs and for who operates.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        text
    }

    /// A backend's failure that may pass by itself.
    pub fn transient(what: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Backend { what, transient: true, source: source.into() }
    }

    /// A backend's failure that the same call will meet again.
    pub fn permanent(what: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Backend { what, transient: false, source: source.into() }
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Backend { transient: true, .. })
    }
}
