//! What an account holds, against what it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::Entry;
use crate::{AccountId, Instance, Result, Table};

impl Instance {
    /// Whether the account holds as much as it may, so that not even a small message finds room.
    pub(crate) async fn is_over_quota(&self, id: AccountId) -> Result<bool> {
        Ok(!self.has_room(id, 1).await?)
    }

    /// Whether the account may hold so many octets more.
    pub(crate) async fn has_room(&self, id: AccountId, octets: u64) -> Result<bool> {
        match self.quota(id).await? {
            Some(quota) => {
                let used = self.used(id).await?.load(Ordering::Relaxed);
                Ok(used.saturating_add(octets) <= quota)
            }
            None => Ok(true),
        }
    }

    /// Octets that the account may hold; `None` = no limit.
    async fn quota(&self, id: AccountId) -> Result<Option<u64>> {
        if let Some(quota) = self.quotas.get(&id) {
            return Ok(quota);
        }
        // From the look to the note nobody sets another, which the note would hide.
        let _held = self.hold_mailboxes(id).await;
        let quota = self.account_row(id).await?.and_then(|row| row.quota);
        self.quotas.insert(id, quota);
        Ok(quota)
    }

    /// Sets how many octets the account may hold, from the next recipient and message on. One that holds more keeps it
    /// all, and takes nothing until it holds less. False if there is no such account.
    pub async fn set_quota(&self, id: AccountId, quota: Option<u64>) -> Result<bool> {
        let _held = self.lock_mailboxes(id).await;
        let changed = self.change_account(id, |row| row.quota = quota).await;
        // Also after a failure, which does not say whether the row was written.
        self.quotas.invalidate(&id);
        changed
    }

    /// Octets that the account holds: folded from its rows once, then counted along.
    pub(crate) async fn used(&self, id: AccountId) -> Result<Arc<AtomicU64>> {
        if let Some(used) = self.used.get(&id) {
            return Ok(used);
        }
        let _turn = self.lock_used(id).await;
        if let Some(used) = self.used.get(&id) {
            return Ok(used);
        }
        let mut used = 0;
        for (_, entry) in self.account_rows(Table::MessagesByAccount, id).await? {
            used += Entry::from_bytes(&entry).size;
        }
        let used = Arc::new(AtomicU64::new(used));
        self.used.insert(id, used.clone());
        Ok(used)
    }

    /// Counts octets that came, or, if negative, went: by who has held [`Instance::hold_used`] since before the write.
    pub(crate) fn count_used(&self, id: AccountId, octets: i64) {
        if let Some(used) = self.used.get(&id) {
            let _ = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(used.saturating_add_signed(octets))
            });
        }
    }
}
