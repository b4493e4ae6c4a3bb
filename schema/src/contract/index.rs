//! What every search index must do, one function for each sentence. Each takes an index, empty or not, and works in
//! accounts of its own. [`index_contract!`](crate::index_contract) names them all.

use std::collections::BTreeSet;

use crate::index::{Hit, Hits, IndexedMessage, Posting, Query, SearchIndex, Sort, Token};
use crate::{AccountId, MessageId, Millis, Result};

/// Hands the names of all functions of [`contract::index`](crate::contract::index) to the macro `$each`, which makes
/// a test of each.
#[macro_export]
macro_rules! index_contract {
    ($each:ident) => {
        $each! {
            a_message_is_found_once_put_returns,
            an_account_without_messages_finds_nothing,
            a_repeated_put_changes_nothing,
            a_message_put_again_is_replaced,
            of_two_copies_in_one_put_the_last_stays,
            a_removed_message_is_not_found,
            a_removed_message_may_be_put_again,
            removing_what_is_unknown_changes_nothing,
            a_removed_account_is_empty_and_others_are_not,
            an_account_may_be_filled_again_after_its_removal,
            no_account_finds_the_messages_of_another,
            tokens_at_the_ends_of_their_range_are_found,
            a_message_without_tokens_is_found_by_its_numbers,
            a_conjunction_finds_what_all_its_parts_find,
            a_disjunction_finds_what_any_of_its_parts_finds,
            a_negation_finds_what_its_part_does_not,
            an_empty_conjunction_finds_all_and_an_empty_disjunction_nothing,
            a_phrase_finds_consecutive_positions_in_order,
            a_slot_of_a_phrase_takes_any_of_its_tokens,
            a_phrase_finds_a_word_that_stands_twice_only_where_it_does,
            a_token_without_positions_is_in_no_phrase,
            a_phrase_without_slots_finds_nothing,
            a_phrase_does_not_run_from_one_message_into_the_next,
            received_takes_its_lower_bound_in_and_its_upper_bound_out,
            size_takes_neither_bound_in,
            an_attachment_is_found,
            a_mark_tells_which_hits_its_query_finds,
            by_date_the_newest_comes_first_then_the_greatest_id,
            by_relevance_what_stands_more_often_comes_first,
            by_relevance_a_shorter_message_comes_first,
            by_relevance_a_rarer_token_counts_more,
            by_relevance_a_weight_multiplies,
            by_relevance_what_counts_the_same_comes_newest_first_then_by_greatest_id,
            by_date_no_hit_has_a_score,
            pages_hold_every_hit_once_and_in_order,
            the_total_counts_hits_beyond_the_page,
            the_total_is_exact_up_to_ten_thousand,
            ids_come_ascending_and_in_pages,
            many_puts_of_few_messages_are_all_found,
            puts_at_the_same_time_are_all_found,
        }
    };
}

const A: Token = 0x0011_2233_4455_6677;
const B: Token = 0x0077_6655_4433_2211;
const C: Token = 0x00ff_0000_0000_0001;
const DAY: Millis = 86_400_000;
const NOON: Millis = 1_700_000_000_000;

fn id(number: u32) -> MessageId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    MessageId(id)
}

/// A message of the tokens in this order, at positions 0, 1, 2 ….
fn message(number: u32, words: &[Token]) -> IndexedMessage {
    let mut postings: Vec<Posting> = Vec::new();
    for (position, &token) in (0..).zip(words) {
        match postings.iter_mut().find(|posting| posting.token == token) {
            Some(posting) => {
                posting.frequency += 1;
                posting.positions.push(position);
            }
            None => postings.push(Posting { token, stream: 0, frequency: 1, positions: vec![position] }),
        }
    }
    IndexedMessage {
        id: id(number),
        received_at: NOON + u64::from(number),
        size: 1000 + u64::from(number),
        has_attachment: false,
        words: words.len() as u32,
        postings,
    }
}

fn token(token: Token) -> Query {
    Query::Token { token, weight: 1.0 }
}

fn not(query: Query) -> Query {
    Query::Not(Box::new(query))
}

fn phrase(tokens: &[Token]) -> Query {
    Query::Phrase(tokens.iter().map(|&token| vec![token]).collect())
}

async fn hits(index: &dyn SearchIndex, account: AccountId, query: &Query, sort: Sort) -> Result<Hits> {
    index.search(account, query, sort, 0, 100).await
}

/// The numbers of the messages found, ascending, in whatever order; both orders must find the same.
async fn found(index: &dyn SearchIndex, account: AccountId, query: &Query) -> Result<Vec<u32>> {
    let by_date = hits(index, account, query, Sort::Date).await?;
    let by_relevance = hits(index, account, query, Sort::Relevance).await?;
    let sorted = |hits: &Hits| {
        let mut found: Vec<u32> = hits.hits.iter().map(number).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(sorted(&by_date), sorted(&by_relevance));
    assert_eq!(by_date.total, by_date.hits.len() as u64);
    assert_eq!(by_relevance.total, by_date.total);
    Ok(sorted(&by_date))
}

fn number(hit: &Hit) -> u32 {
    let [a, b, c, d, ..] = hit.id.0;
    u32::from_be_bytes([a, b, c, d])
}

/// The numbers of the messages found, in the order by relevance.
async fn ranked(index: &dyn SearchIndex, account: AccountId, query: &Query) -> Result<Vec<u32>> {
    Ok(hits(index, account, query, Sort::Relevance).await?.hits.iter().map(number).collect())
}

/// A message is found as soon as its put has returned.
pub async fn a_message_is_found_once_put_returns(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, vec![message(1, &[A, B])]).await?;
    let found = hits(index, account, &token(B), Sort::Relevance).await?;
    assert_eq!((found.total, found.total_is_lower_bound), (1, false));
    assert_eq!((found.hits[0].id, found.hits[0].received_at), (id(1), NOON + 1));
    assert!(found.hits[0].score > 0.0);
    Ok(())
}

/// An account without messages finds nothing.
pub async fn an_account_without_messages_finds_nothing(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    assert_eq!(hits(index, account, &Query::All, Sort::Date).await?, Hits::default());
    assert_eq!(hits(index, account, &not(token(A)), Sort::Relevance).await?, Hits::default());
    assert_eq!(index.ids(account, None, 10).await?, []);
    index.put(account, Vec::new()).await?;
    assert_eq!(hits(index, account, &Query::All, Sort::Date).await?, Hits::default());
    Ok(())
}

/// A repeated put changes nothing.
pub async fn a_repeated_put_changes_nothing(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let batch = vec![message(1, &[A, B]), message(2, &[B, B, C])];
    index.put(account, batch.clone()).await?;
    let once = hits(index, account, &token(B), Sort::Date).await?;
    for _ in 0..3 {
        index.put(account, batch.clone()).await?;
        assert_eq!(hits(index, account, &token(B), Sort::Date).await?, once);
        assert_eq!(ranked(index, account, &token(B)).await?, [2, 1]);
        assert_eq!(index.ids(account, None, 10).await?, [id(1), id(2)]);
    }
    Ok(())
}

/// A message put again is found by its new tokens and numbers and no longer by its old ones.
pub async fn a_message_put_again_is_replaced(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, vec![message(1, &[A]), message(2, &[A])]).await?;
    let replacing = IndexedMessage { received_at: NOON + DAY, ..message(1, &[B]) };
    index.put(account, vec![replacing, message(3, &[B])]).await?;
    assert_eq!(found(index, account, &token(A)).await?, [2]);
    assert_eq!(found(index, account, &token(B)).await?, [1, 3]);
    assert_eq!(found(index, account, &Query::All).await?, [1, 2, 3]);
    let after = Query::Received { from: Some(NOON + DAY), until: None };
    assert_eq!(found(index, account, &after).await?, [1]);
    Ok(())
}

/// Of two copies of a message in one put the last stays.
pub async fn of_two_copies_in_one_put_the_last_stays(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, vec![message(1, &[A]), message(2, &[A]), message(1, &[B])]).await?;
    assert_eq!(found(index, account, &token(A)).await?, [2]);
    assert_eq!(found(index, account, &token(B)).await?, [1]);
    assert_eq!(found(index, account, &Query::All).await?, [1, 2]);
    Ok(())
}

/// A removed message is not found.
pub async fn a_removed_message_is_not_found(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, (1..=5).map(|number| message(number, &[A])).collect()).await?;
    index.remove(account, &[id(2), id(4)]).await?;
    assert_eq!(found(index, account, &token(A)).await?, [1, 3, 5]);
    assert_eq!(found(index, account, &not(token(B))).await?, [1, 3, 5]);
    assert_eq!(index.ids(account, None, 10).await?, [id(1), id(3), id(5)]);
    index.remove(account, &[id(1), id(3), id(5)]).await?;
    assert_eq!(found(index, account, &Query::All).await?, []);
    Ok(())
}

/// A removed message may be put again.
pub async fn a_removed_message_may_be_put_again(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, vec![message(1, &[A]), message(2, &[A])]).await?;
    index.remove(account, &[id(1)]).await?;
    index.put(account, vec![message(1, &[A])]).await?;
    assert_eq!(found(index, account, &token(A)).await?, [1, 2]);
    Ok(())
}

/// Removing what is unknown changes nothing and is no error.
pub async fn removing_what_is_unknown_changes_nothing(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.remove(account, &[id(1)]).await?;
    index.remove_account(account).await?;
    index.put(account, vec![message(1, &[A])]).await?;
    index.remove(account, &[id(2), id(2)]).await?;
    index.remove(account, &[]).await?;
    assert_eq!(found(index, account, &token(A)).await?, [1]);
    Ok(())
}

/// A removed account is empty, and others are as they were.
pub async fn a_removed_account_is_empty_and_others_are_not(index: &dyn SearchIndex) -> Result<()> {
    let (gone, other) = (AccountId::random(), AccountId::random());
    for account in [gone, other] {
        index.put(account, vec![message(1, &[A]), message(2, &[B])]).await?;
    }
    index.remove_account(gone).await?;
    assert_eq!(found(index, gone, &Query::All).await?, []);
    assert_eq!(index.ids(gone, None, 10).await?, []);
    assert_eq!(found(index, other, &Query::All).await?, [1, 2]);
    Ok(())
}

/// An account may be filled again after its removal, and nothing of before comes back.
pub async fn an_account_may_be_filled_again_after_its_removal(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    for (round, token_then) in [(0, A), (1, B), (2, C)] {
        index.put(account, vec![message(round, &[token_then]), message(9, &[token_then])]).await?;
        for other in [A, B, C].into_iter().filter(|&other| other != token_then) {
            assert_eq!(found(index, account, &token(other)).await?, []);
        }
        assert_eq!(found(index, account, &Query::All).await?, [round, 9]);
        index.remove(account, &[id(9)]).await?;
        index.remove_account(account).await?;
    }
    Ok(())
}

/// No account finds the messages of another, also where ids and tokens are the same.
pub async fn no_account_finds_the_messages_of_another(index: &dyn SearchIndex) -> Result<()> {
    let accounts = [AccountId::random(), AccountId::random(), AccountId::random()];
    let first = vec![message(1, &[A, B]), message(2, &[A])];
    let second = vec![message(1, &[A]), message(3, &[C])];
    index.put_all(vec![(accounts[0], first), (accounts[2], vec![]), (accounts[1], second)]).await?;
    assert_eq!(found(index, accounts[0], &Query::All).await?, [1, 2]);
    assert_eq!(found(index, accounts[1], &Query::All).await?, [1, 3]);
    assert_eq!(found(index, accounts[2], &Query::All).await?, []);
    assert_eq!(found(index, accounts[1], &token(B)).await?, []);
    index.remove(accounts[1], &[id(1), id(2)]).await?;
    assert_eq!(found(index, accounts[0], &token(A)).await?, [1, 2]);
    assert_eq!(index.ids(accounts[1], None, 10).await?, [id(3)]);
    Ok(())
}

/// Tokens at the ends of their range are tokens like others.
pub async fn tokens_at_the_ends_of_their_range_are_found(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let ends = [0, 1, (1 << 56) - 1, u64::MAX - 1, u64::MAX];
    index.put(account, (0..).zip(ends).map(|(number, end)| message(number, &[end])).collect()).await?;
    for (number, end) in (0..).zip(ends) {
        assert_eq!(found(index, account, &token(end)).await?, [number]);
    }
    assert_eq!(found(index, account, &token(2)).await?, []);
    Ok(())
}

/// A message without tokens is found by its numbers.
pub async fn a_message_without_tokens_is_found_by_its_numbers(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, vec![message(1, &[])]).await?;
    assert_eq!(found(index, account, &Query::Size { above: Some(1000), below: None }).await?, [1]);
    assert_eq!(found(index, account, &not(token(A))).await?, [1]);
    Ok(())
}

async fn words(index: &dyn SearchIndex) -> Result<AccountId> {
    let account = AccountId::random();
    let batch = vec![
        message(1, &[A]),
        message(2, &[B]),
        message(3, &[A, B]),
        message(4, &[A, B, C]),
        message(5, &[C]),
    ];
    index.put(account, batch).await?;
    Ok(account)
}

/// A conjunction finds what all its parts find.
pub async fn a_conjunction_finds_what_all_its_parts_find(index: &dyn SearchIndex) -> Result<()> {
    let account = words(index).await?;
    assert_eq!(found(index, account, &Query::And(vec![token(A), token(B)])).await?, [3, 4]);
    assert_eq!(found(index, account, &Query::And(vec![token(A), not(token(B))])).await?, [1]);
    assert_eq!(found(index, account, &Query::And(vec![token(A), Query::Nothing])).await?, []);
    assert_eq!(found(index, account, &Query::And(vec![token(C)])).await?, [4, 5]);
    Ok(())
}

/// A disjunction finds what any of its parts finds.
pub async fn a_disjunction_finds_what_any_of_its_parts_finds(index: &dyn SearchIndex) -> Result<()> {
    let account = words(index).await?;
    assert_eq!(found(index, account, &Query::Or(vec![token(A), token(C)])).await?, [1, 3, 4, 5]);
    let nested =
        Query::Or(vec![Query::And(vec![token(A), token(C)]), Query::And(vec![token(B), not(token(A))])]);
    assert_eq!(found(index, account, &nested).await?, [2, 4]);
    assert_eq!(found(index, account, &Query::Or(vec![token(7), Query::All])).await?, [1, 2, 3, 4, 5]);
    Ok(())
}

/// A negation finds what its part does not.
pub async fn a_negation_finds_what_its_part_does_not(index: &dyn SearchIndex) -> Result<()> {
    let account = words(index).await?;
    assert_eq!(found(index, account, &not(token(A))).await?, [2, 5]);
    assert_eq!(found(index, account, &not(not(token(A)))).await?, [1, 3, 4]);
    assert_eq!(found(index, account, &not(Query::All)).await?, []);
    assert_eq!(found(index, account, &not(Query::Or(vec![token(A), token(C)]))).await?, [2]);
    Ok(())
}

/// An empty conjunction finds all, an empty disjunction nothing.
pub async fn an_empty_conjunction_finds_all_and_an_empty_disjunction_nothing(
    index: &dyn SearchIndex,
) -> Result<()> {
    let account = words(index).await?;
    assert_eq!(found(index, account, &Query::And(vec![])).await?, [1, 2, 3, 4, 5]);
    assert_eq!(found(index, account, &Query::Or(vec![])).await?, []);
    assert_eq!(found(index, account, &Query::Nothing).await?, []);
    Ok(())
}

/// A phrase finds its tokens at consecutive positions, in their order.
pub async fn a_phrase_finds_consecutive_positions_in_order(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let batch = vec![
        message(1, &[A, B, C]),
        message(2, &[B, A, C]),
        message(3, &[A, 7, B]),
        message(4, &[7, 8, A, B]),
        message(5, &[A, A, B]),
    ];
    index.put(account, batch).await?;
    assert_eq!(found(index, account, &phrase(&[A, B])).await?, [1, 4, 5]);
    assert_eq!(found(index, account, &phrase(&[A, B, C])).await?, [1]);
    assert_eq!(found(index, account, &phrase(&[B, A])).await?, [2]);
    assert_eq!(found(index, account, &phrase(&[C])).await?, [1, 2]);
    assert_eq!(found(index, account, &phrase(&[A, 9])).await?, []);
    assert_eq!(
        found(index, account, &Query::And(vec![phrase(&[A, B]), not(phrase(&[B, C]))])).await?,
        [4, 5]
    );
    Ok(())
}

/// A slot of a phrase takes any of its tokens.
pub async fn a_slot_of_a_phrase_takes_any_of_its_tokens(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let batch =
        vec![message(1, &[A, B, 7]), message(2, &[A, C, 7]), message(3, &[A, 8, 7]), message(4, &[A, B, 8])];
    index.put(account, batch).await?;
    let query = Query::Phrase(vec![vec![A], vec![B, C], vec![7]]);
    assert_eq!(found(index, account, &query).await?, [1, 2]);
    assert_eq!(found(index, account, &Query::Phrase(vec![vec![A], vec![]])).await?, []);
    Ok(())
}

/// A phrase that holds a word twice finds only messages that do, one after the other.
pub async fn a_phrase_finds_a_word_that_stands_twice_only_where_it_does(
    index: &dyn SearchIndex,
) -> Result<()> {
    let account = AccountId::random();
    index.put(account, vec![message(1, &[A]), message(2, &[A, A]), message(3, &[A, B, A])]).await?;
    assert_eq!(found(index, account, &phrase(&[A, A])).await?, [2]);
    assert_eq!(found(index, account, &phrase(&[A, B, A])).await?, [3]);
    Ok(())
}

/// A token of which no positions are kept is found, but stands in no phrase.
pub async fn a_token_without_positions_is_in_no_phrase(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let mut bare = message(1, &[A, B]);
    bare.postings[1].positions.clear();
    index.put(account, vec![bare, message(2, &[A, B])]).await?;
    assert_eq!(found(index, account, &token(B)).await?, [1, 2]);
    assert_eq!(found(index, account, &phrase(&[A, B])).await?, [2]);
    assert_eq!(found(index, account, &phrase(&[B])).await?, [2]);
    Ok(())
}

/// A phrase without slots finds nothing.
pub async fn a_phrase_without_slots_finds_nothing(index: &dyn SearchIndex) -> Result<()> {
    let account = words(index).await?;
    assert_eq!(found(index, account, &Query::Phrase(vec![])).await?, []);
    Ok(())
}

/// A phrase does not run from the end of one message into the start of the next.
pub async fn a_phrase_does_not_run_from_one_message_into_the_next(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let mut last = message(1, &[A]);
    last.postings[0].positions = vec![u32::MAX / 2];
    index.put(account, vec![last, message(2, &[B]), message(3, &[C, B])]).await?;
    assert_eq!(found(index, account, &phrase(&[A, B])).await?, []);
    assert_eq!(found(index, account, &phrase(&[B, C])).await?, []);
    Ok(())
}

/// A range of times takes its lower bound in and its upper bound out.
pub async fn received_takes_its_lower_bound_in_and_its_upper_bound_out(
    index: &dyn SearchIndex,
) -> Result<()> {
    let account = AccountId::random();
    index.put(account, (1..=4).map(|number| message(number, &[A])).collect()).await?;
    let received = |from: Option<u64>, until: Option<u64>| Query::Received {
        from: from.map(|number| NOON + number),
        until: until.map(|number| NOON + number),
    };
    assert_eq!(found(index, account, &received(Some(2), Some(4))).await?, [2, 3]);
    assert_eq!(found(index, account, &received(Some(3), None)).await?, [3, 4]);
    assert_eq!(found(index, account, &received(None, Some(2))).await?, [1]);
    assert_eq!(found(index, account, &received(None, None)).await?, [1, 2, 3, 4]);
    assert_eq!(found(index, account, &received(Some(4), Some(2))).await?, []);
    Ok(())
}

/// A range of sizes takes neither of its bounds in.
pub async fn size_takes_neither_bound_in(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, (1..=4).map(|number| message(number, &[A])).collect()).await?;
    assert_eq!(found(index, account, &Query::Size { above: Some(1001), below: Some(1004) }).await?, [2, 3]);
    assert_eq!(found(index, account, &Query::Size { above: Some(1003), below: None }).await?, [4]);
    assert_eq!(found(index, account, &Query::Size { above: None, below: Some(1002) }).await?, [1]);
    assert_eq!(found(index, account, &Query::Size { above: None, below: None }).await?, [1, 2, 3, 4]);
    Ok(())
}

/// What has an attachment is found by that.
pub async fn an_attachment_is_found(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let with = IndexedMessage { has_attachment: true, ..message(2, &[A]) };
    index.put(account, vec![message(1, &[A]), with, message(3, &[A])]).await?;
    assert_eq!(found(index, account, &Query::HasAttachment).await?, [2]);
    assert_eq!(found(index, account, &not(Query::HasAttachment)).await?, [1, 3]);
    Ok(())
}

/// Each hit's marks tell which marked queries find it, wherever in the query they stand; a mark finds what its query
/// finds.
pub async fn a_mark_tells_which_hits_its_query_finds(index: &dyn SearchIndex) -> Result<()> {
    let account = words(index).await?;
    let marked = |mark, query| Query::Marked { mark, query: Box::new(query) };
    let query = Query::Or(vec![
        marked(0, token(A)),
        Query::And(vec![token(C), marked(63, not(token(B)))]),
        marked(5, Query::And(vec![token(B), not(marked(7, token(C)))])),
    ]);
    for sort in [Sort::Date, Sort::Relevance] {
        let mut hits = hits(index, account, &query, sort).await?.hits;
        hits.sort_by_key(|hit| hit.id);
        let marks: Vec<(u32, u64)> = hits.iter().map(|hit| (number(hit), hit.marks)).collect();
        let all = [(1, 1 | 1 << 63), (2, 1 << 5), (3, 1 | 1 << 5), (4, 1 | 1 << 7), (5, 1 << 63 | 1 << 7)];
        assert_eq!(marks, all);
    }
    assert_eq!(found(index, account, &marked(3, token(C))).await?, [4, 5]);
    Ok(())
}

/// By date the newest comes first, and of the same time the greatest id.
pub async fn by_date_the_newest_comes_first_then_the_greatest_id(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let at = |number, received_at| IndexedMessage { received_at, ..message(number, &[A]) };
    index.put(account, vec![at(1, NOON + 5), at(2, NOON), at(3, NOON + 9)]).await?;
    index.put(account, vec![at(4, NOON), at(5, NOON - DAY), at(6, NOON)]).await?;
    let hits = hits(index, account, &token(A), Sort::Date).await?.hits;
    assert_eq!(hits.iter().map(number).collect::<Vec<_>>(), [3, 1, 6, 4, 2, 5]);
    Ok(())
}

/// By relevance, of messages of the same length, the one in which the token stands more often comes first.
pub async fn by_relevance_what_stands_more_often_comes_first(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let batch = vec![message(1, &[A, A, A, 7]), message(2, &[A, 8, 9, 7]), message(3, &[A, A, 9, 7])];
    index.put(account, batch).await?;
    assert_eq!(ranked(index, account, &token(A)).await?, [1, 3, 2]);
    assert_eq!(ranked(index, account, &phrase(&[A, A])).await?, [1, 3]);
    Ok(())
}

/// By relevance a shorter message comes before a longer one in which the token stands as often.
pub async fn by_relevance_a_shorter_message_comes_first(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let long: Vec<Token> = std::iter::once(A).chain(100..160).collect();
    index.put(account, vec![message(1, &[A, B]), message(2, &long)]).await?;
    assert_eq!(ranked(index, account, &token(A)).await?, [1, 2]);
    Ok(())
}

/// By relevance a token that few messages hold counts more than one that many do, across all puts.
pub async fn by_relevance_a_rarer_token_counts_more(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, vec![message(1, &[A, 7])]).await?;
    index.put(account, vec![message(2, &[B, 7])]).await?;
    for number in 3..20 {
        index.put(account, vec![message(number, &[B, 7])]).await?;
    }
    let ranked = ranked(index, account, &Query::Or(vec![token(A), token(B)])).await?;
    assert_eq!((ranked[0], ranked.len()), (1, 19));
    Ok(())
}

/// By relevance the weight of a token multiplies what it counts.
pub async fn by_relevance_a_weight_multiplies(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, vec![message(1, &[A, 7]), message(2, &[B, 7])]).await?;
    let weighted =
        |a, b| Query::Or(vec![Query::Token { token: A, weight: a }, Query::Token { token: B, weight: b }]);
    assert_eq!(ranked(index, account, &weighted(3.0, 1.0)).await?, [1, 2]);
    assert_eq!(ranked(index, account, &weighted(1.0, 3.0)).await?, [2, 1]);
    Ok(())
}

/// By relevance what counts the same comes newest first, and of the same time the greatest id first.
pub async fn by_relevance_what_counts_the_same_comes_newest_first_then_by_greatest_id(
    index: &dyn SearchIndex,
) -> Result<()> {
    let account = AccountId::random();
    let at = |number, received_at| IndexedMessage { received_at, ..message(number, &[A, B]) };
    index.put(account, vec![at(1, NOON + 5), at(2, NOON)]).await?;
    index.put(account, vec![at(3, NOON + 9), at(4, NOON)]).await?;
    assert_eq!(ranked(index, account, &token(A)).await?, [3, 1, 4, 2]);
    assert_eq!(ranked(index, account, &Query::All).await?, [3, 1, 4, 2]);
    Ok(())
}

/// By date no hit has a score.
pub async fn by_date_no_hit_has_a_score(index: &dyn SearchIndex) -> Result<()> {
    let account = words(index).await?;
    assert!(hits(index, account, &token(A), Sort::Date).await?.hits.iter().all(|hit| hit.score == 0.0));
    Ok(())
}

/// Pages hold every hit once, and in the order of the whole.
pub async fn pages_hold_every_hit_once_and_in_order(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    for start in [0, 10, 20] {
        let batch = (start..start + 10).map(|number| {
            let words: Vec<Token> = (0..=u64::from(number % 4)).map(|_| A).chain([B]).collect();
            IndexedMessage { received_at: NOON + u64::from(number * 7 % 30), ..message(number, &words) }
        });
        index.put(account, batch.collect()).await?;
    }
    for sort in [Sort::Date, Sort::Relevance] {
        let whole = hits(index, account, &token(A), sort).await?;
        assert_eq!(whole.hits.len(), 30);
        for limit in [1, 7, 30] {
            let mut paged = Vec::new();
            for offset in (0..40).step_by(limit) {
                let page = index.search(account, &token(A), sort, offset, limit).await?;
                assert_eq!(page.total, 30);
                paged.extend(page.hits);
            }
            assert_eq!(paged, whole.hits);
        }
    }
    assert_eq!(index.search(account, &token(A), Sort::Date, 1_000, 10).await?.hits, []);
    Ok(())
}

/// The total counts hits beyond the page.
pub async fn the_total_counts_hits_beyond_the_page(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    index.put(account, (0..120).map(|number| message(number, &[A])).collect()).await?;
    for sort in [Sort::Date, Sort::Relevance] {
        let page = index.search(account, &token(A), sort, 0, 5).await?;
        assert_eq!((page.hits.len(), page.total, page.total_is_lower_bound), (5, 120, false));
    }
    Ok(())
}

/// The total is exact up to 10,000, and beyond that it is exact or marked as a lower bound.
pub async fn the_total_is_exact_up_to_ten_thousand(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    for start in (0..10_000).step_by(1_000) {
        index.put(account, (start..start + 1_000).map(|number| message(number, &[A])).collect()).await?;
    }
    for sort in [Sort::Date, Sort::Relevance] {
        let page = index.search(account, &token(A), sort, 0, 3).await?;
        assert_eq!((page.hits.len(), page.total, page.total_is_lower_bound), (3, 10_000, false));
    }
    index.put(account, (10_000..12_000).map(|number| message(number, &[A])).collect()).await?;
    for sort in [Sort::Date, Sort::Relevance] {
        let page = index.search(account, &token(A), sort, 0, 3).await?;
        assert_eq!(page.hits.iter().map(number).collect::<Vec<_>>(), [11_999, 11_998, 11_997]);
        assert!(page.total >= 10_000 && (page.total == 12_000) != page.total_is_lower_bound);
    }
    Ok(())
}

/// Ids come ascending and strictly after the one given, at most as many as asked for.
pub async fn ids_come_ascending_and_in_pages(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    for number in [30, 10, 50, 20, 40] {
        index.put(account, vec![message(number, &[A])]).await?;
    }
    let all: Vec<MessageId> = [10, 20, 30, 40, 50].map(id).into();
    assert_eq!(index.ids(account, None, 10).await?, all);
    assert_eq!(index.ids(account, None, 2).await?, all[..2]);
    assert_eq!(index.ids(account, Some(id(20)), 2).await?, all[2..4]);
    assert_eq!(index.ids(account, Some(id(25)), 10).await?, all[2..]);
    assert_eq!(index.ids(account, Some(id(50)), 10).await?, []);
    assert_eq!(index.ids(account, Some(MessageId([0xff; 16])), 10).await?, []);
    Ok(())
}

/// Many puts of few messages are all found, each message once.
pub async fn many_puts_of_few_messages_are_all_found(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    for number in 0..100 {
        index.put(account, vec![message(number, &[A, 1000 + u64::from(number % 3), B])]).await?;
        if number % 10 == 9 {
            index.remove(account, &[id(number - 5)]).await?;
        }
    }
    let kept: Vec<u32> = (0..100).filter(|number| number % 10 != 4).collect();
    assert_eq!(found(index, account, &token(A)).await?, kept);
    let third: Vec<u32> = kept.iter().copied().filter(|number| number % 3 == 1).collect();
    assert_eq!(found(index, account, &phrase(&[1001, B])).await?, third);
    Ok(())
}

/// Puts into one account at the same time are all found.
pub async fn puts_at_the_same_time_are_all_found(index: &dyn SearchIndex) -> Result<()> {
    let account = AccountId::random();
    let put =
        |start: u32| index.put(account, (start..start + 3).map(|number| message(number, &[A])).collect());
    let (a, b, c, d) = tokio::join!(put(0), put(10), put(20), put(30));
    a.and(b).and(c).and(d)?;
    let ids: BTreeSet<MessageId> = index.ids(account, None, 100).await?.into_iter().collect();
    assert_eq!(ids.len(), 12);
    assert_eq!(found(index, account, &token(A)).await?.len(), 12);
    Ok(())
}
