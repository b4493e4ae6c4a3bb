//! Calls that meet a moment without connections.

use std::time::Duration;

use scylla::errors::{ExecutionError, PrepareError, RequestAttemptError};
use tokio::time::{Instant, sleep};

/// How long a call waits for a connection where all have been given up. The driver makes a new one at once; where that
/// takes longer the server is away, which who asks should be told.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the call is made meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// What of a call that met no connection is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It may be made again even if it was carried out.
    Always,
    /// It is made again only if it was never sent.
    Unsent,
}

/// Makes a call, and again for a moment while there is no connection for it.
///
/// A connection is given up some seconds after its line was bad, when a keepalive has gone unanswered: the line may be well
/// again by then, and nobody needs to be told.
pub(super) async fn once_connected<T, F>(repeat: Repeat, call: impl Fn() -> F) -> Result<T, ExecutionError>
where
    F: Future<Output = Result<T, ExecutionError>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(error) if Instant::now() < until && has_met_none(&error, repeat) => sleep(PAUSE).await,
            answer => return answer,
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

    /// How often a call is made that fails `failures` times, and whether it is answered in the end.
    async fn calls(repeat: Repeat, failures: u32, error: fn() -> ExecutionError) -> (u32, bool) {
        let made = Cell::new(0);
        let answer = once_connected(repeat, || {
            made.set(made.get() + 1);
            let answer = if made.get() > failures { Ok(()) } else { Err(error()) };
            std::future::ready(answer)
        });
        let is_answered = answer.await.is_ok();
        (made.get(), is_answered)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_a_new_connection_for_a_moment_only() {
        assert_eq!(calls(Repeat::Unsent, 3, no_connection).await, (4, true));
        let began = Instant::now();
        assert!(!calls(Repeat::Unsent, u32::MAX, no_connection).await.1);
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_carried_out_is_made_again_only_where_that_does_no_harm() {
        assert_eq!(calls(Repeat::Always, 1, broken).await, (2, true));
        assert_eq!(calls(Repeat::Unsent, 1, broken).await, (1, false));
        assert_eq!(calls(Repeat::Always, 1, || ExecutionError::EmptyPlan).await, (1, false));
    }
}
