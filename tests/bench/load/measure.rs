//! What a run is measured by: CPU and disk from outside, latencies and errors from inside.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

/// Ticks of CPU time a second, as /proc counts them.
const TICKS: f64 = 100.0;
/// A run ends here even when its count is not reached.
pub(crate) const LONGEST_RUN: Duration = Duration::from_secs(600);

/// What is measured beside the clock.
#[derive(Args)]
pub(crate) struct Watch {
    /// The server's process; it and its children are what the server's CPU is.
    #[arg(long)]
    pub(crate) cpu_pid: Option<u32>,
    /// A directory whose growth is measured.
    #[arg(long)]
    pub(crate) disk: Option<PathBuf>,
}

/// What the machine had spent at one moment, in seconds of CPU and bytes.
pub(crate) struct Reading {
    pub(crate) server: f64,
    own: f64,
    busy: f64,
    allocated: u64,
}

impl Watch {
    pub(crate) fn read(&self) -> Reading {
        Reading {
            server: self.cpu_pid.map_or(0.0, tree_cpu),
            own: process_cpu("self").map_or(0.0, |(_, cpu)| cpu),
            busy: busy_cpu(),
            allocated: self.disk.as_deref().map_or(0, allocated_bytes),
        }
    }

    /// What one operation cost between two readings.
    pub(crate) fn cost(&self, before: &Reading, after: &Reading, operations: u64) -> Value {
        let each = operations.max(1) as f64;
        let server = after.server - before.server;
        let own = after.own - before.own;
        json!({
            "server_cpu_s": server,
            "server_cpu_s_per_1000": server / each * 1000.0,
            "client_cpu_s": own,
            "other_cpu_s": after.busy - before.busy - server - own,
            "dir_allocated_bytes_per_op": after.allocated.saturating_sub(before.allocated) as f64 / each,
        })
    }
}

/// Parent and CPU seconds, those of reaped children included.
fn process_cpu(pid: &str) -> Option<(u32, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks / TICKS))
}

fn tree_cpu(root: u32) -> f64 {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((pid, found)) =
            name.to_str().and_then(|pid| Some((pid.parse::<u32>().ok()?, process_cpu(pid)?)))
        else {
            continue;
        };
        processes.insert(pid, found);
    }
    let below = |pid: u32| {
        let mut at = pid;
        while at != root {
            match processes.get(&at) {
                Some((parent, _)) if *parent != 0 => at = *parent,
                _ => return false,
            }
        }
        true
    };
    processes.iter().filter(|(pid, _)| below(**pid)).map(|(_, (_, cpu))| cpu).sum()
}

/// CPU seconds that the whole machine has worked: user, nice, system, interrupts.
fn busy_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum::<f64>() / TICKS
}

fn allocated_bytes(path: &Path) -> u64 {
    let own = fs::symlink_metadata(path).map_or(0, |data| data.blocks() * 512);
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    own + inside.map(|entry| allocated_bytes(&entry.path())).sum::<u64>()
}

/// Latencies in milliseconds, and what went wrong how often.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) latencies: Vec<f64>,
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn failed(&mut self, what: String) {
        *self.errors.entry(what).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: Tally) {
        self.latencies.extend(other.latencies);
        for (what, count) in other.errors {
            *self.errors.entry(what).or_default() += count;
        }
    }

    pub(crate) fn percentiles(&mut self) -> Value {
        self.latencies.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let at = (share * self.latencies.len() as f64).ceil() as usize;
            self.latencies.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        json!({ "n": self.latencies.len(), "p50_ms": rank(0.5), "p90_ms": rank(0.9), "p99_ms": rank(0.99), "max_ms": rank(1.0) })
    }
}

/// Runs `work(numbers, worker, tally)` on each of `workers` threads; all that they noted, and the seconds it took.
pub(crate) fn in_parallel(workers: u64, work: impl Fn(&AtomicU64, u64, &mut Tally) + Sync) -> (Tally, f64) {
    let next = AtomicU64::new(0);
    let all = Mutex::new(Tally::default());
    let start = Instant::now();
    thread::scope(|scope| {
        for worker in 0..workers {
            let (next, all, work) = (&next, &all, &work);
            scope.spawn(move || {
                let mut own = Tally::default();
                work(next, worker, &mut own);
                all.lock().expect("no worker panics").merge(own);
            });
        }
    });
    let wall = start.elapsed().as_secs_f64();
    (all.into_inner().expect("no worker panics"), wall)
}
