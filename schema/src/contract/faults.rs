//! What is left where a call on the backend fails, told on any backend.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::stories::{instance, keep, message, new_account};
use crate::{
    AccountId, Arrival, Backend, ChangePage, Durability, Error, Incoming, MailStore, Partitions, Position,
    Result, Role, Row, RowKey, Scan, StatePatch, Table, Totals, Write,
};

/// A store whose answers to writes get lost while `fails` is set: what was asked for is done.
struct Forgetful {
    store: Arc<dyn MailStore>,
    fails: AtomicBool,
}

impl Forgetful {
    fn answer<T>(&self, done: T) -> Result<T> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(Error::transient("rows", "the answer got lost")),
            false => Ok(done),
        }
    }
}

#[async_trait]
impl MailStore for Forgetful {
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
        // Of a delivery the write of the message itself, not what it has looked up before.
        let has_change = writes.iter().any(|write| matches!(write, Write::Change(..)));
        self.store.write(writes, durability).await?;
        if has_change { self.answer(()) } else { Ok(()) }
    }

    async fn replace(
        &self,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool> {
        let done = self.store.replace(key, expected, new, then).await?;
        self.answer(done)
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
        self.store.flush().await
    }
}

/// Totals and what an account holds are right after writes that were done and not answered.
pub async fn an_answer_that_gets_lost_is_not_counted_wrong(mut backend: Backend, keys: &Path) {
    let store = Arc::new(Forgetful { store: backend.store.clone(), fails: AtomicBool::new(false) });
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
    store.fails.store(true, Ordering::SeqCst);
    assert!(bob.keep(&incoming, Arrival::default()).await.is_err());
    store.fails.store(false, Ordering::SeqCst);
    assert!(!bob.keep(&incoming, Arrival::default()).await.unwrap().is_new);
    assert_eq!(of(Role::Inbox).await, Totals { total: 2, unread: 2, size: 2 * size });

    // A change, and a final delete.
    let seen = StatePatch { keywords: vec![("$seen".into(), true)], ..StatePatch::default() };
    store.fails.store(true, Ordering::SeqCst);
    assert!(bob.patch(first, &seen).await.is_err());
    store.fails.store(false, Ordering::SeqCst);
    assert_eq!(of(Role::Inbox).await.unread, 1);
    bob.delete(first, None).await.unwrap();
    assert_eq!((of(Role::Inbox).await.total, of(Role::Trash).await.total), (1, 1));
    store.fails.store(true, Ordering::SeqCst);
    assert!(bob.delete(first, None).await.is_err());
    store.fails.store(false, Ordering::SeqCst);
    assert_eq!((of(Role::Trash).await, bob.used().await.unwrap()), (Totals::default(), size));
}
