//! A rebuild: the next index is made beside the one that serves, filled from the store by the caller, and put in its place.
//!
//! From [`Rebuild::begin`] on, all that is written to the index goes to the next one too, whichever process writes it.
//! What a server that is late with the news of an alias still let go to one of them only, a second fill after
//! [`Rebuild::switch`] finds.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::next::{BELIEVED, alias_of};
use super::nodes::{Failure, Nodes, Request};
use super::query::Dialect;
use super::{ElasticIndex, definition, unusable};
use crate::{ElasticsearchOptions, StartError};

/// A rebuild that is under way.
pub struct Rebuild {
    nodes: Arc<Nodes>,
    dialect: Dialect,
    alias: String,
    /// The index that serves until the switch.
    old: String,
    /// The one that serves from then on.
    new: String,
    request_time: Duration,
}

impl Rebuild {
    /// Makes the next index, with the shards and replicas that `options` say, or goes on with the one that is there. Takes a
    /// few seconds: as long as others may believe that there is none.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way and what helps.
    pub async fn begin(options: &ElasticsearchOptions) -> Result<Self, StartError> {
        let (nodes, dialect) = open(options).await?;
        let alias = options.alias.clone();
        let Some(old) = definition::find(&nodes, &alias).await? else {
            return Err(unusable(format!("there is no alias `{alias}`: run `signet schema apply`")));
        };
        remove_left(&nodes, &alias).await?;
        let next = alias_of(&alias);
        if definition::find(&nodes, &next).await?.is_none() {
            definition::create(&nodes, options, &definition::following(&alias, &old.name), &next).await?;
        }
        let Some(new) = definition::find(&nodes, &next).await? else { return Err(overtaken()) };
        definition::wait_for_shards(&nodes, options, &next).await?;
        sleep(BELIEVED).await;
        let request_time = options.request_time;
        Ok(Self { nodes, dialect, alias, old: old.name, new: new.name, request_time })
    }

    /// The next index, by itself.
    ///
    /// # Errors
    /// [`StartError`] if it is not there any more.
    pub async fn next(&self) -> Result<ElasticIndex, StartError> {
        ElasticIndex::behind(self.nodes.clone(), &alias_of(&self.alias), self.dialect).await
    }

    /// Puts the next index in the place of the one that serves. Searches do not notice.
    ///
    /// # Errors
    /// [`StartError`], also if another rebuild has done so, or has given it up.
    pub async fn switch(&self) -> Result<(), StartError> {
        let Self { alias, old, new, .. } = self;
        let actions = json!([
            {"remove": {"index": new, "alias": alias_of(alias), "must_exist": true}},
            {"remove": {"index": old, "alias": alias, "must_exist": true}},
            {"add": {"index": new, "alias": alias}},
        ]);
        let body = json!({"actions": actions}).to_string();
        match self.nodes.ask::<Value>(&Request::post("_aliases", &[], body)).await {
            Err(failure) if failure.is_missing() => Err(overtaken()),
            answer => Ok(answer.map(drop)?),
        }
    }

    /// The index that serves now, by itself.
    ///
    /// # Errors
    /// [`StartError`] if it is not there any more.
    pub async fn served(&self) -> Result<ElasticIndex, StartError> {
        ElasticIndex::behind(self.nodes.clone(), &self.alias, self.dialect).await
    }

    /// Removes the index that served before the switch, which was before `switched`, once no search is under way in it.
    ///
    /// # Errors
    /// [`StartError`]; then the next rebuild removes it.
    pub async fn finish(&self, switched: Instant) -> Result<(), StartError> {
        sleep_until(switched + self.request_time).await;
        remove_left(&self.nodes, &self.alias).await
    }

    /// Gives up a rebuild that another call began; whether there was one.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way and what helps.
    pub async fn abandon(options: &ElasticsearchOptions) -> Result<bool, StartError> {
        let (nodes, _) = open(options).await?;
        let path = format!("_alias/{}", alias_of(&options.alias));
        let behind = match nodes.ask::<Map<String, Value>>(&Request::get(&path, &[])).await {
            Err(failure) if failure.is_missing() => return Ok(false),
            answer => answer?,
        };
        for index in behind.keys() {
            delete(&nodes, index).await?;
        }
        Ok(true)
    }
}

async fn open(options: &ElasticsearchOptions) -> Result<(Arc<Nodes>, Dialect), StartError> {
    definition::check_alias(&options.alias)?;
    let nodes = Arc::new(Nodes::open(options)?);
    let dialect = Dialect::of(definition::check_version(&nodes).await?);
    Ok((nodes, dialect))
}

fn overtaken() -> StartError {
    unusable("another rebuild of the index has ended, or has given up, the one that was under way".into())
}

/// Removes what served before and has no alias any more.
async fn remove_left(nodes: &Nodes, alias: &str) -> Result<(), StartError> {
    #[derive(Deserialize)]
    struct Described {
        #[serde(default)]
        aliases: Map<String, Value>,
        #[serde(default)]
        mappings: Value,
    }
    let parameters = [("filter_path", "*.aliases,*.mappings._meta")];
    let path = format!("{alias}-v*");
    let indices: HashMap<String, Described> = nodes.ask(&Request::get(&path, &parameters)).await?;
    for (index, described) in indices {
        let is_ours = described.mappings.pointer("/_meta/program").and_then(Value::as_str) == Some("signet");
        if is_ours && described.aliases.is_empty() && definition::is_of(alias, &index) {
            delete(nodes, &index).await?;
        }
    }
    Ok(())
}

/// Deletes an index. That another did so first is no error.
async fn delete(nodes: &Nodes, index: &str) -> Result<(), Failure> {
    match nodes.ask::<Value>(&Request::delete(index, &[])).await {
        Err(failure) if failure.is_missing() => Ok(()),
        answer => answer.map(drop),
    }
}
