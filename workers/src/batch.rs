//! A leased batch of jobs, from the lease to what the queue is told.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use schema::{Instance, Job, Lease};
use tokio_util::sync::CancellationToken;

use crate::jobs::index_message::Target;
use crate::outcome::{Outcome, delay};
use crate::{Settings, jobs};

/// Jobs that were leased together.
pub(crate) struct Batch {
    instance: Arc<Instance>,
    settings: Settings,
    leases: Vec<Lease>,
    /// One for each lease.
    outcomes: Vec<Outcome>,
}

impl Batch {
    pub(crate) fn new(instance: Arc<Instance>, settings: Settings, leases: Vec<Lease>) -> Self {
        let outcomes = vec![Outcome::Release; leases.len()];
        Self { instance, settings, leases, outcomes }
    }

    /// Runs the jobs, those that put messages into the index together. Once `stop` is cancelled no other
    /// one is begun.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) {
        let (mut to_index, mut others) = (Vec::new(), Vec::new());
        for (at, lease) in self.leases.iter().enumerate() {
            match lease.job {
                Job::IndexMessage { account, message } => to_index.push((account, message)),
                other => others.push((at, other)),
            }
        }
        let index = self.instance.backend.index.clone();
        let target = Target { instance: self.instance.clone(), index, serves: true };
        let outcomes = jobs::index_message::run(&target, &self.settings, &to_index, stop).await;
        for (lease, own) in self.leases.iter().zip(&mut self.outcomes) {
            if let Job::IndexMessage { account, message } = lease.job {
                *own = outcomes.get(&(account, message)).cloned().unwrap_or(Outcome::Release);
            }
        }
        for (at, job) in others {
            if stop.is_cancelled() {
                return;
            }
            self.outcomes[at] = self.run_other(job).await;
        }
    }

    /// Whether all that was begun met faults that may pass.
    pub(crate) fn has_failed(&self) -> bool {
        let mut begun = self.outcomes.iter().filter(|outcome| **outcome != Outcome::Release).peekable();
        begun.peek().is_some() && begun.all(|outcome| matches!(outcome, Outcome::Retry(_)))
    }

    async fn run_other(&self, job: Job) -> Outcome {
        let instance = self.instance.clone();
        let result = match job {
            Job::RemoveMessage { account, message } => {
                caught(async move { jobs::remove_message::run(&instance, account, message).await }).await
            }
            Job::CompressThread { account, thread } => {
                caught(async move { jobs::compress_thread::run(&instance, account, thread).await }).await
            }
            Job::PurgeAccount { account } => {
                caught(async move { jobs::purge_account::run(&instance, account).await }).await
            }
            // Those are run together.
            Job::IndexMessage { .. } => return Outcome::Release,
        };
        match result {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => Outcome::of_error(&error),
            Err(panicked) => panicked,
        }
    }

    /// Tells the queue what the jobs came to. What it does not hear of it leases again.
    pub(crate) async fn settle(self) {
        let (mut done, mut released, mut retries) = (Vec::new(), Vec::new(), Vec::new());
        // How many, and how often one of them was tried before.
        let mut put_off = BTreeMap::new();
        let queue = &self.instance.backend.queue;
        for (lease, outcome) in self.leases.iter().zip(self.outcomes) {
            let outcome = outcome.within(self.settings.attempts, lease);
            let name = lease.job.name();
            metrics::counter!("signet_jobs_total", "job" => name, "result" => outcome.name()).increment(1);
            let told = match outcome {
                Outcome::Done => {
                    done.push(lease.id);
                    Ok(())
                }
                Outcome::Release => {
                    released.push(lease.id);
                    Ok(())
                }
                Outcome::Retry(reason) => {
                    let age = self.instance.clock.now().saturating_sub(lease.published_at);
                    let delay = delay(&self.settings, lease.attempts, Duration::from_millis(age));
                    let (jobs, attempts) = put_off.entry((name, reason)).or_insert((0_u64, 0));
                    (*jobs, *attempts) = (*jobs + 1, lease.attempts.max(*attempts));
                    retries.push(async move { (name, lease.id, queue.retry(lease.id, delay).await) });
                    Ok(())
                }
                Outcome::Bury(reason) => {
                    tracing::error!(job = name, id = lease.id, account = %lease.job.account(), reason, "a job is given up");
                    queue.bury(lease.id, &reason).await
                }
            };
            if let Err(error) = told {
                tracing::error!(%error, job = name, id = lease.id, "the queue was not told of a job's end");
            }
        }
        for ((job, reason), (jobs, attempts)) in put_off {
            tracing::warn!(job, jobs, attempts, reason, "jobs are put off");
        }
        // Where a server is away all of a batch is put off: at once, not one after the other.
        for (name, id, told) in join_all(retries).await {
            if let Err(error) = told {
                tracing::error!(%error, job = name, id, "the queue was not told of a job's end");
            }
        }
        if !done.is_empty()
            && let Err(error) = queue.ack(&done).await
        {
            tracing::error!(%error, jobs = done.len(), "the queue was not told of jobs' ends");
        }
        if !released.is_empty()
            && let Err(error) = queue.release(&released).await
        {
            tracing::error!(%error, jobs = released.len(), "jobs were not given back");
        }
    }
}

/// Runs a piece of work to its end; a panic in it ends only this piece, and buries its job.
pub(crate) async fn caught<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Outcome> {
    tokio::spawn(work).await.map_err(|ended| {
        if ended.is_panic() { Outcome::Bury("it panicked".to_owned()) } else { Outcome::Release }
    })
}
