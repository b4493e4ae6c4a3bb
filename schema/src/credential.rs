//! Signing in, and what a client shows afterwards.

use std::sync::Arc;
use std::time::Duration;

use seal::Credential;
use serde::{Deserialize, Serialize};

use crate::{Account, AccountId, Durability, Error, Instance, Millis, Result, RowKey, Table, Write, value};

const HOUR: Millis = 3_600_000;
/// How long the cache keeps the row of a session, where the store is further away than the cache.
const REMEMBERED: Duration = Duration::from_secs(30);

/// A sign-in, with the credential that is shown this once.
#[derive(Debug)]
pub struct NewSession {
    /// What the client shows from now on.
    pub credential: Credential,
    /// Whose it is.
    pub account: AccountId,
    /// Until when.
    pub expires_at: Millis,
}

/// Whose a credential is.
#[derive(Debug, Clone)]
pub struct Session {
    /// The account it opens.
    pub account: Account,
    /// Until when.
    pub expires_at: Millis,
}

#[derive(Serialize, Deserialize)]
struct CredentialRow {
    account: AccountId,
    expires_at: Millis,
}

fn credential_row(hash: &[u8]) -> RowKey {
    RowKey::new(Table::Credentials, hash, [])
}

impl Instance {
    /// Signs in; `None` if the address or the password is wrong or the account is locked. An unknown address takes as
    /// long as a wrong password.
    pub async fn sign_in(&self, address: &str, password: &str) -> Result<Option<NewSession>> {
        let account = self.account_by_address(address).await?;
        let row = match account {
            Some(id) => self.account_row(id).await?,
            None => None,
        };
        let hash = row.as_ref().map_or(seal::password::DUMMY_HASH, |row| &row.password).to_owned();
        let password = seal::Secret::new(password.to_owned());
        let verified = tokio::task::spawn_blocking(move || seal::password::verify(password.expose(), &hash))
            .await
            .map_err(|error| Error::transient("checking a password was cut short", error))?;
        let (Some(account), Some(row), true) = (account, row, verified) else { return Ok(None) };
        if row.locked {
            return Ok(None);
        }
        let session = self.start_session(account).await?;
        // Locking and a new password end the sessions that are there; this one may have come after that.
        let now = self.account_row(account).await?;
        if now.is_some_and(|now| !now.locked && now.password == row.password) {
            return Ok(Some(session));
        }
        self.delete_sessions(account, &[session.credential.hash().to_vec()]).await?;
        Ok(None)
    }

    async fn start_session(&self, account: AccountId) -> Result<NewSession> {
        let credential = Credential::generate();
        let hash = credential.hash();
        let expires_at = self.now() + Millis::from(self.settings.session_hours) * HOUR;
        let key = credential_row(&hash);
        let sealed =
            value::seal_instance(self.keyring.instance(), &key, &CredentialRow { account, expires_at });
        let listed = RowKey::new(Table::CredentialsByAccount, *account.as_bytes(), hash);
        let writes = vec![Write::Put(key, sealed), Write::Put(listed, expires_at.to_be_bytes().to_vec())];
        self.backend.store.write(writes, Durability::Now).await?;
        self.drop_expired(account).await?;
        Ok(NewSession { credential, account, expires_at })
    }

    /// Whose the credential is; `None` if nobody's (any more).
    pub async fn session(self: &Arc<Self>, credential: &Credential) -> Result<Option<Session>> {
        let Some(row) = self.credential(&credential.hash()).await? else { return Ok(None) };
        if row.expires_at <= self.now() {
            return Ok(None);
        }
        let account = self.account(row.account).await?;
        Ok(account.map(|account| Session { account, expires_at: row.expires_at }))
    }

    async fn credential(&self, hash: &[u8]) -> Result<Option<CredentialRow>> {
        let key = credential_row(hash);
        let open = |sealed: &[u8]| value::open_instance(self.keyring.instance(), &key, sealed);
        if !self.backend.is_shared {
            return self.row(&key).await?.map(|sealed| open(&sealed)).transpose();
        }
        let cached = self.remembered_as(hash);
        // What does not open is not ours.
        if let Ok(Some(sealed)) = self.backend.cache.get(&cached).await
            && let Ok(row) = open(&sealed)
        {
            return Ok(Some(row));
        }
        let Some(sealed) = self.row(&key).await? else { return Ok(None) };
        let row = open(&sealed)?;
        self.backend.cache.put(&cached, sealed, REMEMBERED).await?;
        // Whoever ends it deletes the row first: either that is seen here, or what was put is removed after it.
        if self.row(&key).await?.is_none() {
            self.backend.cache.remove(&cached).await?;
            return Ok(None);
        }
        Ok(Some(row))
    }

    /// What the cache calls the row of a session.
    fn remembered_as(&self, hash: &[u8]) -> [u8; 32] {
        self.hash("session", hash)
    }

    /// Deletes the rows of sessions, then what the cache has of them.
    async fn delete_sessions(&self, account: AccountId, hashes: &[Vec<u8>]) -> Result<()> {
        let listed =
            |hash: &Vec<u8>| RowKey::new(Table::CredentialsByAccount, *account.as_bytes(), hash.clone());
        let rows = hashes.iter().flat_map(|hash| [credential_row(hash), listed(hash)]);
        self.backend.store.write(rows.map(Write::Delete).collect(), Durability::Now).await?;
        self.forget_sessions(hashes).await
    }

    async fn forget_sessions(&self, hashes: &[Vec<u8>]) -> Result<()> {
        if self.backend.is_shared {
            for hash in hashes {
                self.backend.cache.remove(&self.remembered_as(hash)).await?;
            }
        }
        Ok(())
    }

    /// Ends the credential's session. An unknown one is ignored.
    pub async fn sign_out(self: &Arc<Self>, credential: &Credential) -> Result<()> {
        let hash = credential.hash();
        let key = credential_row(&hash);
        let Some(sealed) = self.row(&key).await? else {
            return self.forget_sessions(&[hash.to_vec()]).await;
        };
        let row: CredentialRow = value::open_instance(self.keyring.instance(), &key, &sealed)?;
        self.delete_sessions(row.account, &[hash.to_vec()]).await
    }

    /// Ends every session of every account: for data that come from a backup, with sessions that may have ended since.
    pub async fn end_all_sessions(&self) -> Result<()> {
        for account in self.accounts().await? {
            self.end_sessions(account).await?;
        }
        Ok(())
    }

    /// Ends every session of the account.
    pub(crate) async fn end_sessions(&self, account: AccountId) -> Result<()> {
        self.drop_sessions(account, Millis::MAX).await.map(drop)
    }

    /// Forgets sessions that are over. Returns how many.
    pub(crate) async fn drop_expired(&self, account: AccountId) -> Result<u64> {
        self.drop_sessions(account, self.now()).await
    }

    async fn drop_sessions(&self, account: AccountId, expired_at: Millis) -> Result<u64> {
        let mut dropped = self.account_rows(Table::CredentialsByAccount, account).await?;
        dropped.retain(|(_, expires_at)| {
            expires_at.as_slice().try_into().map_or(0, Millis::from_be_bytes) <= expired_at
        });
        let hashes: Vec<_> = dropped.into_iter().map(|(hash, _)| hash).collect();
        if !hashes.is_empty() {
            self.delete_sessions(account, &hashes).await?;
        }
        Ok(hashes.len() as u64)
    }
}
