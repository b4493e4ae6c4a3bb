//! What every [`JobQueue`] must do. Jobs belong to nobody, so each function wants an empty queue to itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::{AccountId, Depth, Job, JobQueue, LOST_LEASES, Lease, MessageId};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(60);
const NO_TIME: Duration = Duration::ZERO;
const DEADLINE: Duration = Duration::from_secs(60);

fn job(number: u16) -> Job {
    let mut message = [0; 16];
    message[..2].copy_from_slice(&number.to_be_bytes());
    Job::IndexMessage { account: AccountId([1; 16]), message: MessageId(message) }
}

async fn publish(queue: &dyn JobQueue, numbers: std::ops::Range<u16>) {
    queue.publish(numbers.map(job).collect()).await.unwrap();
}

/// A lease of one job, which must come before the deadline.
async fn lease(queue: &dyn JobQueue, time: Duration) -> Lease {
    queue.lease(1, time, DEADLINE).await.unwrap().pop().expect("a job comes before the deadline")
}

async fn none_is_ready(queue: &dyn JobQueue) -> bool {
    queue.lease(1, SHORT, NO_TIME).await.unwrap().is_empty()
}

fn jobs(leases: &[Lease]) -> Vec<Job> {
    leases.iter().map(|lease| lease.job).collect()
}

/// Jobs are leased roughly in the order of their publication.
pub async fn jobs_are_leased_in_order(queue: &dyn JobQueue) {
    publish(queue, 0..3).await;
    publish(queue, 3..5).await;
    let leases = queue.lease(10, LONG, DEADLINE).await.unwrap();
    assert_eq!(jobs(&leases), (0..5).map(job).collect::<Vec<_>>());
    assert!(leases.iter().all(|lease| lease.attempts == 0));
    assert_eq!(leases.iter().map(|lease| lease.id).collect::<HashSet<_>>().len(), 5);
}

/// Every kind of job comes back as it was published.
pub async fn a_job_comes_back_as_it_was_published(queue: &dyn JobQueue) {
    let (account, message, thread) = (AccountId([1; 16]), MessageId([2; 16]), crate::ThreadId([3; 16]));
    let published = vec![
        Job::IndexMessage { account, message },
        Job::RemoveMessage { account, message },
        Job::CompressThread { account, thread },
        Job::PurgeAccount { account },
    ];
    queue.publish(published.clone()).await.unwrap();
    assert_eq!(jobs(&queue.lease(10, LONG, DEADLINE).await.unwrap()), published);
}

/// `publish`: nothing to publish is no error.
pub async fn no_jobs_are_no_error(queue: &dyn JobQueue) {
    queue.publish(Vec::new()).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

/// `lease`: at most `limit` jobs.
pub async fn a_lease_takes_no_more_than_asked(queue: &dyn JobQueue) {
    publish(queue, 0..5).await;
    assert_eq!(queue.lease(2, LONG, DEADLINE).await.unwrap().len(), 2);
    assert_eq!(queue.lease(2, LONG, DEADLINE).await.unwrap().len(), 2);
    assert_eq!(queue.lease(2, LONG, DEADLINE).await.unwrap().len(), 1);
}

/// `lease`: empty if no job came within the time to wait.
pub async fn a_lease_of_an_empty_queue_ends_after_its_wait(queue: &dyn JobQueue) {
    let began = Instant::now();
    assert_eq!(queue.lease(1, LONG, SHORT).await.unwrap(), []);
    assert!(began.elapsed() >= SHORT);
    assert!(none_is_ready(queue).await);
}

/// `lease`: who waits gets a job when it is published.
pub async fn a_waiting_worker_gets_a_new_job(queue: Arc<dyn JobQueue>) {
    let worker = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { lease(&*queue, LONG).await.job }
    });
    tokio::task::yield_now().await;
    publish(&*queue, 7..8).await;
    assert_eq!(worker.await.unwrap(), job(7));
}

/// `lease`: a job that is leased is not leased to another.
pub async fn a_leased_job_is_leased_once(queue: Arc<dyn JobQueue>) {
    const JOBS: u16 = 200;
    publish(&*queue, 0..JOBS).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (queue, taken) = (Arc::clone(&queue), Arc::clone(&taken));
            tokio::spawn(async move {
                let (began, mut mine) = (Instant::now(), Vec::new());
                loop {
                    let leases = queue.lease(3, LONG, SHORT).await.unwrap();
                    // None in time need not mean that there is none.
                    if leases.is_empty() && taken.load(Ordering::SeqCst) >= usize::from(JOBS) {
                        return mine;
                    }
                    assert!(began.elapsed() < DEADLINE, "{} jobs came", taken.load(Ordering::SeqCst));
                    queue.ack(&leases.iter().map(|lease| lease.id).collect::<Vec<_>>()).await.unwrap();
                    taken.fetch_add(leases.len(), Ordering::SeqCst);
                    mine.extend(jobs(&leases));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..JOBS).map(job).collect::<Vec<_>>());
}

/// A lease ends by itself when its time is over, and then another worker gets the job.
pub async fn a_lease_that_ran_out_is_given_to_the_next(queue: &dyn JobQueue) {
    publish(queue, 0..1).await;
    let first = lease(queue, SHORT).await;
    let second = lease(queue, LONG).await;
    assert_eq!((second.job, second.attempts), (first.job, 1));
    assert_eq!(second.published_at, first.published_at);
    assert!(none_is_ready(queue).await);
}

/// `lease`: a job whose lease runs out [`LOST_LEASES`] times is a dead letter.
pub async fn a_job_whose_lease_runs_out_too_often_is_a_dead_letter(queue: &dyn JobQueue) {
    publish(queue, 0..1).await;
    for attempts in 0..LOST_LEASES {
        let held = lease(queue, SHORT / 20).await;
        assert_eq!((held.job, held.attempts), (job(0), attempts));
    }
    let began = Instant::now();
    while queue.depth().await.unwrap().leased > 0 {
        assert!(began.elapsed() < DEADLINE, "the last lease never ends");
        tokio::time::sleep(SHORT / 20).await;
    }
    assert!(none_is_ready(queue).await);
    let letters = queue.dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.job).collect::<Vec<_>>(), [job(0)]);
    assert_eq!(letters[0].attempts, LOST_LEASES);
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.delayed, depth.leased, depth.dead), (0, 0, 0, 1));
    // Once it is a job again it has them all again.
    assert!(queue.requeue(letters[0].id).await.unwrap());
    assert_eq!(lease(queue, SHORT / 20).await.attempts, 0);
    assert_eq!(lease(queue, LONG).await.attempts, 1);
}

/// `ack`: the jobs are done.
pub async fn an_acked_job_is_done(queue: &dyn JobQueue) {
    publish(queue, 0..3).await;
    let leases = queue.lease(3, LONG, DEADLINE).await.unwrap();
    queue.ack(&[leases[0].id, leases[2].id]).await.unwrap();
    queue.release(&[leases[1].id]).await.unwrap();
    let left = lease(queue, LONG).await;
    assert_eq!(left.job, job(1));
    queue.ack(&[left.id]).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

/// `ack`: an id that was never given out, or is done already, is ignored.
pub async fn an_ack_of_an_unknown_id_is_ignored(queue: &dyn JobQueue) {
    publish(queue, 0..1).await;
    let held = lease(queue, LONG).await;
    queue.ack(&[held.id + 1000, held.id, held.id]).await.unwrap();
    queue.ack(&[held.id]).await.unwrap();
    queue.ack(&[]).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

/// `ack`: an id whose lease is over is ignored: the job is done again.
pub async fn an_ack_after_the_lease_is_ignored(queue: &dyn JobQueue) {
    publish(queue, 0..1).await;
    let late = lease(queue, SHORT).await;
    let began = Instant::now();
    while queue.depth().await.unwrap().leased > 0 {
        assert!(began.elapsed() < DEADLINE, "the lease never ends");
        tokio::task::yield_now().await;
    }
    queue.ack(&[late.id]).await.unwrap();
    assert_eq!(lease(queue, LONG).await.job, job(0));
}

/// `retry`: the job is leased again after the delay, not before, with one more attempt on its count.
pub async fn a_retried_job_comes_back_after_its_delay(queue: &dyn JobQueue) {
    publish(queue, 0..1).await;
    for attempts in 0..3 {
        let held = lease(queue, LONG).await;
        assert_eq!((held.job, held.attempts), (job(0), attempts));
        let began = Instant::now();
        queue.retry(held.id, SHORT).await.unwrap();
        let depth = queue.depth().await.unwrap();
        assert_eq!((depth.leased, depth.ready + depth.delayed), (0, 1));
        let held = lease(queue, LONG).await;
        // A server's clock may be coarse.
        assert!(began.elapsed() + Duration::from_millis(5) >= SHORT, "leased after {:?}", began.elapsed());
        queue.release(&[held.id]).await.unwrap();
    }
}

/// `retry`: other jobs do not wait for one that is delayed.
pub async fn a_delayed_job_holds_nobody_up(queue: &dyn JobQueue) {
    publish(queue, 0..2).await;
    let held = lease(queue, LONG).await;
    queue.retry(held.id, LONG).await.unwrap();
    let next = lease(queue, LONG).await;
    assert_eq!(next.job, job(1));
    assert!(none_is_ready(queue).await);
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.delayed, depth.leased, depth.dead), (0, 1, 1, 0));
}

/// `release`: gives jobs back at once, as if they had not been leased.
pub async fn released_jobs_are_ready_at_once(queue: &dyn JobQueue) {
    publish(queue, 0..2).await;
    let leases = queue.lease(2, LONG, DEADLINE).await.unwrap();
    queue.release(&leases.iter().map(|lease| lease.id).collect::<Vec<_>>()).await.unwrap();
    let mut again = Vec::new();
    while again.len() < 2 {
        again.push(lease(queue, LONG).await);
    }
    assert!(again.iter().all(|lease| lease.attempts == 0));
    assert_eq!(jobs(&again).into_iter().collect::<HashSet<_>>(), [job(0), job(1)].into());
}

/// `bury`: the job becomes a dead letter, and is not leased any more.
pub async fn a_buried_job_is_a_dead_letter(queue: &dyn JobQueue) {
    publish(queue, 0..1).await;
    let held = lease(queue, LONG).await;
    queue.bury(held.id, "the blob does not open").await.unwrap();
    assert!(none_is_ready(queue).await);
    let letters = queue.dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].job, letters[0].reason.as_str()), (job(0), "the blob does not open"));
    assert!(letters[0].attempts >= 1);
    assert!(letters[0].buried_at >= held.published_at);
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.delayed, depth.leased, depth.dead), (0, 0, 0, 1));
    assert_eq!(depth.oldest, None);
}

/// `dead_letters`: with ids above `after`, ascending, at most `limit`.
pub async fn dead_letters_come_in_pages_in_order(queue: &dyn JobQueue) {
    publish(queue, 0..7).await;
    for lease in queue.lease(7, LONG, DEADLINE).await.unwrap() {
        queue.bury(lease.id, "no reason").await.unwrap();
    }
    for limit in [1, 3, 7, 10] {
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let page = queue.dead_letters(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            assert!(page.iter().all(|letter| letter.id > after));
            let Some(last) = page.last() else { break };
            after = last.id;
            found.extend(page.iter().map(|letter| letter.id));
        }
        assert_eq!(found.len(), 7, "limit {limit}");
        assert!(found.is_sorted());
    }
}

/// `requeue`: makes a dead letter a job again, with no attempts on its count; false if there is none.
pub async fn a_requeued_dead_letter_is_a_job_again(queue: &dyn JobQueue) {
    publish(queue, 0..2).await;
    for _ in 0..2 {
        let held = lease(queue, LONG).await;
        queue.bury(held.id, "no reason").await.unwrap();
    }
    let letter = queue.dead_letters(0, 1).await.unwrap().remove(0);
    assert!(queue.requeue(letter.id).await.unwrap());
    assert!(!queue.requeue(letter.id).await.unwrap());
    assert!(!queue.requeue(letter.id + 1000).await.unwrap());
    let held = lease(queue, LONG).await;
    assert_eq!((held.job, held.attempts), (letter.job, 0));
    assert_eq!(queue.depth().await.unwrap().dead, 1);
    queue.ack(&[held.id]).await.unwrap();
    assert!(none_is_ready(queue).await);
}

/// `depth`: how much work there is.
pub async fn the_depth_counts_every_job_once(queue: &dyn JobQueue) {
    publish(queue, 0..10).await;
    let leases = queue.lease(6, LONG, DEADLINE).await.unwrap();
    queue.ack(&[leases[0].id]).await.unwrap();
    queue.retry(leases[1].id, LONG).await.unwrap();
    queue.retry(leases[2].id, LONG).await.unwrap();
    queue.bury(leases[3].id, "no reason").await.unwrap();
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.delayed, depth.leased, depth.dead), (4, 2, 2, 1));
    assert_eq!(depth.oldest, Some(leases[1].published_at));
}

/// Every job of many is done once when nothing fails, however they are published and taken.
pub async fn nothing_is_lost_under_load(queue: Arc<dyn JobQueue>) {
    const EACH: u16 = 100;
    const PUBLISHERS: u16 = 6;
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                for number in 0..EACH {
                    let number = publisher * EACH + number;
                    publish(&*queue, number..number + 1).await;
                }
            })
        })
        .collect();
    let mut done = HashSet::new();
    let began = Instant::now();
    while done.len() < usize::from(EACH * PUBLISHERS) {
        assert!(began.elapsed() < 6 * DEADLINE, "{} jobs came", done.len());
        for (number, lease) in queue.lease(10, LONG, SHORT).await.unwrap().into_iter().enumerate() {
            // Some come back once.
            if number % 5 == 4 && lease.attempts == 0 {
                queue.retry(lease.id, Duration::from_millis(1)).await.unwrap();
            } else {
                queue.ack(&[lease.id]).await.unwrap();
                assert!(done.insert(lease.job), "done twice: {:?}", lease.job);
            }
        }
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}
