//! Search on real rows and a real index.

#![allow(clippy::unwrap_used)]

mod client;

use client::{Client, Service, message};
use serde_json::{Value, json};

const T: u64 = 1_767_225_600_000;

async fn found(client: &Client<'_>, query: &str) -> Vec<String> {
    let answer = client.call("POST", "/v1/search", Some(json!({ "q": query, "sort": "date" }))).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let subject = |item: &Value| item["subject"].as_str().unwrap().to_owned();
    let page = answer.json();
    let items = page["items"].as_array().unwrap();
    assert_eq!(page["total"], items.len(), "{query}");
    items.iter().map(subject).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_finds_what_it_says() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let apple = bob.deliver(&message("Apple", "the quick brown fox"), T).await;
    let berry = bob.deliver(&message("Berry", "a lazy dog, quick too"), T + 86_400_000).await;
    bob.deliver(&message("Cherry", "nothing here"), T + 2 * 86_400_000).await;
    let patch = |id: schema::MessageId, body: Value| {
        let bob = &bob;
        async move { assert_eq!(bob.call("PATCH", &format!("/v1/messages/{id}"), Some(body)).await.status, 200) }
    };
    patch(apple, json!({ "keywords": { "$seen": true, "fruit": true } })).await;
    let work =
        bob.call("POST", "/v1/mailboxes", Some(json!({ "name": "My Work" }))).await.json()["id"].clone();
    let work = work.as_str().unwrap().to_owned();
    patch(berry, json!({ "keywords": { "$flagged": true }, "mailboxIds": { &work: true } })).await;
    let by_id = format!("in:{work}");
    let table: &[(&str, &[&str])] = &[
        ("quick", &["Berry", "Apple"]),
        ("QUICK", &["Berry", "Apple"]),
        ("quick fox", &["Apple"]),
        ("\"quick brown\"", &["Apple"]),
        ("\"brown quick\"", &[]),
        ("quick -fox", &["Berry"]),
        ("-quick", &["Cherry"]),
        ("fox OR dog", &["Berry", "Apple"]),
        ("(fox OR dog) lazy", &["Berry"]),
        ("subject:apple", &["Apple"]),
        ("subject:quick", &[]),
        ("che*", &["Cherry"]),
        ("from:lovelace", &["Cherry", "Berry", "Apple"]),
        ("from:ada@two.example apple", &["Apple"]),
        ("from:love* berry", &["Berry"]),
        ("subject:(apple OR cher*)", &["Cherry", "Apple"]),
        ("subject:(-apple -\"berry\")", &["Cherry"]),
        ("-subject:(apple OR berry)", &["Cherry"]),
        ("from:(ada lovelace) body:(\"lazy dog\" OR absent)", &["Berry"]),
        ("to:(ada OR eve)", &[]),
        ("to:ada", &[]),
        ("has:attachment", &[]),
        ("is:unread", &["Cherry", "Berry"]),
        ("is:read", &["Apple"]),
        ("is:flagged", &["Berry"]),
        ("-is:flagged quick", &["Apple"]),
        ("is:unread quick", &["Berry"]),
        // A test and words on both sides of an or, and under a not.
        ("keyword:fruit OR cherry", &["Cherry", "Apple"]),
        ("-(keyword:fruit OR cherry)", &["Berry"]),
        ("-(is:read quick)", &["Cherry", "Berry"]),
        ("(is:flagged dog) OR (is:read fox)", &["Berry", "Apple"]),
        ("in:inbox quick", &["Berry", "Apple"]),
        ("in:\"my work\"", &["Berry"]),
        (&by_id, &["Berry"]),
        ("in:trash", &[]),
        ("after:2026-01-02 before:2026-01-03", &["Berry"]),
        ("larger:1g", &[]),
        ("smaller:1m quick", &["Berry", "Apple"]),
    ];
    for (query, expected) in table {
        assert_eq!(found(&bob, query).await, *expected, "{query}");
    }
    // Flags are those of now, though the index was not told.
    patch(berry, json!({ "keywords": { "$seen": true } })).await;
    assert_eq!(found(&bob, "is:unread").await, ["Cherry"]);

    let page = bob.get("/v1/search?q=quick").await.json();
    assert_eq!((page["complete"].clone(), page["totalIsLowerBound"].clone()), (json!(true), json!(false)));
    assert!(page["indexedThrough"].as_str().unwrap().ends_with('Z'));
    let snippet = &page["items"][0]["snippet"];
    assert!(snippet["preview"].as_str().unwrap().contains("<mark>quick</mark>"), "{snippet}");
}

/// On a cluster the texts that a search has opened are not fetched again for the next word; a message that is gone is not shown.
#[tokio::test(flavor = "multi_thread")]
async fn texts_that_were_looked_through_lately_are_not_fetched_again() {
    let over = |backend| schema::Backend { is_shared: true, ..backend };
    let service = Service::start_over(api::ApiSettings::default(), over).await;
    let bob = service.client("bob@one.example").await;
    let text = "Nothing of what is looked for. ".repeat(20) + "Far below the quick brown fox.";
    let id = bob.deliver(&message("Apple", &text), T).await;
    let preview = async |word: &str| {
        let page = bob.get(&format!("/v1/search?q={word}")).await.json();
        page["items"][0]["snippet"]["preview"].as_str().map(str::to_owned)
    };
    assert!(preview("quick").await.unwrap().contains("<mark>quick</mark>"));
    let blobs = &service.instance.backend.blobs;
    blobs.remove(bob.account.id(), id, i64::MAX, schema::Durability::Now).await.unwrap();
    assert!(preview("brown").await.unwrap().contains("<mark>brown</mark>"));
    assert_eq!(found(&bob, "fox").await, ["Apple"]);
    for _ in 0..2 {
        assert_eq!(bob.call("DELETE", &format!("/v1/messages/{id}"), None).await.status, 204);
    }
    assert_eq!(bob.get("/v1/search?q=quick").await.json()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_hits_leave_nothing_out() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    for n in 0..23u64 {
        let id = bob.deliver(&message(&format!("Needle {n}"), "text"), T + n / 4).await;
        if n % 3 == 0 {
            bob.call("PATCH", &format!("/v1/messages/{id}"), Some(json!({ "keywords": { "$seen": true } })))
                .await;
        }
    }
    for (query, sort, count) in [
        ("needle", "date", 23),
        ("needle", "relevance", 23),
        ("needle is:unread", "date", 15),
        ("needle is:unread", "relevance", 15),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let body = json!({ "q": query, "sort": sort, "limit": 4, "cursor": cursor });
            let page = bob.call("POST", "/v1/search", Some(body)).await.json();
            assert_eq!(page["total"], count, "{query} {sort}");
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
            // New mail between two pages moves nothing when sorted by date.
            if sort == "date" && seen.len() == 4 && query == "needle" {
                bob.deliver(&message("Needle late", "text"), T + 1000).await;
                let late = bob.get("/v1/messages?limit=1").await.json()["items"][0]["id"].clone();
                let path = format!("/v1/messages/{}", late.as_str().unwrap());
                bob.call("DELETE", &path, None).await;
                bob.call("DELETE", &path, None).await;
            }
        }
        let unique: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), unique.len()), (count, count), "{query} {sort}");
        let ids: Vec<schema::MessageId> =
            bob.service.instance.backend.index.ids(bob.account.id(), None, 100).await.unwrap();
        for id in ids {
            // What is gone from the store goes from the index too, as its job would do.
            if bob.account.message(id).await.unwrap().is_none() {
                bob.service.instance.backend.index.remove(bob.account.id(), &[id]).await.unwrap();
            }
        }
    }
    let eve = service.client("eve@one.example").await;
    let cursor =
        bob.get("/v1/search?q=needle&limit=1").await.json()["nextCursor"].as_str().unwrap().to_owned();
    for (who, path) in [
        (&bob, format!("/v1/search?q=other&cursor={cursor}")),
        (&bob, format!("/v1/search?q=needle&sort=date&cursor={cursor}")),
        (&eve, format!("/v1/search?q=needle&cursor={cursor}")),
    ] {
        assert_eq!(who.get(&path).await.wrong()[0].0, "cursor", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_does_not_parse_is_422_with_its_position() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    for (query, position) in [
        ("a%20(b", 2),
        ("body:x*", 5),
        ("in:nowhere", 3),
        ("!!!", 0),
        ("co*v", 2),
        ("filename:*.jpg", 9),
        ("a%20--linux", 3),
        ("from:(ada%20to:eve)", 10),
        ("from:%22%22", 5),
        // Prefixes have 2 to 12 characters.
        ("x*", 0),
        ("from:x*", 5),
        ("a%20abcdefghijklm*", 2),
        ("foo-bar*", 0),
    ] {
        let answer = bob.get(&format!("/v1/search?q={query}")).await;
        assert_eq!(answer.status, 422, "{query}");
        let error = answer.json()["errors"][0].clone();
        assert_eq!((&error["field"], &error["position"]), (&json!("q"), &json!(position)), "{query}");
    }
    for path in [
        "/v1/search",
        "/v1/search?q=",
        "/v1/search?q=a&sort=size",
        "/v1/search?q=a&limit=201",
        "/v1/search?q=a&b=c",
    ] {
        assert_eq!(bob.get(path).await.status, 422, "{path}");
    }
}
