//! Lists that outgrow a partition are split, and read as before.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::ops::Bound;

use cluster::CassandraOptions;
use schema::{AccountId, Durability, List, ListPosition, MailStore, MailboxId, RowKey, Scan, Table, Write};

const HOUR: u64 = 3_600_000;
/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600_000;
const BUCKET_ROWS: u64 = 100;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

async fn store() -> std::sync::Arc<dyn MailStore> {
    support::rows().await;
    let options = CassandraOptions { bucket_rows: BUCKET_ROWS, ..support::cassandra() };
    cluster::connect_rows(&options).await.unwrap().0
}

/// A row of a list, most of them in one busy hour, some anywhere in twenty years.
fn place(number: u64) -> Vec<u8> {
    let at = match number % 10 {
        0 => NOW - number * 7_919 * HOUR % (20 * 365 * 24 * HOUR),
        _ => NOW - number * 1_009 % HOUR,
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    ListPosition::new(at, id).clustering()
}

fn row(account: AccountId, clustering: &[u8]) -> RowKey {
    RowKey::new(Table::MessagesByAccount, *account.as_bytes(), clustering)
}

async fn whole(
    store: &dyn MailStore,
    account: AccountId,
    limit: usize,
    descending: bool,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = Scan::all(Table::MessagesByAccount, *account.as_bytes(), limit);
    scan.descending = descending;
    let mut all = Vec::new();
    loop {
        let page = store.scan(&scan).await.unwrap();
        let Some((last, _)) = page.last() else { return all };
        match descending {
            true => scan.upper = Bound::Excluded(last.clone()),
            false => scan.lower = Bound::Excluded(last.clone()),
        }
        all.extend(page);
    }
}

/// Tells the first place where two lists differ, not all of them.
fn assert_same(found: &[(Vec<u8>, Vec<u8>)], expected: &[(Vec<u8>, Vec<u8>)], what: &str) {
    let difference = (0..found.len().max(expected.len())).find(|&at| found.get(at) != expected.get(at));
    if let Some(at) = difference {
        let (found_length, length) = (found.len(), expected.len());
        panic!(
            "{what}, at {at} of {length} ({found_length}): {:?}, not {:?}",
            found.get(at),
            expected.get(at)
        );
    }
}

/// Each page of a list that stands in many buckets is the one that a single partition would give.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_split_list_is_read_in_order_and_keeps_each_change() {
    let store = store().await;
    let account = AccountId::random();
    let mut model = Model::new();
    for number in 0..3_000 {
        let (clustering, value) = (place(number), vec![number as u8]);
        let write = Write::PutAsOf(row(account, &clustering), value.clone(), NOW - number);
        store.write(vec![write], Durability::Now).await.unwrap();
        model.insert(clustering, value);
    }
    // Rows from before and after each split are changed, taken away, and both.
    let (mut writes, all) = (Vec::new(), model.keys().cloned().collect::<Vec<_>>());
    let (mut deletes, mut changed) = (Vec::new(), 0);
    for (number, clustering) in all.into_iter().enumerate() {
        match number % 7 {
            0 => {
                writes.push(Write::Delete(row(account, &clustering)));
                model.remove(&clustering);
            }
            1 => {
                writes.push(Write::Put(row(account, &clustering), b"changed".to_vec()));
                model.insert(clustering, b"changed".to_vec());
                changed += 1;
            }
            2 => {
                writes.push(Write::Put(row(account, &clustering), b"changed".to_vec()));
                deletes.push(Write::Delete(row(account, &clustering)));
                model.remove(&clustering);
            }
            _ => {}
        }
    }
    for writes in writes.chunks(50).chain(deletes.chunks(50)) {
        store.write(writes.to_vec(), Durability::Now).await.unwrap();
    }
    let ascending: Vec<_> = model.clone().into_iter().collect();
    let descending: Vec<_> = model.clone().into_iter().rev().collect();
    for limit in [17, 250, 10_000] {
        assert_same(
            &whole(&*store, account, limit, false).await,
            &ascending,
            &format!("ascending by {limit}"),
        );
        assert_same(
            &whole(&*store, account, limit, true).await,
            &descending,
            &format!("descending by {limit}"),
        );
    }
    let keys: Vec<_> = (0..3_000).map(|number| row(account, &place(number))).collect();
    let expected: Vec<_> = keys.iter().map(|key| model.get(&key.clustering).cloned()).collect();
    assert!(store.get(&keys).await.unwrap() == expected);
    let rows = support::rows_by_partition("messages_by_account", account).await;
    assert!(rows.len() > 10, "{rows:?}");
    assert!(rows.iter().all(|rows| *rows <= 3 * BUCKET_ROWS), "{rows:?}");
    // What was changed has left what it was before in a bucket that has been split since: the root's first rows, at least.
    let length = model.len() as u64;
    assert!((length + 1..=length + changed).contains(&rows.iter().sum::<u64>()), "{rows:?}");

    // A delivery that is repeated brings nothing back, by a node that does not know of the splits yet, nor by one that does
    // where the other took the rows away.
    let unaware = async || support::rows().await.0;
    let repeat = |key: &RowKey| Write::PutAsOf(key.clone(), b"old".to_vec(), NOW - 4_000);
    let other = unaware().await;
    for keys in keys.chunks(100) {
        other.write(keys.iter().map(repeat).collect(), Durability::Now).await.unwrap();
    }
    assert!(store.get(&keys).await.unwrap() == expected);
    let early: Vec<_> = (0..40).map(|number| row(account, &place(4_000 + number * 10))).collect();
    let gone = early.iter().map(|key| Write::Delete(key.clone()));
    unaware().await.write(gone.collect(), Durability::Now).await.unwrap();
    store.write(early.iter().map(repeat).collect(), Durability::Now).await.unwrap();
    assert!(store.get(&early).await.unwrap().iter().all(Option::is_none));

    store.remove_account(account).await.unwrap();
    assert_eq!(whole(&*store, account, 100, true).await, []);
    assert!(support::rows_by_partition("messages_by_account", account).await.is_empty());
    assert!(support::rows_by_partition("buckets_by_list", account).await.is_empty());
}

/// Lists that grow at the same time all get their turn to be counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_list_is_split_in_time_however_many_grow_at_once() {
    const LISTS: u8 = 40;
    const ROWS: u64 = 160;

    let store = store().await;
    let account = AccountId::random();
    let lists = (0..LISTS).map(|number| List::Mailbox(MailboxId([number; 16])));
    for number in 0..ROWS {
        let at = ListPosition::new(NOW + number, [7; 16]);
        // By deliveries, and by changes, as those are that move a message.
        let writes = lists.clone().enumerate().map(|(turn, list)| match turn % 2 {
            0 => Write::PutAsOf(list.row(account, at), vec![7], NOW),
            _ => Write::Put(list.row(account, at), vec![7]),
        });
        store.write(writes.collect(), Durability::Now).await.unwrap();
    }
    let rows = support::rows_by_partition("messages_by_mailbox", account).await;
    assert_eq!(rows.iter().sum::<u64>(), ROWS * u64::from(LISTS));
    assert!(rows.iter().all(|rows| *rows <= BUCKET_ROWS * 3 / 2), "{rows:?}");
}

/// Whoever splits a list may die between any two steps of it.
#[tokio::test]
async fn a_list_that_was_split_by_half_loses_no_row_and_is_split_by_the_next() {
    let store = store().await;
    let account = AccountId::random();
    let place = |number: u64| ListPosition::new(NOW + number * HOUR, [7; 16]).clustering();
    let put = async |number: u64| {
        let write = Write::PutAsOf(row(account, &place(number)), vec![7], NOW);
        store.write(vec![write], Durability::Now).await.unwrap();
    };
    put(0).await;
    put(1).await;
    support::note_finer_bucket(Table::MessagesByAccount, account, NOW >> 32 << 32).await;
    store.write(vec![Write::Delete(row(account, &place(0)))], Durability::Now).await.unwrap();
    put(2).await;
    let expected: Vec<_> = [1, 2].map(|number| (place(number), vec![7])).into();
    assert_same(&whole(&*store, account, 10, false).await, &expected, "split by half");

    for number in 3..10 * BUCKET_ROWS {
        put(number).await;
    }
    let rows = support::rows_by_partition("messages_by_account", account).await;
    assert!(rows.len() > 1 && rows.iter().all(|rows| *rows <= 3 * BUCKET_ROWS), "{rows:?}");
    let expected: Vec<_> = (1..10 * BUCKET_ROWS).map(|number| (place(number), vec![7])).collect();
    assert_same(&whole(&*store, account, 1_000, false).await, &expected, "split by the next");
}

/// Of a listing that another has split it is asked once a minute, and no more once it is known.
#[tokio::test]
async fn a_row_of_a_listing_that_another_has_split_goes_once_the_listing_was_read() {
    let (here, elsewhere) = (store().await, store().await);
    let account = AccountId::random();
    let row = |number: u64| {
        let clustering = ListPosition::new(NOW + number, [7; 16]).clustering();
        RowKey::new(Table::ThreadsByActivity, *account.as_bytes(), clustering)
    };
    let delete = async |number| here.write(vec![Write::Delete(row(number))], Durability::Now).await.unwrap();
    delete(0).await;
    let mut last = 0;
    while support::rows_by_partition("threads_by_activity", account).await.len() < 2 {
        for number in last..last + BUCKET_ROWS {
            let put = Write::PutAsOf(row(number), vec![], NOW + number);
            elsewhere.write(vec![put], Durability::Now).await.unwrap();
        }
        last += BUCKET_ROWS;
        assert!(last < 100 * BUCKET_ROWS, "it is not split");
    }
    delete(last - 1).await;
    let mut scan = Scan::all(Table::ThreadsByActivity, *account.as_bytes(), 1).descending();
    // Where the root has no row, it does not say either that it is split.
    scan.lower = Bound::Included(row(last - 2).clustering);
    assert_eq!(here.scan(&scan).await.unwrap()[0].0, row(last - 1).clustering, "it was not asked again");
    delete(last - 1).await;
    for store in [&here, &elsewhere] {
        assert_eq!(store.scan(&scan).await.unwrap()[0].0, row(last - 2).clustering);
    }
}

/// What is left of rows that went, for as long as Cassandra keeps it, costs nothing where none of them is asked for.
#[tokio::test]
async fn a_list_that_was_emptied_is_looked_at_without_passing_over_what_is_left_of_it() {
    const ROWS: u64 = 1_000;
    let store = support::rows().await.0;
    let account = AccountId::random();
    let place = |number: u64| ListPosition::new(NOW + number, [7; 16]).clustering();
    let row = |number: u64| RowKey::new(Table::Unindexed, *account.as_bytes(), place(number));
    let puts = (0..ROWS).map(|number| Write::PutAsOf(row(number), vec![], NOW + number));
    store.write(puts.collect(), Durability::Now).await.unwrap();
    store.write((0..ROWS).map(|number| Write::Delete(row(number))).collect(), Durability::Now).await.unwrap();
    let mut scan = Scan::all(Table::Unindexed, *account.as_bytes(), 1);
    scan.lower = Bound::Included(place(ROWS));
    assert!(store.scan(&scan).await.unwrap().is_empty());
    assert_eq!(store.get(&[row(ROWS)]).await.unwrap(), [None]);
    let passed_over = support::most_tombstones_of_a_read("unindexed").await;
    assert!(passed_over < ROWS / 10, "{passed_over}");

    assert!(store.scan(&Scan::all(Table::Unindexed, *account.as_bytes(), 1)).await.unwrap().is_empty());
    let passed_over = support::most_tombstones_of_a_read("unindexed").await;
    assert!(passed_over >= ROWS, "{passed_over}");
}
