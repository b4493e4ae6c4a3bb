//! Keys as they are stored: wrapped, in rows; unwrapped, only in memory.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use moka::sync::Cache;
use seal::{AccountKeys, InstanceKey, KeyFile};
use tokio::sync::RwLock;

use crate::turn::{Turn, Turns};
use crate::{AccountId, Durability, Error, MailStore, Result, RowKey, Scan, Table, Write};

/// Unwrapped account keys kept in memory, at most.
const OPEN_ACCOUNTS: u64 = 10_000;
/// For how long one stays there where other processes purge accounts too.
const OPEN_TIME: Duration = Duration::from_secs(60);
/// Account keys that are wrapped anew in one write.
const REWRAP_PAGE: usize = 1_000;
/// Of them, so many at once where each is compared and set.
const REPLACED_AT_ONCE: usize = 32;

/// How long a process that changes keys may give no sign of life before another takes over.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a call waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The instance's key and those of the accounts.
pub(crate) struct Keyring {
    store: Arc<dyn MailStore>,
    file: RwLock<KeyFile>,
    /// Other processes change the file, and purge accounts, too.
    is_shared: bool,
    instance_id: [u8; 16],
    instance: InstanceKey,
    open: Cache<AccountId, Arc<AccountKeys>>,
    turns: Turns,
}

fn instance_row() -> RowKey {
    RowKey::new(Table::Instance, [], *b"key")
}

/// By which the processes that share the keys take turns in changing them.
fn turn_row() -> RowKey {
    RowKey::new(Table::Instance, [], *b"turn")
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

/// Whoever copies the files here may do so yet.
fn stale(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::transient("the key files of this process are not the newest", error)
}

fn taken(why: &'static str) -> Error {
    Error::transient("keys could not be changed", why)
}

/// Whether newer files may open what these do not.
fn may_be_newer(error: &seal::Error) -> bool {
    matches!(error, seal::Error::UnknownEpoch { .. } | seal::Error::DoesNotOpen)
}

impl Keyring {
    /// Opens the instance's key, or makes it when the store is new. A rotation that a crash cut short is finished.
    pub(crate) async fn open(
        store: Arc<dyn MailStore>,
        mut file: KeyFile,
        instance_id: [u8; 16],
    ) -> Result<Self> {
        let stored = async || Ok::<_, Error>(store.get(&[instance_row()]).await?.pop().flatten());
        let wrapped = match stored().await? {
            Some(wrapped) => wrapped,
            None => {
                let wrapped = InstanceKey::generate(instance_id).wrap(file.newest());
                let is_first = store.replace(instance_row(), None, Some(wrapped.clone()), vec![]).await?;
                // Of two that make one at the same time both go on with the one that is stored.
                if is_first { wrapped } else { stored().await?.unwrap_or(wrapped) }
            }
        };
        let instance = match InstanceKey::unwrap(instance_id, &wrapped, &file) {
            Err(error) if file.is_shared() && may_be_newer(&error) => {
                // Another process may be changing the epoch right now.
                file.reload().map_err(key_error)?;
                let wrapped = stored().await?.unwrap_or(wrapped);
                InstanceKey::unwrap(instance_id, &wrapped, &file)
            }
            opened => opened,
        };
        let is_shared = file.is_shared();
        let unfinished = file.epochs().count() > 1;
        let mut open = Cache::builder().max_capacity(OPEN_ACCOUNTS);
        if is_shared {
            open = open.time_to_live(OPEN_TIME);
        }
        let keyring = Self {
            turns: Turns::new(store.clone(), turn_row(), SILENCE),
            store,
            file: RwLock::new(file),
            is_shared,
            instance_id,
            instance: instance.map_err(key_error)?,
            open: open.build(),
        };
        if unfinished {
            keyring.finish_rotation().await?;
        }
        Ok(keyring)
    }

    async fn finish_rotation(&self) -> Result<()> {
        // One that a dead process has left is waited for; a living one finishes its own.
        let mut turn = match self.begin(SILENCE + PATIENCE).await {
            Err(error) if error.is_transient() && self.is_shared => return Ok(()),
            begun => begun?,
        };
        let moved = self.finish_in_turn(&mut turn).await;
        self.end(turn).await;
        moved.map(drop)
    }

    async fn finish_in_turn(&self, turn: &mut Option<Turn>) -> Result<u32> {
        let mut file = self.file.write().await;
        self.catch_up(&mut file).await?;
        self.move_to_newest(&mut file, turn).await
    }

    /// The right to wrap keys and to change epochs, for which other processes wait that share the files. It is had before
    /// the file is locked: who only opens keys goes on meanwhile.
    async fn begin(&self, patience: Duration) -> Result<Option<Turn>> {
        if !self.is_shared {
            return Ok(None);
        }
        let turn = self.turns.take(patience).await?;
        turn.map(Some).ok_or_else(|| taken("another process is changing them"))
    }

    async fn end(&self, turn: Option<Turn>) {
        if let Some(turn) = turn {
            // Who does not hear of it waits until this one counts as silent.
            let _ = self.turns.give_back(turn, None).await;
        }
    }

    /// Reads shared files again: they must hold the epoch that is in force.
    async fn catch_up(&self, file: &mut KeyFile) -> Result<()> {
        if !self.is_shared {
            return Ok(());
        }
        file.reload().map_err(stale)?;
        // A change of the epoch begins with this row.
        let wrapped = self.store.get(&[instance_row()]).await?.pop().flatten().unwrap_or_default();
        InstanceKey::unwrap(self.instance_id, &wrapped, file).map(drop).map_err(stale)
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
        let mut is_newest = !self.is_shared;
        loop {
            // The lock keeps a purge from destroying the key between its being read and its being remembered.
            let file = self.file.read().await;
            let Some(wrapped) = self.store.get(&[account_row(account)]).await?.pop().flatten() else {
                return Ok(None);
            };
            let error = match AccountKeys::unwrap(*account.as_bytes(), &wrapped, &file) {
                Ok(keys) => {
                    let keys = Arc::new(keys);
                    self.open.insert(account, keys.clone());
                    return Ok(Some(keys));
                }
                Err(error) => error,
            };
            drop(file);
            match error {
                error if !is_newest && may_be_newer(&error) => {
                    self.file.write().await.reload().map_err(stale)?;
                    is_newest = true;
                }
                seal::Error::UnknownEpoch { .. } if self.is_shared => return Err(stale(error)),
                error => return Err(key_error(error)),
            }
        }
    }

    /// Makes keys for a new account and writes them, with `rows` (which those keys seal) and its id in the row `claim`,
    /// all in one step. False, and nothing is written, if that row is there already.
    pub(crate) async fn create(
        &self,
        account: AccountId,
        claim: RowKey,
        rows: impl FnOnce(&AccountKeys) -> Vec<Write>,
    ) -> Result<bool> {
        let turn = self.begin(PATIENCE).await?;
        let created = self.create_in_turn(account, claim, rows).await;
        self.end(turn).await;
        created
    }

    async fn create_in_turn(
        &self,
        account: AccountId,
        claim: RowKey,
        rows: impl FnOnce(&AccountKeys) -> Vec<Write>,
    ) -> Result<bool> {
        let mut file = self.file.write().await;
        self.catch_up(&mut file).await?;
        let keys = AccountKeys::generate(*account.as_bytes());
        let mut writes = vec![Write::Put(account_row(account), keys.wrap(file.newest()))];
        writes.extend(rows(&keys));
        self.store.replace(claim, None, Some(account.as_bytes().to_vec()), writes).await
    }

    /// Destroys the account's key: its wrapped key is deleted with `rows`, all others are wrapped under a new epoch,
    /// and the old epoch's key is destroyed. When it returns, no copy of the store opens the account any more. An account
    /// whose key is gone already is left at that. `first` is done before, when no other process can change keys.
    pub(crate) async fn destroy(
        &self,
        account: AccountId,
        rows: Vec<Write>,
        first: impl Future<Output = Result<()>>,
    ) -> Result<u32> {
        let mut turn = self.begin(PATIENCE).await?;
        let epoch = match first.await {
            Ok(()) => self.destroy_in_turn(account, rows, &mut turn).await,
            Err(error) => Err(error),
        };
        self.end(turn).await;
        epoch
    }

    async fn destroy_in_turn(
        &self,
        account: AccountId,
        rows: Vec<Write>,
        turn: &mut Option<Turn>,
    ) -> Result<u32> {
        let mut file = self.file.write().await;
        self.catch_up(&mut file).await?;
        if self.store.get(&[account_row(account)]).await?.pop().flatten().is_none() {
            return self.move_to_newest(&mut file, turn).await;
        }
        // First the new epoch: a crash after the delete is then finished by the next start, which sees two.
        file.add_epoch().map_err(file_error)?;
        let mut writes = vec![Write::Delete(account_row(account))];
        writes.extend(rows);
        self.store.write(writes, Durability::Now).await?;
        self.open.invalidate(&account);
        self.move_to_newest(&mut file, turn).await
    }

    /// Replaces the master key, unless it is kept elsewhere than in a file, and wraps every key anew under a new epoch;
    /// the old ones are destroyed. What the keys seal stays as it is.
    pub(crate) async fn rotate(&self) -> Result<u32> {
        let mut turn = self.begin(PATIENCE).await?;
        let epoch = self.rotate_in_turn(&mut turn).await;
        self.end(turn).await;
        epoch
    }

    async fn rotate_in_turn(&self, turn: &mut Option<Turn>) -> Result<u32> {
        let mut file = self.file.write().await;
        self.catch_up(&mut file).await?;
        match file.rotate_master() {
            Ok(()) | Err(seal::Error::MasterKeptElsewhere) => {}
            Err(error) => return Err(file_error(error)),
        }
        file.add_epoch().map_err(file_error)?;
        self.move_to_newest(&mut file, turn).await
    }

    async fn move_to_newest(&self, file: &mut KeyFile, turn: &mut Option<Turn>) -> Result<u32> {
        let epoch = file.newest().id();
        let wrapped = self.instance.wrap(file.newest());
        self.store.write(vec![Write::Put(instance_row(), wrapped)], Durability::Later).await?;
        let mut after = None;
        loop {
            if let Some(turn) = turn
                && !self.turns.renew(turn, &[]).await?
            {
                return Err(taken("another process has taken over"));
            }
            let mut scan = Scan::all(Table::AccountKeys, [], REWRAP_PAGE);
            if let Some(after) = after.take() {
                scan = scan.above(after);
            }
            let rows = self.store.scan(&scan).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            let mut anew = Vec::new();
            for (clustering, wrapped) in rows {
                if seal::wrapped_epoch(&wrapped) == Some(epoch) {
                    continue;
                }
                let id = AccountId::from_slice(&clustering)
                    .ok_or(Error::Damaged { what: Table::AccountKeys.name() })?;
                let keys = AccountKeys::unwrap(*id.as_bytes(), &wrapped, file).map_err(key_error)?;
                anew.push((account_row(id), wrapped, keys.wrap(file.newest())));
            }
            self.put_anew(anew).await?;
        }
        self.store.flush().await?;
        file.destroy_epochs_before(epoch).map_err(file_error)?;
        Ok(epoch)
    }

    /// Puts wrapped keys, each a row, what it held and what it is to hold.
    async fn put_anew(&self, keys: Vec<(RowKey, Vec<u8>, Vec<u8>)>) -> Result<()> {
        if !self.is_shared {
            let writes = keys.into_iter().map(|(row, _, new)| Write::Put(row, new)).collect();
            return self.store.write(writes, Durability::Later).await;
        }
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            // One that was destroyed meanwhile stays so.
            let replaced = keys
                .by_ref()
                .take(REPLACED_AT_ONCE)
                .map(|(row, old, new)| self.store.replace(row, Some(old), Some(new), vec![]));
            try_join_all(replaced).await?;
        }
        Ok(())
    }

    /// The id that the keys are bound to.
    pub(crate) fn instance_id(&self) -> [u8; 16] {
        self.instance_id
    }
}
