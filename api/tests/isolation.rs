//! No call ever shows one account what is another's.

#![allow(clippy::unwrap_used)]

mod client;

use client::{Client, Service, message};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

const T: u64 = 1_767_225_600_000;

/// One call, by numbers that choose the path, the id in it and the body.
#[derive(Debug, Clone)]
struct Call {
    path: usize,
    method: usize,
    id: usize,
    other: usize,
    query: usize,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = (0usize..100, 0usize..4, 0usize..100, 0usize..100, 0usize..100)
        .prop_map(|(path, method, id, other, query)| Call { path, method, id, other, query });
    proptest::collection::vec(call, 1..25)
}

/// Every id that an account's own answers show.
async fn ids_of(client: &Client<'_>) -> Vec<String> {
    let mut ids = Vec::new();
    for path in ["/v1/messages", "/v1/threads", "/v1/discussions", "/v1/mailboxes", "/v1/changes?since=start"]
    {
        collect(&client.get(path).await.json(), &mut ids);
    }
    ids.push(client.account.id().to_string());
    ids.sort();
    ids.dedup();
    ids
}

fn collect(value: &Value, ids: &mut Vec<String>) {
    let is_id = |text: &str| text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    match value {
        Value::String(text) if is_id(text) => ids.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, ids)),
        Value::Object(members) => members.iter().for_each(|(name, item)| {
            if is_id(name) {
                ids.push(name.clone());
            }
            collect(item, ids);
        }),
        _ => {}
    }
}

#[test]
fn random_calls_with_the_others_ids_show_nothing_of_the_other() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let service = runtime.block_on(Service::start());
    let (bob, eve) = runtime.block_on(async {
        let (bob, eve) = (service.client("bob@one.example").await, service.client("eve@one.example").await);
        for n in 0..4 {
            bob.deliver(&message(&format!("BOBSECRET {n}"), "bobsecret text"), T + n).await;
            eve.deliver(&message(&format!("EVESECRET {n}"), "evesecret text"), T + n).await;
        }
        // The same bytes for both: the same message for neither.
        bob.deliver(&message("Shared", "both have it"), T + 9).await;
        eve.deliver(&message("Shared", "both have it"), T + 9).await;
        bob.call("POST", "/v1/mailboxes", Some(json!({ "name": "BOBSECRET" }))).await;
        (bob, eve)
    });
    let (bobs, eves) = runtime.block_on(async { (ids_of(&bob).await, ids_of(&eve).await) });
    assert!(bobs.iter().all(|id| !eves.contains(id)), "the accounts share no id");
    let cursor =
        runtime.block_on(bob.get("/v1/messages?limit=1")).json()["nextCursor"].as_str().unwrap().to_owned();
    let before = runtime.block_on(bob.get("/v1/messages")).body;

    let mut runner = TestRunner::new(Config { cases: 40, ..Config::default() });
    let result = runner.run(&calls(), |calls| {
        runtime.block_on(async {
            for call in &calls {
                let id = &bobs[call.id % bobs.len()];
                let own = &eves[call.other % eves.len()];
                let paths = [
                    format!("/v1/messages/{id}"),
                    format!("/v1/messages/{id}/raw"),
                    format!("/v1/messages/{id}/parts/1"),
                    format!("/v1/threads/{id}"),
                    format!("/v1/discussions/{id}"),
                    format!("/v1/mailboxes/{id}"),
                    format!("/v1/messages?mailbox={id}"),
                    format!("/v1/threads?mailbox={id}"),
                    format!("/v1/messages?cursor={cursor}"),
                    format!("/v1/changes?since={cursor}"),
                    format!(
                        "/v1/search?q={}",
                        ["bobsecret", "in:bobsecret", "from:ada", "-nothing", "is:unread"][call.query % 5]
                    ),
                    format!("/v1/search?q=in:{id}"),
                    "/v1/messages".to_owned(),
                    "/v1/account".to_owned(),
                    "/v1/mailboxes".to_owned(),
                    "/v1/changes?since=start".to_owned(),
                    format!("/v1/messages/{own}"),
                    "/v1/messages/batch".to_owned(),
                ];
                let path = &paths[call.path % paths.len()];
                let (method, body) = match (call.method, path.as_str()) {
                    (_, "/v1/messages/batch") => {
                        ("POST", Some(json!({ "ids": [id, own], "keywords": { "x": true } })))
                    }
                    (1, path) if path.starts_with("/v1/messages/") => {
                        ("PATCH", Some(json!({ "mailboxIds": { id: true }, "keywords": { "stolen": true } })))
                    }
                    (2, path) if path.contains(id.as_str()) => ("DELETE", None),
                    (3, path) if path.starts_with("/v1/mailboxes/") => {
                        ("PATCH", Some(json!({ "name": "stolen" })))
                    }
                    _ => ("GET", None),
                };
                let sent = body.clone().unwrap_or_default().to_string() + path;
                let answer = eve.call(method, path, body).await;
                prop_assert!(answer.status.as_u16() < 500, "{method} {path}: {}", answer.text());
                let text = answer.text();
                prop_assert!(!text.to_lowercase().contains("bobsecret text"), "{method} {path}: {text}");
                prop_assert!(!text.contains("BOBSECRET"), "{method} {path}: {text}");
                for theirs in &bobs {
                    prop_assert!(
                        sent.contains(theirs) || !text.contains(theirs),
                        "{method} {path} shows {theirs}"
                    );
                }
                if path.starts_with(&format!("/v1/messages/{id}"))
                    || path.starts_with(&format!("/v1/mailboxes/{id}"))
                {
                    prop_assert!(
                        matches!(answer.status.as_u16(), 404 | 405),
                        "{method} {path}: {}",
                        answer.status
                    );
                }
            }
            prop_assert_eq!(&bob.get("/v1/messages").await.body, &before, "nothing of the other was changed");
            Ok(())
        })
    });
    result.unwrap();
}
