//! Accounts and addresses: whose mail is whose.

use serde::{Deserialize, Serialize};

use crate::address::MailAddress;
use crate::mailbox::MailboxRow;
use crate::password::hash_password;
use crate::{
    AccountId, Error, Instance, Job, Millis, Result, Role, RowKey, Scan, Table, Write, uuid_v8, value,
};

/// The most addresses an account has.
pub(crate) const ADDRESSES: usize = 1_000;
/// Rows read at once where all are wanted.
const PAGE: usize = 1_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    pub address: String,
    pub password: String,
    pub quota: Option<u64>,
    pub locked: bool,
    pub created_at: Millis,
}

/// An account as its operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// Which.
    pub id: AccountId,
    /// Its addresses, the one it was created with first; `@domain` is a catch-all.
    pub addresses: Vec<String>,
    /// Octets it may hold; `None` = no limit.
    pub quota: Option<u64>,
    /// Whether sign-in is refused.
    pub locked: bool,
    /// When it was created.
    pub created_at: Millis,
}

/// Whose mail a recipient's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// This account's.
    Account(AccountId),
    /// An account's that may hold no more.
    OverQuota,
    /// Nobody's, on a domain that we host.
    UnknownAddress,
    /// Nobody's: we do not host the domain.
    UnknownDomain,
}

/// What a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// The epoch that all other keys are wrapped under now; every older one is destroyed.
    pub epoch: u32,
}

fn account_row(id: AccountId) -> RowKey {
    RowKey::new(Table::Accounts, [], *id.as_bytes())
}

impl Instance {
    fn address_hash(&self, address: &MailAddress) -> [u8; 32] {
        self.keyring.instance().hash("address", address.to_string().as_bytes())
    }

    fn address_row(&self, address: &MailAddress) -> RowKey {
        RowKey::new(Table::Addresses, self.address_hash(address), [])
    }

    pub(crate) async fn row(&self, key: &RowKey) -> Result<Option<Vec<u8>>> {
        Ok(self.backend.store.get(std::slice::from_ref(key)).await?.pop().flatten())
    }

    /// Creates an account with its mailboxes and its first address.
    ///
    /// # Errors
    /// [`Error::Refused`] if the address or the password is not one or the domain is not hosted,
    /// [`Error::Conflict`] if the address is taken.
    pub async fn create_account(
        &self,
        address: &str,
        password: &str,
        quota: Option<u64>,
    ) -> Result<AccountId> {
        let address = self.free_address(address).await?;
        if address.local.is_empty() {
            return Err(Error::Refused { what: "an account's first address is no catch-all" });
        }
        let password = hash_password(password).await?;
        let id = AccountId::random();
        let row = AccountRow {
            address: address.to_string(),
            password,
            quota: quota.or(self.settings.quota),
            locked: false,
            created_at: self.now(),
        };
        let listed = RowKey::new(Table::AddressesByAccount, *id.as_bytes(), self.address_hash(&address));
        let is_free = self
            .keyring
            .create(id, self.address_row(&address), |keys| {
                let mut writes = vec![
                    Write::Put(account_row(id), value::seal(keys, &account_row(id), &row)),
                    Write::Put(listed.clone(), value::seal(keys, &listed, &address.to_string())),
                ];
                for role in Role::ALL {
                    let mailbox = uuid_v8(&keys.digest("mailbox of a role", &[role.name().as_bytes()]));
                    let key = RowKey::new(Table::Mailboxes, *id.as_bytes(), mailbox);
                    let mailbox = MailboxRow { name: role.title().to_owned(), role: Some(role) };
                    writes.push(Write::Put(key.clone(), value::seal(keys, &key, &mailbox)));
                }
                writes
            })
            .await?;
        if is_free { Ok(id) } else { Err(Error::Conflict { what: "the address is taken" }) }
    }

    /// Every account, in the order of the ids.
    pub async fn accounts(&self) -> Result<Vec<AccountId>> {
        let rows = self.all_rows(Table::Accounts).await?;
        Ok(rows.iter().filter_map(|(clustering, _)| AccountId::from_slice(clustering)).collect())
    }

    /// An account as its operator sees it; `None` if there is none.
    pub async fn account_info(&self, id: AccountId) -> Result<Option<AccountInfo>> {
        let Some(row) = self.account_row(id).await? else { return Ok(None) };
        let mut addresses = self.addresses(id).await?;
        addresses.sort_by_key(|address| (*address != row.address, address.clone()));
        Ok(Some(AccountInfo {
            id,
            addresses,
            quota: row.quota,
            locked: row.locked,
            created_at: row.created_at,
        }))
    }

    pub(crate) async fn account_row(&self, id: AccountId) -> Result<Option<AccountRow>> {
        let Some(keys) = self.keyring.account(id).await? else { return Ok(None) };
        let key = account_row(id);
        match self.row(&key).await? {
            Some(sealed) => value::open(&keys, &key, &sealed).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) async fn change_account(
        &self,
        id: AccountId,
        change: impl Fn(&mut AccountRow),
    ) -> Result<bool> {
        let Some(keys) = self.keyring.account(id).await? else { return Ok(false) };
        let key = account_row(id);
        loop {
            let Some(sealed) = self.row(&key).await? else { return Ok(false) };
            let mut row: AccountRow = value::open(&keys, &key, &sealed)?;
            change(&mut row);
            let new = value::seal(&keys, &key, &row);
            if self.backend.store.replace(key.clone(), Some(sealed), Some(new), vec![]).await? {
                return Ok(true);
            }
        }
    }

    /// The account that has exactly this address: no subaddress, no catch-all.
    pub async fn account_by_address(&self, address: &str) -> Result<Option<AccountId>> {
        let Ok(address) = MailAddress::parse(address) else { return Ok(None) };
        self.owner(&address).await
    }

    async fn owner(&self, address: &MailAddress) -> Result<Option<AccountId>> {
        let row = self.row(&self.address_row(address)).await?;
        Ok(row.and_then(|id| AccountId::from_slice(&id)))
    }

    /// Refuses (or allows again) sign-in; a locked account's sessions end, its mail is still kept. False if there is
    /// no such account.
    pub async fn set_locked(&self, id: AccountId, locked: bool) -> Result<bool> {
        let changed = self.change_account(id, |row| row.locked = locked).await?;
        if changed && locked {
            self.end_sessions(id).await?;
        }
        Ok(changed)
    }

    /// Sets the password; all sessions end. False if there is no such account.
    pub async fn set_password(&self, id: AccountId, password: &str) -> Result<bool> {
        let hash = hash_password(password).await?;
        let changed = self.change_account(id, |row| row.password.clone_from(&hash)).await?;
        if changed {
            self.end_sessions(id).await?;
        }
        Ok(changed)
    }

    /// Forgets an account: its key is destroyed before this returns, a job takes away what is left, and finishes what a
    /// crash cut short. `None` if there is no such account.
    pub async fn purge_account(&self, id: AccountId) -> Result<Option<Purged>> {
        if self.row(&account_row(id)).await?.is_none() {
            return Ok(None);
        }
        // Whoever gets the job waits for this process: a worker elsewhere would begin an epoch in its own key files.
        let job = self.backend.queue.publish(vec![Job::PurgeAccount { account: id }]);
        let epoch = self.destroy_account(id, job).await?;
        Ok(Some(Purged { epoch }))
    }

    /// `first` is done once no other process can change keys.
    async fn destroy_account(&self, id: AccountId, first: impl Future<Output = Result<()>>) -> Result<u32> {
        self.end_sessions(id).await?;
        let purge = RowKey::new(Table::Purges, [], *id.as_bytes());
        let mut rows =
            vec![Write::Put(purge, self.now().to_be_bytes().to_vec()), Write::Delete(account_row(id))];
        for (hash, _) in self.account_rows(Table::AddressesByAccount, id).await? {
            rows.push(Write::Delete(RowKey::new(Table::Addresses, hash, [])));
        }
        let epoch = self.keyring.destroy(id, rows, first).await?;
        self.counts.invalidate(&id);
        self.quotas.invalidate(&id);
        Ok(epoch)
    }

    /// Takes away every row, blob and index entry of an account that is being purged; its key first, if that is there
    /// still.
    pub async fn remove_account_remains(&self, id: AccountId) -> Result<()> {
        if self.row(&account_row(id)).await?.is_some() {
            self.destroy_account(id, std::future::ready(Ok(()))).await?;
        }
        self.backend.index.remove_account(id).await?;
        self.backend.blobs.remove_account(id).await?;
        self.backend.store.remove_account(id).await
    }

    /// Accounts that were purged, with the time: a restore applies them before it serves.
    pub async fn purges(&self) -> Result<Vec<(AccountId, Millis)>> {
        let rows = self.all_rows(Table::Purges).await?;
        Ok(rows
            .iter()
            .filter_map(|(id, at)| {
                Some((AccountId::from_slice(id)?, Millis::from_be_bytes(at.as_slice().try_into().ok()?)))
            })
            .collect())
    }

    async fn free_address(&self, address: &str) -> Result<MailAddress> {
        let address = MailAddress::parse(address)?;
        if self.row(&self.domain_row(&address.domain)).await?.is_none() {
            return Err(Error::Refused { what: "the domain is not hosted here" });
        }
        match self.owner(&address).await? {
            Some(_) => Err(Error::Conflict { what: "the address is taken" }),
            None => Ok(address),
        }
    }

    /// Gives an account one more address, or the catch-all `@domain`. Returns it as it is stored.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is not an address, its domain is not hosted or there is no such account,
    /// [`Error::Conflict`] if it is taken, [`Error::Limit`] if the account has too many.
    pub async fn add_address(&self, address: &str, account: AccountId) -> Result<String> {
        let _turn = self.lock_addresses().await;
        let address = self.free_address(address).await?;
        let Some(keys) = self.keyring.account(account).await? else {
            return Err(Error::Refused { what: "there is no such account" });
        };
        if self.account_rows(Table::AddressesByAccount, account).await?.len() >= ADDRESSES {
            return Err(Error::Limit { what: "the number of addresses" });
        }
        let listed = RowKey::new(Table::AddressesByAccount, *account.as_bytes(), self.address_hash(&address));
        let then = vec![Write::Put(listed.clone(), value::seal(&keys, &listed, &address.to_string()))];
        let owner = Some(account.as_bytes().to_vec());
        let claim = self.address_row(&address);
        if !self.backend.store.replace(claim.clone(), None, owner.clone(), then).await? {
            return Err(Error::Conflict { what: "the address is taken" });
        }
        if self.row(&account_row(account)).await?.is_some() {
            return Ok(address.to_string());
        }
        // It was purged between the two.
        self.backend.store.replace(claim, owner, None, vec![Write::Delete(listed)]).await?;
        Err(Error::Refused { what: "there is no such account" })
    }

    /// Takes an address away from its account. False if nobody has it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is the address the account was created with.
    pub async fn remove_address(&self, address: &str) -> Result<bool> {
        let address = MailAddress::parse(address)?;
        let Some(id) = self.owner(&address).await? else { return Ok(false) };
        if self.account_row(id).await?.is_some_and(|row| row.address == address.to_string()) {
            return Err(Error::Conflict { what: "an account keeps the address it was created with" });
        }
        let listed = RowKey::new(Table::AddressesByAccount, *id.as_bytes(), self.address_hash(&address));
        let owner = Some(id.as_bytes().to_vec());
        // It may have become another's since.
        self.backend.store.replace(self.address_row(&address), owner, None, vec![Write::Delete(listed)]).await
    }

    /// An account's addresses, in no particular order.
    pub async fn addresses(&self, id: AccountId) -> Result<Vec<String>> {
        let Some(keys) = self.keyring.account(id).await? else { return Ok(vec![]) };
        let mut addresses = Vec::new();
        for (clustering, sealed) in self.account_rows(Table::AddressesByAccount, id).await? {
            let key = RowKey::new(Table::AddressesByAccount, *id.as_bytes(), clustering);
            addresses.push(value::open(&keys, &key, &sealed)?);
        }
        Ok(addresses)
    }

    /// Whose mail is `recipient`'s: the address as it is, then without its subaddress, then the domain's catch-all.
    pub async fn resolve(&self, recipient: &str) -> Result<Recipient> {
        let Ok(address) = MailAddress::parse(recipient) else { return Ok(Recipient::UnknownAddress) };
        let mut owner = self.owner(&address).await?;
        if let (None, Some(plain)) = (owner, address.without_tag()) {
            owner = self.owner(&plain).await?;
        }
        if owner.is_none() {
            owner = self.owner(&address.catch_all()).await?;
        }
        match owner {
            Some(id) if self.is_over_quota(id).await? => Ok(Recipient::OverQuota),
            Some(id) => Ok(Recipient::Account(id)),
            None if self.row(&self.domain_row(&address.domain)).await?.is_some() => {
                Ok(Recipient::UnknownAddress)
            }
            None => Ok(Recipient::UnknownDomain),
        }
    }

    /// Replaces the master key (unless it is kept elsewhere than in a file), wraps every key under a new epoch and
    /// destroys the old ones; returns the new epoch.
    pub async fn rotate_keys(&self) -> Result<u32> {
        self.keyring.rotate().await
    }

    pub(crate) async fn all_rows(&self, table: Table) -> Result<Vec<crate::Row>> {
        self.backend.store.rows(Scan::all(table, [], PAGE)).await
    }

    pub(crate) async fn account_rows(&self, table: Table, id: AccountId) -> Result<Vec<crate::Row>> {
        self.backend.store.rows(Scan::all(table, *id.as_bytes(), PAGE)).await
    }
}
