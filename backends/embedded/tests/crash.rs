//! A process that is killed at any moment loses nothing that it promised, and what survives is a prefix of what it did.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use embedded::{Embedded, Options};
use schema::{
    AccountId, Backend, Change, ChangeKind, Durability, Job, MessageId, Position, RowKey, Scan, Table, Write,
};
use tokio::sync::Mutex;

const ACCOUNT: AccountId = AccountId([7; 16]);
/// Names the directory to the child process.
const DIRECTORY: &str = "EMBEDDED_CRASH_DIRECTORY";
/// By hand, more can be asked for.
const ROUNDS: &str = "EMBEDDED_CRASH_ROUNDS";

fn id(number: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

fn number(id: &[u8]) -> u64 {
    u64::from_be_bytes(*id.first_chunk().unwrap())
}

fn row(number: u64) -> RowKey {
    RowKey::new(Table::MessagesByAccount, *ACCOUNT.as_bytes(), number.to_be_bytes())
}

/// Octets that a reader can tell from all others.
fn content(number: u64) -> Vec<Vec<u8>> {
    let length = 100 + (number * 7919 % 9000) as usize;
    (0..1 + number % 3).map(|chunk| vec![(number + chunk) as u8; length]).collect()
}

/// Small buffers, so that writing out and merging happen all the time.
fn options() -> Options {
    const KIB: u64 = 1024;
    Options {
        rows_buffer_bytes: 64 * KIB,
        blobs_buffer_bytes: 256 * KIB,
        sync_within: Duration::from_millis(20),
        settle_after: Duration::ZERO,
        ..Options::default()
    }
}

/// Writes until it is killed: a blob, a row and a change for each number, in order; and says up to which number all is
/// durable, and which jobs were published. Does nothing unless [`DIRECTORY`] is set.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let embedded = Arc::new(Embedded::open(&directory, options()).unwrap());
    let backend = embedded.backend();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    // In half of the rounds the journal is let go as well.
    if std::process::id().is_multiple_of(2) {
        let embedded = Arc::clone(&embedded);
        std::thread::spawn(move || {
            loop {
                embedded.settle().unwrap();
            }
        });
    }
    runtime.block_on(async {
        let first = survivors(&backend).await.len() as u64;
        let next = Arc::new(Mutex::new(first));
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| tokio::spawn(write(backend.clone(), Arc::clone(&next), writer)))
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write(backend: Backend, next: Arc<Mutex<u64>>, writer: u64) {
    loop {
        let mut next = next.lock().await;
        let number = *next;
        let message = MessageId(id(number));
        backend.blobs.put(ACCOUNT, message, content(number), Durability::Later).await.unwrap();
        let change = Change { kind: ChangeKind::MessageCreated, id: id(number) };
        let writes = vec![Write::Put(row(number), b"row".to_vec()), Write::Change(ACCOUNT, change)];
        backend.store.write(writes, Durability::Later).await.unwrap();
        *next = number + 1;
        drop(next);
        // One line at a time: half a line of a killed process is no promise.
        match (number + writer) % 5 {
            0 => {
                backend.queue.publish(vec![Job::IndexMessage { account: ACCOUNT, message }]).await.unwrap();
                println!("\njob {number} .");
            }
            1 => {
                backend.store.flush().await.unwrap();
                println!("\nrow {number} .");
            }
            _ => {}
        }
    }
}

/// The numbers that are there, as rows, as blobs and in the change feed: the same everywhere.
async fn survivors(backend: &Backend) -> Vec<u64> {
    let rows = backend
        .store
        .scan(&Scan::all(Table::MessagesByAccount, *ACCOUNT.as_bytes(), usize::MAX))
        .await
        .unwrap();
    let rows: Vec<_> = rows.iter().map(|(clustering, _)| number(clustering)).collect();
    let page = backend.store.changes(ACCOUNT, Position(0), usize::MAX).await.unwrap();
    let changes: Vec<_> = page.changes.iter().map(|(_, change)| number(&change.id)).collect();
    assert_eq!(changes, rows, "the feed and the rows disagree");
    let blobs = backend.blobs.ids(ACCOUNT, None, usize::MAX).await.unwrap();
    let blobs: Vec<_> = blobs.iter().map(|message| number(message.as_bytes())).collect();
    // The blob goes first.
    assert!(blobs.len() == rows.len() || blobs.len() == rows.len() + 1);
    assert!(blobs.starts_with(&rows), "a row has no blob");
    rows
}

#[derive(Debug, Default)]
struct Promises {
    rows: Option<u64>,
    jobs: Vec<u64>,
}

/// Runs the child for `time`, kills it, and returns what it promised.
fn run_and_kill(directory: &Path, time: Duration) -> Promises {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let promised = Arc::new(AtomicU64::new(0));
    let reader = std::thread::spawn({
        let promised = Arc::clone(&promised);
        move || {
            let mut promises = Promises::default();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let words: Vec<_> = line.split(' ').collect();
                let [kind @ ("row" | "job"), number, "."] = words[..] else { continue };
                let number: u64 = number.parse().unwrap();
                // Everything before it is durable with it.
                promises.rows = promises.rows.max(Some(number));
                if kind == "job" {
                    promises.jobs.push(number);
                }
                promised.fetch_add(1, Ordering::SeqCst);
            }
            promises
        }
    });
    let began = std::time::Instant::now();
    while promised.load(Ordering::SeqCst) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "the child promises nothing");
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        std::thread::yield_now();
    }
    // Not a wait for something: the moment of death.
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn a_killed_process_keeps_its_promises_and_leaves_a_prefix() {
    let rounds: u64 = std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut jobs = std::collections::BTreeSet::new();
    let mut before = 0;
    for round in 0..rounds {
        let time = Duration::from_micros(u64::from(rand_u16()) * 6);
        let promises = run_and_kill(directory.path(), time);
        jobs.extend(&promises.jobs);
        let embedded = Embedded::open(directory.path(), options()).unwrap();
        let backend = embedded.backend();
        runtime.block_on(async {
            let survivors = survivors(&backend).await;
            let count = survivors.len() as u64;
            assert_eq!(survivors, (0..count).collect::<Vec<_>>(), "round {round}: not a prefix");
            assert!(
                promises.rows.is_none_or(|promised| promised < count),
                "round {round}: {promises:?}, {count} there"
            );
            assert!(count > before, "round {round}");
            for number in before..count {
                let blob = backend.blobs.get(ACCOUNT, MessageId(id(number))).await.unwrap();
                assert!(blob == Some(content(number)), "round {round}: blob {number} differs");
            }
            before = count;
            let depth = backend.queue.depth().await.unwrap();
            let leases =
                backend.queue.lease(usize::MAX, Duration::from_secs(60), Duration::ZERO).await.unwrap();
            let mut all = leases;
            while let Some(more) =
                Some(backend.queue.lease(usize::MAX, Duration::from_secs(60), Duration::ZERO).await.unwrap())
                    .filter(|more| !more.is_empty())
            {
                all.extend(more);
            }
            assert_eq!((depth.ready, depth.leased, depth.delayed), (all.len() as u64, 0, 0), "round {round}");
            let there: std::collections::BTreeSet<_> = all
                .iter()
                .map(|lease| match lease.job {
                    Job::IndexMessage { message, .. } => number(message.as_bytes()),
                    other => panic!("{other:?} was never published"),
                })
                .collect();
            assert!(jobs.is_subset(&there), "round {round}: a published job is gone");
            // A job tells of a row that is there.
            assert!(there.iter().all(|number| *number < count), "round {round}");
            // Leases that nobody ends would count against the jobs.
            backend.queue.release(&all.iter().map(|lease| lease.id).collect::<Vec<_>>()).await.unwrap();
        });
    }
}

/// A random number, from the one source that the standard library has.
fn rand_u16() -> u16 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as u16
}
