//! The embedded index against a naive one in memory, over random puts, removals, merges and queries.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use embedded::index::{Index, keyspace_options};
use fjall::Database;
use proptest::prelude::*;
use schema::index::{Hit, Hits, IndexedMessage, Posting, Query, SearchIndex, Sort, Token};
use schema::{AccountId, MessageId};

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Vec<IndexedMessage>),
    Remove(u8, Vec<MessageId>),
    RemoveAccount(u8),
    Compact(u8),
    Reopen,
    Search { account: u8, query: Query, sort: Sort, offset: usize, limit: usize },
}

const TOKENS: u64 = 10;

/// Spreads a small number over the whole range of tokens.
fn token(number: u64) -> Token {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn id(number: u8) -> MessageId {
    let mut id = [0; 16];
    id[0] = number.wrapping_mul(151);
    id[15] = number;
    MessageId(id)
}

fn message() -> impl Strategy<Value = IndexedMessage> {
    let words = prop::collection::vec(0..TOKENS, 0..25);
    // Many tokens of its own make a message's segment outgrow one row.
    let filler = prop_oneof![6 => Just(0u64), 1 => 1_000..4_000u64];
    (0..40u8, words, 0..6u64, 0..4u64, any::<bool>(), filler, 0..4u32).prop_map(
        |(number, words, received_at, size, has_attachment, filler, bare)| {
            let mut postings: BTreeMap<Token, Posting> = BTreeMap::new();
            for (position, &word) in (0..).zip(&words) {
                let token = token(word);
                let empty = || Posting { token, stream: 0, frequency: 0, positions: Vec::new() };
                let posting = postings.entry(token).or_insert_with(empty);
                posting.frequency += 1;
                if word % 4 != u64::from(bare) {
                    posting.positions.push(position);
                }
            }
            for step in 0..filler {
                let token = token(1_000_000 + u64::from(number) * 1_000 + step);
                let positions = if step % 3 == 0 { vec![] } else { vec![step as u32, step as u32 + 300] };
                let frequency = 1 + positions.len() as u32 * (step as u32 % 2);
                postings.insert(token, Posting { token, stream: 0, frequency, positions });
            }
            IndexedMessage {
                id: id(number),
                received_at: 1_700_000_000_000 + received_at,
                size,
                has_attachment,
                words: words.len() as u32,
                postings: postings.into_values().rev().collect(),
            }
        },
    )
}

fn query() -> impl Strategy<Value = Query> {
    let word = (0..TOKENS + 2).prop_map(token).boxed();
    let filled = (1_000_000..1_045_000u64).prop_map(token).boxed();
    let phrase = prop::collection::vec(prop::collection::vec(word.clone(), 0..3), 0..4);
    let bound = |to: u64, from: u64| prop::option::of((0..to).prop_map(move |value| from + value));
    let leaf = prop_oneof![
        1 => Just(Query::All),
        1 => Just(Query::Nothing),
        1 => Just(Query::HasAttachment),
        6 => (word, 1..4u8).prop_map(|(token, w)| Query::Token { token, weight: f32::from(w) * 0.5 }),
        1 => filled.prop_map(|token| Query::Token { token, weight: 1.0 }),
        4 => phrase.prop_map(Query::Phrase),
        1 => (bound(7, 1_700_000_000_000), bound(7, 1_700_000_000_000))
            .prop_map(|(from, until)| Query::Received { from, until }),
        1 => (bound(5, 0), bound(5, 0)).prop_map(|(above, below)| Query::Size { above, below }),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Query::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Query::Or),
            inner.clone().prop_map(|query| Query::Not(Box::new(query))),
            (0..64u8, inner).prop_map(|(mark, query)| Query::Marked { mark, query: Box::new(query) }),
        ]
    })
}

fn step() -> impl Strategy<Value = Step> {
    let account = 0..2u8;
    let sort = prop_oneof![Just(Sort::Relevance), Just(Sort::Date)];
    prop_oneof![
        12 => (account.clone(), prop::collection::vec(message(), 0..5)).prop_map(|(a, m)| Step::Put(a, m)),
        4 => (account.clone(), prop::collection::vec((0..40u8).prop_map(id), 0..4))
            .prop_map(|(a, ids)| Step::Remove(a, ids)),
        1 => account.clone().prop_map(Step::RemoveAccount),
        2 => account.clone().prop_map(Step::Compact),
        1 => Just(Step::Reopen),
        12 => (account, query(), sort, 0..5usize, 1..30usize)
            .prop_map(|(account, query, sort, offset, limit)| Step::Search { account, query, sort, offset, limit }),
    ]
}

/// The naive index of one account.
#[derive(Default)]
struct Model {
    messages: BTreeMap<MessageId, IndexedMessage>,
}

impl Model {
    fn finds(&self, message: &IndexedMessage, query: &Query) -> bool {
        let posting = |token: &Token| message.postings.iter().find(|posting| posting.token == *token);
        match query {
            Query::All => true,
            Query::Nothing => false,
            Query::Token { token, .. } => posting(token).is_some(),
            Query::Phrase(slots) => self.occurrences(message, slots) > 0,
            Query::And(queries) => queries.iter().all(|query| self.finds(message, query)),
            Query::Or(queries) => queries.iter().any(|query| self.finds(message, query)),
            Query::Not(query) => !self.finds(message, query),
            Query::Received { from, until } => {
                from.is_none_or(|from| message.received_at >= from)
                    && until.is_none_or(|until| message.received_at < until)
            }
            Query::Size { above, below } => {
                above.is_none_or(|above| message.size > above)
                    && below.is_none_or(|below| message.size < below)
            }
            Query::HasAttachment => message.has_attachment,
            Query::Marked { query, .. } => self.finds(message, query),
        }
    }

    fn occurrences(&self, message: &IndexedMessage, slots: &[Vec<Token>]) -> u32 {
        let stands = |slot: &[Token], position: u32| {
            message
                .postings
                .iter()
                .any(|posting| slot.contains(&posting.token) && posting.positions.contains(&position))
        };
        if slots.is_empty() {
            return 0;
        }
        (0..30).filter(|start| (*start..).zip(slots).all(|(position, slot)| stands(slot, position))).count()
            as u32
    }

    fn rarity(&self, token: Token) -> f64 {
        let all = self.messages.len() as f64;
        let holds = |message: &&IndexedMessage| message.postings.iter().any(|posting| posting.token == token);
        let holding = self.messages.values().filter(holds).count() as f64;
        (1.0 + (all - holding + 0.5) / (holding + 0.5)).ln()
    }

    fn saturation(&self, frequency: u32, message: &IndexedMessage) -> f64 {
        let words: u64 = self.messages.values().map(|message| u64::from(message.words)).sum();
        let mean = words as f64 / self.messages.len() as f64;
        let length = if mean > 0.0 { f64::from(message.words) / mean } else { 1.0 };
        f64::from(frequency) / (f64::from(frequency) + 1.2 * (1.0 - 0.75 + 0.75 * length))
    }

    fn score(&self, message: &IndexedMessage, query: &Query) -> f64 {
        if !self.finds(message, query) {
            return 0.0;
        }
        match query {
            Query::Token { token, weight } => {
                let posting = message.postings.iter().find(|posting| posting.token == *token).unwrap();
                f64::from(*weight) * self.rarity(*token) * self.saturation(posting.frequency, message)
            }
            Query::Phrase(slots) => {
                let commonest = |slot: &Vec<Token>| {
                    slot.iter().map(|&token| self.rarity(token)).fold(f64::INFINITY, f64::min)
                };
                slots.iter().map(commonest).sum::<f64>()
                    * self.saturation(self.occurrences(message, slots), message)
            }
            Query::And(queries) | Query::Or(queries) => {
                queries.iter().map(|query| self.score(message, query)).sum()
            }
            Query::Marked { query, .. } => self.score(message, query),
            _ => 0.0,
        }
    }

    fn marks(&self, message: &IndexedMessage, query: &Query) -> u64 {
        match query {
            Query::And(queries) | Query::Or(queries) => {
                queries.iter().fold(0, |marks, query| marks | self.marks(message, query))
            }
            Query::Not(query) => self.marks(message, query),
            Query::Marked { mark, query } => {
                self.marks(message, query) | u64::from(self.finds(message, query)) << mark
            }
            _ => 0,
        }
    }

    fn search(&self, query: &Query, sort: Sort, offset: usize, limit: usize) -> Hits {
        let mut hits: Vec<Hit> = self
            .messages
            .values()
            .filter(|message| self.finds(message, query))
            .map(|message| Hit {
                id: message.id,
                received_at: message.received_at,
                score: if sort == Sort::Date { 0.0 } else { self.score(message, query) as f32 },
                marks: self.marks(message, query),
            })
            .collect();
        hits.sort_by(|left, right| {
            right
                .score
                .total_cmp(&left.score)
                .then(right.received_at.cmp(&left.received_at))
                .then(right.id.cmp(&left.id))
        });
        let total = hits.len() as u64;
        Hits { hits: hits.into_iter().skip(offset).take(limit).collect(), total, total_is_lower_bound: false }
    }
}

fn open(directory: &std::path::Path) -> (Database, Index) {
    let database = Database::builder(directory).open().unwrap();
    let keyspace = database.keyspace("index", keyspace_options).unwrap();
    (database.clone(), Index::new(database, keyspace, 1024 * 1024))
}

async fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let (mut database, mut index) = open(directory.path());
    let accounts = [AccountId([1; 16]), AccountId([2; 16])];
    let mut models = [Model::default(), Model::default()];
    for step in steps {
        match step {
            Step::Put(account, messages) => {
                let model = &mut models[account as usize];
                model.messages.extend(messages.iter().map(|message| (message.id, message.clone())));
                index.put(accounts[account as usize], messages).await.unwrap();
            }
            Step::Remove(account, ids) => {
                index.remove(accounts[account as usize], &ids).await.unwrap();
                models[account as usize].messages.retain(|id, _| !ids.contains(id));
            }
            Step::RemoveAccount(account) => {
                index.remove_account(accounts[account as usize]).await.unwrap();
                models[account as usize].messages.clear();
            }
            Step::Compact(account) => index.compact(accounts[account as usize]).await.unwrap(),
            Step::Reopen => {
                drop(index);
                drop(database);
                (database, index) = open(directory.path());
            }
            Step::Search { account, query, sort, offset, limit } => {
                let found =
                    index.search(accounts[account as usize], &query, sort, offset, limit).await.unwrap();
                assert_eq!(found, models[account as usize].search(&query, sort, offset, limit), "{query:?}");
            }
        }
        for (account, model) in accounts.iter().zip(&models) {
            let ids: Vec<MessageId> = model.messages.keys().copied().collect();
            assert_eq!(index.ids(*account, None, 1_000).await.unwrap(), ids);
        }
    }
    drop(database);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_naive_one_finds(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
