//! Keys as they are stored: wrapped, in rows; unwrapped, only in memory.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use seal::{AccountKeys, InstanceKey, KeyFile};
use tokio::sync::Mutex;

use crate::instance::remembering;
use crate::{AccountId, Durability, Error, MailStore, Result, RowKey, Scan, Table, Write};

/// Unwrapped account keys kept in memory, at most.
const OPEN_ACCOUNTS: u64 = 10_000;
/// Account keys that are wrapped anew in one write.
const REWRAP_PAGE: usize = 1_000;

/// The instance's key and those of the accounts.
pub(crate) struct Keyring {
    store: Arc<dyn MailStore>,
    file: Mutex<KeyFile>,
    instance_id: [u8; 16],
    instance: InstanceKey,
    open: Cache<AccountId, Arc<AccountKeys>>,
}

fn instance_row() -> RowKey {
    RowKey::new(Table::Instance, [], *b"key")
}

fn account_row(account: AccountId) -> RowKey {
    RowKey::new(Table::AccountKeys, [], *account.as_bytes())
}

fn key_error(_: seal::Error) -> Error {
    Error::Sealed { what: Table::AccountKeys.name() }
}

fn file_error(error: seal::Error) -> Error {
    Error::permanent("the epoch keys could not be changed", error)
}

impl Keyring {
    /// Opens the instance's key, or makes it when the store is new. A rotation that a crash cut short is finished. Keys of
    /// accounts are remembered for `remembered`, or until they are destroyed by this process.
    pub(crate) async fn open(
        store: Arc<dyn MailStore>,
        file: KeyFile,
        instance_id: [u8; 16],
        remembered: Option<Duration>,
    ) -> Result<Self> {
        let wrapped = store.get(&[instance_row()]).await?.pop().flatten();
        let instance = match wrapped {
            Some(wrapped) => InstanceKey::unwrap(instance_id, &wrapped, &file).map_err(key_error)?,
            None => {
                let key = InstanceKey::generate(instance_id);
                let wrapped = key.wrap(file.newest());
                store.write(vec![Write::Put(instance_row(), wrapped)], Durability::Now).await?;
                key
            }
        };
        let unfinished = file.epochs().count() > 1;
        let open = remembering(OPEN_ACCOUNTS, remembered);
        let keyring = Self { store, file: Mutex::new(file), instance_id, instance, open };
        if unfinished {
            let mut file = keyring.file.lock().await;
            keyring.move_to_newest(&mut file).await?;
        }
        Ok(keyring)
    }

    /// The key that hashes addresses and domains for look-up.
    pub(crate) fn instance(&self) -> &InstanceKey {
        &self.instance
    }

    /// The account's keys; `None` if it has none (any more).
    pub(crate) async fn account(&self, account: AccountId) -> Result<Option<Arc<AccountKeys>>> {
        if let Some(keys) = self.open.get(&account) {
            return Ok(Some(keys));
        }
        // The lock keeps a purge from destroying the key between its being read and its being remembered.
        let file = self.file.lock().await;
        let Some(wrapped) = self.store.get(&[account_row(account)]).await?.pop().flatten() else {
            return Ok(None);
        };
        let keys = Arc::new(AccountKeys::unwrap(*account.as_bytes(), &wrapped, &file).map_err(key_error)?);
        self.open.insert(account, keys.clone());
        Ok(Some(keys))
    }

    /// Makes keys for a new account and writes them, with `rows` (which those keys seal) and its id in the row `claim`,
    /// all in one step. False, and nothing is written, if that row is there already.
    pub(crate) async fn create(
        &self,
        account: AccountId,
        claim: RowKey,
        rows: impl FnOnce(&AccountKeys) -> Vec<Write>,
    ) -> Result<bool> {
        let file = self.file.lock().await;
        let keys = AccountKeys::generate(*account.as_bytes());
        let mut writes = vec![Write::Put(account_row(account), keys.wrap(file.newest()))];
        writes.extend(rows(&keys));
        self.store.replace(claim, None, Some(account.as_bytes().to_vec()), writes).await
    }

    /// Destroys the account's key: its wrapped key is deleted with `rows`, all others are wrapped under a new epoch,
    /// and the old epoch's key is destroyed. When it returns, no copy of the store opens the account any more. An account
    /// whose key is gone already is left at that.
    pub(crate) async fn destroy(&self, account: AccountId, rows: Vec<Write>) -> Result<u32> {
        let mut file = self.file.lock().await;
        if self.store.get(&[account_row(account)]).await?.pop().flatten().is_none() {
            return self.move_to_newest(&mut file).await;
        }
        // First the new epoch: a crash after the delete is then finished by the next start, which sees two.
        file.add_epoch().map_err(file_error)?;
        let mut writes = vec![Write::Delete(account_row(account))];
        writes.extend(rows);
        self.store.write(writes, Durability::Now).await?;
        self.open.invalidate(&account);
        self.move_to_newest(&mut file).await
    }

    /// Replaces the master key, unless it is kept elsewhere than in a file, and wraps every key anew under a new epoch;
    /// the old ones are destroyed. What the keys seal stays as it is.
    pub(crate) async fn rotate(&self) -> Result<u32> {
        let mut file = self.file.lock().await;
        match file.rotate_master() {
            Ok(()) | Err(seal::Error::MasterKeptElsewhere) => {}
            Err(error) => return Err(file_error(error)),
        }
        file.add_epoch().map_err(file_error)?;
        self.move_to_newest(&mut file).await
    }

    async fn move_to_newest(&self, file: &mut KeyFile) -> Result<u32> {
        let epoch = file.newest().id();
        let wrapped = self.instance.wrap(file.newest());
        self.store.write(vec![Write::Put(instance_row(), wrapped)], Durability::Later).await?;
        let mut after = None;
        loop {
            let mut scan = Scan::all(Table::AccountKeys, [], REWRAP_PAGE);
            if let Some(after) = after.take() {
                scan = scan.above(after);
            }
            let rows = self.store.scan(&scan).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            let mut writes = Vec::new();
            for (clustering, wrapped) in &rows {
                if seal::wrapped_epoch(wrapped) == Some(epoch) {
                    continue;
                }
                let id = AccountId::from_slice(clustering)
                    .ok_or(Error::Damaged { what: Table::AccountKeys.name() })?;
                let keys = AccountKeys::unwrap(*id.as_bytes(), wrapped, file).map_err(key_error)?;
                writes.push(Write::Put(account_row(id), keys.wrap(file.newest())));
            }
            self.store.write(writes, Durability::Later).await?;
        }
        self.store.flush().await?;
        file.destroy_epochs_before(epoch).map_err(file_error)?;
        Ok(epoch)
    }

    /// The id that the keys are bound to.
    pub(crate) fn instance_id(&self) -> [u8; 16] {
        self.instance_id
    }
}
