//! Where the servers of the tests are, and what each test program makes on them.

#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use cluster::CassandraOptions;
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

/// How many rows each partition of a table has that is an account's.
pub async fn rows_by_partition(table: &str, account: schema::AccountId) -> Vec<u64> {
    let options = cassandra();
    let session = scylla::client::session_builder::SessionBuilder::new().known_nodes(&options.nodes);
    let session = session.build().await.unwrap();
    let keyspace = &options.keyspace;
    let text = format!("SELECT partition, COUNT(*) FROM {keyspace}.{table} GROUP BY partition, bucket");
    let found = session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
    let rows = found.rows::<(Vec<u8>, i64)>().unwrap().map(Result::unwrap);
    let skipped = usize::from(table == "buckets_by_list");
    let own = rows.filter(|(partition, _)| partition[skipped..].starts_with(account.as_bytes()));
    own.map(|(_, rows)| u64::try_from(rows).unwrap()).collect()
}
