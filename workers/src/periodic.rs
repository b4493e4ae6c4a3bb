//! What is done once in a while, by one process of all: a look-out for each of them, and the run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use schema::{Counts, Due, Instance, LocalNode, Lookout, PERIODIC_SIGN, Result, Turning, Work};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, sleep, timeout};

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(5);
/// How long something rests that could not be done when it was due.
const REST: Duration = Duration::from_secs(30);
/// How long a sign of life may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a run comes to: what it found, by name; `None` if it cannot be done now.
pub type Running = Pin<Box<dyn Future<Output = Result<Option<Counts>>> + Send>>;

/// Something that is done once in a while. It may be cut off anywhere, begun again, and run twice.
#[derive(Clone)]
pub struct Periodic {
    /// What it is called.
    pub name: &'static str,
    /// When it is to be done.
    pub due: Due,
    /// Whether it is to be done by a process that starts, too, where there is only one process.
    pub at_start: bool,
    /// Does it.
    pub run: Arc<dyn Fn(Arc<Instance>) -> Running + Send + Sync>,
}

impl Periodic {
    /// It is done by `run`, as `due` says.
    pub fn new<F>(
        name: &'static str,
        due: Due,
        run: impl Fn(Arc<Instance>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Option<Counts>>> + Send + 'static,
    {
        Self { name, due, at_start: false, run: Arc::new(move |instance| Box::pin(run(instance))) }
    }

    /// The same, also at the start of a process that is the only one.
    pub fn also_at_start(self) -> Self {
        Self { at_start: true, ..self }
    }
}

/// How a run ended.
enum End {
    Found(Counts),
    Failed,
    /// It could not be done, or was not to go on here.
    Undone,
    /// Another process does it.
    Lost,
}

/// Does each of `all` when it is due, until `node` is to stop. While it drains it does none.
pub(crate) async fn keep(instance: Arc<Instance>, all: Vec<Periodic>, node: Arc<LocalNode>) {
    let mut kept = JoinSet::new();
    for periodic in all {
        kept.spawn(keep_one(instance.clone(), periodic, node.clone()));
    }
    while kept.join_next().await.is_some() {}
}

async fn keep_one(instance: Arc<Instance>, periodic: Periodic, node: Arc<LocalNode>) {
    let lookout = instance.lookout(periodic.name, node.id());
    let mut is_at_start = periodic.at_start && !instance.backend.is_shared;
    while node.stop().run_until_cancelled(node.until_staying()).await.is_some() {
        let due = if is_at_start { Due::Now } else { periodic.due };
        let mut rest = LOOK;
        match instance.begin_run(&lookout, due).await {
            Ok(Some(turning)) => match run(&instance, &periodic, &lookout, turning, &node).await {
                true => is_at_start = false,
                false => rest = REST,
            },
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, job = periodic.name, "it is not known whether a periodic job is due");
                rest = REST;
            }
        }
        // A drain ends the rest; what follows it waits for the drain's end.
        node.leaving().run_until_cancelled(sleep(rest)).await;
    }
}

/// One run, from the turn to the note of what it found. Whether it was done.
async fn run(
    instance: &Arc<Instance>,
    periodic: &Periodic,
    lookout: &Lookout,
    mut turning: Turning,
    node: &Arc<LocalNode>,
) -> bool {
    let _busy = node.begin(Work::Job, 1);
    let end = attend(instance, periodic, lookout, &mut turning, node).await;
    let name = periodic.name;
    let (result, noted) = match end {
        End::Found(found) => {
            tracing::info!(job = name, ?found, "a periodic job was done");
            ("done", instance.end_run(lookout, turning, Some(found)).await)
        }
        End::Failed => ("failed", instance.end_run(lookout, turning, None).await),
        End::Undone => ("undone", instance.undo_run(lookout, turning).await),
        End::Lost => {
            tracing::warn!(job = name, "a periodic job goes on in another process");
            ("lost", Ok(true))
        }
    };
    if let Err(error) = noted {
        tracing::warn!(%error, job = name, "the end of a periodic job was not noted");
    }
    metrics::counter!("signet_periodic_runs_total", "job" => name, "result" => result).increment(1);
    result == "done"
}

/// Runs it while giving signs of life; dropped, it ends at once.
async fn attend(
    instance: &Arc<Instance>,
    periodic: &Periodic,
    lookout: &Lookout,
    turning: &mut Turning,
    node: &LocalNode,
) -> End {
    schema::step!("a periodic job: begun");
    let mut running = JoinSet::new();
    running.spawn((periodic.run)(instance.clone()));
    let leaving = node.leaving();
    let mut signs = tokio::time::interval_at(tokio::time::Instant::now() + PERIODIC_SIGN, PERIODIC_SIGN);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = leaving.cancelled() => return End::Undone,
            Some(ended) = running.join_next() => return end(periodic.name, ended),
            _ = signs.tick() => {
                // Who cannot say that it lives does not go on while another may begin.
                let sign = timeout(PATIENCE, instance.renew_run(lookout, turning)).await;
                if !matches!(sign, Ok(Ok(true))) {
                    return End::Lost;
                }
            }
        }
    }
}

fn end(name: &str, ended: Result<Result<Option<Counts>>, JoinError>) -> End {
    match ended {
        Ok(Ok(Some(found))) => End::Found(found),
        Ok(Ok(None)) => End::Undone,
        Ok(Err(error)) => {
            tracing::warn!(%error, job = name, "a periodic job failed");
            End::Failed
        }
        Err(_) => {
            tracing::error!(job = name, "a periodic job panicked");
            End::Failed
        }
    }
}
