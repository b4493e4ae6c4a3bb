//! What an account holds, against what it may hold.

use crate::{AccountId, Instance, List, Result};

impl Instance {
    /// Whether the account holds as much as it may, so that not even a small message finds room.
    pub(crate) async fn is_over_quota(&self, id: AccountId) -> Result<bool> {
        Ok(!self.has_room(id, 1).await?)
    }

    /// Whether the account may hold so many octets more.
    pub(crate) async fn has_room(&self, id: AccountId, octets: u64) -> Result<bool> {
        match self.quota(id).await? {
            Some(quota) => {
                let used = self.totals_lately(id, List::Account).await?.size;
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
}
