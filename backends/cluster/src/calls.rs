//! How long calls take.

use std::time::Instant;

/// Records the time from its making to its end under the name of a call.
pub(crate) struct Timed(&'static str, Instant);

/// Starts the time of a call.
pub(crate) fn timed(call: &'static str) -> Timed {
    Timed(call, Instant::now())
}

impl Drop for Timed {
    fn drop(&mut self) {
        metrics::histogram!("signet_store_call_seconds", "call" => self.0).record(self.1.elapsed());
    }
}
