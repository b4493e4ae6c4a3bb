//! Threads and discussions are listed whatever runs at once, told on any backend.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::between::{Behind, Between};
use super::stories::{instance, keep, keep_with, message, new_account};
use crate::{
    Account, Arrival, Backend, Clock as _, Deleted, Durability, List, ListFilter, ListPosition, MailStore,
    Result, RowKey, Scan, Table, Write,
};

/// How many messages each listed thread has, and how many discussions are listed.
async fn listed(account: &Account) -> (Vec<usize>, usize) {
    let threads = account.threads(&ListFilter::default(), None, 10).await.unwrap();
    let discussions = account.discussions(&ListFilter::default(), None, 10).await.unwrap();
    (threads.items.iter().map(|thread| thread.messages.len()).collect(), discussions.items.len())
}

/// Whatever is deleted at once, what is left of a thread and of a discussion is listed.
pub async fn what_is_left_of_a_thread_is_listed(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    for round in 0..10 {
        let first = format!("{round}-0@x");
        let kept = keep(&bob, &message(&first, &[], &format!("Round {round}"))).await;
        let mut tasks = Vec::new();
        for number in 1..6 {
            clock.advance(1_000);
            let reply = message(&format!("{round}-{number}@x"), &[&first], &format!("Round {round}"));
            let id = keep(&bob, &reply).await.id;
            assert!(matches!(bob.delete(id, None).await.unwrap(), Deleted::Trashed(_)));
            tasks.push((bob.clone(), id));
        }
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|(bob, id)| tokio::spawn(async move { bob.delete(id, None).await.unwrap() }))
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Deleted::Destroyed);
        }
        assert_eq!(listed(&bob).await, (vec![1], 1), "round {round}");
        assert!(matches!(bob.delete(kept.id, None).await.unwrap(), Deleted::Trashed(_)));
        assert_eq!(bob.delete(kept.id, None).await.unwrap(), Deleted::Destroyed);
        assert_eq!(listed(&bob).await, (vec![], 0), "round {round}");
    }
}

/// A thread or discussion that is listed at a wrong time is shown at the right one, in the first answer already.
pub async fn a_thread_listed_at_a_wrong_time_is_shown_at_the_right_one(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let id = keep(&bob, &message("1@x", &[], "Plans")).await.id;
    let other = message("2@x", &[], "Other").replace("ada@two", "eve@two");
    clock.advance(1_000);
    keep(&bob, &other).await;
    let kept = bob.message(id).await.unwrap().unwrap();
    let at = kept.row.received_at;
    for (table, of) in
        [(Table::ThreadsByActivity, kept.thread.0), (Table::DiscussionsByActivity, kept.row.discussion.0)]
    {
        let row = |at| RowKey::new(table, *bob.id().as_bytes(), ListPosition::new(at, of).clustering());
        let moved = vec![Write::Put(row(at + 60_000), vec![]), Write::Delete(row(at))];
        instance.backend.store.write(moved, Durability::Now).await.unwrap();
    }
    let threads = bob.threads(&ListFilter::default(), None, 10).await.unwrap();
    let shown: Vec<_> = threads.items.iter().map(|thread| thread.newest.id).collect();
    assert_eq!((shown.len(), shown[1]), (2, id));
    let discussions = bob.discussions(&ListFilter::default(), None, 10).await.unwrap();
    assert_eq!((discussions.items.len(), discussions.items[1].newest.id), (2, id));
}

/// A thread or discussion that is listed before its message's other rows have come into sight is listed when they have.
pub async fn what_is_listed_while_it_is_written_stays_listed(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let newest = async || {
        let threads = bob.threads(&ListFilter::default(), None, 1).await.unwrap();
        let discussions = bob.discussions(&ListFilter::default(), None, 1).await.unwrap();
        let threads = threads.items.iter().map(|thread| thread.newest.id);
        threads.chain(discussions.items.iter().map(|discussion| discussion.newest.id)).collect::<Vec<_>>()
    };
    let other = message("2@x", &[], "Other").replace("ada@two", "eve@two");
    let mut before = vec![];
    for raw in [message("1@x", &[], "Plans"), other, message("3@x", &["1@x"], "Plans")] {
        clock.advance(1_000);
        let id = keep(&bob, &raw).await.id;
        let kept = bob.message(id).await.unwrap().unwrap();
        let at = ListPosition::new(kept.row.received_at, id.0);
        let lists = [List::Thread(kept.row.thread), List::Discussion(kept.row.discussion)];
        let rows = lists.map(|list| list.row(bob.id(), at));
        let values = instance.backend.store.get(&rows).await.unwrap();
        let hidden = rows.iter().cloned().map(Write::Delete).collect();
        instance.backend.store.write(hidden, Durability::Now).await.unwrap();
        assert_eq!(newest().await, before, "{raw}");
        let shown = rows.into_iter().zip(values).map(|(row, value)| Write::Put(row, value.unwrap()));
        instance.backend.store.write(shown.collect(), Durability::Now).await.unwrap();
        before = vec![id; 2];
        assert_eq!(newest().await, before, "{raw}");
    }
    assert_eq!(listed(&bob).await, (vec![2, 1], 2));
    let row = RowKey::of_message(Table::Messages, bob.id(), before[0]);
    let sealed = instance.backend.store.get(std::slice::from_ref(&row)).await.unwrap().remove(0).unwrap();
    instance.backend.store.write(vec![Write::Delete(row.clone())], Durability::Now).await.unwrap();
    assert_eq!(listed(&bob).await, (vec![1, 1], 2), "what is there of them");
    instance.backend.store.write(vec![Write::Put(row, sealed)], Durability::Now).await.unwrap();
    assert_eq!(listed(&bob).await, (vec![2, 1], 2));
}

/// A message is listed whatever was there at its time and has gone.
pub async fn what_comes_to_a_place_that_was_left_is_listed(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    for late in [0, 3_600_000] {
        let bob = new_account(&instance, &format!("bob{late}@one.example")).await;
        let then = clock.now();
        clock.advance(late);
        let at = async |raw: &str, received_at| {
            let arrival = Arrival { received_at: Some(received_at), ..Arrival::default() };
            keep_with(&bob, raw, arrival).await.id
        };
        at(&message("1@x", &[], "Plans"), then - 1_000).await;
        let second = at(&message("2@x", &["1@x"], "Plans"), then).await;
        for _ in 0..2 {
            bob.delete(second, None).await.unwrap();
        }
        assert_eq!(listed(&bob).await, (vec![1], 1), "{late}");
        at(&message("3@x", &["1@x"], "Plans"), then).await;
        assert_eq!(listed(&bob).await, (vec![2], 1), "{late}");
    }
}

/// Has the first delivery's rows come into sight in two halves, the listings' before.
#[derive(Default)]
struct Halved {
    is_over: AtomicBool,
    first: Notify,
    rest: Notify,
}

#[async_trait]
impl Between for Halved {
    async fn write(&self, store: &dyn MailStore, writes: Vec<Write>, durability: Durability) -> Result<()> {
        let is_first = |write: &Write| {
            let tables = [Table::ThreadsByActivity, Table::DiscussionsByActivity];
            write.puts().is_some_and(|key| tables.contains(&key.table))
        };
        let (first, rest): (Vec<_>, Vec<_>) = writes.into_iter().partition(is_first);
        if !first.is_empty() && !self.is_over.swap(true, Ordering::SeqCst) {
            store.write(first, durability).await?;
            self.first.notify_one();
            self.rest.notified().await;
            return store.write(rest, durability).await;
        }
        store.write([first, rest].concat(), durability).await
    }
}

/// A message with an old time whose row was taken away, as nothing was behind it yet, is listed when it has come.
pub async fn what_comes_late_while_it_is_listed_stays_listed(mut backend: Backend, keys: &Path) {
    backend.is_shared = true;
    let (elsewhere, clock) = instance(backend.clone(), keys).await;
    let store = Behind::new(Halved::default(), backend.store.clone());
    backend.store = store.clone();
    let (here, _) = instance(backend, keys).await;
    let bob = new_account(&elsewhere, "bob@one.example").await;
    let writer = here.account(bob.id()).await.unwrap().unwrap();
    let arrival = Arrival { received_at: Some(clock.now() - 3_600_000), ..Arrival::default() };
    let raw = message("1@x", &[], "Plans");
    let keeping = tokio::spawn(async move { keep_with(&writer, &raw, arrival).await });
    store.between.first.notified().await;
    assert_eq!(listed(&bob).await, (vec![], 0));
    for table in [Table::ThreadsByActivity, Table::DiscussionsByActivity] {
        let scan = Scan::all(table, *bob.id().as_bytes(), 10);
        assert!(elsewhere.backend.store.scan(&scan).await.unwrap().is_empty());
    }
    store.between.rest.notify_one();
    assert!(keeping.await.unwrap().is_new);
    assert_eq!(listed(&bob).await, (vec![1], 1));
}

/// Rows that calls which race have left at other times go with the first listing, once they are old.
pub async fn a_listing_takes_away_what_is_left_of_races(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let id = keep(&bob, &message("1@x", &[], "Plans")).await.id;
    let kept = bob.message(id).await.unwrap().unwrap();
    let at = kept.row.received_at;
    clock.advance(3_600_000);
    for (table, of) in
        [(Table::ThreadsByActivity, kept.thread.0), (Table::DiscussionsByActivity, kept.row.discussion.0)]
    {
        let row = |at, of| RowKey::new(table, *bob.id().as_bytes(), ListPosition::new(at, of).clustering());
        let left = [row(at + 60_000, of), row(at - 60_000, of), row(at, [9; 16])];
        let young = row(at + 3_590_000, of);
        let puts = left.iter().chain([&young]).map(|row| Write::Put(row.clone(), vec![]));
        instance.backend.store.write(puts.collect(), Durability::Now).await.unwrap();
        assert_eq!(listed(&bob).await, (vec![1], 1));
        assert_eq!(instance.backend.store.get(&left).await.unwrap(), [None, None, None]);
        let stay = instance.backend.store.get(&[young, row(at, of)]).await.unwrap();
        assert!(stay.iter().all(Option::is_some), "{stay:?}");
    }
}
