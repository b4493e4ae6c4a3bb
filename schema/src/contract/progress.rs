//! How far the index has read, told on any backend.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;

use super::between::{Behind, Between};
use super::stories::{DAY, NOW, instance, keep, keep_with, message, new_account};
use crate::{
    Account, Arrival, Backend, Clock, Durability, Instance, MailStore, ManualClock, Millis, Progress, Result,
    RowKey, Table, Write,
};

/// What the index has not read yet is known, message by message.
pub async fn the_index_tells_how_far_it_has_read(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    assert!(bob.index_progress().await.unwrap().complete);
    let first = keep(&bob, &message("1@x", &[], "Hello")).await.id;
    clock.advance(1_000);
    let second = keep(&bob, &message("2@x", &[], "Hello")).await.id;
    bob.note_indexed(&[(NOW, first)]).await.unwrap();
    let progress = bob.index_progress().await.unwrap();
    assert_eq!((progress.indexed_through, progress.complete), (NOW + 999, false));
    bob.note_indexed(&[(NOW + 1_000, second)]).await.unwrap();
    assert!(bob.index_progress().await.unwrap().complete);
    bob.index_again(first, NOW).await.unwrap();
    let progress = bob.index_progress().await.unwrap();
    assert_eq!((progress.indexed_through, progress.complete), (NOW - 1, false));
    let indexed = bob.indexed_message(first).await.unwrap().unwrap();
    let token = bob.token(mail::terms::Field::Subject, mail::terms::Form::Word, "hello");
    assert!(indexed.postings.iter().any(|posting| posting.token == token));
}

/// An old message that waits to be indexed is known of on every node, also on one that has looked before.
pub async fn an_old_message_that_waits_is_known_of_on_every_node(backend: Backend, keys: &Path) {
    let (one, clock) = instance(backend.clone(), keys).await;
    let bob = new_account(&one, "bob@one.example").await;
    // Where one process owns the directory there is no other.
    let other = match backend.is_shared {
        true => instance(backend, keys).await.0,
        false => one.clone(),
    };
    let there = other.account(bob.id()).await.unwrap().unwrap();
    let progress = async |account: &Account| {
        let progress = account.index_progress().await.unwrap();
        (!progress.complete).then_some(progress.indexed_through)
    };
    let expect = async |waits: Option<Millis>| {
        for account in [&bob, &there, &bob] {
            assert_eq!(progress(account).await, waits.map(|at| at - 1));
        }
    };
    expect(None).await;
    let long_ago = NOW - 86_400_000;
    let arrival = Arrival { received_at: Some(long_ago), ..Arrival::default() };
    let old = keep_with(&bob, &message("1@x", &[], "Old"), arrival).await.id;
    expect(Some(long_ago)).await;
    let new = keep(&there, &message("2@x", &[], "New")).await.id;
    expect(Some(long_ago)).await;
    bob.note_indexed(&[(long_ago, old)]).await.unwrap();
    expect(Some(NOW)).await;
    bob.note_indexed(&[(NOW, new)]).await.unwrap();
    expect(None).await;
    there.index_again(old, long_ago).await.unwrap();
    expect(Some(long_ago)).await;
    bob.note_indexed(&[(long_ago, old)]).await.unwrap();
    expect(None).await;
    clock.advance(1_000);
    let newer = keep(&bob, &message("3@x", &[], "Newer")).await.id;
    expect(Some(NOW + 1_000)).await;
    there.note_indexed(&[(NOW + 1_000, newer)]).await.unwrap();
    expect(None).await;
}

/// A clock that is ahead of another.
struct Ahead(Arc<ManualClock>, Millis);

impl Clock for Ahead {
    fn now(&self) -> Millis {
        self.0.now() + self.1
    }
}

fn is_put(writes: &[Write], table: Table) -> bool {
    writes.iter().filter_map(Write::puts).any(|key| key.table == table)
}

/// Has the row of a message that waits be some time under way, and somebody else look before it is there, and as soon as it
/// is.
struct UnderWay {
    clock: Arc<ManualClock>,
    time: AtomicU64,
    elsewhere: OnceLock<Account>,
}

#[async_trait]
impl Between for UnderWay {
    async fn write(&self, store: &dyn MailStore, writes: Vec<Write>, durability: Durability) -> Result<()> {
        if !is_put(&writes, Table::Unindexed) {
            return store.write(writes, durability).await;
        }
        self.clock.advance(self.time.load(Ordering::SeqCst));
        let elsewhere = self.elsewhere.get().expect("somebody looks");
        assert!(elsewhere.index_progress().await?.complete);
        store.write(writes, durability).await?;
        elsewhere.index_progress().await.map(drop)
    }
}

/// A message whose row is long under way is known of on every node, also on one that looks in between and whose clock is
/// far ahead.
pub async fn a_row_that_is_long_under_way_is_known_of_on_every_node(mut backend: Backend, keys: &Path) {
    backend.is_shared = true;
    backend.clocks_apart = Duration::from_secs(120);
    let clock = ManualClock::at(NOW);
    let there = super::instance(backend.clone(), keys, Arc::new(Ahead(clock.clone(), 120_000))).await;
    let under_way =
        UnderWay { clock: clock.clone(), time: AtomicU64::new(0), elsewhere: OnceLock::default() };
    let store = Behind::new(under_way, backend.store.clone());
    backend.store = store.clone();
    let one = super::instance(backend, keys, clock.clone()).await;
    let bob = new_account(&one, "bob@one.example").await;
    let elsewhere = there.account(bob.id()).await.unwrap().unwrap();
    let elsewhere = store.between.elsewhere.get_or_init(|| elsewhere);
    for seconds in (0..=30).step_by(3).chain([60, 120, 180, 480]) {
        store.between.time.store(seconds * 1_000, Ordering::SeqCst);
        let received_at = clock.now();
        let id = keep(&bob, &message(&format!("{seconds}@x"), &[], "Hello")).await.id;
        for _ in 0..2 {
            let waits = Progress { indexed_through: received_at - 1, complete: false };
            assert_eq!(elsewhere.index_progress().await.unwrap(), waits, "after {seconds} s");
        }
        bob.note_indexed(&[(received_at, id)]).await.unwrap();
        assert!(elsewhere.index_progress().await.unwrap().complete, "after {seconds} s");
    }
}

/// Among nodes whose clocks differ a write that is stamped earlier loses against one of the same row that came before it.
struct Stamps {
    ahead: i64,
    last: Arc<Mutex<(i64, HashMap<RowKey, i64>)>>,
}

#[async_trait]
impl Between for Stamps {
    async fn write(
        &self,
        store: &dyn MailStore,
        mut writes: Vec<Write>,
        durability: Durability,
    ) -> Result<()> {
        {
            let mut last = self.last.lock().expect("nobody has panicked");
            last.0 += 1;
            let stamp = last.0 + self.ahead;
            writes.retain(|write| match write.puts().filter(|key| key.table == Table::LateUnindexed) {
                Some(key) => {
                    let before = last.1.entry(key.clone()).or_insert(stamp);
                    *before = stamp.max(*before);
                    *before == stamp
                }
                None => true,
            });
        }
        store.write(writes, durability).await
    }
}

/// Old messages that come in on several nodes are all known of, whichever of their clocks is ahead.
pub async fn old_messages_of_nodes_whose_clocks_differ_are_known_of(mut backend: Backend, keys: &Path) {
    backend.is_shared = true;
    let last: Arc<Mutex<(i64, HashMap<RowKey, i64>)>> = Arc::default();
    let node = async |ahead: i64| {
        let mut backend = backend.clone();
        backend.store = Behind::new(Stamps { ahead, last: last.clone() }, backend.store.clone());
        instance(backend, keys).await.0
    };
    let (ahead, behind, other) = (node(1_000).await, node(0).await, node(0).await);
    let bob = new_account(&ahead, "bob@one.example").await.id();
    let there = other.account(bob).await.unwrap().unwrap();
    assert!(there.index_progress().await.unwrap().complete);
    for (number, node) in [&ahead, &behind, &ahead, &behind].into_iter().enumerate() {
        let received_at = NOW - DAY + number as u64;
        let (account, arrival) = (node.account(bob).await.unwrap().unwrap(), Arrival::default());
        let arrival = Arrival { received_at: Some(received_at), ..arrival };
        let id = keep_with(&account, &message(&format!("{number}@x"), &[], "Old"), arrival).await.id;
        let waits = Progress { indexed_through: received_at - 1, complete: false };
        assert_eq!(there.index_progress().await.unwrap(), waits, "message {number}");
        account.note_indexed(&[(received_at, id)]).await.unwrap();
        assert!(there.index_progress().await.unwrap().complete);
    }
}

/// What tells others of old messages is kept for a day, and what it told of is known all the same.
pub async fn notes_of_old_messages_go_after_a_day(mut backend: Backend, keys: &Path) {
    backend.is_shared = true;
    let (one, clock) = instance(backend.clone(), keys).await;
    let other = super::instance(backend, keys, clock.clone()).await;
    let bob = new_account(&one, "bob@one.example").await;
    let there = other.account(bob.id()).await.unwrap().unwrap();
    let notes = async |instance: &Instance| {
        instance.account_rows(Table::LateUnindexed, bob.id()).await.unwrap().len()
    };
    assert!(there.index_progress().await.unwrap().complete);
    for (day, expected) in [(0, 1), (1, 2), (2, 2), (3, 2)] {
        let arrival = Arrival { received_at: Some(NOW - DAY - day), ..Arrival::default() };
        for number in 0..3 {
            keep_with(&bob, &message(&format!("{day}.{number}@x"), &[], "Old"), arrival.clone()).await;
        }
        one.keep_house().await.unwrap();
        assert_eq!(notes(&one).await, expected, "on day {day}");
        let waits = Progress { indexed_through: NOW - DAY - day - 1, complete: false };
        assert_eq!(there.index_progress().await.unwrap(), waits);
        clock.advance(DAY);
    }
    clock.advance(DAY);
    one.keep_house().await.unwrap();
    assert_eq!(notes(&one).await, 0);
    let waits = Progress { indexed_through: NOW - DAY - 4, complete: false };
    assert_eq!(there.index_progress().await.unwrap(), waits);
}
