//! What a job came to, and what the queue is told of it.

use std::time::Duration;

use schema::{Error, Lease};

use crate::Settings;

/// A job waits for its repetition at most this part of the time since it was published.
const AGE_PARTS: u32 = 4;

/// What a job came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done, or there is nothing left to do.
    Done,
    /// It met a fault that may pass, this one.
    Retry(String),
    /// It will meet the same fault again, for this reason.
    Bury(String),
    /// It was not begun.
    Release,
}

impl Outcome {
    /// What a failure means for a job.
    pub(crate) fn of_error(error: &Error) -> Self {
        if error.is_transient() { Self::Retry(error.with_causes()) } else { Self::Bury(error.with_causes()) }
    }

    /// The same, unless it was tried too often already.
    pub(crate) fn within(self, attempts: u32, lease: &Lease) -> Self {
        match self {
            Self::Retry(reason) if lease.attempts.saturating_add(1) >= attempts => {
                Self::Bury(format!("it met passing faults too often, the last: {reason}"))
            }
            other => other,
        }
    }

    /// Its name in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry(_) => "retried",
            Self::Bury(_) => "buried",
            Self::Release => "released",
        }
    }
}

/// The wait before a job is tried again: exponential, up to the longest, and spread over its upper half so that jobs
/// that failed together do not come back together.
///
/// It is never more than a part of what the job has waited already, its `age`: where few jobs meet an outage each is
/// tried often, and is to be done soon after its end all the same.
pub(crate) fn delay(settings: &Settings, attempts: u32, age: Duration) -> Duration {
    let whole = settings.first_delay.saturating_mul(1 << attempts.min(30)).min(settings.longest_delay);
    let whole = whole.min(settings.first_delay.max(age / AGE_PARTS));
    let dice = u16::from_be_bytes(seal::random_bytes());
    whole / 2 + (whole / 2).mul_f64(f64::from(dice) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::{AccountId, Job};

    #[test]
    fn the_wait_doubles_up_to_the_longest_and_is_never_less_than_half_of_it() {
        let settings = Settings::default();
        for (attempts, whole) in [(0, 1), (1, 2), (5, 32), (9, 512), (10, 600), (1000, 600)] {
            for _ in 0..100 {
                let delay = delay(&settings, attempts, Duration::MAX).as_secs_f64();
                let whole = f64::from(whole);
                assert!((whole / 2.0..=whole).contains(&delay), "{attempts}: {delay}");
            }
        }
    }

    #[test]
    fn the_wait_is_short_beside_what_was_waited_however_often_it_was_tried() {
        let settings = Settings::default();
        for (attempts, age, longest) in [(0, 0, 1), (20, 0, 1), (20, 60, 15), (3, 60, 8), (20, 86_400, 600)] {
            for _ in 0..100 {
                let delay = delay(&settings, attempts, Duration::from_secs(age));
                let longest = Duration::from_secs(longest);
                assert!((longest / 2..=longest).contains(&delay), "{attempts}, {age} s: {delay:?}");
            }
        }
    }

    #[test]
    fn a_job_that_meets_passing_faults_is_given_up_at_the_last_attempt() {
        let lease = |attempts| Lease {
            id: 1,
            job: Job::PurgeAccount { account: AccountId::default() },
            attempts,
            published_at: 0,
        };
        let retry = || Outcome::Retry("the store is away".to_owned());
        assert_eq!(retry().within(3, &lease(1)), retry());
        let Outcome::Bury(reason) = retry().within(3, &lease(2)) else { panic!("it was tried three times") };
        assert!(reason.ends_with("the store is away"), "{reason}");
        assert_eq!(Outcome::Done.within(3, &lease(2)), Outcome::Done);
    }
}
