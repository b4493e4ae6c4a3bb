//! Each limit at its edge: what is within it works, what is beyond gets an answer of its own.

#![allow(clippy::unwrap_used)]

mod client;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::{ApiSettings, ServeSettings};
use async_trait::async_trait;
use axum::body::Body;
use client::{Answer, Client, PASSWORD, Service, message};
use futures_util::FutureExt;
use http::{Request, StatusCode};
use schema::{AccountId, BlobStore, Cache, Change, Durability, MessageId, Result, Written};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const T: u64 = 1_767_225_600_000;
/// How long anything may take here before it counts as never.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where calls on a backend wait while it is closed.
struct Gate {
    is_open: watch::Sender<bool>,
    came: AtomicUsize,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { is_open: watch::Sender::new(true), came: AtomicUsize::new(0) })
    }

    async fn pass(&self) {
        let mut is_open = self.is_open.subscribe();
        if !*is_open.borrow() {
            self.came.fetch_add(1, Ordering::SeqCst);
        }
        is_open.wait_for(|is_open| *is_open).await.unwrap();
    }

    fn open(&self) {
        self.is_open.send_replace(true);
    }

    fn close(&self) {
        self.is_open.send_replace(false);
    }

    /// Returns when `calls` have come to it while it was closed.
    async fn until(&self, calls: usize) {
        let began = Instant::now();
        while self.came.load(Ordering::SeqCst) < calls {
            assert!(began.elapsed() < DEADLINE, "they do not come");
            tokio::task::yield_now().await;
        }
    }
}

/// A blob store that is slow to read while its gate is closed.
struct SlowBlobs {
    blobs: Arc<dyn BlobStore>,
    gate: Arc<Gate>,
}

#[async_trait]
impl BlobStore for SlowBlobs {
    async fn put(
        &self,
        account: AccountId,
        message: MessageId,
        chunks: Vec<Vec<u8>>,
        durability: Durability,
    ) -> Result<()> {
        self.blobs.put(account, message, chunks, durability).await
    }

    async fn get(&self, account: AccountId, message: MessageId) -> Result<Option<Vec<Vec<u8>>>> {
        self.gate.pass().await;
        self.blobs.get(account, message).await
    }

    async fn written(&self, account: AccountId, message: MessageId) -> Result<Option<Written>> {
        self.blobs.written(account, message).await
    }

    async fn remove(
        &self,
        account: AccountId,
        message: MessageId,
        until: i64,
        durability: Durability,
    ) -> Result<()> {
        self.blobs.remove(account, message, until, durability).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        self.blobs.remove_account(account).await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        self.blobs.ids(account, after, limit).await
    }
}

/// A cache that is slow to read for the second time what it was asked before, while its gate is closed.
struct SlowCache {
    cache: Arc<dyn Cache>,
    asked: Mutex<HashSet<Vec<u8>>>,
    gate: Arc<Gate>,
}

#[async_trait]
impl Cache for SlowCache {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if !self.asked.lock().unwrap().insert(key.to_vec()) {
            self.gate.pass().await;
        }
        self.cache.get(key).await
    }

    async fn put(&self, key: &[u8], value: Vec<u8>, time: Duration) -> Result<()> {
        self.cache.put(key, value, time).await
    }

    async fn remove(&self, key: &[u8]) -> Result<()> {
        self.cache.remove(key).await
    }

    async fn count(&self, key: &[u8], time: Duration) -> Result<u64> {
        self.cache.count(key, time).await
    }

    fn tell(&self, account: AccountId, change: Change) {
        self.cache.tell(account, change);
    }

    fn watch(&self, account: AccountId) -> broadcast::Receiver<Change> {
        self.cache.watch(account)
    }
}

async fn with_slow_blobs(settings: ApiSettings) -> (Service, Arc<Gate>) {
    let gate = Gate::new();
    let slow = gate.clone();
    let over = |mut backend: schema::Backend| {
        backend.blobs = Arc::new(SlowBlobs { blobs: backend.blobs, gate: slow });
        backend
    };
    (Service::start_over(settings, over).await, gate)
}

/// A call that goes on by itself.
fn begin(service: &Service, request: Request<Body>) -> JoinHandle<Answer> {
    let router = service.router.clone();
    tokio::spawn(async move { client::answer(&router, request).await })
}

fn get(client: &Client<'_>, path: &str) -> Request<Body> {
    client.request(http::Method::GET, path).body(Body::empty()).unwrap()
}

fn sign_in(address: &str, password: &str) -> Request<Body> {
    let body = json!({ "address": address, "password": password });
    client::with_body(Request::builder().method("POST").uri("/v1/session"), Some(body))
}

/// 503 that says to try again, and why.
fn assert_unavailable(answer: &Answer, detail: &str) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), "1");
    let problem = answer.json();
    assert_eq!(problem["type"], "/docs#problem-unavailable");
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
}

#[tokio::test]
async fn more_calls_than_are_answered_at_once_get_503() {
    let (service, gate) = with_slow_blobs(ApiSettings { calls: 2, ..ApiSettings::default() }).await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(&message("Slow", "text"), T).await;
    let raw = format!("/v1/messages/{id}/raw");
    gate.close();
    let held = [begin(&service, get(&bob, &raw)), begin(&service, get(&bob, &raw))];
    gate.until(2).await;
    for path in ["/v1/account", "/v1/openapi.json", "/v1/nowhere"] {
        assert_unavailable(&bob.get(path).await, "too many calls");
    }
    gate.open();
    for call in held {
        assert_eq!(call.await.unwrap().status, 200);
    }
    assert_eq!(bob.get("/v1/account").await.status, 200);
}

#[tokio::test]
async fn a_call_that_takes_too_long_gets_503_and_goes_unless_it_may_change_something() {
    let settings = ApiSettings { calls: 1, time: Duration::from_millis(500), ..ApiSettings::default() };
    let (service, gate) = with_slow_blobs(settings).await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(&message("Slow", &format!("{} needle", "word ".repeat(200))), T).await;
    gate.close();
    assert_unavailable(&bob.get(&format!("/v1/messages/{id}/raw")).await, "took too long");
    assert_eq!(bob.get("/v1/account").await.status, 200);

    let search = bob.call("POST", "/v1/search", Some(json!({ "q": "needle" }))).await;
    assert_unavailable(&search, "took too long");
    assert_unavailable(&bob.get("/v1/account").await, "too many calls");
    gate.open();
    let began = Instant::now();
    while bob.get("/v1/account").await.status != 200 {
        assert!(began.elapsed() < DEADLINE, "it does not end");
        tokio::task::yield_now().await;
    }
    assert_eq!(bob.call("POST", "/v1/search", Some(json!({ "q": "needle" }))).await.json()["total"], 1);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_holds_up_nobody_for_ever() {
    for (time, status) in [(30, StatusCode::REQUEST_TIMEOUT), (5, StatusCode::SERVICE_UNAVAILABLE)] {
        let settings = ApiSettings { calls: 1, time: Duration::from_secs(time), ..ApiSettings::default() };
        let service = Service::start_with(settings).await;
        let nothing = futures_util::stream::pending::<std::io::Result<bytes::Bytes>>();
        let request = Request::builder()
            .method("POST")
            .uri("/v1/session")
            .header("content-type", "application/json")
            .header("content-length", "10")
            .body(Body::from_stream(nothing))
            .unwrap();
        tokio::time::pause();
        assert_eq!(service.send(request).await.status, status);
        let ask = || service.send(Request::builder().uri("/v1/openapi.json").body(Body::empty()).unwrap());
        let began = tokio::time::Instant::now();
        while ask().await.status != 200 {
            assert!(began.elapsed() < DEADLINE, "its place is not free again");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        tokio::time::resume();
    }
}

#[tokio::test]
async fn more_sign_ins_than_may_wait_get_429() {
    let gate = Gate::new();
    let slow = gate.clone();
    let over = |mut backend: schema::Backend| {
        backend.cache = Arc::new(SlowCache { cache: backend.cache, asked: Mutex::default(), gate: slow });
        backend
    };
    let service = Service::start_over(ApiSettings { sign_ins: 1, ..ApiSettings::default() }, over).await;
    service.client("bob@one.example").await;
    gate.close();
    // Each asks once whether it has to wait before it queues, and again when its turn comes: the first stays there.
    let mut held: Vec<_> = (0..16)
        .map(|number| begin(&service, sign_in(&format!("nobody{number}@one.example"), "wrong password")))
        .collect();
    gate.until(1).await;
    let refused = tokio::time::timeout(DEADLINE, service.send(sign_in("bob@one.example", PASSWORD))).await;
    let refused = refused.expect("an answer while others wait");
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"));
    assert!(held.iter_mut().all(|call| call.now_or_never().is_none()), "those within the limit wait");
    gate.open();
    for call in held {
        assert_eq!(call.await.unwrap().status, 401);
    }
    assert_eq!(service.send(sign_in("bob@one.example", PASSWORD)).await.status, 201);
}

#[tokio::test]
async fn a_json_body_has_256_kib_and_no_more() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    for (octets, status) in [(256 << 10, 201), ((256 << 10) + 1, 413)] {
        for (chunked, name) in [(false, "One"), (true, "Two")] {
            let body = json!({ "name": name }).to_string();
            let body = format!("{}{body}", " ".repeat(octets - body.len()));
            let request =
                bob.request(http::Method::POST, "/v1/mailboxes").header("content-type", "application/json");
            let request = match chunked {
                true => request.header("transfer-encoding", "chunked"),
                false => request.header("content-length", body.len()),
            };
            let body = match chunked {
                true => Body::from_stream(futures_util::stream::iter(pieces(&body))),
                false => Body::from(body),
            };
            let answer = service.send(request.body(body).unwrap()).await;
            assert_eq!(answer.status, status, "{octets} {chunked}: {}", answer.text());
        }
    }
}

/// A body in pieces, of which none says how long the whole is.
fn pieces(body: &str) -> Vec<std::io::Result<bytes::Bytes>> {
    body.as_bytes().chunks(10_000).map(|piece| Ok(bytes::Bytes::copy_from_slice(piece))).collect()
}

#[tokio::test]
async fn what_one_call_names_is_limited() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    let id = bob.deliver(&message("One", "word"), T).await;
    let path = format!("/v1/messages/{id}");
    let keywords = |from: usize, to: usize| {
        let names = (from..to).map(|number| (format!("k{number}"), Value::Bool(true)));
        json!({ "keywords": Value::Object(names.collect()) })
    };
    assert_eq!(bob.call("PATCH", &path, Some(keywords(0, 101))).await.wrong()[0].1, "limit");
    assert_eq!(bob.call("PATCH", &path, Some(keywords(0, 100))).await.status, 200);
    let refused = bob.call("PATCH", &path, Some(keywords(100, 101))).await;
    assert_eq!((refused.status.as_u16(), &refused.wrong()[0].0[..]), (422, "keywords"));
    assert_eq!(bob.call("PATCH", &path, Some(keywords(0, 1001))).await.wrong()[0].1, "invalid");
    let long = |length: usize| json!({ "keywords": { "k".repeat(length): null } });
    assert_eq!(bob.call("PATCH", &path, Some(long(255))).await.status, 200);
    assert_eq!(bob.call("PATCH", &path, Some(long(256))).await.status, 422);
    let whole = bob.get(&path).await.json();
    assert_eq!(whole["keywords"].as_object().unwrap().len(), 100);

    let batch = |count: usize| {
        let ids: Vec<_> = (0..count).map(|number| format!("{number:032x}")).collect();
        bob.call("POST", "/v1/messages/batch", Some(json!({ "ids": ids, "keywords": { "x": true } })))
    };
    assert_eq!(batch(500).await.json()["results"].as_array().unwrap().len(), 500);
    assert_eq!(batch(501).await.wrong(), [("ids".to_owned(), "length".to_owned())]);

    let mailbox =
        |length: usize| bob.call("POST", "/v1/mailboxes", Some(json!({ "name": "é".repeat(length) })));
    assert_eq!(mailbox(255).await.status, 201);
    assert_eq!(mailbox(256).await.wrong(), [("name".to_owned(), "length".to_owned())]);

    let search = |q: String| bob.call("POST", "/v1/search", Some(json!({ "q": q })));
    let deep = |levels: usize| "(".repeat(levels) + "word" + &")".repeat(levels);
    for within in ["word ".repeat(64), deep(15), format!("word{}", " ".repeat(2044))] {
        assert_eq!(search(within.clone()).await.json()["total"], 1, "{within}");
    }
    for (beyond, code) in [
        ("word ".repeat(65), "syntax"),
        (deep(16), "syntax"),
        (format!("word{}", " ".repeat(2045)), "length"),
    ] {
        assert_eq!(search(beyond.clone()).await.wrong(), [("q".to_owned(), code.to_owned())], "{beyond}");
    }
}

struct Listening {
    address: std::net::SocketAddr,
    stop: CancellationToken,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(service: &Service, settings: ServeSettings) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(api::serve(vec![listener], service.router.clone(), settings, stop.clone()));
    Listening { address, stop }
}

impl Listening {
    /// A connection on which something was sent.
    async fn send(&self, octets: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(octets).await.unwrap();
        stream
    }
}

/// What comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    // A reset after an answer is as good an end as any.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut seen)).await.expect("an end");
    String::from_utf8_lossy(&seen).into_owned()
}

/// The status of the next answer, which has no body.
async fn status(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(tokio::time::timeout(DEADLINE, stream.read_u8()).await.expect("an answer").unwrap());
    }
    String::from_utf8_lossy(&seen[9..12]).into_owned()
}

const HEAD: &[u8] = b"HEAD /v1/account HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_more_waits_until_one_ends() {
    let service = Service::start().await;
    let listening = listen(&service, ServeSettings { connections: 2, ..ServeSettings::default() }).await;
    let (mut first, mut second) = (listening.send(HEAD).await, listening.send(HEAD).await);
    assert_eq!([status(&mut first).await, status(&mut second).await], ["401", "401"]);
    let mut third = listening.send(HEAD).await;
    // Those that are in are answered all the while, and it is not.
    for _ in 0..50 {
        first.write_all(HEAD).await.unwrap();
        assert_eq!(status(&mut first).await, "401");
        assert_eq!(third.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    drop(second);
    assert_eq!(status(&mut third).await, "401");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_no_whole_header_in_time_is_left() {
    let service = Service::start().await;
    let settings =
        ServeSettings { connections: 1, header_time: Duration::from_millis(300), ..ServeSettings::default() };
    let listening = listen(&service, settings).await;
    // Nothing; what could become another version of HTTP; the start of a header; that other version.
    let version_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for sent in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"HEAD /v1/acc", b"\r\n\r\n", version_2] {
        let mut stream = listening.send(sent).await;
        let said = rest(&mut stream).await;
        assert!(!said.starts_with("HTTP/1.1 2"), "{}: {said}", sent.escape_ascii());
    }
    // One that was answered may send another, and does not.
    let mut stream = listening.send(HEAD).await;
    assert_eq!([status(&mut stream).await, rest(&mut stream).await], ["401", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_beyond_the_limit_is_431() {
    let service = Service::start().await;
    let limit = 16 << 10;
    let listening = listen(&service, ServeSettings { header_bytes: limit, ..ServeSettings::default() }).await;
    let with = |octets: usize| {
        let start = "HEAD /v1/account HTTP/1.1\r\nHost: x\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(octets - start.len() - 4))
    };
    for (octets, expected) in [(limit, "401"), (limit + 1, "431"), (10 * limit, "431")] {
        let mut stream = listening.send(with(octets).as_bytes()).await;
        assert_eq!(status(&mut stream).await, expected, "{octets}");
    }
    let many = |fields: usize| format!("HEAD /v1/account HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(fields));
    for (fields, expected) in [(100, "401"), (101, "431")] {
        let mut stream = listening.send(many(fields).as_bytes()).await;
        assert_eq!(status(&mut stream).await, expected, "{fields}");
    }
}
