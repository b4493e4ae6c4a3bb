//! A copy of the wrapped keys beside the epoch keys.
//!
//! A purge destroys an epoch, and with it every wrapped key in every older backup of the store, also those of accounts
//! that were not purged. What the newest epoch wraps is therefore kept beside it too: a restore takes from there the
//! keys of accounts that live, and knows by what is not there which accounts were purged. The copy is written before
//! the old epoch is destroyed, which the keyring asks for by [`MailStore::flush`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use schema::{
    AccountId, ChangePage, Durability, Error, MailStore, Partitions, Position, Result, Row, RowKey, Scan,
    Table, Write,
};

use crate::directory::{hex, write_whole};

const PAGE: usize = 1_000;
const INSTANCE_KEY: &str = "instance";
const END: &str = "end";

/// Where the instance's own key stands.
pub fn instance_row() -> RowKey {
    RowKey::new(Table::Instance, [], *b"key")
}

/// Where an account's key stands.
pub fn account_row(account: AccountId) -> RowKey {
    RowKey::new(Table::AccountKeys, [], *account.as_bytes())
}

/// The wrapped keys of an instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WrappedKeys {
    /// The instance's own.
    pub instance: Option<Vec<u8>>,
    /// The accounts'.
    pub accounts: BTreeMap<AccountId, Vec<u8>>,
}

impl WrappedKeys {
    /// Those in a store.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of_store(store: &dyn MailStore) -> Result<Self> {
        let instance = store.get(&[instance_row()]).await?.pop().flatten();
        let rows = store.rows(Scan::all(Table::AccountKeys, [], PAGE)).await?.into_iter();
        let accounts = rows.filter_map(|(id, key)| Some((AccountId::from_slice(&id)?, key))).collect();
        Ok(Self { instance, accounts })
    }

    /// Those in the copy beside `epochs`; `None` if there is none (no epoch was ever destroyed).
    ///
    /// # Errors
    /// If it cannot be read, or is not whole.
    pub fn read(epochs: &Path) -> io::Result<Option<Self>> {
        match std::fs::read_to_string(copy_path(epochs)) {
            Ok(text) => Self::parse(&text).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut keys = Self::default();
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        loop {
            let line = lines.next()?;
            if line == END {
                return lines.next().is_none().then_some(keys);
            }
            let (of, key) = line.split_once(' ')?;
            let key = octets(key)?;
            match of {
                INSTANCE_KEY => keys.instance = Some(key),
                id => {
                    keys.accounts.insert(id.parse().ok()?, key);
                }
            }
        }
    }

    fn to_text(&self) -> String {
        let mut text =
            "# Wrapped keys: with the epochs file beside it, what a restore of an older backup needs.\n"
                .to_owned();
        let instance = self.instance.iter().map(|key| (INSTANCE_KEY.to_owned(), key));
        let accounts = self.accounts.iter().map(|(id, key)| (id.to_string(), key));
        for (of, key) in instance.chain(accounts) {
            text.push_str(&format!("{of} {}\n", hex(key)));
        }
        text + END
    }

    fn write(&self, epochs: &Path) -> io::Result<()> {
        let path = copy_path(epochs);
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        write_whole(directory, &name, &self.to_text())
    }
}

fn copy_path(epochs: &Path) -> PathBuf {
    epochs.with_extension("wrapped")
}

fn octets(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn has_key(writes: &[Write]) -> bool {
    writes.iter().any(|write| match write {
        Write::Put(key, _) | Write::PutAsOf(key, _, _) | Write::Delete(key) => {
            matches!(key.table, Table::AccountKeys | Table::Instance)
        }
        Write::Change(..) => false,
    })
}

/// A store that keeps the copy.
pub struct KeyCopy {
    store: Arc<dyn MailStore>,
    epochs: PathBuf,
    is_stale: AtomicBool,
    /// Held while the copy is written, so that nobody goes on before it is whole.
    refreshing: tokio::sync::Mutex<()>,
}

impl KeyCopy {
    /// `store`, with its wrapped keys copied to beside `epochs`.
    pub fn around(store: Arc<dyn MailStore>, epochs: &Path) -> Arc<dyn MailStore> {
        Arc::new(Self {
            store,
            epochs: epochs.to_owned(),
            is_stale: AtomicBool::new(true),
            refreshing: tokio::sync::Mutex::default(),
        })
    }

    /// After the write: a copy made during it may lack it.
    fn note(&self, is_of_keys: bool) {
        if is_of_keys {
            self.is_stale.store(true, Ordering::Release);
        }
    }

    async fn refresh(&self) -> Result<()> {
        let _turn = self.refreshing.lock().await;
        if self.is_stale.swap(false, Ordering::AcqRel) {
            let keys = WrappedKeys::of_store(self.store.as_ref()).await?;
            if let Err(error) = keys.write(&self.epochs) {
                self.is_stale.store(true, Ordering::Release);
                return Err(Error::transient("the copy of the wrapped keys could not be written", error));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl MailStore for KeyCopy {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>> {
        self.store.get(keys).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Vec<Row>> {
        self.store.scan(scan).await
    }

    async fn partitions(
        &self,
        table: Table,
        of: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Partitions> {
        self.store.partitions(table, of, after, limit).await
    }

    async fn write(&self, writes: Vec<Write>, durability: Durability) -> Result<()> {
        let is_of_keys = has_key(&writes);
        self.store.write(writes, durability).await?;
        self.note(is_of_keys);
        Ok(())
    }

    async fn replace(
        &self,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool> {
        let is_of_keys = has_key(&then);
        let replaced = self.store.replace(key, expected, new, then).await?;
        self.note(is_of_keys);
        Ok(replaced)
    }

    async fn changes(&self, account: AccountId, since: Position, limit: usize) -> Result<ChangePage> {
        self.store.changes(account, since, limit).await
    }

    async fn position(&self, account: AccountId) -> Result<Position> {
        self.store.position(account).await
    }

    async fn forget_changes(&self, account: AccountId, until: Position) -> Result<()> {
        self.store.forget_changes(account, until).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        self.store.remove_account(account).await
    }

    async fn flush(&self) -> Result<()> {
        self.store.flush().await?;
        self.refresh().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_reads_back_and_one_cut_short_does_not() {
        let keys = WrappedKeys {
            instance: Some(vec![1, 2, 255]),
            accounts: [(AccountId([7; 16]), vec![0, 9]), (AccountId([8; 16]), vec![])].into(),
        };
        let text = keys.to_text();
        assert_eq!(WrappedKeys::parse(&text), Some(keys));
        for length in 0..text.len() {
            assert_eq!(WrappedKeys::parse(&text[..length]), None, "{length}");
        }
    }
}
