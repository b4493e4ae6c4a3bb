//! Work that many tasks share, and how long each piece of it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Failure;

/// What was done.
#[derive(Default)]
pub(crate) struct Tally {
    /// Pieces of work.
    pub(crate) done: u64,
    /// Seconds from the first to the last.
    pub(crate) wall: f64,
    /// Milliseconds that each took.
    latencies: Vec<f64>,
}

impl Tally {
    /// Pieces a second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.wall.max(f64::EPSILON)
    }

    pub(crate) fn latency(mut self) -> Value {
        self.latencies.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let at = (share * self.latencies.len() as f64).ceil() as usize;
            self.latencies.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        json!({ "n": self.latencies.len(), "p50_ms": rank(0.5), "p90_ms": rank(0.9), "p99_ms": rank(0.99), "max_ms": rank(1.0) })
    }
}

/// Does the pieces 0, 1, … of some work, `at_once` at a time, until there were `count` of them or `longest` is over.
pub(crate) async fn in_parallel<W, F>(
    at_once: usize,
    count: u64,
    longest: Duration,
    work: W,
) -> Result<Tally, Failure>
where
    W: Fn(u64) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        let (next, work) = (next.clone(), work.clone());
        workers.spawn(async move {
            let mut latencies = Vec::new();
            while start.elapsed() < longest {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                let begun = Instant::now();
                work(number).await?;
                latencies.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut tally = Tally::default();
    while let Some(latencies) = workers.join_next().await {
        tally.latencies.extend(latencies??);
    }
    tally.done = tally.latencies.len() as u64;
    tally.wall = start.elapsed().as_secs_f64();
    Ok(tally)
}
