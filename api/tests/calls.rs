//! Every call, good and bad.

#![allow(clippy::unwrap_used)]

mod client;

use api::ApiSettings;
use axum::body::Body;
use client::{Service, message};
use http::{Method, Request};
use serde_json::{Value, json};

const T: u64 = 1_767_225_600_000;

const PARTS: &str = "From: a@two.example\nTo: b@one.example\nSubject: parts\nMIME-Version: 1.0\n\
    Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-8\n\n\
    <p>Hi</p><script>alert(1)</script><img src=\"cid:pic\"><img src=\"https://spy.example/x.png\">\n--b\n\
    Content-Type: image/png\nContent-ID: <pic>\nContent-Disposition: inline; filename=\"a.png\"\nContent-Transfer-Encoding: base64\n\n\
    iVBORw0KGgo=\n--b\nContent-Type: text/html\nContent-Disposition: attachment; filename=\"evil.html\"\n\n<script>alert(2)</script>\n--b--\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_opened_read_and_ended() {
    let service = Service::start().await;
    let client = service.client("bob@one.example").await;
    let ask = |body: Value| {
        let request = Request::builder().method("POST").uri("/v1/session");
        service.send(client::with_body(request, Some(body)))
    };
    let made = ask(json!({ "address": "Bob@One.example", "password": client::PASSWORD })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("location"), "/v1/session");
    assert_eq!(made.header("cache-control"), "no-store");
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let client = client::Client { token, service: &service, account: client.account.clone() };
    let read = client.get("/v1/session").await.json();
    assert_eq!(read["accountId"], made.json()["accountId"]);
    assert!(read["expiresAt"].as_str().unwrap().ends_with('Z'));
    // Not compressed, whatever the client takes.
    let read = client.get_with("/v1/session", &[("accept-encoding", "gzip, zstd")]).await;
    assert_eq!(read.header("content-encoding"), "");
    assert_eq!(client.call("DELETE", "/v1/session", None).await.status, 204);
    let over = client.get("/v1/session").await;
    assert_eq!((over.status.as_u16(), over.header("www-authenticate")), (401, "Bearer realm=\"signet\""));
    assert_eq!(over.header("content-type"), "application/problem+json");
    assert_eq!(over.json()["requestId"], over.header("x-request-id"));

    for (body, wrong) in [
        (json!({}), vec![("address", "missing"), ("password", "missing")]),
        (json!({ "address": 1, "password": "x" }), vec![("address", "invalid")]),
        (json!({ "address": "a", "password": "x", "more": 1 }), vec![("more", "unknown")]),
    ] {
        let refused = ask(body).await;
        assert_eq!(refused.status, 422);
        let found = refused.wrong();
        let wrong: Vec<_> = wrong.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        assert!(wrong.iter().all(|each| found.contains(each)), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_passwords_ends_in_429_for_a_known_and_an_unknown_address_alike() {
    let settings = ApiSettings { failures_per_address: 2, ..ApiSettings::default() };
    let service = Service::start_with(settings).await;
    service.client("bob@one.example").await;
    // Another way to write an address is no other address.
    for addresses in [
        ["bob@one.example", "\"bob\"@One.example.", "\"b\\ob\"@one.example"],
        ["nobody@one.example", "Nobody@one.example", "\"nobody\"@one.example"],
        ["nobody@bücher.example", "nobody@xn--bcher-kva.example", "nobody@BÜCHER.example"],
    ] {
        let mut seen = Vec::new();
        let passwords = ["wrong password", "wrong again", client::PASSWORD];
        for (address, password) in addresses.into_iter().zip(passwords) {
            let request = Request::builder().method("POST").uri("/v1/session");
            let body = json!({ "address": address, "password": password });
            let answer = service.send(client::with_body(request, Some(body))).await;
            if answer.status == 429 {
                assert!(answer.header("retry-after").parse::<u64>().unwrap() > 800);
            }
            seen.push(answer.status.as_u16());
        }
        assert_eq!(seen, [401, 401, 429], "{addresses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_page_by_page_newest_first() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.insert(0, bob.deliver(&message(&format!("Number {n}"), "text"), T + n * 1000).await.to_string());
    }
    let mut seen = Vec::new();
    let mut path = "/v1/messages?limit=2&mailbox=inbox".to_owned();
    let mut cursors = Vec::new();
    loop {
        let page = bob.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|head| head["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        cursors.push(cursor.to_owned());
        path = format!("/v1/messages?limit=2&mailbox=inbox&cursor={cursor}");
    }
    assert_eq!(seen, ids);
    let head = bob.get("/v1/messages?limit=1").await.json()["items"][0].clone();
    let mut names: Vec<_> = head.as_object().unwrap().keys().cloned().collect();
    names.sort();
    let mut expected = [
        "id",
        "threadId",
        "mailboxIds",
        "keywords",
        "from",
        "to",
        "cc",
        "subject",
        "preview",
        "receivedAt",
        "sentAt",
        "size",
        "hasAttachment",
        "isList",
    ];
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(head["from"], json!([{ "name": "Ada Lovelace", "email": "ada@two.example" }]));
    assert_eq!(head["receivedAt"], "2026-01-01T00:00:04Z");

    // A cursor holds for its query and its account.
    let other = service.client("eve@one.example").await;
    let cursor = &cursors[0];
    let mut forged = cursor.clone().into_bytes();
    forged[3] = if forged[3] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for (who, path) in [
        (&bob, format!("/v1/messages?cursor={cursor}")),
        (&bob, format!("/v1/messages?mailbox=trash&cursor={cursor}")),
        (&bob, format!("/v1/threads?mailbox=inbox&cursor={cursor}")),
        (&bob, format!("/v1/messages?mailbox=inbox&cursor={forged}")),
        (&bob, "/v1/messages?mailbox=inbox&cursor=".to_owned()),
        (&bob, "/v1/messages?mailbox=inbox&cursor=%00".to_owned()),
        (&other, format!("/v1/messages?mailbox=inbox&cursor={cursor}")),
    ] {
        let answer = who.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.wrong()[0].0.as_str()), (422, "cursor"), "{path}");
    }
    let count = |path: &'static str| async {
        let answer = bob.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["items"].as_array().unwrap().len()
    };
    assert_eq!(count("/v1/messages?after=2026-01-01T00:00:01Z&before=2026-01-01T00:00:03Z").await, 2);
    assert_eq!(count("/v1/messages?keyword=$seen").await, 0);
    assert_eq!(count("/v1/messages?notKeyword=$seen").await, 5);
    assert_eq!(count("/v1/messages?mailbox=trash").await, 0);
    let wrong = bob.get("/v1/messages?limit=0&nope=1&after=now&mailbox=nowhere").await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.wrong().len() >= 2, "{:?}", wrong.wrong());
    assert_eq!(bob.get("/v1/messages?mailbox=nowhere").await.wrong()[0].0, "mailbox");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_read_with_all_that_is_in_it() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(PARTS, T).await;
    let answer = bob.get(&format!("/v1/messages/{id}")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("etag").starts_with("\"0-"));
    let shown = answer.json();
    assert_eq!(shown["deliveredTo"], "a+tag@one.example");
    assert_eq!(shown["returnPath"], Value::Null);
    let html = shown["htmlBody"].as_str().unwrap();
    assert!(!html.contains("script") && !html.contains("src=\"http"), "{html}");
    let picture = format!("/v1/messages/{id}/parts/2");
    assert!(html.contains(&picture), "{html}");
    assert_eq!(shown["remoteImages"], json!(["https://spy.example/x.png"]));
    let raw = bob.get(&format!("/v1/messages/{id}/raw")).await;
    assert_eq!(raw.body, PARTS.replace('\n', "\r\n").into_bytes());
    assert_eq!(raw.header("content-type"), "message/rfc822");
    assert_eq!(raw.header("x-content-type-options"), "nosniff");
    assert!(
        raw.header("cache-control").contains("private") && raw.header("cache-control").contains("immutable")
    );
    let tag = raw.header("etag").to_owned();
    let path = format!("/v1/messages/{id}/raw");
    for (headers, status, length) in [
        (vec![("range", "bytes=0-9")], 206, 10),
        (vec![("range", "bytes=-5")], 206, 5),
        (vec![("range", "bytes=99999-")], 416, 0),
        (vec![("range", "bytes=0-1,3-4")], 200, raw.body.len()),
        (vec![("range", "bytes=0-9"), ("if-range", "\"other\"")], 200, raw.body.len()),
        (vec![("range", "bytes=0-9"), ("if-range", tag.as_str())], 206, 10),
        (vec![("if-none-match", tag.as_str())], 304, 0),
        (vec![("if-none-match", "\"x\", *")], 304, 0),
        (vec![("accept-encoding", "gzip")], 200, raw.body.len()),
    ] {
        let answer = bob.get_with(&path, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        if status != 416 {
            assert_eq!(answer.body.len(), length, "{headers:?}");
        } else {
            assert_eq!(answer.header("content-range"), format!("bytes */{}", raw.body.len()));
        }
    }
    let picture = bob.get(&picture).await;
    assert_eq!(picture.body, b"\x89PNG\r\n\x1a\n");
    assert_eq!(
        (picture.header("content-type"), picture.header("content-disposition")),
        ("image/png", "inline; filename=\"a.png\"")
    );
    let evil = bob.get(&format!("/v1/messages/{id}/parts/3")).await;
    assert_eq!(evil.header("content-type"), "application/octet-stream");
    assert!(evil.header("content-disposition").starts_with("attachment"));
    assert!(evil.header("content-security-policy").contains("sandbox"));
    for path in ["parts/9", "parts/x", "parts/1/2", "nothing"] {
        assert_eq!(bob.get(&format!("/v1/messages/{id}/{path}")).await.status, 404, "{path}");
    }
    for id in ["0".repeat(32), "x".into(), "0".repeat(31)] {
        assert_eq!(bob.get(&format!("/v1/messages/{id}")).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keywords_and_mailboxes_are_patched_by_merge() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(&message("One", "text"), T).await;
    let path = format!("/v1/messages/{id}");
    let made = bob.call("POST", "/v1/mailboxes", Some(json!({ "name": "Work" }))).await;
    assert_eq!(made.status, 201);
    let work = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("/v1/mailboxes/{work}"));
    let inbox = schema::Role::Inbox;
    let inbox = bob.account.role_mailbox(inbox).to_string();

    let patch = |body: Value| async { bob.call("PATCH", &path.clone(), Some(body)).await };
    let done = patch(
        json!({ "keywords": { "$Seen": true, "work": true }, "mailboxIds": { &work: true, &inbox: null } }),
    )
    .await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(done.json()["keywords"], json!({ "$seen": true, "work": true }));
    assert_eq!(done.json()["mailboxIds"], json!({ &work: true }));
    let tag = done.header("etag").to_owned();
    assert_eq!(bob.get(&path).await.header("etag"), tag);
    assert_eq!(bob.get("/v1/messages?keyword=work").await.json()["items"][0]["id"], id.to_string());
    let boxes = bob.get("/v1/mailboxes").await.json();
    let of = |name: &str| {
        boxes["items"].as_array().unwrap().iter().find(|each| each["name"] == name).unwrap().clone()
    };
    assert_eq!(of("Work")["totalMessages"], 1);
    assert_eq!(of("Work")["unreadMessages"], 0);
    assert_eq!(of("Inbox")["totalMessages"], 0);

    for (tag, status) in
        [("\"77\"", 412), ("W/\"1\"", 412), ("nonsense", 412), (tag.as_str(), 200), ("*", 200)]
    {
        let request = bob.request(Method::PATCH, &path).header("if-match", tag);
        let answer =
            service.send(client::with_body(request, Some(json!({ "keywords": { "a": true } })))).await;
        assert_eq!(answer.status, status, "{tag}");
    }
    assert_eq!(patch(json!({ "keywords": null })).await.json()["keywords"], json!({}));
    for (body, field) in [
        (json!({ "mailboxIds": { &work: null } }), "mailboxIds"),
        (json!({ "mailboxIds": null }), "mailboxIds"),
        (json!({ "mailboxIds": { "0".repeat(32): true } }), "mailboxIds"),
        (json!({ "mailboxIds": { "x": true } }), "mailboxIds"),
        (json!({ "keywords": { "a": false } }), "keywords"),
        (json!({ "keywords": { "a b": true } }), "keywords"),
        (json!({ "keywords": [] }), "keywords"),
        (json!({ "subject": "x" }), "subject"),
    ] {
        let answer = patch(body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.wrong()[0].0.as_str()), (422, field), "{body}");
    }
    // A mailbox that holds something, or has a role, stays.
    assert_eq!(bob.call("DELETE", &format!("/v1/mailboxes/{work}"), None).await.status, 409);
    assert_eq!(bob.call("DELETE", &format!("/v1/mailboxes/{inbox}"), None).await.status, 409);
    assert_eq!(bob.call("POST", "/v1/mailboxes", Some(json!({ "name": "Work" }))).await.status, 409);
    assert_eq!(bob.call("POST", "/v1/mailboxes", Some(json!({ "name": "a\u{0}" }))).await.status, 422);
    let renamed = bob.call("PATCH", &format!("/v1/mailboxes/{work}"), Some(json!({ "name": "Play" }))).await;
    assert_eq!((renamed.status.as_u16(), renamed.json()["name"].clone()), (200, json!("Play")));

    // Into the trash, then away.
    assert_eq!(bob.call("DELETE", &path, None).await.status, 204);
    let trash = bob.get("/v1/messages?mailbox=trash").await.json();
    assert_eq!(trash["items"][0]["id"], id.to_string());
    assert_eq!(bob.call("DELETE", &path, None).await.status, 204);
    assert_eq!(bob.get(&path).await.status, 404);
    assert_eq!(bob.call("DELETE", &path, None).await.status, 404);
    assert_eq!(bob.call("DELETE", &format!("/v1/mailboxes/{work}"), None).await.status, 204);
    assert_eq!(bob.get(&format!("/v1/mailboxes/{work}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_one_result_for_each_message() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(bob.deliver(&message(&format!("Number {n}"), "text"), T + n).await.to_string());
    }
    ids.insert(7, "0".repeat(32));
    let batch = |body: Value| async { bob.call("POST", "/v1/messages/batch", Some(body)).await };
    let done = batch(json!({ "ids": ids, "keywords": { "$seen": true } })).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let results = done.json()["results"].as_array().unwrap().clone();
    for (id, result) in ids.iter().zip(&results) {
        assert_eq!(result["id"], *id);
        assert_eq!(result["status"], if id.starts_with("00000000") { 404 } else { 200 });
    }
    let gone = batch(json!({ "ids": &ids[..3], "delete": true })).await.json();
    assert!(gone["results"].as_array().unwrap().iter().all(|result| result["status"] == 204));
    let too_many: Vec<_> = (0..501).map(|n| format!("{n:032x}")).collect();
    for (body, field) in [
        (json!({ "ids": [], "delete": true }), "ids"),
        (json!({ "ids": too_many, "delete": true }), "ids"),
        (json!({ "ids": [&ids[0], &ids[0]], "delete": true }), "ids"),
        (json!({ "ids": ["x"], "delete": true }), "ids"),
        (json!({ "ids": [&ids[0]] }), "keywords"),
        (json!({ "ids": [&ids[0]], "delete": true, "keywords": {} }), "delete"),
        (json!({ "ids": [&ids[0]], "keywords": { "%": true } }), "keywords"),
    ] {
        let answer = batch(body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.wrong()[0].0.as_str()), (422, field), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_and_discussions_are_listed_by_activity() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let first = bob.deliver(&message("Plan", "first"), T).await;
    let reply = message("Re Plan", "second").replace("Subject:", "References: <Plan@two.example>\nSubject:");
    let second = bob.deliver(&reply, T + 10).await;
    bob.deliver(&message("Other", "x").replace("ada@two", "eve@two"), T + 5).await;
    let threads = bob.get("/v1/threads").await.json();
    assert_eq!(threads["items"].as_array().unwrap().len(), 2);
    assert_eq!(threads["items"][0]["messageIds"], json!([first.to_string(), second.to_string()]));
    assert_eq!(threads["items"][0]["unreadMessages"], 2);
    let id = threads["items"][0]["id"].as_str().unwrap();
    let thread = bob.get(&format!("/v1/threads/{id}")).await.json();
    assert_eq!(thread["messages"][1]["id"], second.to_string());
    assert_eq!(thread["messages"][1]["threadId"], id);
    let discussions = bob.get("/v1/discussions?limit=1").await.json();
    assert_eq!(discussions["items"][0]["newest"]["id"], second.to_string());
    let cursor = discussions["nextCursor"].as_str().unwrap();
    let rest = bob.get(&format!("/v1/discussions?limit=1&cursor={cursor}")).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["nextCursor"]), (1, &Value::Null));
    let id = discussions["items"][0]["id"].as_str().unwrap();
    let one = bob.get(&format!("/v1/discussions/{id}")).await.json();
    assert_eq!(one["items"].as_array().unwrap().len(), 2);
    assert_eq!(bob.get(&format!("/v1/discussions/{}", "0".repeat(32))).await.status, 404);
    assert_eq!(bob.get(&format!("/v1/threads/{}", "0".repeat(32))).await.status, 404);
    assert_eq!(bob.get("/v1/threads?word=x").await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_change_feed_goes_on_from_its_cursor() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let cursor = bob.get("/v1/changes").await.json()["cursor"].as_str().unwrap().to_owned();
    let id = bob.deliver(&message("One", "text"), T).await;
    bob.call("PATCH", &format!("/v1/messages/{id}"), Some(json!({ "keywords": { "a": true } }))).await;
    let feed = bob.get(&format!("/v1/changes?since={cursor}&limit=1")).await.json();
    assert_eq!(feed["changes"], json!([{ "type": "message", "change": "created", "id": id.to_string() }]));
    assert_eq!(feed["hasMore"], true);
    let next = feed["cursor"].as_str().unwrap();
    let feed = bob.get(&format!("/v1/changes?since={next}")).await.json();
    assert_eq!(
        (feed["changes"][0]["change"].clone(), feed["hasMore"].clone()),
        (json!("updated"), json!(false))
    );
    let position = bob.account.position().await.unwrap();
    service.instance.backend.store.forget_changes(bob.account.id(), position).await.unwrap();
    let expired = bob.get(&format!("/v1/changes?since={cursor}")).await;
    assert_eq!(expired.status, 410);
    assert!(expired.json()["detail"].as_str().unwrap().contains("without since"));
    let eve = service.client("eve@one.example").await;
    assert_eq!(eve.get(&format!("/v1/changes?since={cursor}")).await.status, 422);
    assert_eq!(bob.get("/v1/changes?since=1").await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_itself_is_answered_as_it_should_be() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    bob.deliver(&message("One", &"word ".repeat(2000)), T).await;
    let options = bob.call("OPTIONS", "/v1/mailboxes", None).await;
    assert_eq!(options.status, 204);
    for method in ["GET", "HEAD", "POST"] {
        assert!(options.header("allow").contains(method));
    }
    let refused = bob.call("PUT", "/v1/mailboxes", None).await;
    assert_eq!(refused.status, 405);
    assert!(refused.header("allow").contains("POST") && refused.json()["status"] == 405);
    let head = bob.call("HEAD", "/v1/messages", None).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(bob.call("HEAD", "/v1/nowhere", None).await.body.len(), 0);
    assert_eq!(bob.get("/v1/nowhere").await.json()["type"], "/docs#problem-not-found");
    for (accept, status) in [
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("application/json", 200),
        ("text/html, */*;q=0.1", 200),
    ] {
        assert_eq!(bob.get_with("/v1/account", &[("accept", accept)]).await.status, status, "{accept}");
    }
    for encoding in ["gzip", "zstd"] {
        let answer = bob.get_with("/v1/openapi.json", &[("accept-encoding", encoding)]).await;
        assert_eq!(answer.header("content-encoding"), encoding);
    }
    // Whoever takes no coding of ours and not none either gets the answer as it is: nothing is refused after it was done.
    for encoding in ["identity;q=0", "br, *;q=0", "gzip;q=0, *;q=0"] {
        let answer = bob.get_with("/v1/openapi.json", &[("accept-encoding", encoding)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-encoding")), (200, ""), "{encoding}");
    }
    let answer = bob.get_with("/v1/openapi.json", &[("accept-encoding", "identity;q=0, gzip")]).await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    let send = |kind: Option<&str>, length: bool, body: String| {
        let mut request = bob.request(Method::POST, "/v1/mailboxes");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        if length {
            request = request.header("content-length", body.len());
        }
        service.send(request.body(Body::from(body)).unwrap())
    };
    assert_eq!(send(Some("text/plain"), true, "{}".into()).await.status, 415);
    assert_eq!(send(None, true, "{}".into()).await.status, 415);
    assert_eq!(send(Some("application/merge-patch+json"), true, "{}".into()).await.status, 415);
    assert_eq!(send(Some("application/json"), false, String::new()).await.status, 411);
    assert_eq!(send(Some("application/json"), true, "{".into()).await.status, 400);
    assert_eq!(send(Some("application/json"), true, "[]".into()).await.status, 422);
    assert_eq!(
        send(Some("application/json"), true, format!("{{\"name\":\"{}\"}}", "x".repeat(256 << 10)))
            .await
            .status,
        413
    );
    let deep = format!("{{\"name\":{}}}", "[".repeat(100_000));
    assert_eq!(send(Some("application/json"), true, deep).await.status, 400);
    let stranger = Request::builder().uri("/v1/messages").body(Body::empty()).unwrap();
    assert_eq!(service.send(stranger).await.status, 401);
    for header in ["Basic x", "Bearer", "Bearer ", "Bearer sig_00", "bearer x y"] {
        let request = Request::builder().uri("/v1/account").header("authorization", header);
        assert_eq!(service.send(request.body(Body::empty()).unwrap()).await.status, 401, "{header}");
    }
    let account = bob.get("/v1/account").await.json();
    assert_eq!(account["addresses"], json!(["bob@one.example"]));
    assert!(account["used"].as_u64().unwrap() > 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_lists_exactly_the_paths_there_are() {
    let service = Service::start().await;
    let request = Request::builder().uri("/v1/openapi.json").body(Body::empty()).unwrap();
    let described = service.send(request).await.json();
    let mut found = Vec::new();
    for (path, item) in described["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            found.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    found.sort();
    let mut expected = [
        "POST /v1/session",
        "GET /v1/session",
        "DELETE /v1/session",
        "GET /v1/account",
        "GET /v1/mailboxes",
        "POST /v1/mailboxes",
        "GET /v1/mailboxes/{id}",
        "PATCH /v1/mailboxes/{id}",
        "DELETE /v1/mailboxes/{id}",
        "GET /v1/messages",
        "GET /v1/messages/{id}",
        "PATCH /v1/messages/{id}",
        "DELETE /v1/messages/{id}",
        "POST /v1/messages/batch",
        "GET /v1/messages/{id}/raw",
        "GET /v1/messages/{id}/parts/{partId}",
        "GET /v1/threads",
        "GET /v1/threads/{id}",
        "GET /v1/discussions",
        "GET /v1/discussions/{id}",
        "GET /v1/search",
        "POST /v1/search",
        "GET /v1/changes",
        "GET /v1/events",
        "GET /v1/openapi.json",
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert!(described["openapi"].as_str().unwrap().starts_with("3.1"));
    // What is referred to is there.
    let text = described.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(described["components"]["schemas"].get(name).is_some(), "{name}");
    }
    for (path, kind) in [
        ("/docs", "text/html"),
        ("/docs/reference.js", "text/javascript"),
        ("/docs/reference.css", "text/css"),
    ] {
        let answer = service.send(Request::builder().uri(path).body(Body::empty()).unwrap()).await;
        assert!(answer.header("content-type").starts_with(kind));
        assert!(
            !answer.text().contains("http://") && !answer.text().contains("https://"),
            "{path} loads from elsewhere"
        );
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    }
}

#[tokio::test]
async fn a_wrong_field_is_one_entry_even_if_it_is_required() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    for body in [json!({ "name": 1 }), json!({ "name": null })] {
        let answer = bob.call("POST", "/v1/mailboxes", Some(body)).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.wrong(), [("name".to_owned(), "invalid".to_owned())]);
    }
}

/// The id of the newest message, as clients know it.
async fn id_of(client: &client::Client<'_>) -> String {
    client.get("/v1/messages").await.json()["items"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_change_is_carried_out_for_a_client_that_has_gone() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(&message("Gone", "text"), 1_000).await;
    let path = format!("/v1/messages/{}", id_of(&bob).await);
    let request = bob.request(http::Method::DELETE, &path).body(Body::empty()).unwrap();
    {
        let mut call = Box::pin(service.send(request));
        // It begins, and its first wait is the end of the client.
        assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
    }
    let trash = bob.account.role_mailbox(schema::Role::Trash);
    let began = std::time::Instant::now();
    while !bob.account.message(id).await.unwrap().unwrap().state.mailboxes.contains(&trash) {
        assert!(began.elapsed().as_secs() < 30, "it was not carried out");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bytes_that_are_lost_are_a_fault_and_not_a_message_that_is_not_there() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(&message("Lost", "text"), 1_000).await;
    let blobs = &service.instance.backend.blobs;
    blobs.remove(bob.account.id(), id, i64::MAX, schema::Durability::Now).await.unwrap();
    let path = format!("/v1/messages/{}", id_of(&bob).await);
    for path in [path.clone(), format!("{path}/raw"), format!("{path}/parts/1")] {
        assert_eq!(bob.get(&path).await.status, 500, "{path}");
    }
}
