//! The internal listener.

#![allow(clippy::unwrap_used)]

mod client;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use api::ApiSettings;
use axum::body::Body;
use client::{Service, answer};
use http::Request;
use schema::{Backend, DeadLetter, Depth, Job, JobQueue, Lease, Result};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_asks_for_its_token_and_health_does_not() {
    let service = Service::start().await;
    for token in ["", "Bearer", "Bearer wrong", "Basic x"] {
        let request = Request::builder().uri("/admin/v1/domains").header("authorization", token);
        let refused = answer(&service.internal, request.body(Body::empty()).unwrap()).await;
        assert_eq!(refused.status, 401, "{token}");
    }
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(answer(&service.internal, request).await.status, 200, "{path}");
    }
    let ready = async || {
        let request = Request::builder().uri("/health/ready").body(Body::empty()).unwrap();
        answer(&service.internal, request).await.status.as_u16()
    };
    assert!(service.readiness.set_cut_off(true) && !service.readiness.set_cut_off(true));
    assert_eq!(ready().await, 503);
    assert!(service.readiness.set_cut_off(false));
    assert_eq!(ready().await, 200);
    service.readiness.set(false);
    assert_eq!(ready().await, 503);
}

/// Servers of it are away, and it waits for them.
struct SilentQueue;

#[async_trait::async_trait]
impl JobQueue for SilentQueue {
    async fn publish(&self, _: Vec<Job>) -> Result<()> {
        pending().await
    }
    async fn lease(&self, _: usize, _: Duration, _: Duration) -> Result<Vec<Lease>> {
        pending().await
    }
    async fn ack(&self, _: &[u64]) -> Result<()> {
        pending().await
    }
    async fn retry(&self, _: u64, _: Duration) -> Result<()> {
        pending().await
    }
    async fn release(&self, _: &[u64]) -> Result<()> {
        pending().await
    }
    async fn bury(&self, _: u64, _: &str) -> Result<()> {
        pending().await
    }
    async fn dead_letters(&self, _: u64, _: usize) -> Result<Vec<DeadLetter>> {
        pending().await
    }
    async fn requeue(&self, _: u64) -> Result<bool> {
        pending().await
    }
    async fn depth(&self) -> Result<Depth> {
        pending().await
    }
}

/// Who asks for them gives up after ten seconds, and would know of nothing while the queue is away.
#[tokio::test(flavor = "multi_thread")]
async fn measures_are_shown_while_the_queue_is_silent() {
    let silent = |backend| Backend { queue: Arc::new(SilentQueue), ..backend };
    let service = Service::start_over(ApiSettings::default(), silent).await;
    let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    let shown = tokio::time::timeout(Duration::from_secs(5), answer(&service.internal, request)).await;
    assert_eq!(shown.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_keeps_domains_accounts_and_addresses() {
    let service = Service::start().await;
    let service = &service;
    let call =
        |method: &'static str, path: String, body| async move { service.admin(method, &path, body).await };
    assert_eq!(call("POST", "/domains".into(), Some(json!({ "name": "Two.example" }))).await.status, 201);
    assert_eq!(call("POST", "/domains".into(), Some(json!({ "name": "two.example" }))).await.status, 409);
    assert_eq!(call("POST", "/domains".into(), Some(json!({ "name": "no domain" }))).await.status, 422);
    assert_eq!(call("GET", "/domains".into(), None).await.json()["items"].as_array().unwrap().len(), 2);
    let new = json!({ "address": "bob@two.example", "password": client::PASSWORD });
    let made = call("POST", "/accounts".into(), Some(new.clone())).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["addresses"], json!(["bob@two.example"]));
    let id = made.json()["accountId"].as_str().unwrap().to_owned();
    assert_eq!(call("POST", "/accounts".into(), Some(new)).await.status, 409);
    let short = json!({ "address": "eve@two.example", "password": "short" });
    assert_eq!(call("POST", "/accounts".into(), Some(short)).await.wrong()[0].0, "password");
    assert_eq!(call("DELETE", "/domains/two.example".into(), None).await.status, 409);
    let alias = json!({ "address": "b@two.example", "account": "bob@two.example" });
    assert_eq!(call("POST", "/addresses".into(), Some(alias.clone())).await.status, 201);
    assert_eq!(call("POST", "/addresses".into(), Some(alias)).await.status, 409);
    let listed = call("GET", "/addresses?account=bob@two.example".into(), None).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(call("DELETE", "/addresses/b@two.example".into(), None).await.status, 204);
    assert_eq!(call("DELETE", "/addresses/b@two.example".into(), None).await.status, 404);
    assert_eq!(call("DELETE", "/addresses/bob@two.example".into(), None).await.status, 409);
    let locked =
        call("PATCH", "/accounts/bob@two.example".into(), Some(json!({ "locked": true, "quota": 5 }))).await;
    assert_eq!((&locked.json()["locked"], &locked.json()["quota"]), (&json!(true), &json!(5)));
    let free =
        call("PATCH", format!("/accounts/{id}"), Some(json!({ "locked": false, "quota": null }))).await;
    assert_eq!(free.json()["quota"], json!(null));

    // One message in, twice, and out again.
    let import = |path: String| {
        let request = Request::builder().method("POST").uri(format!("/admin/v1{path}"));
        let request =
            request.header("authorization", format!("Bearer {}", client::TOKEN)).header("content-length", 20);
        answer(&service.internal, request.body(Body::from("Subject: x\r\n\r\nhello\r\n")).unwrap())
    };
    let path =
        format!("/accounts/{id}/import?mailbox=archive&keywords=$seen,old&receivedAt=2001-01-01T00:00:00Z");
    let kept = import(path.clone()).await;
    assert_eq!((kept.status.as_u16(), kept.json()["isNew"].clone()), (201, json!(true)), "{}", kept.text());
    assert_eq!(import(path).await.status, 200);
    assert_eq!(import(format!("/accounts/{id}/import?mailbox=nowhere")).await.status, 422);
    let listed = call("GET", format!("/accounts/{id}/messages"), None).await.json();
    assert_eq!(listed["items"][0]["receivedAt"], "2001-01-01T00:00:00Z");
    assert_eq!(listed["items"][0]["keywords"], json!({ "$seen": true, "old": true }));
    let message = listed["items"][0]["id"].as_str().unwrap();
    let raw = call("GET", format!("/accounts/{id}/messages/{message}/raw"), None).await;
    assert_eq!(raw.body, b"Subject: x\r\n\r\nhello\r\n");

    assert!(call("GET", "/jobs".into(), None).await.json()["ready"].as_u64().unwrap() > 0);
    assert_eq!(call("GET", "/dead-letters".into(), None).await.json()["items"], json!([]));
    assert_eq!(call("POST", "/dead-letters/7/requeue".into(), None).await.status, 404);
    assert!(call("POST", "/keys/rotate".into(), None).await.json()["epoch"].as_u64().unwrap() > 1);
    assert_eq!(call("POST", "/check?repair=true".into(), None).await.json()["repaired"], true);
    assert_eq!(call("POST", "/backup".into(), Some(json!({ "path": "relative" }))).await.status, 422);
    assert_eq!(call("POST", "/backup".into(), Some(json!({ "path": "/srv/copy" }))).await.status, 200);
    let purged = call("DELETE", format!("/accounts/{id}"), None).await;
    assert!(purged.json()["epoch"].as_u64().unwrap() > 2);
    assert_eq!(call("GET", format!("/accounts/{id}"), None).await.status, 404);
    assert_eq!(call("DELETE", "/domains/two.example".into(), None).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_drained_and_resumed() {
    let service = Service::start().await;
    let node = &service.node;
    service.instance.note_node(&node.tell(1_767_225_600_000)).await.unwrap();
    let listed = service.admin("GET", "/nodes", None).await.json();
    let id = node.id().to_string();
    let only = &listed["items"][0];
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&only["nodeId"], &only["isThis"], &only["state"]),
        (&json!(id), &json!(true), &json!("ready"))
    );
    assert_eq!(only["toldAt"], "2026-01-01T00:00:00Z");
    assert_eq!(&service.admin("GET", &format!("/nodes/{id}"), None).await.json(), only);

    let ask = async |what: &str| service.admin("POST", &format!("/nodes/{id}/{what}"), None).await.status;
    let state = async || service.admin("GET", &format!("/nodes/{id}"), None).await.json()["state"].clone();
    assert_eq!(ask("drain").await, 204);
    assert_eq!(state().await, "draining", "it does not know yet");
    assert!(service.instance.is_asked_to_drain(node.id()).await.unwrap());
    let busy = node.begin(schema::Work::Job, 2);
    assert!(node.set_draining(true));
    assert_eq!(state().await, "draining");
    drop(busy);
    assert_eq!(state().await, "drained");
    let ready = async || {
        let request = Request::builder().uri("/health/ready").body(Body::empty()).unwrap();
        answer(&service.internal, request).await.status.as_u16()
    };
    assert_eq!(ready().await, 503);
    assert_eq!(ask("resume").await, 204);
    assert!(!service.instance.is_asked_to_drain(node.id()).await.unwrap());
    assert!(node.set_draining(false));
    assert_eq!((state().await, ready().await), (json!("ready"), 200));

    for wrong in ["0".repeat(32).as_str(), "1", "x", &id.to_uppercase()[..31]] {
        for (method, what) in [("GET", ""), ("POST", "/drain"), ("POST", "/resume")] {
            let refused = service.admin(method, &format!("/nodes/{wrong}{what}"), None).await;
            assert_eq!(refused.status, 404, "{wrong} {what}");
            assert_eq!(refused.json()["detail"], "no node with this id is alive");
        }
    }
    assert_eq!(service.admin("GET", "/nodes?all=true", None).await.status, 422);
    assert_eq!(service.admin("DELETE", "/nodes", None).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_once_in_a_while_is_listed_with_what_it_found() {
    let service = Service::start().await;
    let listed = async || service.admin("GET", "/periodic-jobs", None).await.json()["items"].clone();
    assert_eq!(listed().await, json!([]));
    let node = schema::NodeId([7; 16]);
    let lookout = service.instance.lookout("house", node);
    let run = service.instance.begin_run(&lookout, schema::Due::Now).await.unwrap().unwrap();
    let shown = listed().await;
    assert_eq!((&shown[0]["job"], &shown[0]["last"]), (&json!("house"), &json!(null)));
    assert_eq!(shown[0]["run"]["nodeId"], "07".repeat(16));
    let found = schema::Counts::from([("accounts".to_owned(), 3)]);
    assert!(service.instance.end_run(&lookout, run, Some(found)).await.unwrap());
    let shown = listed().await;
    assert_eq!((&shown[0]["run"], &shown[0]["last"]["found"]), (&json!(null), &json!({ "accounts": 3 })));
    assert_eq!(shown[0]["last"]["failed"], false);
}
