//! Whether the program lives and takes work, and its measures.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use schema::{Durability, Instance, RowKey, Table};
use serde_json::json;

use super::Internal;
use crate::error::{Answer, Problem};
use crate::json::ok;

/// How long the store may take to show that it answers, and the queue to say how much work there is.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn live() -> Response {
    ok(&json!({ "status": "live" }))
}

/// 200 if the program takes work and its store answers, else 503.
pub(super) async fn ready(State(internal): State<Arc<Internal>>) -> Answer {
    if !internal.readiness.get() {
        return Err(Problem::unavailable("the program is starting or stopping"));
    }
    if internal.node.is_leaving() {
        return Err(Problem::unavailable("the node drains"));
    }
    if internal.readiness.is_cut_off() {
        return Err(Problem::unavailable("the store cannot be reached"));
    }
    reach_store(&internal.instance).await?;
    Ok(ok(&json!({ "status": "ready" })))
}

/// Reads one row, and sees whether the store takes writes.
///
/// # Errors
/// What the store says; a transient one if it says nothing for two seconds.
pub async fn reach_store(instance: &Instance) -> schema::Result<()> {
    let store = &instance.backend.store;
    let reach = async {
        store.get(&[RowKey::new(Table::Instance, [], *b"key")]).await?;
        store.write(vec![], Durability::Later).await
    };
    match tokio::time::timeout(PATIENCE, reach).await {
        Ok(reached) => reached,
        Err(late) => Err(schema::Error::transient("the store does not answer in time", late)),
    }
}

/// Prometheus' text format. What the queue does not say in time is as it was said last: the rest tells what is wrong with it.
pub(super) async fn metrics(State(internal): State<Arc<Internal>>) -> Response {
    let asked = tokio::time::timeout(PATIENCE, internal.instance.backend.queue.depth());
    if let Ok(Ok(depth)) = asked.await {
        let now = internal.instance.clock.now();
        let age = depth.oldest.map_or(0, |oldest| now.saturating_sub(oldest));
        for (state, count) in [
            ("ready", depth.ready),
            ("delayed", depth.delayed),
            ("leased", depth.leased),
            ("dead", depth.dead),
        ] {
            metrics::gauge!("signet_queue_jobs", "state" => state).set(count as f64);
        }
        metrics::gauge!("signet_queue_oldest_seconds").set(age as f64 / 1000.0);
    }
    internal.metrics.run_upkeep();
    let mut response = internal.metrics.render().into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
