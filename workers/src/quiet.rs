//! Indexing yields to delivery: while messages come in, jobs wait, and are then done in larger batches.

use std::time::Duration;

use schema::Instance;
use tokio_util::sync::CancellationToken;

/// Without a delivery for this long, nothing is in the way.
const QUIET: Duration = Duration::from_millis(20);
/// How often it is looked whether deliveries have come to rest.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until no message comes in, or the oldest job has waited for `patience`.
pub(crate) async fn wait_for_quiet(instance: &Instance, patience: Duration, stop: &CancellationToken) {
    while instance.quiet_for() < QUIET && !stop.is_cancelled() {
        // A queue that fails is reported where jobs are leased.
        let Ok(depth) = instance.backend.queue.depth().await else { return };
        let Some(oldest) = depth.oldest else { return };
        if u128::from(instance.clock.now().saturating_sub(oldest)) >= patience.as_millis() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
