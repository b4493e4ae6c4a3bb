//! What every [`MailStore`] must do. Each function makes accounts of its own, so all may run on one store, and at once.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{
    AccountId, Change, ChangeKind, ChangePage, Durability, Error, List, ListPosition, MailStore, MessageId,
    Position, RowKey, Scan, Table, Write, pair,
};

const DEADLINE: Duration = Duration::from_secs(60);

fn of_message(account: AccountId, message: u8) -> RowKey {
    RowKey::of_message(Table::Messages, account, MessageId([message; 16]))
}

/// A row of a table whose rows are compared and set.
fn claimed(account: AccountId, message: u8) -> RowKey {
    RowKey::of_message(Table::States, account, MessageId([message; 16]))
}

fn in_list(account: AccountId, clustering: &[u8]) -> RowKey {
    RowKey::new(Table::MessagesByAccount, *account.as_bytes(), clustering)
}

fn change(id: u8) -> Change {
    Change { kind: ChangeKind::MessageCreated, id: [id; 16] }
}

async fn put(store: &dyn MailStore, key: RowKey, value: &[u8]) {
    store.write(vec![Write::Put(key, value.to_vec())], Durability::Later).await.unwrap();
}

async fn get(store: &dyn MailStore, key: RowKey) -> Option<Vec<u8>> {
    store.get(&[key]).await.unwrap().remove(0)
}

async fn note(store: &dyn MailStore, account: AccountId, ids: std::ops::Range<u8>) {
    let writes = ids.map(|id| Write::Change(account, change(id))).collect();
    store.write(writes, Durability::Now).await.unwrap();
}

async fn feed(store: &dyn MailStore, account: AccountId, since: Position) -> Vec<u8> {
    let page = store.changes(account, since, 1000).await.unwrap();
    page.changes.iter().map(|(_, change)| change.id[0]).collect()
}

/// The whole feed of an account, once a cursor stands behind `count` entries.
async fn settled(store: &dyn MailStore, account: AccountId, count: usize) -> ChangePage {
    let began = Instant::now();
    loop {
        let page = store.changes(account, Position(0), 1000).await.unwrap();
        if page.changes.len() >= count && page.changes.last().is_some_and(|(last, _)| *last == page.cursor) {
            return page;
        }
        assert!(began.elapsed() < DEADLINE, "no cursor ever stands behind the newest of {count} entries");
        tokio::task::yield_now().await;
    }
}

/// `get`: the values of the keys, in their order; `None` where there is no row.
pub async fn values_come_in_the_order_of_their_keys(store: &dyn MailStore) {
    let account = AccountId::random();
    put(store, of_message(account, 1), b"one").await;
    put(store, of_message(account, 3), b"three").await;
    let keys = [of_message(account, 3), of_message(account, 2), of_message(account, 1)];
    assert_eq!(store.get(&keys).await.unwrap(), [Some(b"three".to_vec()), None, Some(b"one".to_vec())]);

    // Of several tables, some taken away, some never there, one asked for twice.
    let account = AccountId::random();
    let mut expected = Vec::new();
    for number in 0..90 {
        for key in [of_message(account, number), claimed(account, number), in_list(account, &[number])] {
            let value = [key.table as u8, number].to_vec();
            if number % 4 != 1 {
                put(store, key.clone(), &value).await;
            }
            if number % 4 == 2 {
                store.write(vec![Write::Delete(key.clone())], Durability::Now).await.unwrap();
            }
            expected.push((key, matches!(number % 4, 0 | 3).then_some(value)));
        }
    }
    expected.reverse();
    expected.push(expected[0].clone());
    let (keys, values): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
    assert_eq!(store.get(&keys).await.unwrap(), values);
    assert_eq!(store.get(&[]).await.unwrap(), Vec::<Option<Vec<u8>>>::new());
}

/// `partitions`: each partition of a table that begins so and holds a row, once, in pages.
pub async fn partitions_come_in_pages(store: &dyn MailStore) {
    let (account, other) = (AccountId::random(), AccountId::random());
    let row = |account, table, of: [u8; 16], clustering: &[u8]| {
        Write::Put(RowKey::new(table, pair(account, &of), clustering), vec![1])
    };
    let all = [[0; 16], [7; 16], [8; 16], [0xFF; 16]].map(|of| pair(account, &of));
    let theirs = pair(other, &[2; 16]);
    let gone = pair(account, &[3; 16]);
    let mut writes = vec![
        row(account, Table::MessagesByThread, [1; 16], b""),
        row(other, Table::MessagesByKeyword, [2; 16], b""),
        row(account, Table::MessagesByKeyword, [3; 16], b"x"),
        Write::Delete(RowKey::new(Table::MessagesByKeyword, gone.clone(), *b"x")),
    ];
    for partition in &all {
        let clusterings: [&[u8]; 3] = [&[], &[0; 24], &[0xFF; 24]];
        let key = |clustering| RowKey::new(Table::MessagesByKeyword, partition.clone(), clustering);
        writes.extend(clusterings.map(|clustering| Write::Put(key(clustering), vec![1])));
    }
    store.write(writes, Durability::Now).await.unwrap();
    for limit in [1, 2, 4, 1_000] {
        let of_account = all_partitions(store, Table::MessagesByKeyword, account.as_bytes(), limit).await;
        let held: Vec<_> = of_account.iter().filter(|partition| **partition != gone).cloned().collect();
        assert_eq!(held, all, "limit {limit}");
    }
    let every = all_partitions(store, Table::MessagesByKeyword, &[], 10).await;
    assert!(all.iter().chain([&theirs]).all(|partition| every.contains(partition)));
    assert_eq!(all_partitions(store, Table::Links, account.as_bytes(), 10).await, [[0; 0]; 0]);
}

/// `partitions`: those of an account alone, and of a keyed hash, come as they are; each once, however many rows it holds.
pub async fn a_partition_comes_once_however_large_it_is(store: &dyn MailStore) {
    let account = AccountId::random();
    let list = |number: u64| {
        let at = ListPosition::new(number * 7_000_000_000, [9; 16]);
        Write::PutAsOf(List::Account.row(account, at), vec![0], at.at)
    };
    let (hash, session) = ([account.0, [1; 16]].concat(), [account.0, [2; 16]].concat());
    let mut writes: Vec<_> = (0..300).map(list).collect();
    writes.push(Write::Put(RowKey::new(Table::Addresses, hash.clone(), []), vec![1]));
    writes.push(Write::Put(RowKey::new(Table::Credentials, session.clone(), []), vec![1]));
    store.write(writes, Durability::Now).await.unwrap();
    for (table, partition) in [
        (Table::MessagesByAccount, account.0.to_vec()),
        (Table::Addresses, hash),
        (Table::Credentials, session),
    ] {
        assert_eq!(all_partitions(store, table, account.as_bytes(), 3).await, [partition], "{table:?}");
    }
}

/// In the order of their octets.
async fn all_partitions(store: &dyn MailStore, table: Table, of: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let page = store.partitions(table, of, after, limit).await.unwrap();
        assert!(page.found.len() <= limit);
        all.extend(page.found);
        after = page.next;
        if after.is_none() {
            all.sort();
            return all;
        }
    }
}

/// `get`: what a call that returned has written is seen.
pub async fn what_was_written_is_seen(store: &dyn MailStore) {
    let account = AccountId::random();
    for value in [b"first".as_slice(), b"second", b""] {
        put(store, of_message(account, 1), value).await;
        assert_eq!(get(store, of_message(account, 1)).await.as_deref(), Some(value));
    }
    store.write(vec![Write::Delete(of_message(account, 1))], Durability::Now).await.unwrap();
    assert_eq!(get(store, of_message(account, 1)).await, None);
}

/// `write`: all writes are carried out, in their order.
pub async fn the_last_write_to_a_row_counts(store: &dyn MailStore) {
    let account = AccountId::random();
    let key = of_message(account, 1);
    let writes = vec![
        Write::Put(key.clone(), b"first".to_vec()),
        Write::Put(key.clone(), b"second".to_vec()),
        Write::Put(of_message(account, 2), b"other".to_vec()),
        Write::Delete(of_message(account, 2)),
    ];
    store.write(writes, Durability::Now).await.unwrap();
    assert_eq!(get(store, key).await.as_deref(), Some(b"second".as_slice()));
    assert_eq!(get(store, of_message(account, 2)).await, None);
}

/// `write`: however many writes there are, in however many tables and partitions, each is carried out.
pub async fn each_of_many_writes_is_carried_out(store: &dyn MailStore) {
    for count in [1_u8, 2, 3, 99, 100, 101, 250] {
        let account = AccountId::random();
        let keys = (0..count).flat_map(|number| {
            [of_message(account, number), claimed(account, number), in_list(account, &[number])]
        });
        let keys: Vec<RowKey> = keys.collect();
        let writes = keys.iter().map(|key| Write::Put(key.clone(), key.clustering.clone())).collect();
        store.write(writes, Durability::Now).await.unwrap();
        let found = store.get(&keys).await.unwrap();
        assert!(
            found.iter().zip(&keys).all(|(value, key)| value.as_ref() == Some(&key.clustering)),
            "{count}"
        );
        let deletes = keys.iter().cloned().map(Write::Delete).collect();
        store.write(deletes, Durability::Now).await.unwrap();
        assert!(store.get(&keys).await.unwrap().iter().all(Option::is_none), "{count}");
    }
}

/// `write`: done twice is done once.
pub async fn a_repeated_write_changes_nothing(store: &dyn MailStore) {
    let account = AccountId::random();
    for _ in 0..2 {
        put(store, in_list(account, b"a"), b"value").await;
        store.write(vec![Write::Delete(in_list(account, b"b"))], Durability::Later).await.unwrap();
    }
    let rows = store.scan(&Scan::all(Table::MessagesByAccount, *account.as_bytes(), 10)).await.unwrap();
    assert_eq!(rows, [(b"a".to_vec(), b"value".to_vec())]);
}

/// `write`: nothing to write is no error.
pub async fn no_writes_are_no_error(store: &dyn MailStore) {
    store.write(Vec::new(), Durability::Now).await.unwrap();
    store.write(Vec::new(), Durability::Later).await.unwrap();
    store.flush().await.unwrap();
}

/// Rows are told apart by table, partition and clustering.
pub async fn rows_of_other_tables_and_partitions_are_others(store: &dyn MailStore) {
    let (one, two) = (AccountId::random(), AccountId::random());
    let keys = [
        RowKey::new(Table::Mailboxes, *one.as_bytes(), [7; 16]),
        RowKey::new(Table::Mailboxes, *two.as_bytes(), [7; 16]),
        RowKey::new(Table::Languages, *one.as_bytes(), [7; 16]),
        RowKey::new(Table::Messages, pair(one, &[7; 16]), []),
        RowKey::new(Table::States, pair(one, &[7; 16]), []),
    ];
    for (number, key) in (0_u8..).zip(&keys) {
        put(store, key.clone(), &[number]).await;
    }
    for (number, key) in (0_u8..).zip(&keys) {
        assert_eq!(get(store, key.clone()).await, Some(vec![number]), "{key:?}");
    }
}

/// `scan`: rows of one partition in order, within the bounds, at most `limit`; `rows`: all of them.
pub async fn a_scan_gives_the_rows_within_its_bounds_in_order(store: &dyn MailStore) {
    let (account, other) = (AccountId::random(), AccountId::random());
    for clustering in [b"d", b"a", b"c", b"b"] {
        put(store, in_list(account, clustering), clustering).await;
        put(store, in_list(other, clustering), b"not this one").await;
    }
    let all = Scan::all(Table::MessagesByAccount, *account.as_bytes(), 10);
    let bounded = |lower, upper| Scan { lower, upper, ..all.clone() };
    let at = |clustering: &[u8]| clustering.to_vec();
    let cases = [
        (all.clone(), "abcd"),
        (all.clone().descending(), "dcba"),
        (all.clone().above("b"), "cd"),
        (all.clone().below("c"), "ab"),
        (all.clone().above("a").below("d"), "bc"),
        (all.clone().above("a").below("d").descending(), "cb"),
        (bounded(Bound::Included(at(b"b")), Bound::Included(at(b"c"))), "bc"),
        (bounded(Bound::Included(at(b"b")), Bound::Excluded(at(b"b"))), ""),
        (bounded(Bound::Excluded(at(b"b")), Bound::Excluded(at(b"c"))), ""),
        // A bound need not be a row.
        (bounded(Bound::Included(at(b"aa")), Bound::Excluded(at(b"cc"))), "bc"),
        // Nothing lies between bounds that are the wrong way round.
        (bounded(Bound::Included(at(b"d")), Bound::Included(at(b"a"))), ""),
        (bounded(Bound::Excluded(at(b"b")), Bound::Excluded(at(b"b"))), ""),
        (all.clone().above("d"), ""),
        (Scan { limit: 2, ..all.clone() }, "ab"),
        (Scan { limit: 2, ..all.clone().descending() }, "dc"),
        (Scan { limit: 1, ..all.clone().below("d").descending() }, "c"),
    ];
    for (scan, expected) in cases {
        let rows = store.scan(&scan).await.unwrap();
        let found: String = rows.iter().map(|(clustering, _)| char::from(clustering[0])).collect();
        assert_eq!(found, expected, "{scan:?}");
        assert!(rows.iter().all(|(clustering, value)| clustering == value), "{scan:?}");
        // By pages, whatever their size, it is the same as in one piece.
        let whole = store.scan(&Scan { limit: 10, ..scan.clone() }).await.unwrap();
        for limit in 1..=10 {
            let scan = Scan { limit, ..scan.clone() };
            assert_eq!(store.rows(scan.clone()).await.unwrap(), whole, "{scan:?}");
        }
    }
}

/// `scan`: a partition without rows, and one whose neighbours have some, is empty.
pub async fn a_scan_of_an_empty_partition_is_empty(store: &dyn MailStore) {
    let (below, account, above) = (AccountId([0x40; 16]), AccountId([0x41; 16]), AccountId([0x42; 16]));
    put(store, in_list(below, &[0xff; 8]), b"below").await;
    put(store, in_list(above, b""), b"above").await;
    let scan = Scan::all(Table::MessagesByAccount, *account.as_bytes(), 10);
    assert_eq!(store.scan(&scan).await.unwrap(), []);
    assert_eq!(store.scan(&scan.descending()).await.unwrap(), []);
}

/// `scan`: the greatest octets are octets as all others.
pub async fn a_partition_of_the_greatest_octets_is_scanned_whole(store: &dyn MailStore) {
    let partition = [0xff; 16];
    let key = |clustering: &[u8]| RowKey::new(Table::MessagesByAccount, partition, clustering);
    put(store, key(&[0xff; 24]), b"last").await;
    put(store, key(&[0x00; 24]), b"first").await;
    let rows = store.scan(&Scan::all(Table::MessagesByAccount, partition, 10)).await.unwrap();
    assert_eq!(
        rows.into_iter().map(|(_, value)| value).collect::<Vec<_>>(),
        [b"first".to_vec(), b"last".to_vec()]
    );
}

/// `replace`: the value changes if it is still as expected, then `then` is carried out.
pub async fn a_replace_of_what_is_there_succeeds(store: &dyn MailStore) {
    let account = AccountId::random();
    let (key, other) = (claimed(account, 1), claimed(account, 2));
    let then = vec![Write::Put(other.clone(), b"then".to_vec()), Write::Change(account, change(9))];
    assert!(store.replace(key.clone(), None, Some(b"one".to_vec()), then).await.unwrap());
    assert_eq!(get(store, key.clone()).await.as_deref(), Some(b"one".as_slice()));
    assert_eq!(get(store, other).await.as_deref(), Some(b"then".as_slice()));
    assert_eq!(feed(store, account, Position(0)).await, [9]);
    assert!(
        store.replace(key.clone(), Some(b"one".to_vec()), Some(b"two".to_vec()), Vec::new()).await.unwrap()
    );
    assert_eq!(get(store, key.clone()).await.as_deref(), Some(b"two".as_slice()));
    assert!(store.replace(key.clone(), Some(b"two".to_vec()), None, Vec::new()).await.unwrap());
    assert_eq!(get(store, key.clone()).await, None);
    assert!(store.replace(key, None, None, Vec::new()).await.unwrap());
}

/// `replace`: false if the row holds something else, and then nothing is written.
pub async fn a_replace_of_something_else_writes_nothing(store: &dyn MailStore) {
    let account = AccountId::random();
    let (key, other) = (claimed(account, 1), claimed(account, 2));
    put(store, key.clone(), b"one").await;
    for expected in [None, Some(b"two".to_vec()), Some(Vec::new())] {
        let then = vec![Write::Put(other.clone(), b"then".to_vec()), Write::Change(account, change(9))];
        assert!(!store.replace(key.clone(), expected, Some(b"new".to_vec()), then).await.unwrap());
    }
    assert!(!store.replace(other.clone(), Some(b"one".to_vec()), None, Vec::new()).await.unwrap());
    assert_eq!(get(store, key).await.as_deref(), Some(b"one".as_slice()));
    assert_eq!(get(store, other).await, None);
    assert_eq!(feed(store, account, Position(0)).await, [0; 0]);
}

/// `replace`: of many that expect the same value one succeeds.
pub async fn one_of_many_racing_replaces_succeeds(store: Arc<dyn MailStore>) {
    const RACERS: u8 = 16;
    let key = claimed(AccountId::random(), 1);
    for round in 0..8_u8 {
        let expected = get(&*store, key.clone()).await;
        let racers = (0..RACERS).map(|racer| {
            let (store, key, expected) = (Arc::clone(&store), key.clone(), expected.clone());
            let value = vec![round, racer];
            tokio::spawn(async move {
                store.replace(key, expected, Some(value.clone()), Vec::new()).await.unwrap().then_some(value)
            })
        });
        let mut winners = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            winners.extend(racer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(get(&*store, key.clone()).await, winners.pop());
    }
}

/// `changes`: entries after `since`, oldest first, at most `limit`, with the cursor to go on from.
pub async fn a_feed_replayed_in_pages_is_whole_and_in_order(store: &dyn MailStore) {
    let (account, other) = (AccountId::random(), AccountId::random());
    for id in 0..25 {
        note(store, account, id..id + 1).await;
        note(store, other, 200..201).await;
    }
    settled(store, account, 25).await;
    for limit in [1, 4, 25, 100] {
        let (mut cursor, mut found) = (Position(0), Vec::new());
        loop {
            let page = store.changes(account, cursor, limit).await.unwrap();
            assert!(page.changes.len() <= limit);
            assert!(page.changes.is_sorted_by_key(|(position, _)| *position));
            assert!(page.changes.iter().all(|(position, _)| *position > cursor));
            assert_eq!(page.cursor, page.changes.last().map_or(cursor, |(position, _)| *position));
            found.extend(page.changes.iter().map(|(_, change)| change.id[0]));
            cursor = page.cursor;
            if !page.has_more {
                break;
            }
        }
        assert_eq!(found, (0..25).collect::<Vec<u8>>(), "limit {limit}");
    }
}

/// `changes`: an account without entries has an empty feed, and the cursor asked with stays.
pub async fn an_empty_feed_keeps_the_cursor(store: &dyn MailStore) {
    let account = AccountId::random();
    assert_eq!(store.position(account).await.unwrap(), Position(0));
    let page = store.changes(account, Position(0), 10).await.unwrap();
    assert_eq!((page.changes.len(), page.cursor, page.has_more), (0, Position(0), false));
    note(store, account, 0..1).await;
    settled(store, account, 1).await;
    let end = store.position(account).await.unwrap();
    let page = store.changes(account, end, 10).await.unwrap();
    assert_eq!((page.changes.len(), page.cursor, page.has_more), (0, end, false));
}

/// `changes`: every kind of entry comes back as it was written.
pub async fn a_change_comes_back_as_it_was_written(store: &dyn MailStore) {
    use ChangeKind as Kind;

    let account = AccountId::random();
    let kinds = [
        Kind::MessageCreated,
        Kind::MessageUpdated,
        Kind::MessageDestroyed,
        Kind::MailboxCreated,
        Kind::MailboxUpdated,
        Kind::MailboxDestroyed,
        Kind::ThreadDestroyed,
    ];
    let changes: Vec<_> = (1..).zip(kinds).map(|(id, kind)| Change { kind, id: [id; 16] }).collect();
    let writes = changes.iter().map(|change| Write::Change(account, *change)).collect();
    store.write(writes, Durability::Now).await.unwrap();
    let page = store.changes(account, Position(0), 100).await.unwrap();
    assert_eq!(page.changes.into_iter().map(|(_, change)| change).collect::<Vec<_>>(), changes);
}

/// `position`: the greatest cursor that `changes` would hand out.
pub async fn the_position_is_that_of_the_newest_entry(store: &dyn MailStore) {
    let account = AccountId::random();
    for id in 0..3 {
        note(store, account, id..id + 1).await;
        let page = settled(store, account, usize::from(id) + 1).await;
        assert_eq!(store.position(account).await.unwrap(), page.cursor);
    }
}

/// `changes`: an entry that was not made durable yet is not shown, and is once it was.
pub async fn an_entry_is_shown_once_it_is_durable(store: &dyn MailStore) {
    let account = AccountId::random();
    store.write(vec![Write::Change(account, change(1))], Durability::Later).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(feed(store, account, Position(0)).await, [1]);
}

/// `changes`: no entry ever appears at or before a position that was handed out, however many write at once.
pub async fn no_entry_appears_behind_a_cursor(store: Arc<dyn MailStore>) {
    const WRITERS: u8 = 8;
    const EACH: u8 = 25;
    let account = AccountId::random();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..EACH {
                    let durability = if number % 3 == 0 { Durability::Later } else { Durability::Now };
                    let entry = Change { kind: ChangeKind::MessageCreated, id: [writer * EACH + number; 16] };
                    store.write(vec![Write::Change(account, entry)], durability).await.unwrap();
                }
            })
        })
        .collect();
    let reader = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let (mut cursor, mut seen) = (Position(0), Vec::new());
            while seen.len() < usize::from(WRITERS) * usize::from(EACH) {
                // The last writes wait for nobody.
                store.flush().await.unwrap();
                let page = store.changes(account, cursor, 7).await.unwrap();
                assert!(store.position(account).await.unwrap() >= page.cursor);
                // Those after the cursor are shown again.
                let settled = page.changes.iter().filter(|(position, _)| *position <= page.cursor);
                seen.extend(settled.map(|(_, change)| change.id[0]));
                cursor = page.cursor;
            }
            seen
        }
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let mut seen = tokio::time::timeout(std::time::Duration::from_secs(60), reader).await.unwrap().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..WRITERS * EACH).collect::<Vec<_>>());
}

/// `forget_changes`: entries at and before `until` go; older cursors are expired from then on, others are not.
pub async fn forgotten_changes_expire_their_cursors(store: &dyn MailStore) {
    let account = AccountId::random();
    note(store, account, 0..5).await;
    let page = settled(store, account, 5).await;
    let at = |number: usize| page.changes[number].0;
    store.forget_changes(account, at(2)).await.unwrap();
    for expired in [Position(0), at(0), at(1)] {
        assert!(
            matches!(store.changes(account, expired, 10).await, Err(Error::CursorExpired)),
            "{expired:?}"
        );
    }
    assert_eq!(feed(store, account, at(2)).await, [3, 4]);
    assert_eq!(feed(store, account, at(3)).await, [4]);
    assert_eq!(store.position(account).await.unwrap(), at(4));
    // Forgetting less than before changes nothing.
    store.forget_changes(account, at(0)).await.unwrap();
    assert_eq!(feed(store, account, at(2)).await, [3, 4]);
}

/// `position`: where everything was dropped, it still is a cursor that is not expired.
pub async fn the_position_of_a_forgotten_feed_can_be_gone_on_from(store: &dyn MailStore) {
    let account = AccountId::random();
    note(store, account, 0..3).await;
    settled(store, account, 3).await;
    let end = store.position(account).await.unwrap();
    store.forget_changes(account, end).await.unwrap();
    assert_eq!(store.position(account).await.unwrap(), end);
    assert_eq!(feed(store, account, end).await, [0; 0]);
    note(store, account, 7..8).await;
    assert_eq!(feed(store, account, end).await, [7]);
    assert!(matches!(store.changes(account, Position(0), 10).await, Err(Error::CursorExpired)));
}

/// `forget_changes`: an account whose entries were never dropped keeps its cursors.
pub async fn forgetting_nothing_expires_nothing(store: &dyn MailStore) {
    let (account, other) = (AccountId::random(), AccountId::random());
    store.forget_changes(account, Position(u64::MAX)).await.unwrap();
    note(store, account, 0..2).await;
    note(store, other, 0..2).await;
    store.forget_changes(other, Position(u64::MAX)).await.unwrap();
    assert_eq!(feed(store, account, Position(0)).await, [0, 1]);
}

/// `remove_account`: every row whose partition begins with the account goes, and no other.
pub async fn removing_an_account_removes_its_rows_only(store: &dyn MailStore) {
    let (gone, stays) = (AccountId::random(), AccountId::random());
    let instance = RowKey::new(Table::Accounts, [], *gone.as_bytes());
    put(store, instance.clone(), b"of the instance").await;
    for account in [gone, stays] {
        put(store, of_message(account, 1), b"message").await;
        put(store, in_list(account, b"a"), b"list").await;
        put(store, RowKey::new(Table::FeedMarks, *account.as_bytes(), b"month"), b"totals").await;
        note(store, account, 0..3).await;
    }
    store.remove_account(gone).await.unwrap();
    assert_eq!(get(store, of_message(gone, 1)).await, None);
    assert_eq!(get(store, in_list(gone, b"a")).await, None);
    assert_eq!(get(store, RowKey::new(Table::FeedMarks, *gone.as_bytes(), b"month")).await, None);
    assert_eq!(feed(store, gone, Position(0)).await, [0; 0]);
    assert_eq!(get(store, instance).await.as_deref(), Some(b"of the instance".as_slice()));
    assert_eq!(get(store, of_message(stays, 1)).await.as_deref(), Some(b"message".as_slice()));
    assert_eq!(get(store, in_list(stays, b"a")).await.as_deref(), Some(b"list".as_slice()));
    assert_eq!(feed(store, stays, Position(0)).await, [0, 1, 2]);
    // Once more is no error.
    store.remove_account(gone).await.unwrap();
}

/// `remove_account`: thousands of rows go too.
pub async fn removing_a_large_account_removes_all_of_it(store: &dyn MailStore) {
    let account = AccountId::random();
    let key = |number: u32| RowKey::new(Table::MessagesByAccount, *account.as_bytes(), number.to_be_bytes());
    for part in 0..10_u32 {
        let writes =
            (part * 1000..part * 1000 + 1000).map(|number| Write::Put(key(number), vec![1; 20])).collect();
        store.write(writes, Durability::Later).await.unwrap();
    }
    store.remove_account(account).await.unwrap();
    let rows = store.scan(&Scan::all(Table::MessagesByAccount, *account.as_bytes(), 10)).await.unwrap();
    assert_eq!(rows, []);
}
