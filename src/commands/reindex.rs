//! `signet schema reindex`: builds the search index anew from the store, while the nodes serve.

use std::sync::Arc;

use cluster::index::Rebuild;
use schema::{Instance, SearchIndex};
use serde_json::json;
use tokio::time::Instant;
use workers::Filled;

use super::print;
use crate::config::Config;
use crate::failure::Failure;
use crate::start::servers;

/// Builds it, moves the alias, and removes what served before. May be run again after it was cut short.
///
/// # Errors
/// 78 if the servers, or the keys, are not what they have to be; 69 if a server does not answer.
pub async fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let options = config.servers()?;
    let cluster = servers::connect(config).await?;
    let instance = servers::open_instance(config, cluster.backend()).await?;
    let rebuild = servers::patiently(config, async || Rebuild::begin(&options.elasticsearch).await).await?;
    let next = servers::patiently(config, async || rebuild.next().await).await?;
    let mut filled = Filled::default();
    fill(config, &instance, Arc::new(next), &mut filled).await?;
    schema::step!("reindex.filled");
    servers::patiently(config, async || rebuild.switch().await).await?;
    let switched = Instant::now();
    schema::step!("reindex.switched");
    let served = servers::patiently(config, async || rebuild.served().await).await?;
    fill(config, &instance, Arc::new(served), &mut filled).await?;
    servers::patiently(config, async || rebuild.finish(switched).await).await?;
    cluster.close().await;
    let Filled { put, refused, .. } = filled;
    let mut text = format!("the search index is built anew: {put} messages were put into it");
    if refused > 0 {
        text += &format!(", and {refused} were not: see `signet check`");
    }
    print(json, &json!({ "messages": put, "refused": refused }), &text);
    Ok(())
}

/// Gives up a rebuild that was cut short.
///
/// # Errors
/// As for [`run`].
pub async fn abandon(config: &Config, json: bool) -> Result<(), Failure> {
    let options = config.servers()?;
    let was_there =
        servers::patiently(config, async || Rebuild::abandon(&options.elasticsearch).await).await?;
    let text = if was_there { "the rebuild is given up" } else { "no rebuild is under way" };
    print(json, &json!({ "abandoned": was_there }), text);
    Ok(())
}

/// Fills it, and goes on where a server did not answer for less than a start may wait for one.
async fn fill(
    config: &Config,
    instance: &Arc<Instance>,
    index: Arc<dyn SearchIndex>,
    filled: &mut Filled,
) -> Result<(), Failure> {
    let (settings, patience) = (workers::Settings::default(), config.seconds("start_seconds"));
    let mut got_on = Instant::now();
    loop {
        let before = filled.put;
        let Err(error) = workers::fill(instance, index.clone(), &settings, filled).await else {
            return Ok(());
        };
        if filled.put > before {
            got_on = Instant::now();
        }
        let failure = Failure::of("the rebuild was cut short, and goes on if it is run again", &error);
        if !error.is_transient() {
            return Err(failure);
        }
        if got_on.elapsed() > patience {
            return Err(Failure::unavailable(failure));
        }
        tracing::warn!(error = error.with_causes(), "the rebuild waits for a server");
        tokio::time::sleep(servers::PAUSE).await;
    }
}
