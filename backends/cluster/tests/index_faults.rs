//! What the index makes of an Elasticsearch that is not there, hangs, is too busy, or answers nonsense: an error that says
//! so, in time.

#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster::index::ElasticIndex;
use cluster::{ElasticsearchOptions, Login, StartError};
use schema::index::{IndexedMessage, Query, SearchIndex, Sort};
use schema::{AccountId, Error, MessageId};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

const TIME: Duration = Duration::from_secs(3);
/// A call that takes so long hangs, however busy the machine is.
const TOO_LONG: Duration = Duration::from_secs(60);

const VERSION: &str = r#"{"nodes":{"a":{"version":"8.19.5"}}}"#;
const INDEX: &str = r#"{"messages-v1":{"mappings":{"_meta":{"version":1}}}}"#;
const HIT: &str = r#"{"timed_out":false,"_shards":{"failed":0},"hits":{"total":{"value":1,"relation":"eq"},
    "hits":[{"sort":[7,-9223372036854775808,-9223372036854775807]}]}}"#;

/// What the server does with a request.
enum Reply {
    Answer(u16, String),
    /// These octets, and then nothing more.
    Stop(String),
    /// These octets, and the end of the connection.
    Cut(String),
}

fn ok(body: &str) -> Reply {
    Reply::Answer(200, body.to_owned())
}

/// Does for each write what `status` says of it.
fn bulk(body: &str, status: impl Fn(&str) -> u16) -> Reply {
    let writes =
        body.lines().filter(|line| line.starts_with("{\"index\"") || line.starts_with("{\"delete\""));
    let items: Vec<String> = writes
        .map(|write| match status(write) {
            status @ 200..300 => format!(r#"{{"index":{{"status":{status}}}}}"#),
            status => format!(r#"{{"index":{{"status":{status},"error":{{"type":"some_exception"}}}}}}"#),
        })
        .collect();
    ok(&format!(r#"{{"items":[{}]}}"#, items.join(",")))
}

const NO_ALIAS: &str = r#"{"error":"alias [messages-next] missing","status":404}"#;

/// What an Elasticsearch says to what is asked for at a start, and before a first write.
fn start(path: &str) -> Option<Reply> {
    match path.split('?').next().unwrap() {
        "/_nodes/os" => Some(ok(VERSION)),
        "/messages" => Some(ok(INDEX)),
        "/_alias/messages-next" => Some(Reply::Answer(404, NO_ALIAS.to_owned())),
        _ => None,
    }
}

/// A server that replies as a function of head and body of each request says.
struct Server {
    url: String,
    /// Head and body of all requests, in order.
    requests: Arc<Mutex<Vec<(String, String)>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Server {
    async fn new(reply: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, reply) = (Arc::default(), Arc::new(reply));
        let kept = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let served = serve(stream, Arc::clone(&reply), Arc::clone(&kept));
                connections.push(AbortOnDropHandle::new(tokio::spawn(served)));
            }
        });
        Self { url, requests, _serving: AbortOnDropHandle::new(serving) }
    }

    /// One that starts well, and replies to all else with `reply`.
    async fn started(reply: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(move |path, body| start(path).unwrap_or_else(|| reply(path, body))).await
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The bodies of all writes, in order.
    fn bulks(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|(head, _)| head.contains("/_bulk")).map(|(_, body)| body.clone()).collect()
    }
}

async fn serve<F: Fn(&str, &str) -> Reply>(
    stream: TcpStream,
    reply: Arc<F>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let reply = reply(&path, &body);
        requests.lock().unwrap().push((head, body));
        match reply {
            Reply::Answer(status, body) => {
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            Reply::Stop(octets) => {
                stream.write_all(octets.as_bytes()).await.unwrap();
                std::future::pending().await
            }
            Reply::Cut(octets) => {
                stream.write_all(octets.as_bytes()).await.unwrap();
                return;
            }
        }
    }
}

fn options(urls: &[&str]) -> ElasticsearchOptions {
    let urls = urls.iter().map(|&url| url.to_owned()).collect();
    ElasticsearchOptions { urls, request_time: TIME, ..Default::default() }
}

/// A URL at which nobody listens.
async fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// What both kinds of start make of a server, in time.
async fn refusals(urls: &[&str]) -> [StartError; 2] {
    let options = options(urls);
    let began = Instant::now();
    let connected = ElasticIndex::connect(&options).await.err().unwrap();
    let applied = ElasticIndex::apply_schema(&options).await.err().unwrap();
    assert!(began.elapsed() < TOO_LONG);
    [connected, applied]
}

async fn connect(urls: &[&str]) -> ElasticIndex {
    ElasticIndex::connect(&options(urls)).await.unwrap()
}

fn message(number: u8) -> IndexedMessage {
    IndexedMessage {
        id: MessageId([number; 16]),
        received_at: 7,
        size: 1,
        has_attachment: false,
        words: 0,
        postings: vec![],
    }
}

async fn search(index: &ElasticIndex) -> schema::Result<Vec<MessageId>> {
    let hits = index.search(AccountId([1; 16]), &Query::All, Sort::Date, 0, 10).await?.hits;
    Ok(hits.into_iter().map(|hit| hit.id).collect())
}

/// What a call made of the writes of some messages.
async fn put(index: &ElasticIndex, messages: &[u8]) -> schema::Result<()> {
    index.put(AccountId([1; 16]), messages.iter().map(|&number| message(number)).collect()).await
}

/// The numbers of the messages in a body of writes.
fn written(body: &str) -> Vec<u8> {
    (0..=u8::MAX).filter(|number| body.contains(&key(*number))).collect()
}

/// The key of a message's document.
fn key(number: u8) -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode([[1; 16], [number; 16]].concat())
}

/// How a server can fail to answer, and what it is called.
type Fault = (&'static str, fn() -> Reply);

fn faults() -> [Fault; 9] {
    [
        ("hangs", || Reply::Stop(String::new())),
        ("hangs in its head", || Reply::Stop("HTTP/1.1 200 OK\r\nContent-Le".into())),
        ("hangs in its body", || {
            Reply::Stop("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"items\":[".into())
        }),
        ("hangs up", || Reply::Cut(String::new())),
        ("hangs up in its body", || {
            Reply::Cut("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"items\":[".into())
        }),
        ("speaks no HTTP", || Reply::Cut("220 localhost ESMTP\r\n".into())),
        ("answers no JSON", || ok("<html>")),
        ("answers other JSON", || ok("{}")),
        ("fails", || Reply::Answer(500, "{}".into())),
    ]
}

/// Runs a test of each fault at the same time: each waits until a time is over. Where one holds up its thread, the others
/// have their own.
async fn all<T: Future<Output = ()> + Send + 'static>(
    faults: impl IntoIterator<Item = Fault>,
    test: impl Fn(Fault) -> T,
) {
    let running: Vec<_> = faults.into_iter().map(|fault| tokio::spawn(test(fault))).collect();
    for test in running {
        test.await.unwrap();
    }
}

#[tokio::test]
async fn a_start_without_a_server_says_so_in_time() {
    let closed = closed().await;
    for refusal in refusals(&[&closed, &closed]).await {
        assert!(matches!(refusal, StartError::Unreachable { .. }), "{refusal}");
        assert!(refusal.to_string().contains("Connection refused"), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_server_that_fails_says_so_in_time() {
    all(faults(), |(fault, reply)| async move {
        let server = Server::new(move |_, _| reply()).await;
        for refusal in refusals(&[&server.url]).await {
            let is_unusable = matches!(refusal, StartError::Unusable { .. });
            assert_eq!(is_unusable, fault.starts_with("answers"), "{fault}: {refusal}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_start_says_that_a_login_is_asked_for_or_lacks_rights() {
    for (status, word) in [(401, "asks for a login"), (403, "rights")] {
        let server = Server::new(move |_, _| Reply::Answer(status, "{}".into())).await;
        for refusal in refusals(&[&server.url]).await {
            assert!(matches!(refusal, StartError::Unusable { .. }), "{refusal}");
            assert!(refusal.to_string().contains(word), "{refusal}");
        }
    }
}

#[tokio::test]
async fn a_start_refuses_a_server_that_is_too_old() {
    for version in ["7.16.3", "2.19.1", "six"] {
        let server = Server::new(move |_, _| ok(&VERSION.replace("8.19.5", version))).await;
        for refusal in refusals(&[&server.url]).await {
            assert!(matches!(refusal, StartError::Unusable { .. }), "{refusal}");
            assert!(
                refusal.to_string().contains(version) && refusal.to_string().contains("7.17"),
                "{refusal}"
            );
        }
    }
}

#[tokio::test]
async fn a_login_is_sent_with_every_request() {
    let server = Server::started(|_, _| ok(HIT)).await;
    let login = Login { name: "signet".into(), password: String::from("secret").into() };
    let options = ElasticsearchOptions { login: Some(login), ..options(&[&server.url]) };
    search(&ElasticIndex::connect(&options).await.unwrap()).await.unwrap();
    let requests = server.requests.lock().unwrap();
    assert_eq!(requests.len(), 3);
    for (head, _) in requests.iter() {
        assert!(head.to_lowercase().contains("authorization: basic c2lnbmv0onnly3jlda=="), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_a_server_that_fails_is_an_error_that_may_pass_and_comes_in_time() {
    all(faults(), |(fault, reply)| async move {
        let server = Server::started(move |_, _| reply()).await;
        let index = connect(&[&server.url]).await;
        let began = Instant::now();
        let account = AccountId([1; 16]);
        let errors = [
            put(&index, &[1]).await.unwrap_err(),
            index.remove(account, &[MessageId([1; 16])]).await.unwrap_err(),
            index.remove_account(account).await.unwrap_err(),
            search(&index).await.unwrap_err(),
            index.ids(account, None, 10).await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_transient(), "{fault}: {error:?}");
        }
        assert!(began.elapsed() < TOO_LONG, "{fault}");
    })
    .await;
}

#[tokio::test]
async fn an_answer_of_only_some_shards_is_none() {
    let parts = [("\"failed\":0", "\"failed\":1"), ("\"timed_out\":false", "\"timed_out\":true")];
    for (whole, part) in parts {
        let server = Server::started(move |_, _| ok(&HIT.replace(whole, part))).await;
        assert!(search(&connect(&[&server.url]).await).await.unwrap_err().is_transient());
    }
    let server = Server::started(|_, _| ok(HIT)).await;
    assert_eq!(search(&connect(&[&server.url]).await).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_query_that_elasticsearch_finds_too_large_is_refused() {
    let answer = r#"{"error":{"type":"search_phase_execution_exception","root_cause":[{"type":"too_many_nested_clauses"}]}}"#;
    let server = Server::started(move |_, _| Reply::Answer(400, answer.into())).await;
    assert!(matches!(search(&connect(&[&server.url]).await).await, Err(Error::Refused { .. })));
    let server = Server::started(move |_, _| Reply::Answer(400, "{}".into())).await;
    let error = search(&connect(&[&server.url]).await).await.unwrap_err();
    assert!(matches!(error, Error::Backend { transient: false, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_passed_over() {
    let closed: &str = closed().await.leak();
    // An error of the server itself is no reason to ask another.
    let faults = faults().into_iter().filter(|(fault, _)| *fault != "fails");
    all(faults, move |(fault, reply)| async move {
        let bad = Server::new(move |_, _| reply()).await;
        let good = Server::started(|path, body| match path.contains("_bulk") {
            true => bulk(body, |_| 200),
            false => ok(HIT),
        })
        .await;
        // Half of the time is for the other node, however busy the machine is.
        let options =
            ElasticsearchOptions { request_time: TIME * 4, ..options(&[closed, &bad.url, &good.url]) };
        let index = ElasticIndex::connect(&options).await.unwrap();
        for _ in 0..6 {
            assert_eq!(search(&index).await.unwrap().len(), 1, "{fault}");
        }
        // Once it is set aside, it is not asked again.
        let asked = bad.count();
        for _ in 0..6 {
            put(&index, &[1]).await.unwrap();
            search(&index).await.unwrap();
        }
        assert_eq!(bad.count(), asked, "{fault}");
    })
    .await;
}

#[tokio::test]
async fn what_the_server_is_too_busy_for_is_sent_again() {
    let rounds = Mutex::new(0);
    let server = Server::started(move |_, body| {
        let mut rounds = rounds.lock().unwrap();
        *rounds += 1;
        match *rounds {
            1 => Reply::Answer(429, "{}".into()),
            2 => {
                bulk(body, |write| if write.contains(&key(2)) || write.contains(&key(3)) { 429 } else { 201 })
            }
            3 => bulk(body, |write| if write.contains(&key(3)) { 429 } else { 200 }),
            _ => bulk(body, |_| 201),
        }
    })
    .await;
    put(&connect(&[&server.url]).await, &[1, 2, 3, 4]).await.unwrap();
    let sent: Vec<Vec<u8>> = server.bulks().iter().map(|body| written(body)).collect();
    assert_eq!(sent, [vec![1, 2, 3, 4], vec![1, 2, 3, 4], vec![2, 3], vec![3]]);
}

#[tokio::test]
async fn a_server_that_stays_too_busy_is_given_up_in_time() {
    let replies: [fn(&str) -> Reply; 2] = [|_| Reply::Answer(429, "{}".into()), |body| bulk(body, |_| 429)];
    for reply in replies {
        let server = Server::started(move |_, body| reply(body)).await;
        let index = connect(&[&server.url]).await;
        let began = Instant::now();
        assert!(put(&index, &[1]).await.unwrap_err().is_transient());
        assert!(began.elapsed() < TOO_LONG);
        assert!(server.bulks().len() > 1);
    }
}

#[tokio::test]
async fn what_one_write_meets_does_not_hold_up_the_others() {
    // Messages 1 and 2 meet these; the worse of them is told.
    for (first, second, is_transient) in
        [(400, 201, false), (503, 201, true), (503, 400, false), (400, 503, false)]
    {
        let server = Server::started(move |_, body| {
            bulk(body, |write| match write {
                write if write.contains(&key(1)) => first,
                write if write.contains(&key(2)) => second,
                _ => 201,
            })
        })
        .await;
        let error = put(&connect(&[&server.url]).await, &[1, 2, 3]).await.unwrap_err();
        assert_eq!(error.is_transient(), is_transient, "{first} {second}");
        assert_eq!(server.bulks().len(), 1);
    }
    let server = Server::started(|_, body| bulk(body, |_| 201)).await;
    put(&connect(&[&server.url]).await, &[1, 2, 3]).await.unwrap();
}

#[tokio::test]
async fn of_two_copies_only_the_last_is_sent() {
    let server = Server::started(|_, body| bulk(body, |_| 201)).await;
    let newer = IndexedMessage { received_at: 8, ..message(1) };
    let batch = vec![message(1), message(2), newer];
    connect(&[&server.url]).await.put(AccountId([1; 16]), batch).await.unwrap();
    let bulks = server.bulks();
    assert_eq!(bulks.len(), 1);
    assert_eq!((bulks[0].matches(&key(1)).count(), bulks[0].matches("\"receivedAt\":8").count()), (1, 1));
}
