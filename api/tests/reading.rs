//! Reading on a condition, page by page, and with little memory.

#![allow(clippy::unwrap_used)]

mod client;

use std::time::Duration;

use api::ApiSettings;
use client::{Client, Service, message};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const T: u64 = 1_767_225_600_000;

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

async fn patch(client: &Client<'_>, id: schema::MessageId, body: Value) {
    let answer = client.call("PATCH", &format!("/v1/messages/{id}"), Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_read_again_only_if_it_has_changed() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let reply = message("Reply", "text").replace("Subject:", "References: <First@two.example>\nSubject:");
    let id = bob.deliver(&reply, T).await;
    let path = format!("/v1/messages/{id}");
    let tag = bob.get(&path).await.header("etag").to_owned();
    let known = bob.get_with(&path, &[("if-none-match", &tag)]).await;
    assert_eq!((known.status.as_u16(), known.body.len(), known.header("etag")), (304, 0, tag.as_str()));
    assert_eq!(bob.get_with(&path, &[("if-none-match", "\"other\"")]).await.status, 200);
    assert_eq!(bob.get_with(&path, &[("if-match", "\"other\"")]).await.status, 412);

    patch(&bob, id, json!({ "keywords": { "$seen": true } })).await;
    let changed = bob.get_with(&path, &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status, 200);
    let tag = changed.header("etag").to_owned();

    // Two threads that become one: one of them is another now for its message.
    let other = bob.deliver(&message("Other", "text"), T).await;
    let other_path = format!("/v1/messages/{other}");
    let other_tag = bob.get(&other_path).await.header("etag").to_owned();
    let both = message("First", "text").replace("Subject:", "References: <Other@two.example>\nSubject:");
    bob.deliver(&both, T).await;
    let mut statuses = [
        bob.get_with(&path, &[("if-none-match", &tag)]).await.status.as_u16(),
        bob.get_with(&other_path, &[("if-none-match", &other_tag)]).await.status.as_u16(),
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 304]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_knows_no_ranges() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(&message("One", "text"), T).await;
    let path = format!("/v1/messages/{id}/raw");
    assert_eq!(bob.get_with(&path, &[("range", "bytes=0-3")]).await.status, 206);
    let head = bob.request(http::Method::HEAD, &path).header("range", "bytes=0-3");
    let head = service.send(head.body(axum::body::Body::empty()).unwrap()).await;
    let raw = bob.get(&path).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, raw.header("content-length")));
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_and_discussions_are_filtered_by_what_is_in_them() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let first = bob.deliver(&message("Plan", "first"), T).await;
    let reply = message("Re Plan", "second").replace("Subject:", "References: <Plan@two.example>\nSubject:");
    bob.deliver(&reply, T + 10).await;
    let eve = bob.deliver(&message("Other", "x").replace("ada@two", "eve@two"), T + 5).await;
    patch(&bob, first, json!({ "keywords": { "$Seen": true, "work": true } })).await;
    patch(&bob, eve, json!({ "keywords": { "$seen": true } })).await;
    let archive = bob.account.role_mailbox(schema::Role::Archive).to_string();
    let inbox = bob.account.role_mailbox(schema::Role::Inbox).to_string();
    patch(&bob, eve, json!({ "mailboxIds": { archive: true, inbox: null } })).await;
    let newest = |page: Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["newest"]["subject"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("keyword=WORK", vec!["Re Plan"]),
        ("keyword=$seen", vec!["Re Plan", "Other"]),
        ("notKeyword=$seen", vec!["Re Plan"]),
        ("mailbox=archive", vec!["Other"]),
        ("mailbox=inbox", vec!["Re Plan"]),
        // One message has to be all of it.
        ("mailbox=inbox&keyword=$seen&notKeyword=work", vec![]),
        ("mailbox=archive&keyword=$seen&notKeyword=work", vec!["Other"]),
    ] {
        assert_eq!(newest(bob.get(&format!("/v1/threads?{query}")).await.json()), expected, "{query}");
        assert_eq!(newest(bob.get(&format!("/v1/discussions?{query}")).await.json()), expected, "{query}");
    }
    let ada = bob.get("/v1/discussions?keyword=work").await.json();
    let path = format!("/v1/discussions/{}", ids(&ada)[0]);
    assert_eq!(ids(&bob.get(&format!("{path}?keyword=work")).await.json()), [first.to_string()]);
    assert_eq!(bob.get(&format!("{path}?mailbox=archive")).await.json()["items"], json!([]));
    // A cursor belongs to its filters.
    let page = bob.get("/v1/threads?limit=1&keyword=$seen").await.json();
    let cursor = page["nextCursor"].as_str().unwrap();
    assert_eq!(bob.get(&format!("/v1/threads?limit=1&keyword=$seen&cursor={cursor}")).await.status, 200);
    assert_eq!(bob.get(&format!("/v1/threads?limit=1&cursor={cursor}")).await.status, 422);
    for listing in ["threads", "discussions"] {
        for wrong in ["mailbox=nowhere", "keyword=a%20b", "notKeyword="] {
            assert_eq!(bob.get(&format!("/v1/{listing}?{wrong}")).await.status, 422, "{listing} {wrong}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_thread_is_read_page_by_page_oldest_first() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let mut sent = Vec::new();
    for number in 0..5 {
        let raw = message(&format!("Note {number}"), "text")
            .replace("Subject:", "References: <root@two.example>\nSubject:");
        sent.push(bob.deliver(&raw, T + number).await.to_string());
    }
    let thread = bob.get("/v1/threads").await.json()["items"][0].clone();
    assert_eq!((&thread["totalMessages"], &thread["totalIsLowerBound"]), (&json!(5), &json!(false)));
    let path = format!("/v1/threads/{}", thread["id"].as_str().unwrap());
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = bob.get(&format!("{path}?limit=2{cursor}")).await.json();
        let messages = page["messages"].as_array().unwrap();
        assert!((1..=2).contains(&messages.len()));
        seen.extend(messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, sent);
    assert_eq!(bob.get(&format!("{path}?limit=1001")).await.status, 422);
    assert_eq!(bob.get(&format!("{path}?cursor=x")).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_being_sent_take_no_more_memory_than_they_may() {
    let octets = 1 << 20;
    let settings =
        ApiSettings { bytes_in_flight: octets, bytes_wait: Duration::ZERO, ..ApiSettings::default() };
    let service = Service::start_with(settings).await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(&message("Large", &"a line of text\n".repeat(100 << 10)), T).await;
    let small = bob.deliver(&message("Small", "text"), T).await;
    let path = format!("/v1/messages/{id}/raw");
    // Its body is not taken yet.
    let request = bob.request(http::Method::GET, &path).body(axum::body::Body::empty()).unwrap();
    let sending = service.router.clone().oneshot(request).await.unwrap();
    assert_eq!(sending.status(), 200);
    for path in [&path, &format!("/v1/messages/{id}"), &format!("/v1/messages/{small}/parts/1")] {
        let refused = bob.get(path).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"), "{path}");
    }
    drop(sending);
    assert_eq!(bob.get(&path).await.status, 200);
    // Of a range only that is in memory, and so counted.
    let request = bob.request(http::Method::GET, &path).header("range", "bytes=0-262143");
    let sending = service.router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(sending.as_ref().unwrap().status(), 206);
    assert_eq!(bob.get(&format!("/v1/messages/{small}")).await.status, 200);
    drop(sending);
    // So is a message as JSON, until it is sent.
    let path = format!("/v1/messages/{id}");
    let request = bob.request(http::Method::GET, &path).body(axum::body::Body::empty()).unwrap();
    let sending = service.router.clone().oneshot(request).await.unwrap();
    assert_eq!(sending.status(), 200);
    assert_eq!(bob.get(&path).await.status, 503);
    drop(sending);
    assert_eq!(bob.get(&path).await.status, 200);
    assert_eq!(bob.get(&format!("/v1/messages/{small}")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_few_pass_goes_on_after_what_it_has_looked_at() {
    let settings = ApiSettings { search_candidates: 500, ..ApiSettings::default() };
    let service = Service::start_with(settings).await;
    let bob = service.client("bob@one.example").await;
    let flagged = bob.deliver(&message("Note first", "word"), T).await;
    patch(&bob, flagged, json!({ "keywords": { "$flagged": true } })).await;
    for number in 1..=600 {
        bob.deliver(&message(&format!("Note {number}"), "word"), T + number).await;
    }
    for sort in ["date", "relevance"] {
        let query = format!("/v1/search?q=word%20is:flagged&sort={sort}");
        let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let page = bob.get(&format!("{query}{cursor}")).await.json();
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            pages += 1;
            assert_eq!(page["totalIsLowerBound"], true, "{sort}");
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!((seen, pages), (vec![flagged.to_string()], 2), "{sort}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_ends_where_all_were_received_at_once() {
    let settings = ApiSettings { search_candidates: 500, ..ApiSettings::default() };
    let service = Service::start_with(settings).await;
    let bob = service.client("bob@one.example").await;
    let mut sent = Vec::new();
    for number in 0..600 {
        sent.push(bob.deliver(&message(&format!("Note {number}"), "word"), T).await);
    }
    // The last one that is looked at.
    let flagged = *sent.iter().min().unwrap();
    patch(&bob, flagged, json!({ "keywords": { "$flagged": true } })).await;
    let first = bob.get("/v1/search?q=word%20is:flagged&sort=date").await.json();
    assert_eq!(first["items"], json!([]));
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = bob.get(&format!("/v1/search?q=word%20is:flagged&sort=date&cursor={cursor}")).await.json();
    assert_eq!((ids(&second), &second["nextCursor"]), (vec![flagged.to_string().as_str()], &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_keep_the_owner_of_an_address_out() {
    let settings = ApiSettings { failures_per_address: 2, failures_per_peer: 100, ..ApiSettings::default() };
    let service = Service::start_with(settings).await;
    service.client("bob@one.example").await;
    let sign_in = async |peer: &str, password: &str| {
        let request = http::Request::builder().method("POST").uri("/v1/session");
        let body = json!({ "address": "bob@one.example", "password": password });
        let mut request = client::with_body(request, Some(body));
        request.extensions_mut().insert(api::Peer(Some(peer.parse().unwrap())));
        service.send(request).await.status.as_u16()
    };
    assert_eq!(sign_in("192.0.2.1", "wrong").await, 401);
    assert_eq!(sign_in("192.0.2.1", "wrong").await, 401);
    assert_eq!(sign_in("192.0.2.1", client::PASSWORD).await, 429);
    assert_eq!(sign_in("192.0.2.2", client::PASSWORD).await, 201);
    // Many strangers do, or they would guess for ever.
    for number in 3..21 {
        assert_eq!(sign_in(&format!("192.0.2.{number}"), "wrong").await, 401);
    }
    assert_eq!(sign_in("192.0.2.99", client::PASSWORD).await, 429);
}
