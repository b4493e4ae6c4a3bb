//! Where the servers of the tests are, and what each test program makes on them.

#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use cluster::{CassandraOptions, ElasticsearchOptions, Options, RabbitmqOptions, RedisOptions};
use elasticsearch::http::Method;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use schema::{BlobStore, MailStore};

/// What a variable says of a server; without it no test of the servers can run.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} says where the server is: tests/services up 1, then eval \"$(tests/services env)\"")
    })
}

/// A keyspace of this test program, with buckets so small that tests fill them.
pub fn cassandra() -> CassandraOptions {
    CassandraOptions {
        nodes: variable("SIGNET_TEST_CASSANDRA").split(',').map(str::to_owned).collect(),
        keyspace: format!("test_{}_{}", env!("CARGO_CRATE_NAME"), std::process::id()),
        copies: 1,
        request_time: Duration::from_secs(20),
        change_time: Duration::from_millis(300),
        clock_skew: Duration::from_millis(50),
        ..CassandraOptions::default()
    }
}

/// Rows and blobs in the keyspace of this test program, which the first to ask makes.
pub async fn rows() -> (Arc<dyn MailStore>, Arc<dyn BlobStore>) {
    static MADE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    MADE.get_or_init(|| async {
        cluster::apply_rows_schema(&cassandra()).await.expect("the schema can be applied");
    })
    .await;
    cluster::connect_rows(&cassandra()).await.expect("Cassandra can be reached")
}

async fn run(text: &str) -> scylla::response::query_result::QueryResult {
    let session = scylla::client::session_builder::SessionBuilder::new().known_nodes(&cassandra().nodes);
    session.build().await.unwrap().query_unpaged(text, ()).await.unwrap()
}

async fn ask(text: &str) -> scylla::response::query_result::QueryRowsResult {
    run(text).await.into_rows_result().unwrap()
}

/// Leaves a list as one who died in the middle of splitting it: a finer bucket is noted, that of 50 days from `start` on
/// (milliseconds), and nothing else is done.
pub async fn note_finer_bucket(table: schema::Table, account: schema::AccountId, start: u64) {
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let (list, bucket) = (hex(account.as_bytes()), hex(&start.to_be_bytes()));
    run(&format!(
        "INSERT INTO {}.buckets_by_list (partition, bucket, clustering, value) \
         VALUES (0x{:02x}{list}, 0x, 0x01{bucket}, 0x)",
        cassandra().keyspace,
        table as u8,
    ))
    .await;
}

/// How many rows that had gone the costliest read of a table has passed over, about, where there is one node.
pub async fn most_tombstones_of_a_read(table: &str) -> u64 {
    let keyspace = cassandra().keyspace;
    let of = format!("keyspace_name = '{keyspace}' AND table_name = '{table}'");
    let found = ask(&format!("SELECT max FROM system_views.tombstones_per_read WHERE {of}")).await;
    found.first_row::<(f64,)>().unwrap().0 as u64
}

/// How many rows each partition of a table has that is an account's.
pub async fn rows_by_partition(table: &str, account: schema::AccountId) -> Vec<u64> {
    let keyspace = cassandra().keyspace;
    let text = format!("SELECT partition, COUNT(*) FROM {keyspace}.{table} GROUP BY partition, bucket");
    let found = ask(&text).await;
    let rows = found.rows::<(Vec<u8>, i64)>().unwrap().map(Result::unwrap);
    let skipped = usize::from(table == "buckets_by_list");
    let own = rows.filter(|(partition, _)| partition[skipped..].starts_with(account.as_bytes()));
    own.map(|(_, rows)| u64::try_from(rows).unwrap()).collect()
}

/// Names of a test's own on all four servers.
pub fn options() -> Options {
    let own = schema::AccountId::random().to_string();
    let list = |name: &str| variable(name).split(',').map(str::to_owned).collect();
    Options {
        cassandra: CassandraOptions { keyspace: format!("story_{own}"), ..cassandra() },
        elasticsearch: ElasticsearchOptions {
            urls: list("SIGNET_TEST_ELASTICSEARCH"),
            alias: format!("story-{own}"),
            shards: 1,
            replicas: 0,
            request_time: Duration::from_secs(30),
            ..ElasticsearchOptions::default()
        },
        rabbitmq: RabbitmqOptions {
            urls: list("SIGNET_TEST_RABBITMQ"),
            prefix: format!("story-{own}"),
            copies: 1,
            request_time: Duration::from_secs(30),
            ..RabbitmqOptions::default()
        },
        redis: RedisOptions {
            url: variable("SIGNET_TEST_REDIS"),
            prefix: format!("story-{own}:"),
            request_time: Duration::from_secs(5),
            ..RedisOptions::default()
        },
    }
}

/// Runs a story on a keyspace, an index, queues and a cache of its own, which are taken away if it ends well.
pub async fn on_servers_of_its_own(story: impl AsyncFnOnce(schema::Backend, &std::path::Path)) {
    // A keyspace is two dozen tables: only so many at once.
    static AT_ONCE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);
    let _turn = AT_ONCE.acquire().await.unwrap();
    let options = options();
    cluster::apply_schema(&options).await.expect("the schema can be applied");
    let cluster = cluster::Cluster::connect(&options).await.expect("the servers can be reached");
    let keys = tempfile::tempdir().unwrap();
    story(cluster.backend(), keys.path()).await;
    cluster.close().await;
    remove(&options).await;
}

pub async fn remove(options: &Options) {
    let session =
        scylla::client::session_builder::SessionBuilder::new().known_nodes(&options.cassandra.nodes);
    let session = session.build().await.unwrap();
    let text = format!("DROP KEYSPACE {}", options.cassandra.keyspace);
    session.query_unpaged(text, ()).await.unwrap();
    let transport = Transport::single_node(&options.elasticsearch.urls[0]).unwrap();
    let path = format!("{}-v1", options.elasticsearch.alias);
    let deleted = transport.send(Method::Delete, &path, HeaderMap::new(), None::<&()>, None::<String>, None);
    deleted.await.unwrap();
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(&options.rabbitmq.urls[0], properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let topology: serde_json::Value =
        serde_json::from_str(include_str!("../../../../schema/rabbitmq/topology-1.json")).unwrap();
    for queue in topology["queues"].as_array().unwrap() {
        let name = queue["name"].as_str().unwrap().replace("{prefix}", &options.rabbitmq.prefix);
        channel.queue_delete(name.into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    }
}
