//! What an account holds, against what it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::Entry;
use crate::{AccountId, Instance, Result, Table};

impl Instance {
    pub(crate) async fn is_over_quota(&self, id: AccountId) -> Result<bool> {
        let quota = match self.quotas.get(&id) {
            Some(quota) => quota,
            None => {
                let quota = self.account_row(id).await?.and_then(|row| row.quota);
                self.quotas.insert(id, quota);
                quota
            }
        };
        match quota {
            Some(quota) => Ok(self.used(id).await?.load(Ordering::Relaxed) >= quota),
            None => Ok(false),
        }
    }

    /// Octets that the account holds: folded from its rows once, then counted along.
    pub(crate) async fn used(&self, id: AccountId) -> Result<Arc<AtomicU64>> {
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
}
