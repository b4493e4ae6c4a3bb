//! What is left where a call on the backend fails, told on any backend.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::between::{Behind, Between};
use super::stories::{instance, keep, message, new_account};
use crate::{
    Arrival, Backend, Durability, Error, Incoming, MailStore, Result, Role, RowKey, StatePatch, Totals, Write,
};

/// While it is set, answers to writes get lost: what was asked for is done.
struct Forgetful(AtomicBool);

impl Forgetful {
    fn set(&self, fails: bool) {
        self.0.store(fails, Ordering::SeqCst);
    }

    fn answer<T>(&self, done: T) -> Result<T> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(Error::transient("rows", "the answer got lost")),
            false => Ok(done),
        }
    }
}

#[async_trait]
impl Between for Forgetful {
    async fn write(&self, store: &dyn MailStore, writes: Vec<Write>, durability: Durability) -> Result<()> {
        // Of a delivery the write of the message itself, not what it has looked up before.
        let has_change = writes.iter().any(|write| matches!(write, Write::Change(..)));
        store.write(writes, durability).await?;
        if has_change { self.answer(()) } else { Ok(()) }
    }

    async fn replace(
        &self,
        store: &dyn MailStore,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool> {
        let done = store.replace(key, expected, new, then).await?;
        self.answer(done)
    }
}

/// Totals and what an account holds are right after writes that were done and not answered.
pub async fn an_answer_that_gets_lost_is_not_counted_wrong(mut backend: Backend, keys: &Path) {
    let store = Behind::new(Forgetful(AtomicBool::new(false)), backend.store.clone());
    backend.store = store.clone();
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let first = keep(&bob, &message("1@x", &[], "First")).await.id;
    let size = bob.used().await.unwrap();
    let of = async |role: Role| bob.mailbox(bob.role_mailbox(role)).await.unwrap().unwrap().1;
    assert_eq!(of(Role::Inbox).await, Totals { total: 1, unread: 1, size });

    // A delivery, which the relay brings again.
    let raw = message("2@x", &[], "First").replace('\n', "\r\n");
    let incoming = Incoming::prepare(raw.as_bytes(), &mail::Limits::default());
    store.between.set(true);
    assert!(bob.keep(&incoming, Arrival::default()).await.is_err());
    store.between.set(false);
    assert!(!bob.keep(&incoming, Arrival::default()).await.unwrap().is_new);
    assert_eq!(of(Role::Inbox).await, Totals { total: 2, unread: 2, size: 2 * size });

    // A change, and a final delete.
    let seen = StatePatch { keywords: vec![("$seen".into(), true)], ..StatePatch::default() };
    store.between.set(true);
    assert!(bob.patch(first, &seen).await.is_err());
    store.between.set(false);
    assert_eq!(of(Role::Inbox).await.unread, 1);
    bob.delete(first, None).await.unwrap();
    assert_eq!((of(Role::Inbox).await.total, of(Role::Trash).await.total), (1, 1));
    store.between.set(true);
    assert!(bob.delete(first, None).await.is_err());
    store.between.set(false);
    assert_eq!((of(Role::Trash).await, bob.used().await.unwrap()), (Totals::default(), size));
}
