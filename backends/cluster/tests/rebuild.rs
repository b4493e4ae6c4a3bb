//! An index that is built anew beside the one that serves, on the real server.

#![allow(clippy::unwrap_used)]

mod elastic;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use cluster::index::{ElasticIndex, Rebuild};
use cluster::{ElasticsearchOptions, StartError};
use schema::index::{IndexedMessage, Query, SearchIndex, Sort};
use schema::{AccountId, MessageId};
use tokio::time::Instant;

use elastic::{id, indices, message, with_index};

fn messages(numbers: impl IntoIterator<Item = u32>) -> Vec<IndexedMessage> {
    numbers.into_iter().map(|number| message(number, &[(1, 0, &[0])])).collect()
}

async fn held(index: &ElasticIndex, account: AccountId) -> BTreeSet<MessageId> {
    index.ids(account, None, 1_000).await.unwrap().into_iter().collect()
}

fn ids(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<MessageId> {
    numbers.into_iter().map(id).collect()
}

async fn begun(options: &ElasticsearchOptions) -> (Rebuild, ElasticIndex) {
    let rebuild = Rebuild::begin(options).await.unwrap();
    let next = rebuild.next().await.unwrap();
    (rebuild, next)
}

/// Ends without the wait for searches that are under way.
async fn end(rebuild: Rebuild) {
    rebuild.switch().await.unwrap();
    let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    rebuild.finish(long_ago).await.unwrap();
}

#[tokio::test]
async fn what_is_written_meanwhile_is_in_both_and_after_the_switch_the_new_one_serves_alone() {
    with_index(|index, options| async move {
        let [account, gone] = [AccountId::random(), AccountId::random()];
        // Who has written just before believes for a while that there is one index.
        index.put(account, messages(0..4)).await.unwrap();
        index.put(gone, messages(0..3)).await.unwrap();
        let (rebuild, next) = begun(&options).await;
        assert_eq!(indices(&options).await, ["v1", "v1-2"].map(|end| format!("{}-{end}", options.alias)));

        index.put(account, messages(4..8)).await.unwrap();
        index.remove(account, &[id(0), id(5)]).await.unwrap();
        next.put(gone, messages(0..2)).await.unwrap();
        index.remove_account(gone).await.unwrap();
        assert_eq!(held(&index, account).await, ids([1, 2, 3, 4, 6, 7]));
        assert_eq!(held(&next, account).await, ids([4, 6, 7]));
        assert!(held(&index, gone).await.is_empty() && held(&next, gone).await.is_empty());

        next.put(account, messages([1, 3])).await.unwrap();
        end(rebuild).await;
        assert_eq!(held(&index, account).await, ids([1, 3, 4, 6, 7]));
        assert_eq!(indices(&options).await, [format!("{}-v1-2", options.alias)]);
        // It knows of both still.
        index.put(account, messages([8])).await.unwrap();
        index.remove(account, &[id(1)]).await.unwrap();
        assert_eq!(held(&index, account).await, ids([3, 4, 6, 7, 8]));
        ElasticIndex::apply_schema(&options).await.unwrap();
        assert_eq!(indices(&options).await, [format!("{}-v1-2", options.alias)]);
    })
    .await;
}

#[tokio::test]
async fn one_that_was_cut_short_goes_on_and_one_that_is_given_up_leaves_nothing() {
    with_index(|index, options| async move {
        let account = AccountId::random();
        let (_, next) = begun(&options).await;
        next.put(account, messages(0..3)).await.unwrap();
        let (rebuild, again) = begun(&options).await;
        assert_eq!(held(&again, account).await, ids(0..3));

        assert!(Rebuild::abandon(&options).await.unwrap());
        assert!(!Rebuild::abandon(&options).await.unwrap());
        assert_eq!(indices(&options).await, [format!("{}-v1", options.alias)]);
        let Err(StartError::Unusable { reason, .. }) = rebuild.switch().await else { panic!("it switched") };
        assert!(reason.contains("another rebuild"), "{reason}");
        index.put(account, messages([9])).await.unwrap();
        assert_eq!(held(&index, account).await, ids([9]));
        assert_eq!(indices(&options).await, [format!("{}-v1", options.alias)]);
    })
    .await;
}

#[tokio::test]
async fn of_two_at_once_one_moves_the_alias_and_the_other_is_told() {
    with_index(|index, options| async move {
        let account = AccountId::random();
        let (one, other) = tokio::join!(begun(&options), begun(&options));
        index.put(account, messages(0..3)).await.unwrap();
        assert_eq!(held(&other.1, account).await, ids(0..3));
        end(one.0).await;
        assert!(matches!(other.0.switch().await, Err(StartError::Unusable { .. })));
        assert_eq!(held(&index, account).await, ids(0..3));
        // What is left of one that died before its end goes with the next one.
        let (third, _) = begun(&options).await;
        third.switch().await.unwrap();
        assert_eq!(indices(&options).await.len(), 2);
        let (fourth, _) = begun(&options).await;
        assert_eq!(indices(&options).await, ["v1-3", "v1-4"].map(|end| format!("{}-{end}", options.alias)));
        end(fourth).await;
    })
    .await;
}

#[tokio::test]
async fn searches_and_writes_notice_nothing_of_the_switch() {
    with_index(|index, options| async move {
        let (index, account) = (Arc::new(index), AccountId::random());
        index.put(account, messages(0..50)).await.unwrap();
        let (rebuild, next) = begun(&options).await;
        next.put(account, messages(0..50)).await.unwrap();
        let (searches, writes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let searching = tokio::spawn({
            let (index, searches) = (index.clone(), searches.clone());
            async move {
                loop {
                    let query = Query::Token { token: 1, weight: 1.0 };
                    let found = index.search(account, &query, Sort::Date, 0, 50).await.unwrap();
                    assert!(found.total >= 50, "{}", found.total);
                    searches.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let is_over = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn({
            let (index, writes, is_over) = (index.clone(), writes.clone(), is_over.clone());
            async move {
                while !is_over.load(Ordering::SeqCst) {
                    let written = writes.load(Ordering::SeqCst);
                    index.put(account, messages([50 + written])).await.unwrap();
                    writes.store(written + 1, Ordering::SeqCst);
                }
            }
        });
        let some_more = async || {
            for counted in [&searches, &writes] {
                let enough = counted.load(Ordering::SeqCst) + 5;
                let deadline = Instant::now() + Duration::from_secs(60);
                while counted.load(Ordering::SeqCst) < enough {
                    assert!(Instant::now() < deadline && !searching.is_finished() && !writing.is_finished());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        some_more().await;
        rebuild.switch().await.unwrap();
        some_more().await;
        is_over.store(true, Ordering::SeqCst);
        writing.await.unwrap();
        searching.abort();
        let switched = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        rebuild.finish(switched).await.unwrap();
        assert_eq!(held(&index, account).await, ids(0..50 + writes.load(Ordering::SeqCst)));
    })
    .await;
}
