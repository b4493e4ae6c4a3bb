//! Streams of live events.

#![allow(clippy::unwrap_used)]

mod client;

use std::time::Duration;

use api::ApiSettings;
use axum::body::Body;
use client::{Client, Service, message};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

const T: u64 = 1_767_225_600_000;
const DEADLINE: Duration = Duration::from_secs(30);

/// An open stream, with what has come of an event that is not whole yet.
struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn open(client: &Client<'_>) -> Self {
        let request = client.request(Method::GET, "/v1/events").header("accept", "text/event-stream");
        let answer =
            client.service.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), text: String::new() }
    }

    /// The name and the data of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .unwrap_or_default()
                        .trim()
                        .to_owned()
                };
                let found = (field("event:"), field("data:"));
                self.text = rest.to_owned();
                // The first has a comment and a time only.
                if !found.0.is_empty() {
                    return Some(found);
                }
                continue;
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("nothing comes")?;
            self.text += std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap();
        }
    }
}

fn event(name: &str, id: impl std::fmt::Display) -> Option<(String, String)> {
    Some((name.to_owned(), format!(r#"{{"id":"{id}"}}"#)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_told_as_it_happens_to_its_account_alone() {
    let service = Service::start().await;
    let (bob, eve) = (service.client("bob@one.example").await, service.client("eve@one.example").await);
    let mut streams = [Events::open(&bob).await, Events::open(&bob).await];
    let mut of_eve = Events::open(&eve).await;

    let id = bob.deliver(&message("Hello", "text"), T).await;
    let path = format!("/v1/messages/{id}");
    assert_eq!(bob.call("PATCH", &path, Some(json!({ "keywords": { "$seen": true } }))).await.status, 200);
    let made = bob.call("POST", "/v1/mailboxes", Some(json!({ "name": "Plans" }))).await.json();
    let mailbox = made["id"].as_str().unwrap().to_owned();
    let mailbox_path = format!("/v1/mailboxes/{mailbox}");
    assert_eq!(bob.call("PATCH", &mailbox_path, Some(json!({ "name": "Deeds" }))).await.status, 200);
    assert_eq!(bob.call("DELETE", &mailbox_path, None).await.status, 204);
    assert!(bob.call("DELETE", &path, None).await.status.is_success(), "into the trash");
    assert!(bob.call("DELETE", &path, None).await.status.is_success(), "for good");
    for stream in &mut streams {
        assert_eq!(stream.next().await, event("message.received", id));
        assert_eq!(stream.next().await, event("message.updated", id));
        assert_eq!(stream.next().await, event("mailbox.created", &mailbox));
        assert_eq!(stream.next().await, event("mailbox.updated", &mailbox));
        assert_eq!(stream.next().await, event("mailbox.destroyed", &mailbox));
        assert_eq!(stream.next().await, event("message.updated", id));
        assert_eq!(stream.next().await, event("message.destroyed", id));
    }
    let other = eve.deliver(&message("Hello", "text"), T).await;
    assert_eq!(of_eve.next().await, event("message.received", other), "the first that she hears of");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_told_once_the_feed_shows_it() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let mut events = Events::open(&bob).await;
    let mut cursor = bob.get("/v1/changes").await.json()["cursor"].as_str().unwrap().to_owned();
    for number in 0..20 {
        let id = bob.deliver(&message(&format!("Number {number}"), "text"), T + number).await;
        assert_eq!(events.next().await, event("message.received", id));
        let page = bob.get(&format!("/v1/changes?since={cursor}")).await.json();
        assert!(page["changes"].as_array().unwrap().iter().any(|change| change["id"] == id.to_string()));
        page["cursor"].as_str().unwrap().clone_into(&mut cursor);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_slow_hears_that_it_has_missed_some() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let mut events = Events::open(&bob).await;
    for number in 0..200 {
        bob.deliver(&message(&format!("Number {number}"), "text"), T + number).await;
    }
    let mut heard = 0;
    loop {
        heard += 1;
        if events.next().await.unwrap() == ("changes".to_owned(), "{}".to_owned()) {
            break;
        }
        assert!(heard < 200, "nothing was missed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_told_is_found_and_a_session_that_is_over_ends_its_stream() {
    let service = Service::start().await;
    let (bob, eve) = (service.client("bob@one.example").await, service.client("eve@one.example").await);
    let (mut of_bob, mut of_eve) = (Events::open(&bob).await, Events::open(&eve).await);
    let change = schema::Change { kind: schema::ChangeKind::MessageUpdated, id: [7; 16] };
    let untold = vec![schema::Write::Change(bob.account.id(), change)];
    service.instance.backend.store.write(untold, schema::Durability::Now).await.unwrap();
    assert_eq!(eve.call("DELETE", "/v1/session", None).await.status, 204);
    assert_eq!(of_bob.next().await, Some(("changes".to_owned(), "{}".to_owned())));
    assert_eq!(of_eve.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_end_when_the_node_is_to_leave() {
    let service = Service::start_with(ApiSettings { streams: 2, ..ApiSettings::default() }).await;
    let bob = service.client("bob@one.example").await;
    let (mut first, second) = (Events::open(&bob).await, Events::open(&bob).await);
    let refused = bob.get("/v1/events").await;
    assert_eq!(
        (refused.status, refused.header("retry-after").is_empty()),
        (StatusCode::SERVICE_UNAVAILABLE, false)
    );
    drop(second);
    let mut third = Events::open(&bob).await;
    assert!(service.node.load().is_idle(), "an open stream keeps no node from draining");
    assert!(service.node.set_draining(true));
    assert_eq!((first.next().await, third.next().await), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_opens_no_stream() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    for (path, accept, status) in [
        ("/v1/events?since=1", "text/event-stream", 422),
        ("/v1/events", "application/json", 406),
        ("/v1/events", "text/event-stream;q=0", 406),
    ] {
        assert_eq!(bob.get_with(path, &[("accept", accept)]).await.status, status, "{path} {accept}");
    }
    assert_eq!(bob.call("POST", "/v1/events", Some(json!({}))).await.status, 405);
    let stranger = http::Request::builder().uri("/v1/events").body(Body::empty()).unwrap();
    assert_eq!(service.send(stranger).await.status, 401);
}
