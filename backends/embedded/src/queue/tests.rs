//! What a process that dies with its leases leaves for the next.

use std::collections::HashSet;
use std::path::Path;

use schema::{AccountId, LOST_LEASES, MessageId};

use super::*;
use crate::{Embedded, Options};

const LONG: Duration = Duration::from_secs(600);

fn open(dir: &Path) -> (Embedded, Arc<dyn JobQueue>) {
    let embedded = Embedded::open(dir, Options::default()).unwrap();
    let queue = embedded.backend().queue;
    (embedded, queue)
}

fn job(number: u8) -> Job {
    Job::IndexMessage { account: AccountId([1; 16]), message: MessageId([number; 16]) }
}

async fn lease(queue: &Arc<dyn JobQueue>, limit: usize) -> Vec<Lease> {
    queue.lease(limit, LONG, Duration::ZERO).await.unwrap()
}

fn ids(leases: &[Lease]) -> Vec<u64> {
    leases.iter().map(|lease| lease.id).collect()
}

/// The files as a process that is killed now leaves them to the kernel.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_lease_that_ended_with_its_process_counts_even_if_that_dies_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    // So that nothing but the lease itself hands the journal over.
    let options = Options { sync_within: LONG, settle_after: Duration::ZERO, ..Options::default() };
    let embedded = Embedded::open(&first, options).unwrap();
    let queue = embedded.backend().queue;
    queue.publish((0..4).map(job).collect()).await.unwrap();
    assert_eq!(lease(&queue, 3).await.len(), 3);
    copy(&first, &second);
    let (_second, queue) = open(&second);
    let mut again = Vec::new();
    loop {
        let leases = lease(&queue, 10).await;
        if leases.is_empty() {
            break;
        }
        again.extend(leases.into_iter().map(|lease| (lease.job, lease.attempts)));
    }
    again.sort_unstable();
    assert_eq!(again, [(job(0), 1), (job(1), 1), (job(2), 1), (job(3), 0)]);
}

#[tokio::test]
async fn leases_that_were_ended_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let (embedded, queue) = open(dir.path());
    queue.publish((0..5).map(job).collect()).await.unwrap();
    let leases = lease(&queue, 5).await;
    queue.ack(&[leases[0].id]).await.unwrap();
    queue.retry(leases[1].id, Duration::ZERO).await.unwrap();
    queue.bury(leases[2].id, "no reason").await.unwrap();
    queue.release(&[leases[3].id]).await.unwrap();
    drop((embedded, queue));
    let (_embedded, queue) = open(dir.path());
    // All but the last, which was leased with them to the end.
    let counts =
        |leases: Vec<Lease>| -> Vec<_> { leases.iter().map(|lease| (lease.job, lease.attempts)).collect() };
    assert_eq!(counts(lease(&queue, 5).await), [(job(1), 1), (job(3), 0)]);
    assert_eq!(counts(lease(&queue, 5).await), [(job(4), 1)]);
}

/// Two workers share the queue; the process dies whenever one of them gets the job that kills it.
#[tokio::test]
async fn a_job_that_ends_every_process_is_given_up_and_takes_no_other_with_it() {
    const JOBS: u8 = 200;
    let killer = job(77);
    let dir = tempfile::tempdir().unwrap();
    let (mut embedded, mut queue) = open(dir.path());
    queue.publish((0..JOBS).map(job).collect()).await.unwrap();
    let (mut deaths, mut done) = (0, HashSet::new());
    loop {
        let leases = [lease(&queue, 64).await, lease(&queue, 64).await].concat();
        if leases.is_empty() {
            break;
        }
        if leases.iter().any(|lease| lease.job == killer) {
            deaths += 1;
            drop((embedded, queue));
            (embedded, queue) = open(dir.path());
            continue;
        }
        queue.ack(&ids(&leases)).await.unwrap();
        assert!(leases.iter().all(|lease| done.insert(lease.job) && lease.attempts <= 2));
    }
    assert_eq!((deaths, done.len()), (LOST_LEASES, usize::from(JOBS) - 1));
    let letters = queue.dead_letters(0, 10).await.unwrap();
    assert_eq!(
        letters.iter().map(|letter| (letter.job, letter.attempts)).collect::<Vec<_>>(),
        [(killer, LOST_LEASES)]
    );
    assert_eq!(queue.depth().await.unwrap(), Depth { dead: 1, ..Depth::default() });
}

#[test]
fn a_hold_reads_back_as_it_was_written() {
    for ids in [vec![], vec![7], vec![1, 2, 900, u64::MAX], vec![5, 3]] {
        assert_eq!(hold::read_ids(&hold::write_ids(&ids).unwrap()).unwrap(), ids);
    }
}
