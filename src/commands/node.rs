//! `signet node list|drain|resume`

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{items, print, text};
use crate::arguments::NodeCommand;
use crate::client::{Client, escape};
use crate::failure::Failure;

/// How often it is looked whether a node is idle.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn run(client: &mut Client, command: &NodeCommand, json: bool) -> Result<(), Failure> {
    match command {
        NodeCommand::List => {
            let listed = client.json(Method::GET, "/nodes", None).await?;
            print(json, &listed, &table(items(&listed)));
        }
        NodeCommand::Drain { id, wait } => {
            call(client, Method::POST, id, "/drain").await?;
            let mut node = call(client, Method::GET, id, "").await?;
            let deadline = wait.map(|seconds| Instant::now() + Duration::from_secs(seconds));
            while deadline.is_some() && node["state"] != "drained" {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    let load = load(&node);
                    return Err(Failure::other(format!(
                        "the node is not idle yet: {load}; it goes on draining"
                    )));
                }
                sleep(LOOK).await;
                node = call(client, Method::GET, id, "").await?;
            }
            print(json, &node, &format!("{id} is {}", text(&node, "state")));
        }
        NodeCommand::Resume { id } => {
            call(client, Method::POST, id, "/resume").await?;
            print(json, &json!({ "nodeId": id, "resumed": true }), &format!("{id} goes on"));
        }
    }
    Ok(())
}

/// A call on one node; the JSON of its answer.
async fn call(client: &mut Client, method: Method, id: &str, what: &str) -> Result<Value, Failure> {
    let path = format!("/nodes/{}{what}", escape(id));
    match client.call(method, &path, "application/json", bytes::Bytes::new()).await? {
        Ok(answer) => Ok(serde_json::from_slice(&answer).unwrap_or_default()),
        Err(mut refusal) if refusal.status == StatusCode::NOT_FOUND => {
            refusal.why =
                format!("no node with the id {id} is alive: `signet node list` shows those that are");
            Err(refusal.into())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn load(node: &Value) -> String {
    let load = &node["load"];
    format!("{} sessions, {} calls, {} jobs", load["sessions"], load["calls"], load["jobs"])
}

/// A line for each node, in columns.
fn table(nodes: &[Value]) -> String {
    let head = ["NODE", "ROLE", "STATE", "HOST", "LISTENERS", "VERSION", "STARTED", "TOLD", "LOAD"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(nodes.iter().map(|node| {
        let listeners = node["listeners"].as_object().into_iter().flatten();
        let listeners: Vec<String> = listeners
            .map(|(name, address)| format!("{name} {}", address.as_str().unwrap_or_default()))
            .collect();
        let version = match node["schemaVersion"].as_u64() {
            Some(schema) => format!("{} (schema {schema})", text(node, "version")),
            None => text(node, "version").to_owned(),
        };
        [
            text(node, "nodeId").to_owned(),
            text(node, "role").to_owned(),
            text(node, "state").to_owned(),
            text(node, "host").to_owned(),
            listeners.join(", "),
            version,
            text(node, "startedAt").to_owned(),
            text(node, "toldAt").to_owned(),
            load(node),
        ]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let shown = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_table_stand_below_each_other() {
        let node = |role: &str, schema: Value| {
            json!({
                "nodeId": "0".repeat(32), "role": role, "state": "ready", "host": "one", "version": "0.1.0",
                "schemaVersion": schema, "listeners": { "internal": "127.0.0.1:1" },
                "load": { "sessions": 1, "calls": 0, "jobs": 2 },
            })
        };
        let table = table(&[node("all", Value::Null), node("workers", json!(2))]);
        let lines: Vec<&str> = table.lines().collect();
        let at = lines[0].find("STATE");
        assert!(at.is_some() && lines[1..].iter().all(|line| line.find("ready") == at), "{table}");
        assert!(lines[2].contains("0.1.0 (schema 2)") && lines[1].ends_with("1 sessions, 0 calls, 2 jobs"));
    }
}
