//! The search index on Elasticsearch.
//!
//! A document holds blinded tokens, positions and numbers, and no source: Elasticsearch keeps nothing that the store could
//! not rebuild. All documents of an account are on one shard. Only the core of Elasticsearch is used, so that every
//! distribution of it will do.

mod bulk;
mod definition;
mod document;
mod next;
mod nodes;
mod query;
mod rebuild;
mod search;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use schema::index::{Hits, IndexedMessage, Query, SearchIndex, Sort};
use schema::{AccountId, MessageId, Result};

use crate::calls::timed;
use crate::{ElasticsearchOptions, StartError};
use bulk::Change;
use next::Next;
use nodes::{Failure, Nodes, Request};
use query::Dialect;
use search::{Places, Search};

pub use rebuild::Rebuild;

/// How messages to operators name it.
const SERVER: &str = "Elasticsearch";
/// Messages of an account that are removed at once.
const REMOVED: usize = 5_000;
const NOT_REMOVED: &str = "messages could not be removed from the search index";

fn unusable(reason: String) -> StartError {
    StartError::Unusable { server: SERVER, reason }
}

/// The search index on Elasticsearch.
///
/// Durability: a put is in the translog, on the disk of each copy of its shard, when it returns.
pub struct ElasticIndex {
    nodes: Arc<Nodes>,
    alias: String,
    /// What is written to as well while it is there.
    next: Option<Next>,
    dialect: Dialect,
    /// How far Elasticsearch numbers hits.
    window: usize,
    places: Places,
}

impl ElasticIndex {
    /// Connects, and checks that the index is one that this program uses.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way and what helps.
    pub async fn connect(options: &ElasticsearchOptions) -> Result<Self, StartError> {
        definition::check_alias(&options.alias)?;
        let nodes = Arc::new(Nodes::open(options)?);
        let dialect = Dialect::of(definition::check_version(&nodes).await?);
        let next = Next::of(&options.alias);
        Ok(Self { next: Some(next), ..Self::behind(nodes, &options.alias, dialect).await? })
    }

    /// The index behind `alias`, by itself.
    async fn behind(nodes: Arc<Nodes>, alias: &str, dialect: Dialect) -> Result<Self, StartError> {
        let Some(found) = definition::find(&nodes, alias).await? else {
            return Err(unusable(format!("there is no alias `{alias}`: run `signet schema apply`")));
        };
        let (alias, window, places) = (alias.to_owned(), found.window, search::places());
        Ok(Self { nodes, alias, next: None, dialect, window, places })
    }

    /// Makes the index and its alias unless they are there. Two at once do no harm.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way and what helps.
    pub async fn apply_schema(options: &ElasticsearchOptions) -> Result<(), StartError> {
        definition::check_alias(&options.alias)?;
        let nodes = Nodes::open(options)?;
        definition::check_version(&nodes).await?;
        definition::apply(&nodes, options).await
    }

    fn search_of<'a>(&'a self, alias: &str, account: AccountId) -> Search<'a> {
        Search::new(&self.nodes, alias, account, self.dialect, self.window)
    }

    /// Makes all changes, first to the next index: if that takes this one's place in between, they are there.
    async fn write(&self, changes: &[Change<'_>]) -> Result<(), Failure> {
        if let Some(next) = &self.next
            && next.is_there(&self.nodes).await?
        {
            match bulk::write(&self.nodes, next.alias(), changes).await {
                // It has taken its place, or was given up.
                Err(failure) if failure.is_missing() => next.forget(),
                written => written?,
            }
        }
        bulk::write(&self.nodes, &self.alias, changes).await
    }

    /// Removes all that the index behind `alias` has of the account.
    async fn remove_all(&self, alias: &str, account: AccountId) -> Result<()> {
        // A put that failed after it had written may not be seen yet.
        self.refresh(alias).await?;
        let mut after = None;
        loop {
            let ids = self.search_of(alias, account).ids(after, REMOVED).await?;
            if ids.is_empty() {
                return Ok(());
            }
            after = ids.last().copied();
            let changes: Vec<_> = ids.iter().map(|&id| Change::Delete(account, id)).collect();
            bulk::write(&self.nodes, alias, &changes).await.map_err(|failure| failure.during(NOT_REMOVED))?;
        }
    }

    async fn refresh(&self, alias: &str) -> Result<()> {
        let path = format!("{alias}/_refresh");
        let request = Request::post(&path, &[("filter_path", "_shards.failed")], String::new());
        let answer = self.nodes.ask::<serde::de::IgnoredAny>(&request).await;
        answer.map(drop).map_err(|failure| failure.during("the search index could not be refreshed"))
    }
}

#[async_trait]
impl SearchIndex for ElasticIndex {
    async fn put_all(&self, messages: Vec<(AccountId, Vec<IndexedMessage>)>) -> Result<()> {
        let _time = timed("index.put");
        let all: Vec<_> = messages
            .iter()
            .flat_map(|(account, messages)| messages.iter().map(move |message| (*account, message)))
            .collect();
        // Of two copies only the last is sent: one that has to be sent again would come after the other.
        let mut seen = HashSet::new();
        let mut last: Vec<_> =
            all.into_iter().rev().filter(|(account, message)| seen.insert((*account, message.id))).collect();
        last.reverse();
        let changes: Vec<_> =
            last.into_iter().map(|(account, message)| Change::Put(account, message)).collect();
        let written = self.write(&changes).await;
        written.map_err(|failure| failure.during("messages could not be put into the search index"))
    }

    async fn remove(&self, account: AccountId, messages: &[MessageId]) -> Result<()> {
        let _time = timed("index.remove");
        let changes: Vec<_> = messages.iter().map(|&id| Change::Delete(account, id)).collect();
        self.write(&changes).await.map_err(|failure| failure.during(NOT_REMOVED))
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        let _time = timed("index.remove_account");
        if let Some(next) = &self.next
            && next.is_there(&self.nodes).await.map_err(|failure| failure.during(NOT_REMOVED))?
        {
            let removed = self.remove_all(next.alias(), account).await;
            // If it has taken this one's place meanwhile, the same call may be made again.
            removed.inspect_err(|_| next.forget())?;
        }
        self.remove_all(&self.alias, account).await
    }

    async fn search(
        &self,
        account: AccountId,
        query: &Query,
        sort: Sort,
        offset: usize,
        limit: usize,
    ) -> Result<Hits> {
        let _time = timed("index.search");
        self.search_of(&self.alias, account).find(&self.places, query, sort, offset, limit).await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        let _time = timed("index.ids");
        self.search_of(&self.alias, account).ids(after, limit).await
    }
}
