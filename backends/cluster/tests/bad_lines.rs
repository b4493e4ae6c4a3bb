//! Elasticsearch behind a line that is slow, ends in mid-answer, garbles or loses answers: each call ends in
//! time, with a right answer or with a fault that may pass, and once the line is well so is the backend.

#![allow(clippy::unwrap_used)]

mod proxy;
mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{Cluster, ElasticsearchOptions, Options};
use proxy::{Line, Proxy};
use schema::index::{Query, Sort};
use schema::{Account, Arrival, Error, Incoming, MessageId, Result, SystemClock};

const TIME: Duration = Duration::from_secs(2);
/// A call that makes one request has ended by then, however busy the machine is.
const ONE_CALL: Duration = Duration::from_secs(10);
/// So has one that makes a few dozen, some of which are answered.
const MANY_CALLS: Duration = Duration::from_secs(90);
const WELL_AGAIN: Duration = Duration::from_secs(60);
const MESSAGES: usize = 6;

const LINES: [Line; 11] = [
    Line::Mute,
    Line::Slow(Duration::from_secs(5)),
    Line::Short(0),
    Line::Short(5),
    Line::Short(20),
    Line::Short(500),
    Line::Garbled(2),
    Line::Garbled(7),
    Line::Garbled(61),
    Line::Garbled(509),
    Line::Cut,
];

/// The servers, Elasticsearch by a line that can go bad, and an account that has mail.
struct Place {
    options: Options,
    elasticsearch: Proxy,
    cluster: Cluster,
    account: Account,
    /// In their order.
    messages: Vec<MessageId>,
    _keys: tempfile::TempDir,
}

fn raw(name: &str) -> Vec<u8> {
    format!(
        "From: sender@two.example\r\nSubject: {name}\r\nMessage-ID: <{name}@two.example>\r\n\r\na wombat\r\n"
    )
    .into_bytes()
}

async fn keep(account: &Account, name: &str) -> Result<MessageId> {
    let raw = raw(name);
    let incoming = Incoming::prepare(&raw, &mail::Limits::default());
    account.keep(&incoming, Arrival::default()).await.map(|kept| kept.id)
}

async fn index(account: &Account, id: MessageId) -> Result<()> {
    let indexed = account.indexed_message(id).await?.into_iter().collect();
    account.instance().backend.index.put(account.id(), indexed).await
}

impl Place {
    async fn new() -> Self {
        let options = support::options();
        cluster::apply_schema(&options).await.unwrap();
        let url = options.elasticsearch.urls[0].strip_prefix("http://").unwrap().trim_end_matches('/');
        let elasticsearch = Proxy::to(url.to_owned()).await;
        let by_line = Options {
            elasticsearch: ElasticsearchOptions {
                urls: vec![format!("http://{}", elasticsearch.address())],
                request_time: TIME,
                ..options.elasticsearch.clone()
            },
            ..options.clone()
        };
        let cluster = Cluster::connect(&by_line).await.unwrap();
        let keys = tempfile::tempdir().unwrap();
        let instance =
            schema::contract::instance(cluster.backend(), keys.path(), Arc::new(SystemClock)).await;
        let id = instance.create_account("anna@one.example", "correct horse", None).await.unwrap();
        let account = instance.account(id).await.unwrap().unwrap();
        let mut messages = Vec::new();
        for number in 0..MESSAGES {
            let name = format!("first{number}");
            let id = keep(&account, &name).await.unwrap();
            index(&account, id).await.unwrap();
            messages.push(id);
        }
        messages.sort();
        Self { options, elasticsearch, cluster, account, messages, _keys: keys }
    }

    async fn end(self) {
        let Self { options, cluster, .. } = self;
        cluster.close().await;
        support::remove(&options).await;
    }
}

/// What a call says within its time.
async fn within<T>(time: Duration, what: &str, line: Line, call: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let ended = tokio::time::timeout(time, call).await;
    ended.unwrap_or_else(|_| panic!("{what} hangs while the line is {line:?}: {:?}", began.elapsed()))
}

fn assert_passes(error: &Error, what: &str, line: Line) {
    assert!(error.is_transient(), "{what} while the line is {line:?}: {error:?}");
}

/// Calls until it succeeds.
async fn at_last<T, F: Future<Output = Result<T>>>(what: &str, line: Line, call: impl Fn() -> F) -> T {
    let deadline = Instant::now() + WELL_AGAIN;
    loop {
        match within(MANY_CALLS, what, line, call()).await {
            Ok(done) => return done,
            Err(error) => assert!(
                Instant::now() < deadline,
                "{what} does not work again after the line was {line:?}: {error:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_hangs_or_lies_while_the_line_to_elasticsearch_is_bad_and_all_work_when_it_is_well() {
    let place = Place::new().await;
    let (account, ids) = (place.account.id(), &place.messages);
    let index = place.account.instance().backend.index.clone();
    let search = || async {
        let hits = index.search(account, &Query::All, Sort::Date, 0, 100).await?.hits;
        let mut found: Vec<_> = hits.into_iter().map(|hit| hit.id).collect();
        found.sort();
        Ok(found)
    };
    for line in LINES {
        place.elasticsearch.set(line);
        match within(ONE_CALL, "a search", line, search()).await {
            Ok(found) => assert_eq!(&found, ids, "{line:?}"),
            Err(error) => assert_passes(&error, "a search", line),
        }
        match within(ONE_CALL, "the ids", line, index.ids(account, None, 100)).await {
            Ok(found) => assert_eq!(&found, ids, "{line:?}"),
            Err(error) => assert_passes(&error, "the ids", line),
        }
        let again = place.account.indexed_message(ids[0]).await.unwrap().into_iter().collect();
        if let Err(error) = within(MANY_CALLS, "a put", line, index.put(account, again)).await {
            assert_passes(&error, "a put", line);
        }
        if let Err(error) = within(MANY_CALLS, "a removal", line, index.remove(account, &ids[1..2])).await {
            assert_passes(&error, "a removal", line);
        }

        place.elasticsearch.open();
        at_last("a put", line, || self::index(&place.account, ids[1])).await;
        assert_eq!(&at_last("a search", line, search).await, ids, "after {line:?}");
    }
    place.end().await;
}
