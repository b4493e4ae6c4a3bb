//! A start on the servers of the cluster, and what the first `signet schema apply` makes for all nodes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, StartError};
use schema::{Backend, Instance, MailStore, RowKey, Table};
use tokio::time::Instant;

use super::{Started, instance, migration, unreadable};
use crate::config::Config;
use crate::directory::Directory;
use crate::failure::Failure;
use crate::keys;
use crate::storage::Storage;

/// How long servers that do not answer are left alone.
pub const PAUSE: Duration = Duration::from_secs(2);

/// The instance that the servers hold.
pub struct Founded {
    /// Its id.
    pub id: [u8; 16],
    /// Whether it was made just now.
    pub is_new: bool,
    /// Where its master key is; `None`: it was given.
    pub key_path: Option<PathBuf>,
    /// Where its epoch keys are.
    pub epochs_path: PathBuf,
}

/// Calls again while servers do not answer, for as long as a start may wait for them.
///
/// # Errors
/// 69 if they do not answer in that time; 78 if they refuse us, or lack what they must have.
pub async fn patiently<T>(
    config: &Config,
    call: impl AsyncFn() -> Result<T, StartError>,
) -> Result<T, Failure> {
    let (began, patience) = (Instant::now(), config.seconds("start_seconds"));
    loop {
        match call().await {
            Ok(done) => return Ok(done),
            Err(StartError::Unreachable { server, reason }) if began.elapsed() + PAUSE <= patience => {
                tracing::warn!(server, reason, "waiting for a server");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error @ StartError::Unreachable { .. }) => return Err(Failure::unavailable(error)),
            Err(error @ StartError::Unusable { .. }) => return Err(Failure::config(error)),
        }
    }
}

/// Connects to the servers.
///
/// # Errors
/// As for [`patiently`].
pub async fn connect(config: &Config) -> Result<Cluster, Failure> {
    let options = config.servers()?;
    patiently(config, async || Cluster::connect(&options).await).await
}

/// Where the id of the instance stands.
pub(super) fn id_row() -> RowKey {
    RowKey::new(Table::Instance, [], *b"id")
}

/// The id of the instance, and whether its key was made; `None` if nobody has made it.
async fn find(store: &dyn MailStore) -> Result<Option<([u8; 16], bool)>, Failure> {
    let held = migration::look(store).await?;
    held.check()?;
    Ok(held.id.map(|id| (id, held.has_key)))
}

/// Opens what `signet schema apply` has made. A node makes neither instance nor keys.
pub(super) async fn open(config: &Config, node: Directory, cluster: Cluster) -> Result<Started, Failure> {
    let instance = open_instance(config, cluster.backend()).await?;
    Ok(Started { storage: Storage::Cluster { node, cluster }, instance })
}

/// The instance that the servers hold, with the keys at hand.
///
/// # Errors
/// 78 if they hold none that is served, or the keys are missing or are not those of the instance.
pub async fn open_instance(config: &Config, backend: Backend) -> Result<Arc<Instance>, Failure> {
    let Some((id, true)) = find(backend.store.as_ref()).await? else {
        return Err(Failure::config(format!(
            "the keyspace `{}` holds no instance yet: run `signet schema apply`",
            config.text("cassandra.keyspace").unwrap_or_default()
        )));
    };
    let mut key_file = keys::Source::find(config, &id)?.open(&id)?;
    key_file.share();
    instance(config, backend, key_file, id).await
}

/// Makes the instance and its keys, unless they were made: then the keys must be at hand, and no others are made. May be
/// run again after it was cut short, and twice at the same time.
///
/// # Errors
/// 78 if the keys are missing, or are not those of the instance.
pub async fn found(config: &Config, backend: Backend) -> Result<Founded, Failure> {
    let store = backend.store.as_ref();
    if find(store).await?.is_none() {
        let id = seal::random_bytes::<16>().to_vec();
        // Of two at the same time one puts its id there; both go on with that.
        let claimed = store.replace(id_row(), None, Some(id), vec![]).await;
        claimed.map_err(|error| unreadable(&error))?;
    }
    let found = async || {
        let found = find(store).await?;
        found.ok_or_else(|| Failure::other("the id of the instance was written, but is not there"))
    };
    let (id, mut has_key) = found().await?;
    let source = keys::Source::find(config, &id)?;
    let mut lock = None;
    if !has_key {
        // Of two at the same time on this machine, the second finds the keys of the first. On two machines the one that is
        // late meets a key that is not its own.
        let directory = source.directory().to_owned();
        let locked = tokio::task::spawn_blocking(move || keys::lock(&directory)).await;
        lock = Some(locked.map_err(|error| Failure::of("the key directory", &error))??);
        has_key = found().await?.1;
    }
    let mut key_file = if has_key { source.open(&id)? } else { source.create(&id)? };
    key_file.share();
    let founded = Founded {
        id,
        is_new: !has_key,
        key_path: key_file.key_path().map(PathBuf::from),
        epochs_path: key_file.epochs_path().to_owned(),
    };
    instance(config, backend, key_file, id).await?;
    drop(lock);
    Ok(founded)
}

#[cfg(test)]
mod tests;
