//! `signet schema apply|show|reindex`: talks to the servers of the cluster directly.

use serde_json::json;

use super::{print, reindex};
use crate::arguments::SchemaCommand;
use crate::config::Config;
use crate::directory::hex;
use crate::failure::Failure;
use crate::keys;
use crate::start::servers;

/// Runs one of the commands.
///
/// # Errors
/// If there is no cluster, or its servers do not let us.
pub fn run(config: &Config, command: &SchemaCommand, json: bool) -> Result<(), Failure> {
    if !config.is_cluster() {
        return Err(Failure::config(
            "`signet schema` is for the servers of the cluster, but `backend` is \"embedded\": a directory needs none",
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match command {
            SchemaCommand::Apply => apply(config, json).await,
            SchemaCommand::Show => show(config, json).await,
            SchemaCommand::Reindex { abandon: false } => reindex::run(config, json).await,
            SchemaCommand::Reindex { abandon: true } => reindex::abandon(config, json).await,
        }
    })
}

async fn apply(config: &Config, json: bool) -> Result<(), Failure> {
    let options = config.servers()?;
    let applied = servers::patiently(config, async || cluster::apply_schema(&options).await).await?;
    let cluster = servers::connect(config).await?;
    let founded = servers::found(config, cluster.backend()).await;
    cluster.close().await;
    let founded = founded?;
    let text = match applied.from {
        Some(from) if from == applied.to => format!("the schema is version {from} already"),
        Some(from) => format!("the schema is version {} now; it was {from}", applied.to),
        None => format!("the schema is version {} now; there was none", applied.to),
    };
    let shown = json!({
        "from": applied.from,
        "to": applied.to,
        "instanceId": hex(&founded.id),
        "isNew": founded.is_new,
        "masterKeyFile": founded.key_path,
        "epochsFile": founded.epochs_path,
    });
    print(json, &shown, &text);
    if founded.is_new && !json {
        keys::announce(founded.key_path.as_deref(), &founded.epochs_path);
        println!("Every node is given these files.");
    }
    Ok(())
}

async fn show(config: &Config, json: bool) -> Result<(), Failure> {
    let options = config.servers()?;
    let versions = servers::patiently(config, async || cluster::schema_version(&options).await).await?;
    let has = versions.from.map_or("no schema".to_owned(), |version| format!("version {version}"));
    let text = format!("the servers have {has}; this program needs version {}", versions.to);
    print(json, &json!({ "servers": versions.from, "program": versions.to }), &text);
    Ok(())
}
