//! How far this machine's clock is from the servers': what is written is stamped with it, and loses against what a clock
//! that is ahead has stamped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use schema::Error;

use super::{Cassandra, now_micros};

const WHAT: &str = "reading the servers' clocks";
/// Servers that are asked; the middle one of their answers counts, so that one clock among them may be wrong.
const SAMPLES: usize = 5;
/// Microseconds by which the servers round.
const ROUNDING: i64 = 1_000;

/// The distance that was measured last, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Distance(AtomicU64);

/// How far a clock that said `server` lies outside of the time in which it was asked.
fn outside(began: i64, server: i64, ended: i64) -> u64 {
    let behind = began.saturating_sub(server.saturating_add(ROUNDING));
    let ahead = server.saturating_sub(ended);
    u64::try_from(behind.max(ahead)).unwrap_or(0)
}

impl Cassandra {
    /// Measures anew how far this clock is from the servers'.
    ///
    /// # Errors
    /// What the servers say; what was measured before stays.
    pub(crate) async fn compare_clocks(&self) -> Result<Duration, Error> {
        const TEXT: &str = "SELECT toUnixTimestamp(now()) FROM system.local";
        let mut distances = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            let began = now_micros();
            let answer = self.rows(WHAT, TEXT, ()).await?;
            let ended = now_micros();
            let (millis,) = answer.first_row::<(i64,)>().map_err(|error| Error::transient(WHAT, error))?;
            distances.push(outside(began, millis.saturating_mul(1000), ended));
        }
        distances.sort_unstable();
        let distance = distances[SAMPLES / 2];
        self.distance.0.store(distance, Ordering::Relaxed);
        Ok(Duration::from_micros(distance))
    }

    /// Whether this clock is near enough to the servers' for what it stamps.
    ///
    /// # Errors
    /// [`Error::Transient`] while it is not.
    pub(crate) fn check_clock(&self) -> Result<(), Error> {
        let distance = Duration::from_micros(self.distance.0.load(Ordering::Relaxed));
        if distance <= self.options.clock_skew {
            return Ok(());
        }
        let reason =
            format!("it is {distance:?} from the servers', {:?} are allowed", self.options.clock_skew);
        Err(Error::transient("this machine's clock", reason))
    }
}

#[cfg(test)]
mod tests {
    use super::outside;

    #[test]
    fn a_clock_counts_as_far_away_only_as_far_as_the_time_of_asking_cannot_explain() {
        // (asked, what it said, answered, distance)
        for (began, server, ended, distance) in [
            (10_000, 12_000, 15_000, 0),
            (10_000, 9_000, 15_000, 0),
            (10_000, 8_000, 15_000, 1_000),
            (10_000, 15_000, 15_000, 0),
            (10_000, 15_001, 15_000, 1),
            (10_000_000, 0, 10_000_001, 9_999_000),
            (0, 10_000_000, 1, 9_999_999),
        ] {
            assert_eq!(outside(began, server, ended), distance, "{began} {server} {ended}");
        }
    }
}
