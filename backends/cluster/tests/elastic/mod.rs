//! An index of a test's own on the real server.

#![allow(dead_code, clippy::unwrap_used)]

use std::future::Future;

use cluster::ElasticsearchOptions;
use cluster::index::ElasticIndex;
use elasticsearch::http::Method;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use schema::index::{Hit, IndexedMessage, Posting, Query, SearchIndex, Sort, Token};
use schema::{AccountId, MessageId};
use serde_json::Value;

const SERVERS: &str = "SIGNET_TEST_ELASTICSEARCH";

/// An index behind an alias of its own: tests share tokens, and a score depends on all that an index holds.
pub fn options() -> ElasticsearchOptions {
    let urls =
        std::env::var(SERVERS).unwrap_or_else(|_| panic!("{SERVERS} has to name the URLs of Elasticsearch"));
    ElasticsearchOptions {
        urls: urls.split(',').map(str::to_owned).collect(),
        alias: format!("test-{}", AccountId::random()),
        shards: 2,
        replicas: 0,
        ..Default::default()
    }
}

/// Sends a request to the server itself.
pub async fn send(options: &ElasticsearchOptions, method: Method, path: &str, body: Value) -> Value {
    let transport = Transport::single_node(&options.urls[0]).unwrap();
    let body = (!body.is_null()).then(|| body.to_string());
    let sent = transport.send(method, path, HeaderMap::new(), None::<&()>, body, Some(options.request_time));
    sent.await.unwrap().json().await.unwrap()
}

/// The names of all indices that are, or were, behind the alias, or are to be.
pub async fn indices(options: &ElasticsearchOptions) -> Vec<String> {
    let found = send(options, Method::Get, &format!("{}-v*", options.alias), Value::Null).await;
    let mut names: Vec<String> = found.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

pub async fn delete(options: &ElasticsearchOptions) {
    for index in indices(options).await {
        send(options, Method::Delete, &index, Value::Null).await;
    }
}

/// Runs a test with an index, which is deleted whatever comes of it.
pub async fn with_index<T: Future<Output = ()> + Send + 'static>(
    test: impl FnOnce(ElasticIndex, ElasticsearchOptions) -> T,
) {
    let options = options();
    ElasticIndex::apply_schema(&options).await.unwrap();
    let index = ElasticIndex::connect(&options).await.unwrap();
    let result = tokio::spawn(test(index, options.clone())).await;
    delete(&options).await;
    result.unwrap();
}

pub fn id(number: u32) -> MessageId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    MessageId(id)
}

/// A message of these tokens, each with its stream and positions.
pub fn message(number: u32, tokens: &[(Token, u8, &[u32])]) -> IndexedMessage {
    let posting = |&(token, stream, positions): &(Token, u8, &[u32])| Posting {
        token,
        stream,
        frequency: positions.len().max(1) as u32,
        positions: positions.to_vec(),
    };
    IndexedMessage {
        id: id(number),
        received_at: 1_700_000_000_000 + u64::from(number),
        size: 1,
        has_attachment: false,
        words: 1,
        postings: tokens.iter().map(posting).collect(),
    }
}

pub async fn found(index: &ElasticIndex, account: AccountId, query: &Query) -> Vec<u32> {
    let found = index.search(account, query, Sort::Date, 0, 100).await.unwrap();
    let mut found: Vec<u32> = found.hits.iter().map(number).collect();
    found.sort_unstable();
    found
}

pub fn number(hit: &Hit) -> u32 {
    let [a, b, c, d, ..] = hit.id.0;
    u32::from_be_bytes([a, b, c, d])
}
