//! What has to wait for each other within one process. Between processes the store's [`crate::MailStore::replace`]
//! decides.

use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{AccountId, Instance, MessageId};

/// Who waits for the same thing stands in one of this many queues.
const LOCKS: usize = 256;

/// The queues. What is chosen by one octet of an id is spread evenly over them.
pub(crate) struct Locks {
    messages: Vec<Mutex<()>>,
    mailboxes: Vec<RwLock<()>>,
    counts: Vec<RwLock<()>>,
    addresses: Mutex<()>,
}

impl Default for Locks {
    fn default() -> Self {
        Self {
            messages: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            mailboxes: (0..LOCKS).map(|_| RwLock::new(())).collect(),
            counts: (0..LOCKS).map(|_| RwLock::new(())).collect(),
            addresses: Mutex::new(()),
        }
    }
}

impl Instance {
    /// Guards a message: held while its bytes and rows come, change or go, so that the same bytes delivered twice are
    /// kept once, what came back is not taken away, and nobody writes what he read before another's write. No second
    /// one is taken while it is held.
    pub(crate) async fn lock_message(&self, account: AccountId, message: MessageId) -> MutexGuard<'_, ()> {
        self.locks.messages[usize::from(message.0[0] ^ account.0[0])].lock().await
    }

    /// Guards which mailboxes an account has: held by who changes that, from the look to the write.
    pub(crate) async fn lock_mailboxes(&self, account: AccountId) -> RwLockWriteGuard<'_, ()> {
        self.locks.mailboxes[usize::from(account.0[1])].write().await
    }

    /// Keeps the account's mailboxes as they are: held by who puts a message into one that could go. Taken after
    /// [`Instance::lock_message`].
    pub(crate) async fn hold_mailboxes(&self, account: AccountId) -> RwLockReadGuard<'_, ()> {
        self.locks.mailboxes[usize::from(account.0[1])].read().await
    }

    /// Guards the rows of an account's lists while they are folded.
    pub(crate) async fn lock_counts(&self, account: AccountId) -> RwLockWriteGuard<'_, ()> {
        self.locks.counts[usize::from(account.0[2])].write().await
    }

    /// Held by who changes those rows, through [`crate::Account::hold_counts`]. Taken after the others.
    pub(crate) async fn hold_counts(&self, account: AccountId) -> RwLockReadGuard<'_, ()> {
        self.locks.counts[usize::from(account.0[2])].read().await
    }

    /// Guards how many addresses accounts have: held by who adds one, from the count to the write.
    pub(crate) async fn lock_addresses(&self) -> MutexGuard<'_, ()> {
        self.locks.addresses.lock().await
    }
}
