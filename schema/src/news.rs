//! What changes in accounts, told to those who watch them.
//!
//! News may be lost, and are told beside the change feed, never instead of it: who watches looks into the feed from time
//! to time, too.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::{Account, AccountId, Change, ChangeKind};

/// News of one account that wait for one that is slow; of more it hears that it has missed some.
const WAITING: usize = 64;

/// Who watches what in this process.
#[derive(Debug, Default)]
pub struct Watchers {
    by_account: Mutex<HashMap<AccountId, broadcast::Sender<Change>>>,
}

impl Watchers {
    /// Tells those who watch the account in this process.
    pub fn tell(&self, account: AccountId, change: Change) {
        let by_account = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watchers) = by_account.get(&account) {
            // The last of them may just have gone.
            let _ = watchers.send(change);
        }
    }

    /// What is told of the account from now on.
    pub fn watch(&self, account: AccountId) -> broadcast::Receiver<Change> {
        let mut by_account = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
        by_account.retain(|_, watchers| watchers.receiver_count() > 0);
        by_account.entry(account).or_insert_with(|| broadcast::channel(WAITING).0).subscribe()
    }
}

impl Account {
    /// What changes from now on, as it changes, on whatever node. Some of it may be lost.
    pub fn watch(&self) -> broadcast::Receiver<Change> {
        self.backend().cache.watch(self.id)
    }

    /// Tells of a change that the feed shows from now on.
    pub(crate) fn tell(&self, kind: ChangeKind, id: [u8; 16]) {
        self.backend().cache.tell(self.id, Change { kind, id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_forgotten() {
        let watchers = Watchers::default();
        let change = Change { kind: ChangeKind::MessageCreated, id: [1; 16] };
        let (one, two) = (AccountId([1; 16]), AccountId([2; 16]));
        let mut kept = watchers.watch(one);
        drop(watchers.watch(two));
        let mut second = watchers.watch(one);
        assert_eq!(watchers.by_account.lock().unwrap().len(), 1);
        watchers.tell(one, change);
        watchers.tell(two, change);
        for watcher in [&mut kept, &mut second] {
            assert_eq!(watcher.try_recv(), Ok(change));
            assert_eq!(watcher.try_recv(), Err(broadcast::error::TryRecvError::Empty));
        }
    }
}
