//! The queue: how much work there is, and what was given up.

use std::sync::Arc;

use axum::extract::{Path, State};
use schema::Job;
use serde::Deserialize;
use serde_json::{Value, json};
use validator::Validate;

use super::Internal;
use crate::error::{Answer, Problem};
use crate::json::{Id, Time, no_content, ok};
use crate::valid::{NoParameters, Parameters};

/// `{ready, delayed, leased, dead, oldest}`
pub(super) async fn depth(State(internal): State<Arc<Internal>>, _: Parameters<NoParameters>) -> Answer {
    let depth = internal.instance.backend.queue.depth().await?;
    Ok(ok(&json!({
        "ready": depth.ready,
        "delayed": depth.delayed,
        "leased": depth.leased,
        "dead": depth.dead,
        "oldest": depth.oldest.map(Time),
    })))
}

/// `{items: [{job, run: {nodeId, beganAt, until}, last: {nodeId, beganAt, endedAt, failed, found}}]}`: what is done once in a
/// while; `run` is null while it is not being done, `last` until it was done once.
pub(super) async fn periodic(State(internal): State<Arc<Internal>>, _: Parameters<NoParameters>) -> Answer {
    let jobs = internal.instance.periodic_jobs().await?.into_iter();
    let items = jobs.map(|job| {
        json!({
            "job": job.name,
            "run": job.run.map(|run| json!({
                "nodeId": Id(run.node.0),
                "beganAt": Time(run.began_at),
                "until": Time(run.until),
            })),
            "last": job.last.map(|last| json!({
                "nodeId": Id(last.node.0),
                "beganAt": Time(last.began_at),
                "endedAt": Time(last.ended_at),
                "failed": last.found.is_none(),
                "found": last.found.unwrap_or_default(),
            })),
        })
    });
    Ok(ok(&json!({ "items": items.collect::<Vec<_>>() })))
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLettersParameters {
    /// The last id of the page before.
    after: Option<u64>,
    #[validate(range(min = 1, max = 1000))]
    limit: Option<u16>,
}

fn of(job: &Job) -> Value {
    match *job {
        Job::IndexMessage { message, .. } | Job::RemoveMessage { message, .. } => {
            json!({ "messageId": Id(message.0) })
        }
        Job::CompressThread { thread, .. } => json!({ "threadId": Id(thread.0) }),
        Job::PurgeAccount { .. } => json!({}),
    }
}

/// `{items: [{id, job, accountId, messageId | threadId, attempts, reason, buriedAt}], next}`
pub(super) async fn dead_letters(
    State(internal): State<Arc<Internal>>,
    Parameters(given): Parameters<DeadLettersParameters>,
) -> Answer {
    let limit = usize::from(given.limit.unwrap_or(100));
    let letters = internal.instance.backend.queue.dead_letters(given.after.unwrap_or(0), limit).await?;
    let next = (letters.len() == limit).then(|| letters.last().map(|letter| letter.id)).flatten();
    let items: Vec<_> = letters
        .iter()
        .map(|letter| {
            let mut item = of(&letter.job);
            item["id"] = letter.id.into();
            item["job"] = letter.job.name().into();
            item["accountId"] = json!(Id(letter.job.account().0));
            item["attempts"] = letter.attempts.into();
            item["reason"] = letter.reason.as_str().into();
            item["buriedAt"] = json!(Time(letter.buried_at));
            item
        })
        .collect();
    Ok(ok(&json!({ "items": items, "next": next })))
}

/// 204; 404 if there is no dead letter with this id.
pub(super) async fn requeue(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(id): Path<String>,
) -> Answer {
    let id = id.parse().map_err(|_| Problem::not_found())?;
    match internal.instance.backend.queue.requeue(id).await? {
        true => Ok(no_content()),
        false => Err(Problem::not_found()),
    }
}
