//! What the embedded index leaves in the database: after a crash, after a removal, when it is large, when it is damaged.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use embedded::index::{Index, keyspace_options};
use fjall::{Database, Keyspace, PersistMode};
use schema::index::{IndexedMessage, Posting, Query, SearchIndex, Sort, Token};
use schema::{AccountId, Error, MessageId};

const COMMON: Token = 0x00aa_aaaa_aaaa_aaaa;

struct Opened {
    database: Database,
    keyspace: Keyspace,
    index: Index,
}

fn open(directory: &Path) -> Opened {
    let database = Database::builder(directory).open().unwrap();
    let keyspace = database.keyspace("index", keyspace_options).unwrap();
    let index = Index::new(database.clone(), keyspace.clone(), 4 * 1024 * 1024);
    Opened { database, keyspace, index }
}

fn id(number: u32) -> MessageId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
    id[12..].copy_from_slice(&number.to_be_bytes());
    MessageId(id)
}

fn spread(number: u64) -> Token {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8
}

/// A message of one token that all have, one that every tenth has, and `own` that few or no others have.
fn message(number: u32, own: u64) -> IndexedMessage {
    let posting = |token, positions: Vec<u32>| Posting {
        token,
        stream: 0,
        frequency: positions.len() as u32,
        positions,
    };
    let mut postings = vec![posting(COMMON, vec![0, 2]), posting(spread(u64::from(number % 10)), vec![1])];
    postings.extend((0..own).map(|index| {
        posting(spread(1_000 + u64::from(number) * 17 + index * index), vec![3 + index as u32])
    }));
    postings.sort_by_key(|posting| posting.token);
    postings.dedup_by_key(|posting| posting.token);
    IndexedMessage {
        id: id(number),
        received_at: 1_700_000_000_000 + u64::from(number),
        size: 100,
        has_attachment: false,
        words: 3 + own as u32,
        postings,
    }
}

fn token(token: Token) -> Query {
    Query::Token { token, weight: 1.0 }
}

async fn total(index: &Index, account: AccountId, query: &Query) -> u64 {
    let by_relevance = index.search(account, query, Sort::Relevance, 0, 50).await.unwrap();
    assert!(!by_relevance.total_is_lower_bound);
    by_relevance.total
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_flushed_is_there_after_a_crash() {
    let (directory, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let account = AccountId::random();
    let opened = open(directory.path());
    for number in 0..100 {
        opened.index.put(account, vec![message(number, 200)]).await.unwrap();
    }
    opened.index.remove(account, &[id(7), id(93)]).await.unwrap();
    opened.database.persist(PersistMode::SyncAll).unwrap();
    // The files as they are while the database is open: what a crash leaves.
    copy(directory.path(), crashed.path());
    let after = open(crashed.path());
    assert_eq!(total(&after.index, account, &token(COMMON)).await, 98);
    after.index.put(account, vec![message(7, 200), message(100, 200)]).await.unwrap();
    assert_eq!(total(&after.index, account, &token(COMMON)).await, 100);
    assert_eq!(after.index.ids(account, None, 1_000).await.unwrap().len(), 100);
}

#[tokio::test]
async fn a_removed_account_leaves_no_row() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    let (gone, other) = (AccountId::random(), AccountId::random());
    for account in [gone, other] {
        for start in [0, 40, 80] {
            let batch = (start..start + 40).map(|number| message(number, 500));
            opened.index.put(account, batch.collect()).await.unwrap();
            opened.index.remove(account, &[id(start)]).await.unwrap();
        }
    }
    assert!(opened.keyspace.prefix(gone.as_bytes()).count() > 20);
    opened.index.remove_account(gone).await.unwrap();
    assert_eq!(opened.keyspace.prefix(gone.as_bytes()).count(), 0);
    assert_eq!(total(&opened.index, other, &token(COMMON)).await, 117);
    opened.index.remove_account(other).await.unwrap();
    assert_eq!(opened.keyspace.iter().count(), 0);
}

#[tokio::test]
async fn a_token_that_twenty_thousand_messages_hold_is_found_in_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    let account = AccountId::random();
    for start in (0..20_000).step_by(500) {
        let batch = (start..start + 500).map(|number| message(number, 2));
        opened.index.put(account, batch.collect()).await.unwrap();
    }
    for round in 0..2 {
        assert_eq!(total(&opened.index, account, &token(COMMON)).await, 20_000);
        assert_eq!(total(&opened.index, account, &token(spread(3))).await, 2_000);
        let phrase = Query::Phrase(vec![vec![COMMON], vec![spread(4)], vec![COMMON]]);
        assert_eq!(total(&opened.index, account, &phrase).await, 2_000);
        let rare = Query::And(vec![token(COMMON), token(spread(1_000 + 12_345 * 17))]);
        let hits = opened.index.search(account, &rare, Sort::Date, 0, 50).await.unwrap();
        assert!(hits.hits.iter().any(|hit| hit.id == id(12_345)));
        let page = opened.index.search(account, &token(COMMON), Sort::Date, 15_000, 3).await.unwrap();
        assert_eq!(page.hits[0].id, id(4_999));
        if round == 0 {
            opened.index.compact(account).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_message_of_very_many_words_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    let account = AccountId::random();
    let mut long = message(1, 0);
    long.postings[0] = Posting {
        token: COMMON,
        stream: 0,
        frequency: 300_000,
        positions: (0..300_000).map(|at| at * 2).collect(),
    };
    long.postings.retain(|posting| posting.token == COMMON);
    long.postings.push(Posting { token: 5, stream: 0, frequency: 1, positions: vec![300_001] });
    long.postings.extend((0..50_000).map(|index| Posting {
        token: spread(1_000_000 + index),
        stream: 0,
        frequency: 1,
        positions: vec![1],
    }));
    opened.index.put(account, vec![long, message(2, 10)]).await.unwrap();
    let phrase = Query::Phrase(vec![vec![COMMON], vec![5], vec![COMMON]]);
    assert_eq!(total(&opened.index, account, &phrase).await, 1);
    assert_eq!(total(&opened.index, account, &token(spread(1_049_999))).await, 1);
    assert_eq!(total(&opened.index, account, &token(COMMON)).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_sees_whole_puts_while_merges_run() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    let account = AccountId::random();
    let index = opened.index.clone();
    let puts = tokio::spawn(async move {
        for start in (0..600).step_by(3) {
            let batch = (start..start + 3).map(|number| message(number, 60));
            index.put(account, batch.collect()).await.unwrap();
        }
    });
    let mut before = 0;
    while !puts.is_finished() {
        let now = total(&opened.index, account, &token(COMMON)).await;
        assert!(now >= before && now.is_multiple_of(3), "{before} {now}");
        before = now;
    }
    puts.await.unwrap();
    assert_eq!(total(&opened.index, account, &token(COMMON)).await, 600);
}

/// Whatever a call answers, it has not panicked.
fn settled<T>(result: Result<T, Error>) -> Result<T, Error> {
    if let Err(Error::Backend { what, .. }) = &result {
        panic!("{what}");
    }
    result
}

#[tokio::test]
async fn a_damaged_row_is_an_error_and_not_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let account = AccountId([7; 16]);
    let opened = open(directory.path());
    let batch = (0..60).map(|number| message(number, 400));
    opened.index.put(account, batch.collect()).await.unwrap();
    opened.index.put(account, (60..63).map(|number| message(number, 20)).collect()).await.unwrap();
    opened.index.remove(account, &[id(5), id(61)]).await.unwrap();
    let query = Query::Or(vec![
        Query::Phrase(vec![vec![COMMON], vec![spread(4)]]),
        token(COMMON),
        token(spread(1_000)),
        token(spread(2_000)),
    ]);
    let rows: Vec<(Vec<u8>, Vec<u8>)> = opened
        .keyspace
        .iter()
        .map(|guard| guard.into_inner().unwrap())
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .filter(|(key, _)| key[16] != b'i' || key[17] < 16)
        .collect();
    let mut errors = 0;
    for (row, (key, value)) in rows.iter().enumerate() {
        let mut damages = vec![value[..value.len() / 2].to_vec(), vec![], vec![0xff; value.len()]];
        for place in [0, 1, 2, 3, 4, 5, 9, 14, 20, value.len() / 3, value.len() / 2] {
            let mut damage = value.clone();
            if let Some(octet) = damage.get_mut(place) {
                *octet ^= 0x81 + row as u8 % 5;
                damages.push(damage);
            }
        }
        for damage in damages {
            opened.keyspace.insert(key.as_slice(), damage).unwrap();
            let fresh = Index::new(opened.database.clone(), opened.keyspace.clone(), 1024 * 1024);
            for sort in [Sort::Date, Sort::Relevance] {
                errors += usize::from(settled(fresh.search(account, &query, sort, 0, 10).await).is_err());
            }
            let _ = settled(fresh.ids(account, None, 10).await);
        }
        opened.keyspace.insert(key.as_slice(), value.as_slice()).unwrap();
    }
    assert!(errors > rows.len(), "{errors} errors for {} rows", rows.len());
    assert_eq!(total(&opened.index, account, &token(COMMON)).await, 61);
}

#[tokio::test]
async fn a_merge_of_damaged_rows_is_an_error_and_not_a_panic() {
    let account = AccountId([7; 16]);
    let mut errors = 0;
    for (kind, place) in
        [(b'p', 3), (b'p', 2_000), (b'w', 100), (b's', 2), (b's', 40), (b'm', 2), (b'd', 9), (b'p', 0)]
    {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path());
        for start in [0, 60] {
            let batch = (start..start + 60).map(|number| message(number, 400));
            opened.index.put(account, batch.collect()).await.unwrap();
        }
        opened.index.remove(account, &[id(5)]).await.unwrap();
        let prefix: Vec<u8> = account.as_bytes().iter().copied().chain([kind]).collect();
        let (key, value) = opened.keyspace.prefix(prefix).next().unwrap().into_inner().unwrap();
        let mut damage = value.to_vec();
        damage.truncate(place + 1);
        damage[place] ^= 0xff;
        opened.keyspace.insert(key, damage).unwrap();
        errors += usize::from(settled(opened.index.compact(account).await).is_err());
        let _ = settled(opened.index.put(account, vec![message(5, 10)]).await);
    }
    assert_eq!(errors, 8);
}
