//! The search index on Elasticsearch.
//!
//! A document holds blinded tokens, positions and numbers, and no source: Elasticsearch keeps nothing that the store could
//! not rebuild. All documents of an account are on one shard. Only the core of Elasticsearch is used, so that every
//! distribution of it will do.

mod bulk;
mod definition;
mod document;
mod nodes;
mod query;
mod search;

use std::collections::HashSet;

use async_trait::async_trait;
use schema::index::{Hits, IndexedMessage, Query, SearchIndex, Sort};
use schema::{AccountId, MessageId, Result};

use crate::calls::timed;
use crate::{ElasticsearchOptions, StartError};
use bulk::Bulk;
use document::document;
use nodes::{Nodes, Request};
use query::Dialect;
use search::{Places, Search};

/// How messages to operators name it.
const SERVER: &str = "Elasticsearch";
/// Messages of an account that are removed at once.
const REMOVED: usize = 5_000;

fn unusable(reason: String) -> StartError {
    StartError::Unusable { server: SERVER, reason }
}

/// The search index on Elasticsearch.
///
/// Durability: a put is in the translog, on the disk of each copy of its shard, when it returns.
pub struct ElasticIndex {
    nodes: Nodes,
    alias: String,
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
        let nodes = Nodes::open(options)?;
        let dialect = Dialect::of(definition::check_version(&nodes).await?);
        let alias = options.alias.clone();
        let Some(found) = definition::find(&nodes, &alias).await? else {
            return Err(unusable(format!("there is no alias `{alias}`: run `signet schema apply`")));
        };
        Ok(Self { nodes, alias, dialect, window: found.window, places: search::places() })
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

    fn search_of(&self, account: AccountId) -> Search<'_> {
        Search::new(&self.nodes, &self.alias, account, self.dialect, self.window)
    }

    async fn refresh(&self) -> Result<()> {
        let path = format!("{}/_refresh", self.alias);
        let request = Request::post(&path, &[("filter_path", "_shards.failed")], String::new());
        let answer = self.nodes.ask::<serde::de::IgnoredAny>(&request).await;
        answer.map(drop).map_err(|failure| failure.during("the search index could not be refreshed"))
    }
}

#[async_trait]
impl SearchIndex for ElasticIndex {
    async fn put_all(&self, messages: Vec<(AccountId, Vec<IndexedMessage>)>) -> Result<()> {
        let _time = timed("index.put");
        let mut bulk = Bulk::new(&self.nodes, &self.alias, "messages could not be put into the search index");
        let all: Vec<_> = messages
            .iter()
            .flat_map(|(account, messages)| messages.iter().map(move |message| (*account, message)))
            .collect();
        // Of two copies only the last is sent: one that has to be sent again would come after the other.
        let mut seen = HashSet::new();
        let mut last: Vec<_> =
            all.into_iter().rev().filter(|(account, message)| seen.insert((*account, message.id))).collect();
        last.reverse();
        for (account, message) in last {
            bulk.put(account, message.id, &document(message)).await?;
        }
        bulk.finish().await
    }

    async fn remove(&self, account: AccountId, messages: &[MessageId]) -> Result<()> {
        let _time = timed("index.remove");
        let mut bulk =
            Bulk::new(&self.nodes, &self.alias, "messages could not be removed from the search index");
        for &message in messages {
            bulk.delete(account, message).await?;
        }
        bulk.finish().await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        let _time = timed("index.remove_account");
        // A put that failed after it had written may not be seen yet.
        self.refresh().await?;
        let mut after = None;
        loop {
            let ids = self.search_of(account).ids(after, REMOVED).await?;
            if ids.is_empty() {
                return Ok(());
            }
            after = ids.last().copied();
            self.remove(account, &ids).await?;
        }
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
        self.search_of(account).find(&self.places, query, sort, offset, limit).await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        let _time = timed("index.ids");
        self.search_of(account).ids(after, limit).await
    }
}
