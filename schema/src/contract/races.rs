//! What calls that run at once leave, told on any backend.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::stories::{ids, instance, keep, keep_with, message, new_account, threads};
use crate::{
    Arrival, Backend, Deleted, Durability, Job, List, ListFilter, MessageId, Recipient, Role, RowKey,
    StatePatch, Table, Totals, Write,
};

const DELAY: std::time::Duration = std::time::Duration::from_secs(60);

/// Messages of one thread that arrive at once, their connecting message in between, end in one thread.
pub async fn threads_survive_a_race(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let mut tasks = Vec::new();
    for number in 0..40 {
        clock.advance(1_000);
        let before = format!("{}@x", (number + 7) % 40);
        let raw = message(&format!("{number}@x"), &[&before], "Race");
        let bob = bob.clone();
        tasks.push(tokio::spawn(async move { keep(&bob, &raw).await }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let found = threads(&bob).await;
    assert_eq!(found.len(), 40);
    assert_eq!(found.values().collect::<HashSet<_>>().len(), 1);
    // The jobs that the merges left change nothing that a reader sees.
    for lease in instance.backend.queue.lease(200, DELAY, DELAY).await.unwrap() {
        if let Job::CompressThread { thread, .. } = lease.job {
            bob.compress_thread(thread).await.unwrap();
        }
    }
    assert_eq!(threads(&bob).await, found);
    let page = bob.threads(&ListFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|thread| thread.messages.len()).collect::<Vec<_>>(), [40]);
    let page = bob.discussions(&ListFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.items.len(), 1);
}

/// Whoever looks while a quota is set, the one that was set last is in force.
pub async fn a_quota_that_is_set_is_not_undone_by_a_look(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    keep(&bob, &message("1@x", &[], "Hello")).await;
    for round in 0..300 {
        // The notes are empty now, so that each look goes to the row.
        instance.set_quota(bob.id(), Some(1)).await.unwrap();
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let instance = instance.clone();
            tasks.push(tokio::spawn(async move { instance.resolve("bob@one.example").await.map(|_| ()) }));
        }
        instance.set_quota(bob.id(), None).await.unwrap();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let found = instance.resolve("bob@one.example").await.unwrap();
        assert_eq!(found, Recipient::Account(bob.id()), "round {round}");
    }
}

/// Messages that are deleted, marked and moved from one thread to another at once are as they were left, once.
pub async fn a_thread_is_moved_while_its_messages_change(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    for round in 0..5 {
        let id = |number: u32| format!("{round}-{number}@x");
        let mut kept = Vec::new();
        for number in 1..20 {
            let of = if number % 2 == 0 { id(100) } else { id(200) };
            kept.push(keep(&bob, &message(&id(number), &[&of], &format!("Round {round}"))).await.id);
        }
        kept.push(keep(&bob, &message(&id(0), &[&id(100), &id(200)], "Both")).await.id);
        let mut tasks = Vec::new();
        for lease in instance.backend.queue.lease(200, DELAY, DELAY).await.unwrap() {
            if let Job::CompressThread { thread, .. } = lease.job {
                let bob = bob.clone();
                tasks.push(tokio::spawn(async move { bob.compress_thread(thread).await.unwrap() }));
            }
        }
        assert!(!tasks.is_empty());
        for (number, &id) in kept.iter().enumerate() {
            let bob = bob.clone();
            tasks.push(tokio::spawn(async move {
                let mut seen = StatePatch::default();
                seen.keywords.push(("$seen".to_owned(), true));
                bob.patch(id, &seen).await.unwrap();
                if number % 3 == 0 {
                    bob.delete(id, None).await.unwrap();
                    assert_eq!(bob.delete(id, None).await.unwrap(), Deleted::Destroyed);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let left: BTreeSet<MessageId> =
            kept.iter().enumerate().filter(|(number, _)| number % 3 != 0).map(|(_, &id)| id).collect();
        let mut found = ids(&bob, List::Account).await;
        assert_eq!(found.len(), left.len(), "round {round}");
        found.sort();
        assert_eq!(found, left.iter().copied().collect::<Vec<_>>());
        let page = bob.threads(&ListFilter::default(), None, 10).await.unwrap();
        let shown: Vec<_> = page.items.iter().map(|thread| (thread.messages.len(), thread.unread)).collect();
        assert_eq!(shown, [(left.len(), 0)], "round {round}");
        for id in kept {
            while !matches!(bob.delete(id, None).await.unwrap(), Deleted::Destroyed | Deleted::NotFound) {}
        }
    }
}

/// A sign-in that has begun does not outlive that the account is locked, or has another password.
pub async fn a_sign_in_in_progress_does_not_outlive_a_lock(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let sign_in = || instance.sign_in("bob@one.example", "correct horse");
    // The check of a password takes far longer than the lock.
    let (session, locked) = tokio::join!(sign_in(), instance.set_locked(bob.id(), true));
    assert!(locked.unwrap());
    assert!(session.unwrap().is_none());
    instance.set_locked(bob.id(), false).await.unwrap();
    assert!(sign_in().await.unwrap().is_some());
}

/// A purge of which a crash left only the job is finished by it.
pub async fn a_purge_that_was_cut_short_is_finished_by_its_job(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    keep(&bob, &message("1@x", &[], "Plans")).await;
    instance.remove_account_remains(bob.id()).await.unwrap();
    assert!(instance.account(bob.id()).await.unwrap().is_none());
    assert_eq!(instance.account_info(bob.id()).await.unwrap(), None);
    assert_eq!(instance.accounts().await.unwrap(), []);
    assert_eq!(instance.purge_account(bob.id()).await.unwrap(), None);
    new_account(&instance, "bob@one.example").await;
}

/// A message with more keywords than are allowed now is deleted, and loses some, like any other.
pub async fn a_message_of_too_many_keywords_can_be_deleted(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let keywords = (0..crate::KEYWORDS + 5).map(|number| format!("k{number}")).collect();
    let arrival = Arrival { keywords, ..Arrival::default() };
    let id = keep_with(&bob, &message("1@x", &[], "Plans"), arrival).await.id;
    let patch = |keyword: &str, has| StatePatch {
        keywords: vec![(keyword.to_owned(), has)],
        ..StatePatch::default()
    };
    assert_eq!(bob.patch(id, &patch("more", true)).await.unwrap(), crate::Patched::TooManyKeywords);
    assert!(matches!(bob.patch(id, &patch("k1", false)).await.unwrap(), crate::Patched::Done(_)));
    assert!(matches!(bob.delete(id, None).await.unwrap(), Deleted::Trashed(_)));
    assert_eq!(bob.delete(id, None).await.unwrap(), Deleted::Destroyed);
}

/// What an account holds is what its messages are, whoever asks for it while they come and go.
pub async fn what_an_account_holds_is_counted_once(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    for round in 0..20 {
        let bob = new_account(&instance, &format!("bob{round}@one.example")).await;
        let first = keep(&bob, &message("first@x", &[], "First")).await.id;
        let trashed = bob.delete(first, None).await.unwrap();
        assert!(matches!(trashed, Deleted::Trashed(_)));
        let mut tasks = Vec::new();
        for number in 0..8 {
            let account = bob.clone();
            tasks.push(tokio::spawn(async move {
                let id = keep(&account, &message(&format!("{number}@x"), &[], "Come")).await.id;
                let seen = StatePatch { keywords: vec![("$seen".into(), true)], ..StatePatch::default() };
                if number % 2 == 0 {
                    account.patch(id, &seen).await.unwrap();
                }
            }));
            if number == 4 {
                let account = bob.clone();
                tasks.push(tokio::spawn(async move {
                    account.delete(first, None).await.unwrap();
                }));
            }
            let account = bob.clone();
            tasks.push(tokio::spawn(async move {
                account.used().await.unwrap();
                account.mailboxes().await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let page = bob.list(List::Account, &ListFilter::default(), None, 100).await.unwrap();
        assert_eq!(page.items.len(), 8);
        let held: u64 = page.items.iter().map(|message| message.row.size).sum();
        assert_eq!(bob.used().await.unwrap(), held);
        let unread = page.items.iter().filter(|message| message.state.is_unread()).count() as u64;
        let inbox = bob.mailbox(bob.role_mailbox(Role::Inbox)).await.unwrap().unwrap().1;
        assert_eq!((inbox.total, inbox.unread, inbox.size), (8, unread, held));
        let trash = bob.mailbox(bob.role_mailbox(Role::Trash)).await.unwrap().unwrap().1;
        assert_eq!(trash, Totals::default());
    }
}

/// A message that is being deleted is not there any more for others, though its row may still be.
pub async fn a_message_is_gone_as_soon_as_its_delete_is_decided(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let raw = message("1@x", &[], "Plans");
    let id = keep(&bob, &raw).await.id;
    let row = RowKey::of_message(Table::Messages, bob.id(), id);
    let kept = instance.backend.store.get(std::slice::from_ref(&row)).await.unwrap().pop().flatten().unwrap();
    assert!(matches!(bob.delete(id, None).await.unwrap(), Deleted::Trashed(_)));
    assert_eq!(bob.delete(id, None).await.unwrap(), Deleted::Destroyed);
    // As a node leaves it that dies between the decision and what follows from it.
    instance.backend.store.write(vec![Write::Put(row, kept)], Durability::Now).await.unwrap();
    let seen = StatePatch { keywords: vec![("$seen".into(), true)], ..StatePatch::default() };
    assert_eq!(bob.patch(id, &seen).await.unwrap(), crate::Patched::NotFound);
    assert_eq!(bob.delete(id, None).await.unwrap(), Deleted::NotFound);
    assert_eq!(bob.message(id).await.unwrap(), None);
    assert_eq!(bob.states(&[id]).await.unwrap(), [None]);
    assert!(!keep(&bob, &raw).await.is_new);
    assert_eq!(bob.check_list_rows(id, true).await.unwrap(), (0, 0));
    assert!(ids(&bob, List::Account).await.is_empty());
}

/// Taking away what is left of a deleted message leaves one that came back whole, and bytes for which a row is to come.
pub async fn what_comes_back_keeps_its_bytes(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let raw = message("1@x", &[], "Plans");
    let id = keep(&bob, &raw).await.id;
    let destroy = async || while bob.delete(id, None).await.unwrap() != Deleted::Destroyed {};
    destroy().await;
    assert!(keep_with(&bob, &raw, Arrival { revive: true, ..Arrival::default() }).await.is_new);
    bob.remove_message_remains(id).await.unwrap();
    assert_eq!(bob.raw(id).await.unwrap().unwrap(), raw.replace('\n', "\r\n").as_bytes());
    assert_eq!(ids(&bob, List::Account).await, [id]);
    destroy().await;
    // Another node has written bytes, and will write their row.
    let blobs = &instance.backend.blobs;
    blobs.put(bob.id(), id, vec![b"sealed".to_vec()], Durability::Now).await.unwrap();
    bob.remove_message_remains(id).await.unwrap();
    assert_eq!(blobs.get(bob.id(), id).await.unwrap().is_some(), instance.backend.is_shared);
    // Those of before go at once.
    let other = message("2@x", &[], "Other");
    let id = keep(&bob, &other).await.id;
    while bob.delete(id, None).await.unwrap() != Deleted::Destroyed {}
    bob.remove_message_remains(id).await.unwrap();
    assert_eq!(blobs.get(bob.id(), id).await.unwrap(), None);
}
