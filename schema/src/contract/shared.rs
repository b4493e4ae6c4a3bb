//! What one node does is seen on every other, told on any backend.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use seal::Credential;

use super::between::{Behind, Between};
use super::stories::{instance, keep, keywords, message, new_account};
use crate::{
    Account, Backend, Clock, Deleted, Durability, Error, Instance, List, ListFilter, ListPosition, MailStore,
    ManualClock, Message, Result, Role, Row, RowKey, Scan, Write,
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

/// Counts rows and lists that are asked for.
#[derive(Default)]
struct Counting(AtomicU64);

#[async_trait]
impl Between for Counting {
    async fn get(&self, store: &dyn MailStore, keys: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>> {
        self.0.fetch_add(keys.len() as u64, Ordering::SeqCst);
        store.get(keys).await
    }

    async fn scan(&self, store: &dyn MailStore, scan: &Scan) -> Result<Vec<Row>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        store.scan(scan).await
    }
}

/// Dies once a state is set, before anything else is told of it.
struct Dying;

#[async_trait]
impl Between for Dying {
    async fn replace(
        &self,
        store: &dyn MailStore,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        _: Vec<Write>,
    ) -> Result<bool> {
        store.replace(key, expected, new, vec![]).await?;
        Err(Error::transient("rows", "this node has died"))
    }
}

/// A list that nothing changes is shown again without reading it, and what changes on another node is shown at once.
pub async fn a_list_is_not_read_again_until_something_changes(mut backend: Backend, keys: &Path) {
    backend.is_shared = true;
    let (elsewhere, clock) = instance(backend.clone(), keys).await;
    let store = Behind::new(Counting::default(), backend.store.clone());
    backend.store = store.clone();
    let (here, _) = instance(backend.clone(), keys).await;
    backend.store = Behind::new(Dying, elsewhere.backend.store.clone());
    let (dying, _) = instance(backend, keys).await;
    let bob = new_account(&elsewhere, "bob@one.example").await;
    let reader = here.account(bob.id()).await.unwrap().unwrap();
    let mut kept = Vec::new();
    for number in 0..4 {
        clock.advance(1_000);
        kept.insert(0, keep(&bob, &message(&format!("{number}@x"), &[], &format!("No. {number}"))).await.id);
    }
    let shown = async || {
        let page = reader.list(List::Account, &ListFilter::default(), None, 3).await.unwrap();
        let found = reader.messages_shown(&[kept[3]]).await.unwrap().remove(0);
        (page.items, found)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    // What is shown once no row is asked for any more.
    let rest = async || loop {
        let before = store.between.0.load(Ordering::SeqCst);
        let shown = shown().await;
        if store.between.0.load(Ordering::SeqCst) == before {
            return shown;
        }
        assert!(Instant::now() < deadline, "it is read again and again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let ids = |items: &[Message]| items.iter().map(|message| message.id).collect::<Vec<_>>();

    let (items, found) = rest().await;
    assert_eq!((ids(&items), found.map(|found| found.id)), (kept[..3].to_vec(), Some(kept[3])));

    for id in [kept[1], kept[3]] {
        bob.patch(id, &keywords(&[("$seen", true)])).await.unwrap();
    }
    for (items, found) in [shown().await, rest().await] {
        let unread: Vec<_> = items.iter().map(|message| message.state.is_unread()).collect();
        assert_eq!((unread, found.unwrap().state.is_unread()), (vec![true, false, true], false));
    }

    clock.advance(1_000);
    // It answers two that are threads of their own.
    let joins = keep(&bob, &message("joins@x", &["0@x", "3@x"], "Both")).await.id;
    for (items, found) in [shown().await, rest().await] {
        assert_eq!(ids(&items), [joins, kept[0], kept[1]]);
        let threads: Vec<_> = items.iter().chain(&found).map(|message| message.thread).collect();
        assert!(threads[0] == threads[1] && threads[1] == threads[3], "{threads:?}");
    }

    // So is a row that was lost once it is there again.
    let lost = bob.message(kept[0]).await.unwrap().unwrap();
    let lost = List::Account.row(bob.id(), ListPosition::new(lost.row.received_at, lost.id.0));
    elsewhere.backend.store.write(vec![Write::Delete(lost)], Durability::Now).await.unwrap();
    bob.patch(kept[2], &keywords(&[("$seen", true)])).await.unwrap();
    assert_eq!(ids(&rest().await.0), [joins, kept[1], kept[2]]);
    assert_eq!(bob.check_list_rows(kept[0], true).await.unwrap(), (1, 0));
    assert_eq!(ids(&shown().await.0), [joins, kept[0], kept[1]]);

    // What a node has done by half before it died is done, and seen, once another is asked for it.
    let dying = dying.account(bob.id()).await.unwrap().unwrap();
    bob.delete(joins, None).await.unwrap();
    rest().await;
    let flagged = keywords(&[("$flagged", true)]);
    assert!(dying.patch(kept[1], &flagged).await.is_err());
    assert!(dying.delete(joins, None).await.is_err());
    bob.patch(kept[1], &flagged).await.unwrap();
    let (items, _) = shown().await;
    assert!(items.iter().any(|item| item.id == kept[1] && item.state.keywords.contains("$flagged")));
    assert_eq!(bob.delete(joins, None).await.unwrap(), Deleted::NotFound);
    assert_eq!(ids(&shown().await.0), kept[..3]);

    for id in [kept[0], kept[3]] {
        for _ in 0..2 {
            assert_ne!(bob.delete(id, None).await.unwrap(), Deleted::NotFound);
        }
    }
    let (items, found) = shown().await;
    assert_eq!((ids(&items), found), (vec![kept[1], kept[2]], None));
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
