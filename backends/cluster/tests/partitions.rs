//! No partition of a large mailbox becomes a large one.
//!
//! SIGNET_TEST_MAILBOX=1000000 has it be as large as is promised; a smaller one has buckets that are smaller in proportion, so
//! that each of its lists has to be split all the same.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::CassandraOptions;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{
    AccountId, Change, ChangeKind, Durability, List, ListPosition, MailStore, MailboxId, RowKey, Scan, Table,
    Write,
};
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::unprepared::Statement;

/// Messages, unless the variable says otherwise.
const MAILBOX: u64 = 40_000;
/// Buckets hold so much less than all messages that a list whose root is never split has too many rows.
const BUCKETS: u64 = 4;
const MOST_OCTETS: usize = 100_000_000;
/// Messages that are written together, and such lots at once.
const LOT: u64 = 100;
const LOTS: usize = 8;
/// How long a change may wait for its turn among so many.
const CHANGE_TIME: Duration = Duration::from_secs(30);
/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600_000;
const HOUR: u64 = 3_600_000;
const YEARS: u64 = 15 * 365 * 24 * HOUR;
/// A row's columns beside its octets: what Cassandra adds to each.
const OVERHEAD: usize = 32;

/// A message in so many comes in one busy hour, the others evenly over the years before.
const BUSY: u64 = 5;

fn position(number: u64, count: u64) -> ListPosition {
    let at = match number % BUSY {
        0 => NOW + number * HOUR / count,
        _ => NOW - YEARS + number * (YEARS / count),
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    ListPosition::new(at, id)
}

/// What a delivery writes into lists that grow with the mailbox, all in one discussion, and its change.
fn writes(account: AccountId, lists: &[List], at: ListPosition) -> Vec<Write> {
    let put = |key| Write::PutAsOf(key, vec![7; 9], at.at);
    let mut writes: Vec<_> = lists.iter().map(|list| put(list.row(account, at))).collect();
    // None of them is indexed yet.
    writes.push(put(RowKey::new(Table::Unindexed, *account.as_bytes(), at.clustering())));
    writes.push(Write::Change(account, Change { kind: ChangeKind::MessageCreated, id: at.id }));
    writes
}

/// Rows and octets of each partition of a table that is an account's.
async fn partitions(table: Table, account: AccountId) -> Vec<(usize, usize)> {
    let options = support::cassandra();
    let session = SessionBuilder::new().known_nodes(&options.nodes).build().await.unwrap();
    let text =
        format!("SELECT partition, bucket, clustering, value FROM {}.{}", options.keyspace, table.name());
    let pages = session.query_iter(Statement::new(text).with_page_size(5_000), ()).await.unwrap();
    type Found = (Vec<u8>, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);
    let mut rows = pages.rows_stream::<Found>().unwrap();
    let mut found: HashMap<(Vec<u8>, Vec<u8>), (usize, usize)> = HashMap::new();
    while let Some((partition, bucket, clustering, value)) = rows.try_next().await.unwrap() {
        // One that holds nothing but that it is split has no row.
        if let (Some(clustering), true) = (clustering, partition.starts_with(account.as_bytes())) {
            let sizes = found.entry((partition, bucket)).or_default();
            sizes.0 += 1;
            sizes.1 += clustering.len() + value.map_or(0, |value| value.len()) + OVERHEAD;
        }
    }
    found.into_values().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_partition_of_a_large_mailbox_passes_its_bounds() {
    let count: u64 = std::env::var("SIGNET_TEST_MAILBOX").map_or(MAILBOX, |count| count.parse().unwrap());
    support::rows().await;
    // Where the mailbox is large enough, as in a configuration that says nothing of it.
    let bucket_rows = CassandraOptions::default().bucket_rows.min(count / BUCKETS);
    let most_rows = usize::try_from(2 * bucket_rows).unwrap();
    let options = CassandraOptions { bucket_rows, change_time: CHANGE_TIME, ..support::cassandra() };
    let store: Arc<dyn MailStore> = cluster::connect_rows(&options).await.unwrap().0;
    let account = AccountId::random();
    let id = MailboxId(*account.as_bytes());
    let lists =
        [List::Account, List::Mailbox(id), List::Keyword(id.0), List::Discussion(schema::DiscussionId(id.0))];
    stream::iter((0..count).step_by(LOT as usize))
        .map(|first| {
            let numbers = first..(first + LOT).min(count);
            let writes =
                numbers.flat_map(|number| writes(account, &lists, position(number, count))).collect();
            let store = store.clone();
            tokio::spawn(async move { store.write(writes, Durability::Now).await })
        })
        .buffer_unordered(LOTS)
        .for_each(|written| async move { written.unwrap().unwrap() })
        .await;

    for table in
        lists.map(|list| list.partition(account).0).into_iter().chain([Table::Unindexed, Table::Changes])
    {
        let found = partitions(table, account).await;
        let (rows, octets) = (found.iter().map(|of| of.0), found.iter().map(|of| of.1));
        println!(
            "{}: {} rows in {} partitions, at most {} rows and {} octets",
            table.name(),
            rows.clone().sum::<usize>(),
            found.len(),
            rows.clone().max().unwrap_or(0),
            octets.clone().max().unwrap_or(0)
        );
        // A change whose answer was late is written again, in another place.
        let all = rows.clone().sum::<usize>() as u64;
        assert!(
            if table == Table::Changes { all >= count } else { all == count },
            "{all} rows of {}",
            table.name()
        );
        assert!(rows.max().unwrap_or(0) <= most_rows, "{}", table.name());
        assert!(octets.max().unwrap_or(0) <= MOST_OCTETS, "{}", table.name());
    }

    // It is read in order all the same: the last page of the busy hour, and one from years ago.
    for below in [ListPosition::new(u64::MAX, [0; 16]), ListPosition::new(NOW - YEARS / 2, [0; 16])] {
        let mut expected: Vec<_> =
            (0..count).map(|number| position(number, count)).filter(|at| *at < below).collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        let scan = Scan::all(Table::MessagesByAccount, *account.as_bytes(), 50).descending();
        let page = store.scan(&scan.below(below.clustering())).await.unwrap();
        let found: Vec<_> =
            page.iter().filter_map(|(place, _)| ListPosition::from_clustering(place)).collect();
        assert_eq!(found, expected[..expected.len().min(50)]);
    }
    store.remove_account(account).await.unwrap();
}
