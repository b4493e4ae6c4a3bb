//! What the program does on behalf of its operator beside serving: checks and backups.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use embedded::Embedded;
use schema::{Error, Instance, Result};
use serde_json::{Value, json};

use crate::check;
use crate::directory::{hex, write_whole};

/// The stored data in a backup's directory.
pub const BACKUP_DATA: &str = "signet.backup";
/// The file that names the instance in a backup's directory. It is written last: a backup without it is not whole.
pub const BACKUP_INSTANCE: &str = "instance";

/// Checks and backs up what is open.
pub struct Operations {
    /// `None` on the cluster.
    embedded: Option<Arc<Embedded>>,
    instance: Arc<Instance>,
}

impl Operations {
    /// On this backend and instance.
    pub fn new(embedded: Option<Arc<Embedded>>, instance: Arc<Instance>) -> Self {
        Self { embedded, instance }
    }
}

#[async_trait]
impl api::Operator for Operations {
    async fn check(&self, repair: bool) -> Result<Value> {
        Ok(check::run(&self.instance, repair).await?.to_json())
    }

    async fn backup(&self, to: PathBuf) -> Result<Value> {
        let Some(embedded) = self.embedded.clone() else {
            let what = "the cluster has no backup of its own: each of its servers has a way to make one";
            return Err(Error::Conflict { what });
        };
        let instance = hex(&self.instance.id());
        let written = tokio::task::spawn_blocking(move || write_backup(&embedded, &instance, &to));
        let entries =
            written.await.map_err(|error| Error::transient("the backup was cut short", error))??;
        Ok(json!({ "entries": entries }))
    }
}

fn write_backup(embedded: &Embedded, instance: &str, to: &Path) -> Result<u64> {
    let is_empty = std::fs::read_dir(to).map(|mut entries| entries.next().is_none());
    match is_empty {
        Ok(true) => {}
        Ok(false) => return Err(Error::Refused { what: "the directory is not empty" }),
        Err(_) => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(to);
            made.map_err(|_| Error::Refused { what: "the directory cannot be made" })?;
        }
    }
    let entries = embedded
        .backup(&to.join(BACKUP_DATA))
        .map_err(|error| Error::permanent("the backup could not be written", error))?;
    write_whole(to, BACKUP_INSTANCE, instance)
        .map_err(|error| Error::permanent("the backup could not be written", error))?;
    Ok(entries)
}
