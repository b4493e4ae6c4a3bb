//! When a request to Cassandra is sent again.

use scylla::errors::{DbError, RequestAttemptError};
use scylla::policies::retry::{
    DefaultRetryPolicy, FallthroughRetryPolicy, RequestInfo, RetryDecision, RetryPolicy, RetrySession,
};

/// How often a statement that the server does not know is prepared again, beyond the once that the driver does by itself.
const PREPARATIONS: u32 = 8;

/// Sends a request again whose statement the server has forgotten, and otherwise does what `others` says.
///
/// Cassandra forgets statements when a table changes, and for a moment while another session prepares the same text
/// (`QueryProcessor.prepare` takes a statement out before it stores it again). A request that names such a statement was
/// not carried out, so that also one that is not idempotent may be repeated.
#[derive(Debug)]
pub(super) struct PrepareAgain<P> {
    others: P,
}

impl PrepareAgain<DefaultRetryPolicy> {
    /// For statements that may be repeated.
    pub(super) fn or_repeat() -> Self {
        Self { others: DefaultRetryPolicy::new() }
    }
}

impl PrepareAgain<FallthroughRetryPolicy> {
    /// For statements that are carried out once.
    pub(super) fn only() -> Self {
        Self { others: FallthroughRetryPolicy::new() }
    }
}

impl<P: RetryPolicy> RetryPolicy for PrepareAgain<P> {
    fn new_session(&self) -> Box<dyn RetrySession> {
        Box::new(PrepareAgainSession { left: PREPARATIONS, others: self.others.new_session() })
    }
}

struct PrepareAgainSession {
    left: u32,
    others: Box<dyn RetrySession>,
}

impl RetrySession for PrepareAgainSession {
    fn decide_should_retry(&mut self, request: RequestInfo) -> RetryDecision {
        let is_forgotten =
            matches!(request.error, RequestAttemptError::DbError(DbError::Unprepared { .. }, _));
        match (is_forgotten, self.left.checked_sub(1)) {
            (true, Some(left)) => {
                self.left = left;
                RetryDecision::RetrySameTarget(None)
            }
            _ => self.others.decide_should_retry(request),
        }
    }

    fn reset(&mut self) {
        self.left = PREPARATIONS;
        self.others.reset();
    }
}
