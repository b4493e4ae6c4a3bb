//! THE QUEUE SIDE: lease, run, ack | retry | dead-letter.
//!
//! [`run`] leases batches of jobs and gives each kind to its file under `jobs/`. What a job comes to is an
//! [`outcome::Outcome`]; what the queue is told of it is decided in `outcome.rs`, once for all jobs. Jobs may be done
//! more than once: each of them ends in the same state however often it runs.
//!
//! Analysing messages takes CPU time, so the work has threads of its own with a lower priority: indexing yields to
//! delivery and to reading.

mod batch;
mod forgotten;
mod jobs;
mod outcome;
mod quiet;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use schema::{Instance, Lease};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;

pub use crate::forgotten::requeue_forgotten;

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
    /// The wait before the first repetition; it doubles with each. At least 1 ms.
    pub first_delay: Duration,
    /// The longest wait before a repetition.
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
            attempts: 100,
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
/// How often messages are looked for that wait to be indexed and that no job names.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// How long a worker rests when the queue itself fails.
const QUEUE_FAULT_REST: Duration = Duration::from_secs(1);

/// Works on jobs until `stop` is cancelled; then jobs that have not begun are given back.
///
/// # Errors
/// If a thread cannot be started, or ends before it was told to.
pub async fn run(instance: Arc<Instance>, settings: Settings, stop: CancellationToken) -> io::Result<()> {
    let lag = tokio::spawn(watch_lag(instance.clone(), stop.clone()));
    let mut ends = Vec::new();
    for number in 0..settings.threads.max(1) {
        let (instance, stop) = (instance.clone(), stop.clone());
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name(format!("signet-worker-{number}")).spawn(move || {
            // Nobody waits any more only where the whole program has ended.
            let _ = ended.send(work(instance, settings, stop));
        })?;
        ends.push(end);
    }
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

/// One worker's thread, from its start to its end.
fn work(instance: Arc<Instance>, settings: Settings, stop: CancellationToken) -> io::Result<()> {
    // On Linux this is the calling thread's own value; those it starts inherit it.
    if let Err(error) = rustix::process::setpriority_process(None, settings.nice.clamp(0, 19)) {
        tracing::warn!(%error, "a worker keeps the priority of the program");
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    runtime.block_on(lease_and_run(&instance, &settings, &stop));
    Ok(())
}

async fn lease_and_run(instance: &Arc<Instance>, settings: &Settings, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        quiet::wait_for_quiet(instance, settings.yield_time, stop).await;
        let leasing = instance.backend.queue.lease(settings.batch, settings.lease_time, IDLE_WAIT);
        match leasing.await {
            Ok(leases) if leases.is_empty() => {}
            Ok(leases) => run_leases(instance, settings, leases, stop).await,
            Err(error) => {
                tracing::error!(%error, "no jobs could be leased");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(QUEUE_FAULT_REST) => {}
                }
            }
        }
    }
}

async fn run_leases(
    instance: &Arc<Instance>,
    settings: &Settings,
    leases: Vec<Lease>,
    stop: &CancellationToken,
) {
    let mut batch = Batch::new(instance.clone(), *settings, leases);
    batch.run(stop).await;
    batch.settle().await;
}

/// Shows how far the oldest job is behind, in seconds, and looks for what no job names when the queue is empty: after
/// the start, and once in a while.
async fn watch_lag(instance: Arc<Instance>, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(2));
    let mut look_at = tokio::time::Instant::now();
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        // A queue that fails is reported where jobs are leased.
        let Ok(depth) = instance.backend.queue.depth().await else { continue };
        let lag = depth.oldest.map_or(0, |oldest| instance.clock.now().saturating_sub(oldest));
        metrics::gauge!("signet_index_lag_seconds").set(lag as f64 / 1000.0);
        metrics::gauge!("signet_queue_jobs", "state" => "ready").set(depth.ready as f64);
        metrics::gauge!("signet_queue_jobs", "state" => "delayed").set(depth.delayed as f64);
        metrics::gauge!("signet_queue_jobs", "state" => "leased").set(depth.leased as f64);
        metrics::gauge!("signet_queue_jobs", "state" => "dead").set(depth.dead as f64);
        if depth.ready + depth.delayed + depth.leased == 0 && tokio::time::Instant::now() >= look_at {
            look_at = tokio::time::Instant::now() + FORGOTTEN;
            if let Err(error) = requeue_forgotten(&instance).await {
                tracing::warn!(%error, "messages without a job were not looked for");
            }
        }
    }
}
