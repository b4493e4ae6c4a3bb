//! How long calls take, and where the large ones run.

use std::time::Instant;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Above this many octets a call leaves its thread to other tasks. Below, it runs where it is: reading a row costs
/// microseconds from the page cache and writing one a copy to memory, less than handing it to another thread would.
pub(crate) const LARGE: usize = 256 * 1024;

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

/// Runs `call`, which handles about `octets`, without holding other tasks up where the runtime can help it.
pub(crate) fn run<T>(octets: usize, call: impl FnOnce() -> T) -> T {
    let threads =
        || Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if octets > LARGE && threads() { tokio::task::block_in_place(call) } else { call() }
}
