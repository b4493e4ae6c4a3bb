//! The index on Elasticsearch does what every search index must do, on the real server.

#![allow(clippy::unwrap_used)]

mod elastic;

use cluster::ElasticsearchOptions;
use cluster::index::ElasticIndex;
use elasticsearch::http::Method;
use schema::index::{Query, SearchIndex, Sort, Token};
use schema::{AccountId, MessageId};
use serde_json::{Value, json};

use elastic::{delete, found, id, message, number, options, send, with_index};

macro_rules! contract {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            with_index(|index, _| async move { schema::contract::index::$name(&index).await.unwrap() }).await;
        }
    )*};
}

schema::index_contract!(contract);

fn phrase(tokens: &[Token]) -> Query {
    Query::Phrase(tokens.iter().map(|&token| vec![token]).collect())
}

#[tokio::test]
async fn tokens_of_different_streams_are_no_neighbours() {
    with_index(|index, _| async move {
        let account = AccountId::random();
        let batch = vec![
            message(1, &[(1, 0, &[0]), (2, 1, &[1])]),
            message(2, &[(1, 3, &[0]), (2, 3, &[1])]),
            message(3, &[(1, 0, &[4]), (2, 1, &[0])]),
        ];
        index.put(account, batch).await.unwrap();
        assert_eq!(found(&index, account, &phrase(&[1, 2])).await, [2]);
    })
    .await;
}

#[tokio::test]
async fn tokens_that_share_a_position_are_all_neighbours_of_those_around() {
    with_index(|index, _| async move {
        let account = AccountId::random();
        // As a script without spaces has it: pairs 10, 11 with their characters 20, 21, 22, between words 1 and 2.
        let dense: &[(Token, u8, &[u32])] = &[
            (1, 5, &[7]),
            (10, 5, &[8]),
            (20, 5, &[8]),
            (11, 5, &[9]),
            (21, 5, &[9]),
            (22, 5, &[9]),
            (2, 5, &[10]),
        ];
        // Twelve tokens at one position: more than there are layers.
        let crowded: Vec<(Token, u8, &[u32])> = (30..42).map(|token| (token, 0, &[3][..])).collect();
        index.put(account, vec![message(1, dense), message(2, &crowded)]).await.unwrap();
        for tokens in [
            [1, 10, 11, 2].as_slice(),
            &[1, 20, 21, 2],
            &[1, 20, 22, 2],
            &[10, 11],
            &[20, 11, 2],
            &[1, 10, 22],
            &[22],
        ] {
            assert_eq!(found(&index, account, &phrase(tokens)).await, [1], "{tokens:?}");
        }
        for tokens in [[10, 20].as_slice(), &[21, 22], &[1, 11], &[1, 2], &[20, 2], &[11, 10]] {
            assert!(found(&index, account, &phrase(tokens)).await.is_empty(), "{tokens:?}");
        }
        let slots = Query::Phrase(vec![vec![9, 1], vec![20, 10], vec![5, 22]]);
        assert_eq!(found(&index, account, &slots).await, [1]);
        for token in 30..42 {
            assert_eq!(found(&index, account, &Query::Token { token, weight: 1.0 }).await, [2]);
            assert_eq!(found(&index, account, &phrase(&[token])).await, [2]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_query_of_the_greatest_depth_is_carried_out() {
    with_index(|index, _| async move {
        let account = AccountId::random();
        index.put(account, vec![message(1, &[(1, 0, &[0])]), message(2, &[(2, 0, &[0])])]).await.unwrap();
        let deep = |levels| {
            let token = Query::Token { token: 1, weight: 1.0 };
            let marked = Query::Marked { mark: 9, query: Box::new(token) };
            (2..levels).fold(marked, |query, level| match level % 4 {
                0 => Query::Or(vec![query, Query::Nothing]),
                1 => Query::And(vec![query, Query::All]),
                _ => Query::Not(Box::new(query)),
            })
        };
        for sort in [Sort::Date, Sort::Relevance] {
            let too_deep = index.search(account, &deep(130), sort, 0, 10).await;
            assert!(matches!(too_deep, Err(schema::Error::Refused { .. })));
            for levels in [12, 13, 14, 24, 25, 126] {
                let hits = index.search(account, &deep(levels), sort, 0, 10).await.unwrap().hits;
                let marks: Vec<_> = hits.iter().map(|hit| (number(hit), hit.marks)).collect();
                assert_eq!(marks, [(1, 1 << 9)], "{levels}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_mark_beside_what_finds_nothing_is_still_told() {
    with_index(|index, _| async move {
        let account = AccountId::random();
        index.put(account, vec![message(1, &[(1, 0, &[0])])]).await.unwrap();
        let marked = Query::Marked { mark: 1, query: Box::new(Query::Token { token: 1, weight: 1.0 }) };
        let query = Query::Or(vec![Query::And(vec![Query::Nothing, marked]), Query::All]);
        let hits = index.search(account, &query, Sort::Relevance, 0, 10).await.unwrap().hits;
        assert_eq!((hits.len(), hits[0].marks), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn pages_beyond_the_window_hold_every_hit_once_and_in_order() {
    with_index(|index, options| async move {
        let account = AccountId::random();
        index.put(account, (0..90).map(|number| message(number, &[(1, 0, &[0])])).collect()).await.unwrap();
        let window = json!({"index": {"max_result_window": 20}});
        send(&options, Method::Put, &format!("{}/_settings", options.alias), window).await;
        let query = Query::Token { token: 1, weight: 1.0 };
        let wanted: Vec<u32> = (0..90).rev().collect();
        for sort in [Sort::Date, Sort::Relevance] {
            for limit in [7, 30, 90, 200] {
                // One that pages through remembers where it was; one that is new to it does not.
                let paging = ElasticIndex::connect(&options).await.unwrap();
                for offset in (0..100).step_by(limit) {
                    let new = ElasticIndex::connect(&options).await.unwrap();
                    for index in [&paging, &new] {
                        let page = index.search(account, &query, sort, offset, limit).await.unwrap();
                        let found: Vec<u32> = page.hits.iter().map(number).collect();
                        let end = (offset + limit).min(90);
                        assert_eq!(found, wanted[offset.min(end)..end], "{sort:?} {limit} {offset}");
                        assert_eq!((page.total, page.total_is_lower_bound), (90, false));
                    }
                }
            }
        }
        let index = ElasticIndex::connect(&options).await.unwrap();
        assert_eq!(index.search(account, &query, Sort::Date, usize::MAX, 5).await.unwrap().hits, []);
        let ids: Vec<MessageId> = (0..90).map(id).collect();
        assert_eq!(index.ids(account, None, 1_000).await.unwrap(), ids);
        assert_eq!(index.ids(account, Some(id(4)), 50).await.unwrap(), ids[5..55]);
        index.remove_account(account).await.unwrap();
        assert_eq!(index.ids(account, None, 1_000).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_put_larger_than_a_request_is_found_whole() {
    with_index(|index, _| async move {
        let account = AccountId::random();
        let positions: Vec<u32> = (0..20_000).collect();
        let batch = (0..40).map(|number| message(number, &[(u64::from(number % 4), 0, &positions)]));
        index.put(account, batch.collect()).await.unwrap();
        assert_eq!(found(&index, account, &phrase(&[3, 3, 3])).await, [3, 7, 11, 15, 19, 23, 27, 31, 35, 39]);
        assert_eq!(index.ids(account, None, 100).await.unwrap().len(), 40);
    })
    .await;
}

#[tokio::test]
async fn the_schema_can_be_applied_again_and_by_many_at_once() {
    let options = options();
    let applied = futures_util::future::join_all((0..4).map(|_| ElasticIndex::apply_schema(&options))).await;
    let again = ElasticIndex::apply_schema(&options).await;
    let connected = ElasticIndex::connect(&options).await;
    delete(&options).await;
    applied.into_iter().chain([again]).for_each(|applied| applied.unwrap());
    assert!(connected.is_ok());
}

/// What a start and an application of the schema say once `index` was made as `definition` says.
async fn complaints(options: &ElasticsearchOptions, index: &str, definition: Value) -> [String; 2] {
    send(options, Method::Put, index, definition).await;
    let connected = ElasticIndex::connect(options).await.err();
    let applied = ElasticIndex::apply_schema(options).await.err();
    send(options, Method::Delete, index, Value::Null).await;
    [connected, applied].map(|error| error.unwrap().to_string())
}

#[tokio::test]
async fn a_start_says_what_is_wrong_with_the_index_and_what_helps() {
    let options = options();
    let missing = ElasticIndex::connect(&options).await.err().unwrap().to_string();
    assert!(missing.contains("signet schema apply"), "{missing}");

    let second = format!("{}-v2", options.alias);
    let settings = json!({"number_of_shards": 1, "number_of_replicas": 0});
    let of_version = |version: Value| {
        let mappings = json!({"_meta": {"version": version}});
        json!({"settings": settings, "mappings": mappings, "aliases": {options.alias.as_str(): {}}})
    };
    let [connected, applied] = complaints(&options, &second, of_version(2.into())).await;
    assert!(connected.contains("version 2") && connected.contains("newer"), "{connected}");
    assert_eq!(applied, connected);
    for version in [json!(0), Value::Null] {
        let [connected, _] = complaints(&options, &second, of_version(version)).await;
        assert!(connected.contains("signet schema apply"), "{connected}");
    }

    let bare = json!({"settings": settings});
    let [connected, applied] = complaints(&options, &options.alias, bare.clone()).await;
    assert!(connected.contains("has to be an alias"), "{connected}");
    assert_eq!(applied, connected);

    let first = format!("{}-v1", options.alias);
    let [connected, applied] = complaints(&options, &first, bare).await;
    assert!(connected.contains("signet schema apply"), "{connected}");
    assert!(applied.contains("without its alias"), "{applied}");
}

#[tokio::test]
async fn a_missing_alias_is_an_error_that_may_pass_and_becomes_no_index() {
    with_index(|index, options| async move {
        send(&options, Method::Delete, &format!("{}-v1", options.alias), Value::Null).await;
        let account = AccountId::random();
        let put = index.put(account, vec![message(1, &[(1, 0, &[0])])]).await.unwrap_err();
        let removed = index.remove(account, &[id(1)]).await.unwrap_err();
        let searched = index.search(account, &Query::All, Sort::Date, 0, 1).await.unwrap_err();
        assert!(put.is_transient() && removed.is_transient() && searched.is_transient());
        let found = send(&options, Method::Get, &format!("{}*", options.alias), Value::Null).await;
        assert_eq!(found, json!({}));
    })
    .await;
}
