//! Messages that wait to be indexed and that no job names.
//!
//! A delivery that is cut short between its rows and its job leaves one. Its sender got no 250 and brings it again,
//! which completes it; where nobody does, this finds it.

use std::collections::HashSet;
use std::sync::Arc;

use schema::{Instance, Job, ListPosition, MessageId, Result, Scan, Table};

const PAGE: usize = 1_000;

/// Publishes jobs for messages that wait while the queue is empty; those that were given up stay given up. Returns how
/// many there were; `None` while the queue holds anything: it cannot know whether a job is among it.
///
/// # Errors
/// What the backend says.
pub async fn requeue_forgotten(instance: &Arc<Instance>) -> Result<Option<u64>> {
    let depth = instance.backend.queue.depth().await?;
    if depth.ready + depth.delayed + depth.leased > 0 {
        return Ok(None);
    }
    let given_up = given_up(instance).await?;
    let mut found = 0;
    for account in instance.accounts().await? {
        let mut scan = Scan::all(Table::Unindexed, *account.as_bytes(), PAGE);
        loop {
            let rows = instance.backend.store.scan(&scan).await?;
            let Some((last, _)) = rows.last() else { break };
            scan = scan.above(last.clone());
            let jobs: Vec<Job> = rows
                .iter()
                .filter_map(|(clustering, _)| ListPosition::from_clustering(clustering))
                .map(|at| Job::IndexMessage { account, message: MessageId(at.id) })
                .filter(|job| !given_up.contains(job))
                .collect();
            found += jobs.len() as u64;
            if !jobs.is_empty() {
                tracing::info!(%account, jobs = jobs.len(), "messages without a job are indexed");
                instance.backend.queue.publish(jobs).await?;
            }
        }
    }
    Ok(Some(found))
}

async fn given_up(instance: &Instance) -> Result<HashSet<Job>> {
    let (mut jobs, mut after) = (HashSet::new(), 0);
    loop {
        let letters = instance.backend.queue.dead_letters(after, PAGE).await?;
        let Some(last) = letters.last() else { return Ok(jobs) };
        after = last.id;
        jobs.extend(letters.iter().map(|letter| letter.job));
    }
}
