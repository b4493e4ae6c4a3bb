//! Blind search: an index that sees only tokens, positions and numbers.

use async_trait::async_trait;

use crate::{AccountId, MessageId, Millis, Result};

/// A blinded search term: a keyed hash of field, form and text under the account's search key.
/// Two terms of one account share a token with the odds given in docs/privacy.md.
pub type Token = u64;

/// One message as the index sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedMessage {
    /// Which message.
    pub id: MessageId,
    /// When it was received: `after`/`before` filters and the order by date.
    pub received_at: Millis,
    /// The size of its bytes as received: `larger`/`smaller`.
    pub size: u64,
    /// Whether it has an attachment: `has:attachment`.
    pub has_attachment: bool,
    /// The number of words, for ranking by length.
    pub words: u32,
    /// Each token once, in any order, with the ascending positions where it stands; no positions where a phrase
    /// never looks (stems, prefixes).
    pub postings: Vec<Posting>,
}

/// Where one token stands in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The blinded term.
    pub token: Token,
    /// Which sequence of positions it belongs to: tokens of different streams are never neighbours, whatever their
    /// positions.
    pub stream: u8,
    /// How often it stands there, at least 1.
    pub frequency: u32,
    /// Ascending positions, or empty where none are kept.
    pub positions: Vec<u32>,
}

/// What to find. Leaves are tokens and numbers; whatever depends on mutable state (keywords, mailboxes) is filtered
/// against the store by the caller, which marks subqueries it needs to know about with [`Query::Marked`].
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// Every message of the account.
    All,
    /// No message.
    Nothing,
    /// Messages that hold the token. `weight` multiplies its part in the score (1.0 is usual).
    Token {
        /// The blinded term.
        token: Token,
        /// Its weight in the score, above 0.
        weight: f32,
    },
    /// Messages where the slots stand at consecutive positions; in each slot any of its tokens will do. Without slots
    /// it finds nothing. All its tokens are of one stream: a caller asks for no other phrase, and a backend need not tell
    /// streams apart. In the score it is one word: as frequent as the phrase, as rare as the commonest tokens of its
    /// slots together.
    Phrase(Vec<Vec<Token>>),
    /// Messages that all of these find (none = every message).
    And(Vec<Query>),
    /// Messages that any of these finds (none = no message).
    Or(Vec<Query>),
    /// Messages that this does not find.
    Not(Box<Query>),
    /// Messages received at or after `from` and before `until`.
    Received {
        /// Inclusive lower bound.
        from: Option<Millis>,
        /// Exclusive upper bound.
        until: Option<Millis>,
    },
    /// Messages with more than `above` and fewer than `below` octets.
    Size {
        /// Exclusive lower bound.
        above: Option<u64>,
        /// Exclusive upper bound.
        below: Option<u64>,
    },
    /// Messages with an attachment.
    HasAttachment,
    /// The same messages as the inner query; each hit's [`Hit::marks`] has bit `mark` set if the inner query finds it,
    /// wherever in the whole query it stands, below [`Query::Not`] too.
    Marked {
        /// Which bit, 0–63.
        mark: u8,
        /// What is looked for.
        query: Box<Query>,
    },
}

/// The order of hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Best score (BM25 over the account's messages) first, then newest, then greatest id. The score is the sum over
    /// the tokens and phrases that find the message and stand below no [`Query::Not`]; the rest counts nothing.
    Relevance,
    /// Newest first, then greatest id.
    Date,
}

/// One message found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Which message.
    pub id: MessageId,
    /// When it was received.
    pub received_at: Millis,
    /// BM25 score; 0 when sorted by date.
    pub score: f32,
    /// Bits of the [`Query::Marked`] subqueries that find it.
    pub marks: u64,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hits {
    /// Hits in the order asked for, from `offset` on, at most `limit`.
    pub hits: Vec<Hit>,
    /// How many messages match in all: exact up to 10,000.
    pub total: u64,
    /// True where `total` is only a lower bound.
    pub total_is_lower_bound: bool,
}

/// The search index. Nothing that is found or taken out for one account is another's.
#[async_trait]
pub trait SearchIndex: Send + Sync {
    /// Adds messages of an account, as [`SearchIndex::put_all`] does those of many.
    async fn put(&self, account: AccountId, messages: Vec<IndexedMessage>) -> Result<()> {
        self.put_all(vec![(account, messages)]).await
    }

    /// Adds messages. When it returns they are found. A message that is already there is replaced, so a repeated put
    /// changes nothing. It is durable no later than what the caller writes next: a job acknowledged after it is never
    /// gone while the put is lost.
    ///
    /// # Errors
    /// Those of the backend; then some or none of the messages may be found, and the same put may be made again.
    async fn put_all(&self, messages: Vec<(AccountId, Vec<IndexedMessage>)>) -> Result<()>;

    /// Takes messages out. When it returns they are not found. Unknown ids are ignored.
    async fn remove(&self, account: AccountId, messages: &[MessageId]) -> Result<()>;

    /// Takes out everything of the account.
    async fn remove_account(&self, account: AccountId) -> Result<()>;

    /// Finds messages: `offset` 0 and up, `limit` at least 1.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) for a query nested more than 128 deep and for a mark above 63.
    async fn search(
        &self,
        account: AccountId,
        query: &Query,
        sort: Sort,
        offset: usize,
        limit: usize,
    ) -> Result<Hits>;

    /// Ids in the index, ascending, strictly after `after`, at most `limit`: what a check compares with the store.
    async fn ids(&self, account: AccountId, after: Option<MessageId>, limit: usize)
    -> Result<Vec<MessageId>>;
}
