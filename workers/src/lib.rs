//! THE QUEUE SIDE: lease, run, ack | retry | dead-letter.
//!
//! [`run`] leases batches of jobs and gives each kind to its file under `jobs/`. What a job comes to is an
//! [`outcome::Outcome`]; what the queue is told of it is decided in `outcome.rs`, once for all jobs. Jobs may be done
//! more than once: each of them ends in the same state however often it runs.
//!
//! Analysing messages takes CPU time, so the work has threads of its own with a lower priority: indexing yields to
//! delivery and to reading.

mod batch;
mod fill;
mod forgotten;
mod jobs;
mod outcome;
mod periodic;
mod quiet;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use schema::{Instance, LocalNode, Work};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;

pub use crate::fill::{Filled, fill};
pub use crate::forgotten::requeue_forgotten;
pub use crate::periodic::{Periodic, Running};

/// What can be set for the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Threads that work on jobs, 1–64.
    pub threads: usize,
    /// Jobs leased at once by each of them, 1–10,000.
    pub batch: usize,
    /// Postings held in memory before they are put into the index, 1,000 and up.
    pub postings: usize,
    /// How often a job that meets passing faults is tried before it is given up, 1 and up.
    pub attempts: u32,
    /// The wait before the first repetition, and a worker's rest after a batch that got nowhere; it doubles with each. At
    /// least 1 ms.
    pub first_delay: Duration,
    /// The longest wait before a repetition; a job that is not old waits less, a quarter of its age at most.
    pub longest_delay: Duration,
    /// How long a leased batch is held before another worker may take its jobs.
    pub lease_time: Duration,
    /// How long jobs wait while messages come in, so that delivery has the machine to itself; zero = not at all.
    pub yield_time: Duration,
    /// What is added to the threads' nice value, 0–19.
    pub nice: i32,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: cores.min(4),
            batch: 512,
            postings: 200_000,
            attempts: 150,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(600),
            lease_time: Duration::from_secs(300),
            yield_time: Duration::from_secs(5),
            nice: 10,
        }
    }
}

/// How long an idle worker waits for a job before it looks whether it is to stop.
const IDLE_WAIT: Duration = Duration::from_millis(500);
/// The longest that a worker rests where batches get nowhere: what was struck may be well again.
const LONGEST_REST: Duration = Duration::from_secs(8);

/// Works on jobs, and does what is `periodic` when it is due, until `node` is to stop; then jobs that have not begun are
/// given back. So they are once it drains.
///
/// # Errors
/// If a thread cannot be started, or ends before it was told to.
pub async fn run(
    instance: Arc<Instance>,
    settings: Settings,
    periodic: Vec<Periodic>,
    node: Arc<LocalNode>,
) -> io::Result<()> {
    let lag = tokio::spawn(watch_lag(instance.clone(), node.stop().clone()));
    let failed_batches = Arc::new(AtomicU32::new(0));
    let mut ends = Vec::new();
    for number in 0..settings.threads.max(1) {
        let (instance, node, failed_batches) = (instance.clone(), node.clone(), failed_batches.clone());
        let work = async move { lease_and_run(&instance, &settings, &node, &failed_batches).await };
        ends.push(start(format!("signet-worker-{number}"), settings.nice, work)?);
    }
    let work = periodic::keep(instance, periodic, node);
    ends.push(start("signet-periodic".to_owned(), settings.nice, work)?);
    let mut result = Ok(());
    for end in ends {
        let ended = end.await.unwrap_or_else(|_| Err(io::Error::other("a worker's thread panicked")));
        if result.is_ok() {
            result = ended;
        }
    }
    lag.abort();
    result
}

/// Starts a thread that does `work` with a lower priority; what it returns tells how that ended.
fn start(
    name: String,
    nice: i32,
    work: impl Future<Output = ()> + Send + 'static,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name(name).spawn(move || {
        // Nobody waits any more only where the whole program has ended.
        let _ = ended.send(do_nicely(nice, work));
    })?;
    Ok(end)
}

/// One thread, from its start to its end.
fn do_nicely(nice: i32, work: impl Future<Output = ()>) -> io::Result<()> {
    // On Linux this is the calling thread's own value; those it starts inherit it.
    if let Err(error) = rustix::process::setpriority_process(None, nice.clamp(0, 19)) {
        tracing::warn!(%error, "a worker keeps the priority of the program");
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(work);
    Ok(())
}

/// `failed_batches` is how many batches in a row got nowhere, whichever thread had them. Where a server is away the jobs
/// wait for it in the queue, and one at a time finds out whether it is back: what was tried often would come back late.
async fn lease_and_run(
    instance: &Arc<Instance>,
    settings: &Settings,
    node: &Arc<LocalNode>,
    failed_batches: &AtomicU32,
) {
    let stop = node.stop();
    while stop.run_until_cancelled(node.until_staying()).await.is_some() {
        let leaving = node.leaving();
        quiet::wait_for_quiet(instance, settings.yield_time, &leaving).await;
        if leaving.is_cancelled() {
            continue;
        }
        let limit = if failed_batches.load(Ordering::Relaxed) == 0 { settings.batch } else { 1 };
        let has_failed = match instance.backend.queue.lease(limit, settings.lease_time, IDLE_WAIT).await {
            Ok(leases) if leases.is_empty() => continue,
            Ok(leases) => {
                let _busy = node.begin(Work::Job, leases.len() as u64);
                let mut batch = Batch::new(instance.clone(), *settings, leases);
                batch.run(&leaving).await;
                let has_failed = batch.has_failed();
                batch.settle().await;
                has_failed
            }
            Err(error) => {
                tracing::error!(error = error.with_causes(), "no jobs could be leased");
                true
            }
        };
        if has_failed {
            let doublings = failed_batches.fetch_add(1, Ordering::Relaxed).min(30);
            let rest = settings.first_delay.saturating_mul(1 << doublings).min(LONGEST_REST);
            leaving.run_until_cancelled(tokio::time::sleep(rest)).await;
        } else {
            failed_batches.store(0, Ordering::Relaxed);
        }
    }
}

/// Shows how far the oldest job is behind, in seconds, and how many there are.
async fn watch_lag(instance: Arc<Instance>, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(2));
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        // A queue that fails is reported where jobs are leased.
        let Ok(depth) = instance.backend.queue.depth().await else { continue };
        let lag = depth.oldest.map_or(0, |oldest| instance.clock.now().saturating_sub(oldest));
        metrics::gauge!("signet_index_lag_seconds").set(lag as f64 / 1000.0);
        metrics::gauge!("signet_queue_jobs", "state" => "ready").set(depth.ready as f64);
        metrics::gauge!("signet_queue_jobs", "state" => "delayed").set(depth.delayed as f64);
        metrics::gauge!("signet_queue_jobs", "state" => "leased").set(depth.leased as f64);
        metrics::gauge!("signet_queue_jobs", "state" => "dead").set(depth.dead as f64);
    }
}
