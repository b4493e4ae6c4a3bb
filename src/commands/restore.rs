//! `signet restore DIR`: a new data directory from a backup, without a running process.
//!
//! The keys are those of now. An account whose key no epoch of now wraps was purged after the backup: what is left of
//! it is removed before anything is served. Nor are the backup's sessions: some were ended since, by whom they belong to
//! or with a password that was set, and the backup does not know which.

use std::path::Path;
use std::sync::Arc;

use schema::{AccountId, Durability, Instance, RowKey, Scan, SystemClock, Table, Write};
use seal::KeyFile;
use serde_json::json;

use super::print;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::directory::parse_id;
use crate::failure::Failure;
use crate::key_copy::{WrappedKeys, account_row, instance_row};
use crate::operator::{BACKUP_DATA, BACKUP_INSTANCE};
use crate::{keys, start};

/// Restores the backup in `from` into the configured data directory.
///
/// # Errors
/// If the backup is not whole, the directory is not new, or the keys are not those of the instance.
pub fn run(config: &Config, from: &Path, json: bool) -> Result<(), Failure> {
    if config.is_cluster() {
        return Err(Failure::config(
            "a backup is restored into a directory of the embedded backend, but `backend` is \"cluster\"",
        ));
    }
    let named = from.join(BACKUP_INSTANCE);
    let text = std::fs::read_to_string(&named).map_err(|error| {
        Failure::other(format!("{} is no whole backup: {}: {error}", from.display(), named.display()))
    })?;
    let instance =
        parse_id(&text).ok_or_else(|| Failure::other(format!("{} is damaged", named.display())))?;
    let key_file = keys::Source::find(config, &instance)?.open(&instance)?;
    let copy = WrappedKeys::read(key_file.epochs_path()).map_err(|error| {
        Failure::config(format!("the wrapped keys beside the epochs file cannot be read: {error}"))
    })?;
    let mut data = DataDirectory::take_for_restore(&config.data(), instance)?;
    let path = data.path().to_owned();
    let entries = embedded::Embedded::restore(&from.join(BACKUP_DATA), &path)
        .map_err(|error| Failure::of("the backup was not restored", &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let purged = runtime.block_on(apply(config, &data, key_file, copy.unwrap_or_default()))?;
    data.finish()?;
    let shown = json!({ "entries": entries, "purged": purged });
    let text = format!(
        "{entries} entries are in {}; {purged} accounts that were purged since are not",
        path.display()
    );
    print(json, &shown, &text);
    Ok(())
}

/// Puts the keys of now in, and takes away what was purged, and every session. Returns how many accounts that were.
async fn apply(
    config: &Config,
    data: &DataDirectory,
    key_file: KeyFile,
    copy: WrappedKeys,
) -> Result<usize, Failure> {
    let failed = |error: schema::Error| Failure::of("the restored data", &error);
    let embedded = start::open_backend(config, data)?;
    let backend = embedded.backend();
    let restored = WrappedKeys::of_store(backend.store.as_ref()).await.map_err(failed)?;
    let opens =
        |wrapped: &[u8]| seal::wrapped_epoch(wrapped).is_some_and(|epoch| key_file.epoch(epoch).is_some());
    let (mut writes, mut purged) = (Vec::new(), Vec::new());
    if !restored.instance.as_deref().is_some_and(opens) {
        let Some(key) = copy.instance.filter(|key| opens(key)) else {
            return Err(Failure::config(
                "the backup is from before a key epoch that was destroyed, and the file of wrapped keys beside the \
                 epochs file is missing or too old",
            ));
        };
        writes.push(Write::Put(instance_row(), key));
    }
    for (account, key) in restored.accounts {
        match copy.accounts.get(&account) {
            _ if opens(&key) => {}
            Some(key) if opens(key) => writes.push(Write::Put(account_row(account), key.clone())),
            _ => purged.push(account),
        }
    }
    backend.store.write(writes, Durability::Now).await.map_err(failed)?;
    let settings = start::settings(config);
    let instance = Instance::open(backend, key_file, data.instance(), Arc::new(SystemClock), settings);
    let instance = instance.await.map_err(failed)?;
    for &account in &purged {
        forget(&instance, account).await.map_err(failed)?;
    }
    instance.end_all_sessions().await.map_err(failed)?;
    drop(instance);
    let closed = tokio::task::spawn_blocking(move || embedded.close()).await;
    closed.map_err(|error| Failure::of("the restored data", &error))?.map_err(failed)?;
    Ok(purged.len())
}

/// Does what the purge did, but for the key, which is gone already.
async fn forget(instance: &Instance, account: AccountId) -> schema::Result<()> {
    let store = &instance.backend.store;
    let row = |table, partition: &[u8], clustering: &[u8]| RowKey::new(table, partition, clustering);
    let mut writes = Vec::new();
    for (table, of) in
        [(Table::AddressesByAccount, Table::Addresses), (Table::CredentialsByAccount, Table::Credentials)]
    {
        let mut scan = Scan::all(table, *account.as_bytes(), 1_000);
        loop {
            let rows = store.scan(&scan).await?;
            let Some((last, _)) = rows.last() else { break };
            scan = scan.above(last.clone());
            writes.extend(rows.iter().map(|(hash, _)| Write::Delete(row(of, hash, &[]))));
        }
    }
    let now = instance.clock.now().to_be_bytes();
    writes.push(Write::Put(row(Table::Purges, &[], account.as_bytes()), now.to_vec()));
    writes.push(Write::Delete(row(Table::Accounts, &[], account.as_bytes())));
    writes.push(Write::Delete(account_row(account)));
    store.write(writes, Durability::Now).await?;
    instance.remove_account_remains(account).await
}
