//! `signet restore`: a new data directory from a backup, or what the servers' own backup brought back, without a running
//! process.
//!
//! The keys are those of now. An account whose key no epoch of now wraps was purged after the backup: what is left of
//! it is removed before anything is served. Nor are the backup's sessions: some were ended since, by whom they belong to
//! or with a password that was set, and the backup does not know which.

use std::path::Path;
use std::sync::Arc;

use schema::{AccountId, Backend, Durability, Instance, RowKey, Scan, SystemClock, Table, Write};
use seal::KeyFile;
use serde_json::json;

use super::migrate::refuse_nodes;
use super::print;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::directory::parse_id;
use crate::failure::Failure;
use crate::key_copy::{WrappedKeys, account_row, instance_row};
use crate::operator::{BACKUP_DATA, BACKUP_INSTANCE};
use crate::start::{migration, servers};
use crate::{keys, start};

/// Restores the backup in `from` into the configured data directory, or makes what the configured servers hold of a backup
/// of theirs one that can be served.
///
/// # Errors
/// 78 if the backup is not whole, the directory is not new, or the keys are not those of the instance; 69 if a node lives,
/// or a server does not answer.
pub fn run(config: &Config, from: Option<&Path>, json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match (config.is_cluster(), from) {
        (false, Some(from)) => runtime.block_on(from_directory(config, from, json)),
        (true, None) => runtime.block_on(on_servers(config, json)),
        (false, None) => Err(Failure::config("`signet restore` needs the directory of a backup")),
        (true, Some(_)) => Err(Failure::config(
            "a backup's directory is restored into one of the embedded backend, but `backend` is \"cluster\": have the \
             servers restore theirs, then run `signet restore` without a directory",
        )),
    }
}

async fn from_directory(config: &Config, from: &Path, json: bool) -> Result<(), Failure> {
    let named = from.join(BACKUP_INSTANCE);
    let text = std::fs::read_to_string(&named).map_err(|error| {
        Failure::other(format!("{} is no whole backup: {}: {error}", from.display(), named.display()))
    })?;
    let id = parse_id(&text).ok_or_else(|| Failure::other(format!("{} is damaged", named.display())))?;
    // First what may be refused.
    let opened = Keys::open(config, &id)?;
    let mut data = DataDirectory::take_for_restore(&config.data(), id)?;
    let path = data.path().to_owned();
    let entries = embedded::Embedded::restore(&from.join(BACKUP_DATA), &path)
        .map_err(|error| Failure::of("the backup was not restored", &error))?;
    let embedded = start::open_backend(config, &data)?;
    let purged = apply(config, embedded.backend(), opened, id).await?;
    let closed = tokio::task::spawn_blocking(move || embedded.close()).await;
    closed.map_err(|error| Failure::of("the restored data", &error))?.map_err(failed)?;
    data.finish()?;
    let text = format!(
        "{entries} entries are in {}; {purged} accounts that were purged since are not",
        path.display()
    );
    print(json, &json!({ "entries": entries, "purged": purged }), &text);
    Ok(())
}

/// The index and the queues may be empty: they are made here, and filled by `signet schema reindex`.
async fn on_servers(config: &Config, json: bool) -> Result<(), Failure> {
    let options = config.servers()?;
    servers::patiently(config, async || cluster::apply_schema(&options).await).await?;
    let cluster = servers::connect(config).await?;
    let backend = cluster.backend();
    let held = migration::look(backend.store.as_ref()).await?;
    held.check()?;
    let Some(id) = held.id.filter(|_| held.has_key) else {
        return Err(Failure::config("the servers hold no instance: have them restore their backup first"));
    };
    refuse_nodes(backend.store.as_ref()).await?;
    let mut opened = Keys::open(config, &id)?;
    opened.key_file.share();
    let purged = apply(config, backend, opened, id).await?;
    cluster.close().await;
    let text = format!(
        "what the servers hold can be served, but for {purged} accounts that were purged since; `signet schema reindex` \
         has the search find it"
    );
    print(json, &json!({ "purged": purged }), &text);
    Ok(())
}

/// The keys of now.
struct Keys {
    key_file: KeyFile,
    copy: WrappedKeys,
}

impl Keys {
    fn open(config: &Config, id: &[u8; 16]) -> Result<Self, Failure> {
        let key_file = keys::Source::find(config, id)?.open(id)?;
        let copy = WrappedKeys::read(key_file.epochs_path()).map_err(|error| {
            Failure::config(format!("the wrapped keys beside the epochs file cannot be read: {error}"))
        })?;
        Ok(Self { key_file, copy: copy.unwrap_or_default() })
    }
}

fn failed(error: schema::Error) -> Failure {
    Failure::of("the restored data", &error)
}

/// Puts the keys of now in, and takes away what was purged, and every session. Returns how many accounts that were. May be
/// run again after it was cut short.
async fn apply(config: &Config, backend: Backend, keys: Keys, id: [u8; 16]) -> Result<usize, Failure> {
    let Keys { key_file, copy } = keys;
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
    let instance = Instance::open(backend, key_file, id, Arc::new(SystemClock), settings);
    let instance = instance.await.map_err(failed)?;
    for &account in &purged {
        forget(&instance, account).await.map_err(failed)?;
    }
    instance.end_all_sessions().await.map_err(failed)?;
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
