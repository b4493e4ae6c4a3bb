//! Calls that meet a moment without connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use scylla::errors::{ExecutionError, PrepareError, RequestAttemptError};
use tokio::time::{Instant, sleep};

/// How long a call waits for a connection where all have been given up. The driver makes a new one at once; where that
/// takes longer the server is away, which who asks should be told.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the call is made meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Even if it was carried out.
    Always,
    /// Only if it was never sent.
    Unsent,
}

/// What calls know of the server.
#[derive(Debug, Default)]
pub(super) struct Reconnection {
    /// A call has waited in vain, and none has been answered since: the next ones do not wait.
    is_away: AtomicBool,
}

impl Reconnection {
    /// Makes a call, and again for a moment while there is no connection for it.
    ///
    /// A connection is given up some seconds after its line was bad, when a keepalive has gone unanswered: the line may be
    /// well again by then, and nobody needs to be told.
    pub(super) async fn once_connected<T, F>(
        &self,
        repeat: Repeat,
        call: impl Fn() -> F,
    ) -> Result<T, ExecutionError>
    where
        F: Future<Output = Result<T, ExecutionError>>,
    {
        // A call may have been under way for long before its connection was given up.
        let mut until = None;
        loop {
            match call().await {
                Ok(answer) => {
                    self.is_away.store(false, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if has_met_none(&error, repeat) => {
                    let now = Instant::now();
                    if self.is_away.load(Ordering::Relaxed) {
                        return Err(error);
                    }
                    if now >= *until.get_or_insert(now + PATIENCE) {
                        self.is_away.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn has_met_none(error: &ExecutionError, repeat: Repeat) -> bool {
    use RequestAttemptError::BrokenConnectionError;
    match error {
        ExecutionError::ConnectionPoolError(_)
        | ExecutionError::PrepareError(
            PrepareError::ConnectionPoolError(_)
            | PrepareError::AllAttemptsFailed { first_attempt: BrokenConnectionError(_) },
        ) => true,
        ExecutionError::LastAttemptError(BrokenConnectionError(_)) => repeat == Repeat::Always,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use scylla::errors::{BrokenConnectionErrorKind, ConnectionPoolError};

    use super::*;

    fn no_connection() -> ExecutionError {
        ConnectionPoolError::Initializing.into()
    }

    fn broken() -> ExecutionError {
        let error = BrokenConnectionErrorKind::KeepaliveTimeout([127, 0, 0, 1].into());
        ExecutionError::LastAttemptError(RequestAttemptError::BrokenConnectionError(error.into()))
    }

    /// How often a call is made that takes so long and fails `failures` times, and whether it is answered in the end.
    async fn calls(
        reconnection: &Reconnection,
        repeat: Repeat,
        failures: u32,
        time: Duration,
        error: fn() -> ExecutionError,
    ) -> (u32, bool) {
        let made = Cell::new(0);
        let answer = reconnection.once_connected(repeat, async || {
            made.set(made.get() + 1);
            sleep(time).await;
            if made.get() > failures { Ok(()) } else { Err(error()) }
        });
        let is_answered = answer.await.is_ok();
        (made.get(), is_answered)
    }

    const AT_ONCE: Duration = Duration::ZERO;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_a_new_connection_for_a_moment_only() {
        let reconnection = Reconnection::default();
        assert_eq!(calls(&reconnection, Repeat::Unsent, 3, AT_ONCE, no_connection).await, (4, true));
        let began = Instant::now();
        assert!(!calls(&reconnection, Repeat::Unsent, u32::MAX, AT_ONCE, no_connection).await.1);
        assert_eq!(began.elapsed(), PATIENCE);
        // Nobody else waits in vain, until one call is answered.
        assert_eq!(calls(&reconnection, Repeat::Unsent, 1, AT_ONCE, no_connection).await, (1, false));
        assert_eq!(calls(&reconnection, Repeat::Unsent, 0, AT_ONCE, no_connection).await, (1, true));
        assert_eq!(calls(&reconnection, Repeat::Unsent, 1, AT_ONCE, no_connection).await, (2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_connection_is_given_up_late_waits_as_long_as_any() {
        let late = Duration::from_secs(6);
        let reconnection = Reconnection::default();
        assert_eq!(calls(&reconnection, Repeat::Always, 1, late, broken).await, (2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_carried_out_is_made_again_only_where_that_does_no_harm() {
        let reconnection = Reconnection::default();
        assert_eq!(calls(&reconnection, Repeat::Always, 1, AT_ONCE, broken).await, (2, true));
        assert_eq!(calls(&reconnection, Repeat::Unsent, 1, AT_ONCE, broken).await, (1, false));
        let other = || ExecutionError::EmptyPlan;
        assert_eq!(calls(&reconnection, Repeat::Always, 1, AT_ONCE, other).await, (1, false));
    }
}
