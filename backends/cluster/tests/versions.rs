//! Programs of two versions and the tables of two versions: who may serve on which.

#![allow(clippy::unwrap_used)]

mod support;

use cluster::{Applied, CassandraOptions, StartError, apply_rows_schema, connect_rows};
use futures_util::future::try_join_all;
use schema::{Durability, RowKey, Table, Write};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

/// Notes a version as a newer program would, that says who may serve on it.
async fn note(session: &Session, keyspace: &str, number: u32, serves: u32) {
    let text = format!(
        "INSERT INTO {keyspace}.schema_versions (part, version, serves, applied_at) \
         VALUES ('rows', {number}, {serves}, toTimestamp(now()))"
    );
    session.query_unpaged(text, ()).await.unwrap();
}

#[tokio::test]
async fn a_program_serves_on_newer_tables_that_it_still_understands_and_on_no_others() {
    let options = support::cassandra();
    let Err(StartError::Unusable { reason, .. }) = connect_rows(&options).await else {
        panic!("there are no tables yet");
    };
    assert!(reason.contains("signet schema apply"), "{reason}");

    // Two at once make what one makes.
    let (one, two) = tokio::join!(apply_rows_schema(&options), apply_rows_schema(&options));
    let Applied { to: own, .. } = one.unwrap();
    assert_eq!(two.unwrap().to, own);
    connect_rows(&options).await.unwrap();

    let session = SessionBuilder::new().known_nodes(&options.nodes).build().await.unwrap();
    let keyspace = &options.keyspace;
    // What a later version adds does not disturb.
    for change in ["ALTER TABLE {}.messages ADD later blob", "CREATE TABLE {}.later (part int PRIMARY KEY)"] {
        session.query_unpaged(change.replace("{}", keyspace), ()).await.unwrap();
    }
    note(&session, keyspace, own + 1, own).await;
    let (store, _) = connect_rows(&options).await.unwrap();
    schema::contract::store::what_was_written_is_seen(&*store).await;
    let Err(StartError::Unusable { reason, .. }) = apply_rows_schema(&options).await else {
        panic!("an older program takes nothing back");
    };
    assert!(reason.contains("newer version"), "{reason}");

    note(&session, keyspace, own + 2, own + 1).await;
    let Err(StartError::Unusable { reason, .. }) = connect_rows(&options).await else {
        panic!("the tables are not understood");
    };
    assert!(reason.contains(&format!("this one knows {own}")), "{reason}");
    session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
}

/// Cassandra forgets the statements of a table that changes, and takes one away for a moment that somebody else prepares.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_go_on_while_cassandra_forgets_their_statements() {
    let options =
        CassandraOptions { keyspace: format!("{}_b", support::cassandra().keyspace), ..support::cassandra() };
    apply_rows_schema(&options).await.unwrap();
    let session = SessionBuilder::new().known_nodes(&options.nodes).build().await.unwrap();
    let keyspace = &options.keyspace;
    let key = |number: u32| RowKey::new(Table::Messages, number.to_be_bytes(), *b"row");
    for round in 0..4 {
        let stores = try_join_all((0..4).map(|_| connect_rows(&options))).await.unwrap();
        let changing = async {
            for column in 0..3 {
                let text = format!("ALTER TABLE {keyspace}.messages ADD later_{round}_{column} blob");
                session.query_unpaged(text, ()).await.unwrap();
            }
        };
        let calls = stores.iter().flat_map(|(store, _)| (0..64).map(move |number| (store, number)));
        let calls = calls.map(|(store, number)| async move {
            for _ in 0..10 {
                let write = Write::Put(key(number), vec![round]);
                store.write(vec![write], Durability::Now).await?;
                assert_eq!(store.get(&[key(number)]).await?, [Some(vec![round])]);
            }
            Ok::<_, schema::Error>(())
        });
        let ((), called) = tokio::join!(changing, try_join_all(calls));
        called.unwrap();
    }
    session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
}
