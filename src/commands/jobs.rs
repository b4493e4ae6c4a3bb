//! `signet jobs list|retry`

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{items, print, text};
use crate::arguments::JobsCommand;
use crate::client::Client;
use crate::failure::Failure;

pub(super) async fn run(client: &mut Client, command: &JobsCommand, json: bool) -> Result<(), Failure> {
    match command {
        JobsCommand::List => list(client, json).await,
        JobsCommand::Retry { ids, all } => {
            let ids = match all {
                true => {
                    dead_letters(client).await?.iter().filter_map(|letter| letter["id"].as_u64()).collect()
                }
                false => ids.clone(),
            };
            retry(client, &ids, *all, json).await
        }
    }
}

async fn list(client: &mut Client, json: bool) -> Result<(), Failure> {
    let mut shown = client.json(Method::GET, "/jobs", None).await?;
    let letters = dead_letters(client).await?;
    let mut lines = vec![format!(
        "{} ready, {} delayed, {} leased, {} given up",
        shown["ready"], shown["delayed"], shown["leased"], shown["dead"]
    )];
    lines.extend(letters.iter().map(line));
    let periodic = client.json(Method::GET, "/periodic-jobs", None).await?;
    lines.extend(items(&periodic).iter().map(periodic_line));
    shown["periodic"] = periodic["items"].clone();
    shown["deadLetters"] = Value::Array(letters);
    print(json, &shown, &lines.join("\n"));
    Ok(())
}

fn line(letter: &Value) -> String {
    let of = [text(letter, "messageId"), text(letter, "threadId")].concat();
    let of = if of.is_empty() { of } else { format!(" of {of}") };
    format!(
        "{}  {}{of}, account {}, given up {} after {} attempts: {}",
        letter["id"],
        text(letter, "job"),
        text(letter, "accountId"),
        text(letter, "buriedAt"),
        letter["attempts"],
        text(letter, "reason"),
    )
}

fn periodic_line(job: &Value) -> String {
    let (run, last) = (&job["run"], &job["last"]);
    let found = last["found"].as_object().into_iter().flatten();
    let found: Vec<String> = found.map(|(name, count)| format!("{name} {count}")).collect();
    let last = match (last.is_null(), last["failed"] == true) {
        (true, _) => "never done".to_owned(),
        (_, true) => format!("failed {}", text(last, "endedAt")),
        _ => format!("done {}: {}", text(last, "endedAt"), found.join(", ")),
    };
    let now = match run.is_null() {
        true => String::new(),
        false => format!(", running since {} on {}", text(run, "beganAt"), text(run, "nodeId")),
    };
    format!("periodic {}: {last}{now}", text(job, "job"))
}

/// Every job that was given up.
async fn dead_letters(client: &mut Client) -> Result<Vec<Value>, Failure> {
    let mut letters = Vec::new();
    let mut after = Value::from(0);
    while !after.is_null() {
        let path = format!("/dead-letters?limit=1000&after={after}");
        let page = client.json(Method::GET, &path, None).await?;
        letters.extend_from_slice(items(&page));
        after = page["next"].clone();
    }
    Ok(letters)
}

/// `is_any` where it does not matter if one of them is not there any more.
async fn retry(client: &mut Client, ids: &[u64], is_any: bool, json: bool) -> Result<(), Failure> {
    let mut retried = Vec::new();
    for id in ids {
        let path = format!("/dead-letters/{id}/requeue");
        let answer = client.call(Method::POST, &path, "application/json", bytes::Bytes::new()).await?;
        match answer {
            Ok(_) => retried.push(*id),
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND && is_any => {}
            Err(mut refusal) if refusal.status == StatusCode::NOT_FOUND => {
                refusal.why = format!("no job with the id {id} was given up");
                return Err(refusal.into());
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    print(json, &json!({ "retried": retried }), &format!("{} jobs are tried again", retried.len()));
    Ok(())
}
