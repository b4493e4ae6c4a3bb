//! What can go wrong before anything is served.

/// Why the cluster cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A server does not answer, or not yet. The same start may succeed later.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// Which.
        server: &'static str,
        /// What was seen.
        reason: String,
    },
    /// A server refuses us, or lacks what it must have: somebody has to change the configuration or the server.
    #[error("{server}: {reason}")]
    Unusable {
        /// Which.
        server: &'static str,
        /// What is wrong and what helps.
        reason: String,
    },
}
