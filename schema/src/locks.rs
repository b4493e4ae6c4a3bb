//! What has to wait for each other within one process. Between processes the store's [`crate::MailStore::replace`]
//! decides.

use tokio::sync::{Mutex, MutexGuard};

use crate::{AccountId, Instance, MessageId};

/// Who waits for the same thing stands in one of this many queues.
const LOCKS: usize = 256;

/// The queues. What is chosen by one octet of an id is spread evenly over them.
pub(crate) struct Locks {
    messages: Vec<Mutex<()>>,
    mailbox_names: Vec<Mutex<()>>,
}

impl Default for Locks {
    fn default() -> Self {
        let locks = || (0..LOCKS).map(|_| Mutex::new(())).collect();
        Self { messages: locks(), mailbox_names: locks() }
    }
}

impl Instance {
    /// Guards whether a message is there: held while its bytes and rows come or its remains go, so that the same
    /// bytes delivered twice are kept once, and what came back is not taken away.
    pub(crate) async fn lock_message(&self, account: AccountId, message: MessageId) -> MutexGuard<'_, ()> {
        self.locks.messages[usize::from(message.0[0] ^ account.0[0])].lock().await
    }

    /// Guards the names of an account's mailboxes: held from the look whether a name is free until it is taken.
    pub(crate) async fn lock_mailbox_names(&self, account: AccountId) -> MutexGuard<'_, ()> {
        self.locks.mailbox_names[usize::from(account.0[1])].lock().await
    }
}
