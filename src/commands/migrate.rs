//! `signet migrate DIR --to cluster|embedded`: takes an instance from a data directory to the servers, or back, without a
//! running process. Which servers, and where the keys are, says the configuration of the nodes.

use std::path::Path;
use std::sync::Arc;

use embedded::{Embedded, Options};
use schema::{Backend, Clock as _, Instance, MailStore, SystemClock, count_living_nodes};
use seal::KeyFile;
use serde_json::Value;

use super::print;
use crate::arguments::Side;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::failure::Failure;
use crate::keys;
use crate::migrate::{Migration, Report, greatest_position};
use crate::start::{self, migration, servers};
use crate::storage::Storage;

/// Migrates between `directory` and the configured servers. May be run again after it was cut short.
///
/// # Errors
/// 78 if one side is not what it has to be; 69 if one is in use, or a server does not answer; 1 if what was copied is not
/// what it was.
pub fn run(config: &Config, to: Side, directory: &Path, json: bool) -> Result<(), Failure> {
    if !config.is_cluster() {
        return Err(Failure::config(
            "`signet migrate` needs the configuration of the nodes, where `backend` is \"cluster\"; the data directory \
             is its argument",
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        match to {
            Side::Cluster => to_cluster(config, directory).await,
            Side::Embedded => to_embedded(config, directory).await,
        }
    })?;
    let shown = report.to_json();
    print(json, &shown, &text(&shown));
    Ok(())
}

fn text(report: &Value) -> String {
    let mut text = format!("{} accounts with {} messages are there", report["accounts"], report["messages"]);
    if report["unreadableMessages"] != 0 {
        text += &format!("; {} more were unreadable before", report["unreadableMessages"]);
    }
    text + ". The search finds them as they are indexed, after the next start."
}

fn failed(error: schema::Error) -> Failure {
    let failure = Failure::of("the migration was cut short, and goes on if it is run again", &error);
    if error.is_transient() { Failure::unavailable(failure) } else { failure }
}

async fn to_cluster(config: &Config, directory: &Path) -> Result<Report, Failure> {
    let data = DataDirectory::take_to_leave(directory).map_err(Failure::or_unavailable)?;
    let id = data.instance();
    let key_file = key_file(config, &id)?;
    let options = config.servers()?;
    servers::patiently(config, async || cluster::apply_schema(&options).await).await?;
    let cluster = servers::connect(config).await?;
    let target = cluster.backend();
    let embedded = open(&data, 0)?;
    let source = start::instance(config, embedded.backend(), key_file, id).await?;
    migration::begin(target.store.as_ref(), id).await?;
    let report = carry(config, source, target.clone()).await?;
    // First the source: never are both of them served from.
    data.leave()?;
    schema::step!("migration.left");
    migration::end(target.store.as_ref()).await?;
    cluster.close().await;
    Storage::Embedded { data, embedded }.close().await?;
    Ok(report)
}

async fn to_embedded(config: &Config, directory: &Path) -> Result<Report, Failure> {
    let cluster = servers::connect(config).await?;
    let backend = cluster.backend();
    let store = backend.store.clone();
    let held = migration::look(store.as_ref()).await?;
    if let Some(migration::Mark::Coming(_)) = held.mark {
        held.check()?;
    }
    let Some(id) = held.id.filter(|_| held.has_key) else {
        return Err(Failure::config("the servers hold no instance"));
    };
    let mut key_file = key_file(config, &id)?;
    key_file.share();
    let source = start::instance(config, backend, key_file, id).await?;
    refuse_nodes(store.as_ref()).await?;
    let mut data = DataDirectory::take_for_migration(directory, id).map_err(Failure::or_unavailable)?;
    let above = greatest_position(&source).await.map_err(failed)?;
    let embedded = open(&data, above.0)?;
    let report = carry(config, source.clone(), embedded.backend()).await?;
    migration::leave(store.as_ref()).await?;
    if let Err(refused) = refuse_nodes(store.as_ref()).await {
        // One was started meanwhile: what it has done is not in the directory.
        if held.mark.is_none() {
            migration::end(store.as_ref()).await?;
        }
        return Err(refused);
    }
    schema::step!("migration.left");
    data.finish()?;
    drop(source);
    cluster.close().await;
    Storage::Embedded { data, embedded }.close().await?;
    Ok(report)
}

/// Copies and verifies.
async fn carry(config: &Config, source: Arc<Instance>, target: Backend) -> Result<Report, Failure> {
    let id = source.id();
    let mut key_file = key_file(config, &id)?;
    if key_file.epochs().count() > 1 {
        // The target would finish it, and destroy a key that the source still needs.
        return Err(Failure::unavailable("a change of the keys is not at its end on the source"));
    }
    if target.is_shared {
        key_file.share();
    }
    let migration = Migration::new(source, target.clone()).await.map_err(failed)?;
    migration.copy().await.map_err(failed)?;
    let opened = start::instance(config, target, key_file, id).await?;
    let report = migration.verify(&opened).await.map_err(failed)?;
    match report.is_ok() {
        true => Ok(report),
        false => Err(Failure::other(
            "what was copied is not what it was: see `signet check --repair` on the source, then run it again",
        )
        .with("report", report.to_json())),
    }
}

fn key_file(config: &Config, id: &[u8; 16]) -> Result<KeyFile, Failure> {
    keys::Source::find(config, id)?.open(id)
}

/// The directory's settings of memory are not in the configuration of the nodes.
fn open(data: &DataDirectory, positions_above: u64) -> Result<Arc<Embedded>, Failure> {
    let options = Options { positions_above, ..Options::default() };
    let opened = Embedded::open(data.path(), options);
    opened.map(Arc::new).map_err(|error| Failure::of("the data directory cannot be opened", &error))
}

/// Refuses what must not be done while nodes live.
///
/// # Errors
/// 69 if one does.
pub(super) async fn refuse_nodes(store: &dyn MailStore) -> Result<(), Failure> {
    match count_living_nodes(store, SystemClock.now()).await.map_err(failed)? {
        0 => Ok(()),
        alive => {
            Err(Failure::unavailable(format!("{alive} nodes are alive: stop them all, then run it again")))
        }
    }
}
