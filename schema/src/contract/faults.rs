//! What is left where a call on the backend fails, told on any backend.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::between::{Behind, Between};
use super::stories::{instance, keep, message, new_account};
use crate::{
    AccountId, Arrival, Backend, BlobStore, Chunks, Durability, Envelope, Error, Incoming, Job, List,
    ListFilter, MailStore, MessageId, Remains, Result, Role, RowKey, StatePatch, Table, Totals, Write,
    Written,
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

/// Rows of this table get lost, and whoever writes them is told that something did.
#[derive(Default)]
struct Losing(Mutex<Option<Table>>);

impl Losing {
    fn set(&self, table: Option<Table>) {
        *self.0.lock().unwrap() = table;
    }
}

#[async_trait]
impl Between for Losing {
    async fn write(
        &self,
        store: &dyn MailStore,
        mut writes: Vec<Write>,
        durability: Durability,
    ) -> Result<()> {
        let table = *self.0.lock().unwrap();
        let before = writes.len();
        writes.retain(|write| table.is_none() || write.puts().map(|key| key.table) != table);
        let has_lost = writes.len() < before;
        store.write(writes, durability).await?;
        if has_lost { Err(Error::transient("rows", "one got lost")) } else { Ok(()) }
    }
}

/// Whichever row of a delivery gets lost, who brings the message again completes it.
pub async fn a_delivery_that_lost_any_of_its_rows_is_completed_by_the_next(
    mut backend: Backend,
    keys: &Path,
) {
    let wait = Duration::from_secs(5);
    let is_shared = backend.is_shared;
    let store = Behind::new(Losing::default(), backend.store.clone());
    backend.store = store.clone();
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let listed = async || {
        let (all, no) = (ListFilter::default(), None);
        let messages = bob.list(List::Account, &all, no, 10).await.unwrap().items.len();
        let inbox = List::Mailbox(bob.role_mailbox(Role::Inbox));
        let inbox = bob.list(inbox, &all, no, 10).await.unwrap().items.len();
        let threads = bob.threads(&all, no, 10).await.unwrap().items.len();
        [messages, inbox, threads, bob.discussions(&all, no, 10).await.unwrap().items.len()]
    };
    let tables = [
        Table::MessagesByAccount,
        Table::MessagesByMailbox,
        Table::MessagesByThread,
        Table::MessagesByDiscussion,
        Table::ThreadsByActivity,
        Table::DiscussionsByActivity,
        Table::Unindexed,
    ];
    for (number, table) in tables.into_iter().enumerate() {
        clock.advance(1_000);
        // Of people of its own, so that it is a discussion of its own.
        let raw = message(&format!("{number}@x"), &[], &format!("No. {number}"));
        let raw = raw.replace("ada@", &format!("ada{number}@")).replace('\n', "\r\n");
        let incoming = Incoming::prepare(raw.as_bytes(), &mail::Limits::default());
        // Where all of them are one step, none of them gets lost by itself.
        store.between.set(is_shared.then_some(table));
        assert_eq!(bob.keep(&incoming, Arrival::default()).await.is_err(), is_shared, "{table:?}");
        store.between.set(None);
        assert!(!bob.keep(&incoming, Arrival::default()).await.unwrap().is_new);
        assert_eq!(listed().await, [number + 1; 4], "{table:?}");
        assert!(!bob.index_progress().await.unwrap().complete, "{table:?}");
        let id = bob.message_id(raw.as_bytes());
        let leases = instance.backend.queue.lease(10, wait, wait).await.unwrap();
        assert!(leases.iter().any(|lease| lease.job == Job::IndexMessage { account: bob.id(), message: id }));
        let message = bob.message(id).await.unwrap().unwrap();
        bob.note_indexed(&[(message.row.received_at, id)]).await.unwrap();
        instance.backend.queue.ack(&leases.iter().map(|lease| lease.id).collect::<Vec<_>>()).await.unwrap();
        assert!(bob.index_progress().await.unwrap().complete, "{table:?}");
    }
}

/// Message rows are under way for as long as it is told to hold them back.
#[derive(Default)]
struct Slow(Mutex<Option<Vec<Write>>>);

#[async_trait]
impl Between for Slow {
    async fn write(
        &self,
        store: &dyn MailStore,
        mut writes: Vec<Write>,
        durability: Durability,
    ) -> Result<()> {
        if let Some(held) = &mut *self.0.lock().unwrap() {
            let is_row = |write: &mut Write| write.puts().is_some_and(|key| key.table == Table::Messages);
            held.extend(writes.extract_if(.., is_row));
        }
        store.write(writes, durability).await
    }
}

/// Bytes that were written an hour ago.
struct Aged(Arc<dyn BlobStore>);

#[async_trait]
impl BlobStore for Aged {
    async fn put(
        &self,
        account: AccountId,
        message: MessageId,
        chunks: Vec<Vec<u8>>,
        durability: Durability,
    ) -> Result<()> {
        self.0.put(account, message, chunks, durability).await
    }

    async fn get(&self, account: AccountId, message: MessageId) -> Result<Chunks> {
        self.0.get(account, message).await
    }

    async fn written(&self, account: AccountId, message: MessageId) -> Result<Option<Written>> {
        let written = self.0.written(account, message).await?;
        Ok(written.map(|written| Written { age: Duration::from_secs(3600), ..written }))
    }

    async fn remove(
        &self,
        account: AccountId,
        message: MessageId,
        until: i64,
        durability: Durability,
    ) -> Result<()> {
        self.0.remove(account, message, until, durability).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        self.0.remove_account(account).await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        self.0.ids(account, after, limit).await
    }
}

/// A row that was made of the bytes gives way to that of the delivery, however late it comes; one that somebody took away
/// is made as well.
pub async fn a_row_made_of_the_bytes_gives_way_to_that_of_its_delivery(mut backend: Backend, keys: &Path) {
    let store = Behind::new(Slow::default(), backend.store.clone());
    backend.store = store.clone();
    backend.blobs = Arc::new(Aged(backend.blobs));
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let raw = message("1@x", &[], "First").replace('\n', "\r\n");
    let incoming = Incoming::prepare(raw.as_bytes(), &mail::Limits::default());
    let envelope = Envelope { sender: Some("ada@two.example".into()), ..Envelope::default() };
    let received_at = instance.now();
    let envelope_of = async |id| bob.message(id).await.unwrap().map(|message| message.row.envelope.clone());

    *store.between.0.lock().unwrap() = Some(vec![]);
    let arrival = Arrival { envelope: envelope.clone(), ..Arrival::default() };
    let id = bob.keep(&incoming, arrival).await.unwrap().id;
    assert_eq!(envelope_of(id).await, None);
    let late = store.between.0.lock().unwrap().take().unwrap();
    assert_eq!(late.len(), 1);
    clock.advance(60_000);
    assert_eq!(bob.check_row(id, received_at, true).await.unwrap(), Remains::Whole);
    assert_eq!(envelope_of(id).await, Some(Envelope::default()));
    store.write(late, Durability::Now).await.unwrap();
    assert_eq!(envelope_of(id).await, Some(envelope));

    let row = RowKey::of_message(Table::Messages, bob.id(), id);
    store.write(vec![Write::Delete(row)], Durability::Now).await.unwrap();
    assert_eq!(envelope_of(id).await, None);
    assert_eq!(bob.check_row(id, received_at, true).await.unwrap(), Remains::Whole);
    assert_eq!(envelope_of(id).await, Some(Envelope::default()));
}
