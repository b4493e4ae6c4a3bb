//! The nodes that an instance runs as.

use std::sync::Arc;

use axum::extract::{Path, State};
use schema::{Node, NodeId};
use serde_json::{Map, Value, json};

use super::Internal;
use crate::error::{Answer, Problem};
use crate::json::{Id, Time, no_content, ok};
use crate::valid::{NoParameters, Parameters};

impl Internal {
    fn shown(&self, node: &Node) -> Value {
        let is_this = node.id == self.node.id();
        // What it told a few seconds ago is older than what this process knows of itself.
        let (is_draining, load) = match is_this {
            true => (self.node.is_leaving(), self.node.load()),
            false => (node.is_draining, node.load),
        };
        let state = match (is_draining, node.is_asked) {
            (true, _) if load.is_idle() => "drained",
            (true, _) | (_, true) => "draining",
            (false, false) => "ready",
        };
        let listeners = node.about.listeners.iter();
        let listeners: Map<String, Value> =
            listeners.map(|(name, address)| (name.clone(), json!(address))).collect();
        json!({
            "nodeId": Id(node.id.0),
            "role": node.about.role,
            "state": state,
            "host": node.about.host,
            "listeners": listeners,
            "version": node.about.version,
            "schemaVersion": node.about.schema_version,
            "startedAt": Time(node.started_at),
            "toldAt": Time(node.told_at),
            "load": { "sessions": load.sessions, "calls": load.calls, "jobs": load.jobs },
            "isThis": is_this,
        })
    }

    async fn ask_to_drain(&self, id: &str, is_draining: bool) -> Answer {
        match self.instance.ask_to_drain(node_id(id)?, is_draining).await? {
            true => Ok(no_content()),
            false => Err(no_node()),
        }
    }
}

fn no_node() -> Problem {
    Problem::new(http::StatusCode::NOT_FOUND, "not-found", "no node with this id is alive")
}

fn node_id(id: &str) -> Answer<NodeId> {
    Id::parse(id).map(|id| NodeId(id.0)).ok_or_else(no_node)
}

/// `{items: [{nodeId, role, state, host, listeners, version, schemaVersion, startedAt, toldAt, load, isThis}]}`
pub(super) async fn list(State(internal): State<Arc<Internal>>, _: Parameters<NoParameters>) -> Answer {
    let nodes = internal.instance.nodes().await?;
    let items: Vec<_> = nodes.iter().map(|node| internal.shown(node)).collect();
    Ok(ok(&json!({ "items": items })))
}

/// One of them; 404 if none with this id is alive.
pub(super) async fn read(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(id): Path<String>,
) -> Answer {
    let node = internal.instance.node(node_id(&id)?).await?.ok_or_else(no_node)?;
    Ok(ok(&internal.shown(&node)))
}

/// 204: it is asked to begin nothing more; 404 if none with this id is alive.
pub(super) async fn drain(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(id): Path<String>,
) -> Answer {
    internal.ask_to_drain(&id, true).await
}

/// 204: it is asked to go on; 404 if none with this id is alive.
pub(super) async fn resume(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(id): Path<String>,
) -> Answer {
    internal.ask_to_drain(&id, false).await
}
