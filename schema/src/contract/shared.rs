//! What one node does is seen on every other, told on any backend.

use std::path::Path;
use std::sync::Arc;

use seal::Credential;

use super::stories::{instance, keep, keywords, message, new_account};
use crate::{
    Account, Backend, Clock, Deleted, Durability, Instance, List, ListFilter, ListPosition, ManualClock,
    Message, Role, Write,
};

/// Two nodes; where one process owns the directory there is no other, and both are the same.
async fn both(backend: Backend, keys: &Path) -> ([Arc<Instance>; 2], Arc<ManualClock>) {
    let (one, clock) = instance(backend.clone(), keys).await;
    let other = match backend.is_shared {
        true => instance(backend, keys).await.0,
        false => one.clone(),
    };
    ([one, other], clock)
}

/// A session that ends on one node is over on all, also on one that has just taken it.
pub async fn a_session_that_ends_on_one_node_is_over_on_every_other(backend: Backend, keys: &Path) {
    let (nodes, _) = both(backend, keys).await;
    let bob = new_account(&nodes[0], "bob@one.example").await.id();
    let sign_in = async || {
        let signed_in = nodes[0].sign_in("bob@one.example", "correct horse").await.unwrap();
        let credential = signed_in.unwrap().credential;
        for node in [&nodes[0], &nodes[1], &nodes[1]] {
            assert_eq!(node.session(&credential).await.unwrap().unwrap().account.id(), bob);
        }
        credential
    };
    let [out, locked, changed] = [sign_in().await, sign_in().await, sign_in().await];
    let is_over = async |credential: &Credential| {
        for node in &nodes {
            assert!(node.session(credential).await.unwrap().is_none());
        }
    };
    nodes[0].sign_out(&out).await.unwrap();
    is_over(&out).await;
    assert!(nodes[1].session(&locked).await.unwrap().is_some());
    nodes[0].set_locked(bob, true).await.unwrap();
    for credential in [&locked, &changed] {
        is_over(credential).await;
    }
    nodes[0].set_locked(bob, false).await.unwrap();
    let last = sign_in().await;
    nodes[1].set_password(bob, "another horse").await.unwrap();
    is_over(&last).await;
    // One that ended while a node was asking for it is not remembered either.
    nodes[0].set_password(bob, "correct horse").await.unwrap();
    for _ in 0..10 {
        let credential =
            nodes[0].sign_in("bob@one.example", "correct horse").await.unwrap().unwrap().credential;
        let (_, ended) = tokio::join!(nodes[1].session(&credential), nodes[0].sign_out(&credential));
        ended.unwrap();
        is_over(&credential).await;
    }
}

/// A list that a node has read before shows what has come, changed, gone and been joined since on another.
pub async fn a_list_that_was_read_before_shows_what_has_changed_since(backend: Backend, keys: &Path) {
    let ([one, other], clock) = both(backend, keys).await;
    let bob = new_account(&one, "bob@one.example").await;
    let there = other.account(bob.id()).await.unwrap().unwrap();
    let inbox = List::Mailbox(bob.role_mailbox(Role::Inbox));
    // What each node shows, which is the same; a second time it is read with what was foreseen.
    let shown = async |list| {
        let page = async |account: &Account| {
            let page = account.list(list, &ListFilter::default(), None, 4).await.unwrap();
            (page.items, page.next)
        };
        let pages = [page(&there).await, page(&bob).await, page(&there).await];
        assert!(pages[0] == pages[1] && pages[1] == pages[2], "{pages:#?}");
        pages.into_iter().next().unwrap()
    };
    let ids = |items: &[Message]| items.iter().map(|message| message.id).collect::<Vec<_>>();
    let mut kept = Vec::new();
    for number in 0..6 {
        clock.advance(1_000);
        kept.insert(0, keep(&bob, &message(&format!("{number}@x"), &[], &format!("No. {number}"))).await.id);
        let (items, next) = shown(inbox).await;
        assert_eq!((ids(&items), next.is_some()), (kept[..kept.len().min(4)].to_vec(), kept.len() > 4));
    }
    bob.patch(kept[1], &keywords(&[("$seen", true)])).await.unwrap();
    let (items, _) = shown(inbox).await;
    assert_eq!(
        items.iter().map(|message| message.state.is_unread()).collect::<Vec<_>>(),
        [true, false, true, true]
    );

    for _ in 0..2 {
        assert_ne!(bob.delete(kept[2], None).await.unwrap(), Deleted::NotFound);
    }
    kept.remove(2);
    for list in [inbox, List::Account] {
        assert_eq!(ids(&shown(list).await.0), kept[..4]);
    }
    clock.advance(1_000);
    // It answers two that are threads of their own.
    let joins = keep(&bob, &message("joins@x", &["5@x", "4@x"], "Both")).await.id;
    let (items, _) = shown(inbox).await;
    assert_eq!(ids(&items), [joins, kept[0], kept[1], kept[2]]);
    let threads: Vec<_> = items.iter().map(|message| message.thread).collect();
    assert!(threads[0] == threads[1] && threads[1] == threads[2] && threads[2] != threads[3], "{threads:?}");
}

/// A row of a list at a wrong time is passed over, and hides nothing, also where the list was read before.
pub async fn a_list_row_at_a_wrong_time_hides_nothing(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let id = keep(&bob, &message("1@x", &[], "Hello")).await.id;
    let at = clock.now();
    let listed = async || {
        let page = bob.list(List::Account, &ListFilter::default(), None, 10).await.unwrap();
        page.items.iter().map(|message| message.id).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [id]);
    for wrong in [at - 1_000, at + 1_000] {
        let row = List::Account.row(bob.id(), ListPosition::new(wrong, id.0));
        instance.backend.store.write(vec![Write::Put(row, vec![])], Durability::Now).await.unwrap();
        for _ in 0..2 {
            assert_eq!(listed().await, [id]);
        }
    }
}
