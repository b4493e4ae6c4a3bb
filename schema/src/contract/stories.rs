//! What an account sees, told on any backend: the promises that hold above the five traits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{
    About, Account, Arrival, Backend, ChangeKind, Clock, Counts, Deleted, Due, Durability, Envelope, Error,
    Incoming, Instance, Job, Kept, LastRun, List, ListFilter, LocalNode, ManualClock, MessageId, NodeId,
    Patched, PeriodicJob, Position, Recipient, Role, RowKey, Scan, StatePatch, Table, ThreadId, Write,
};

pub(super) const DAY: u64 = 24 * 3_600_000;
/// 2026-01-01T00:00:00Z.
pub(super) const NOW: u64 = 1_767_225_600_000;

/// An instance on `backend`, its keys under `keys`, with the domain one.example.
pub async fn instance(backend: Backend, keys: &Path) -> (Arc<Instance>, Arc<ManualClock>) {
    let clock = ManualClock::at(NOW);
    (super::instance(backend, keys, clock.clone()).await, clock)
}

pub(super) async fn new_account(instance: &Arc<Instance>, address: &str) -> Account {
    let id =
        instance.create_account(address, "correct horse", None).await.expect("an account can be created");
    instance.account(id).await.expect("it can be read").expect("it is there")
}

pub(super) async fn keep(account: &Account, raw: &str) -> Kept {
    keep_with(account, raw, Arrival::default()).await
}

pub(super) async fn keep_with(account: &Account, raw: &str, arrival: Arrival) -> Kept {
    let raw = raw.replace('\n', "\r\n");
    let incoming = Incoming::prepare(raw.as_bytes(), &mail::Limits::default());
    account.keep(&incoming, arrival).await.expect("a message can be kept")
}

/// A message with an id, the ids it refers to, and a subject.
pub(super) fn message(id: &str, references: &[&str], subject: &str) -> String {
    let references: String = references.iter().map(|id| format!(" <{id}>")).collect();
    let references = if references.is_empty() { String::new() } else { format!("References:{references}\n") };
    format!(
        "From: Ada <ada@two.example>\nTo: bob@one.example\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\
         Message-ID: <{id}>\n{references}Subject: {subject}\n\nHello {id}.\n"
    )
}

pub(super) async fn ids(account: &Account, list: List) -> Vec<MessageId> {
    let page = account.list(list, &ListFilter::default(), None, 200).await.expect("a list can be read");
    page.items.iter().map(|message| message.id).collect()
}

pub(super) async fn threads(account: &Account) -> BTreeMap<MessageId, ThreadId> {
    let page =
        account.list(List::Account, &ListFilter::default(), None, 200).await.expect("a list can be read");
    page.items.iter().map(|message| (message.id, message.thread)).collect()
}

pub(super) fn keywords(pairs: &[(&str, bool)]) -> StatePatch {
    let keywords = pairs.iter().map(|&(keyword, has)| (keyword.to_owned(), has)).collect();
    StatePatch { keywords, ..StatePatch::default() }
}

/// A message that is kept is listed in the inbox, unread, and its bytes come back as they were received.
pub async fn a_kept_message_is_listed_and_comes_back_byte_for_byte(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let envelope =
        Envelope { sender: Some("ada@two.example".into()), recipient: Some("bob+x@one.example".into()) };
    let raw = message("1@two.example", &[], "Hello");
    let kept = keep_with(&bob, &raw, Arrival { envelope: envelope.clone(), ..Arrival::default() }).await;
    assert!(kept.is_new);
    assert_eq!(ids(&bob, List::Mailbox(bob.role_mailbox(Role::Inbox))).await, [kept.id]);
    let message = bob.message(kept.id).await.unwrap().unwrap();
    assert_eq!(message.row.head.subject, "Hello");
    assert_eq!(message.row.envelope, envelope);
    assert_eq!(message.row.received_at, NOW);
    assert!(message.state.is_unread());
    assert_eq!(bob.raw(kept.id).await.unwrap().unwrap(), raw.replace('\n', "\r\n").as_bytes());
    assert_eq!(bob.used().await.unwrap(), message.row.size);
    let jobs = instance.backend.queue.lease(10, DELAY, DELAY).await.unwrap();
    let job = Job::IndexMessage { account: bob.id(), message: kept.id };
    assert_eq!(jobs.iter().map(|lease| lease.job).collect::<Vec<_>>(), [job]);
}

const DELAY: std::time::Duration = std::time::Duration::from_secs(5);

/// The same bytes again are one message with the first time; other bytes with the same Message-ID are another.
pub async fn the_same_bytes_are_one_message(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let raw = message("1@two.example", &[], "Hello");
    let first = keep(&bob, &raw).await;
    clock.advance(60_000);
    let again = keep(&bob, &raw).await;
    assert_eq!(again, Kept { id: first.id, is_new: false });
    let forged = keep(&bob, &raw.replace("Hello 1", "Forged")).await;
    assert!(forged.is_new && forged.id != first.id);
    assert_eq!(ids(&bob, List::Account).await, [forged.id, first.id]);
    assert_eq!(bob.message(first.id).await.unwrap().unwrap().row.received_at, NOW);
}

/// A row that was changed, or that another message's row is put in the place of, does not open, however lately it was
/// read.
pub async fn a_row_put_in_the_place_of_another_does_not_open(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let first = keep(&bob, &message("1@two.example", &[], "Hello")).await.id;
    let second = keep(&bob, &message("2@two.example", &[], "World")).await.id;
    for _ in 0..2 {
        assert_eq!(ids(&bob, List::Account).await.len(), 2);
    }
    let row = |id| RowKey::of_message(Table::Messages, bob.id(), id);
    let store = &instance.backend.store;
    let mut sealed = store.get(&[row(first), row(second)]).await.unwrap();
    let (of_second, of_first) = (sealed.pop().flatten().unwrap(), sealed.pop().flatten().unwrap());
    store.write(vec![Write::Put(row(first), of_second)], Durability::Now).await.unwrap();
    assert!(matches!(bob.message(first).await, Err(Error::Sealed { .. })));
    // A single octet, in the middle.
    let mut changed = of_first.clone();
    changed[of_first.len() / 2] ^= 1;
    store.write(vec![Write::Put(row(first), of_first.clone())], Durability::Now).await.unwrap();
    assert_eq!(bob.message(first).await.unwrap().unwrap().row.head.subject, "Hello");
    store.write(vec![Write::Put(row(first), changed)], Durability::Now).await.unwrap();
    assert!(matches!(bob.message(first).await, Err(Error::Sealed { .. })));
    store.write(vec![Write::Put(row(first), of_first)], Durability::Now).await.unwrap();
    assert_eq!(bob.message(first).await.unwrap().unwrap().row.head.subject, "Hello");
}

/// Sessions that bring the same bytes at once keep them once.
pub async fn the_same_bytes_at_once_are_one_message(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let raw = message("1@two.example", &[], "Hello");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (bob, raw) = (bob.clone(), raw.clone());
            tokio::spawn(async move { keep(&bob, &raw).await })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += u32::from(task.await.unwrap().is_new);
    }
    assert_eq!(new, 1);
    assert_eq!(ids(&bob, List::Account).await.len(), 1);
}

/// Pages of a list hold every message once, newest first, within the times asked for.
pub async fn pages_hold_every_message_once(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let mut sent = Vec::new();
    for number in 0..25 {
        sent.push(keep(&bob, &message(&format!("{number}@x"), &[], "Hello")).await.id);
        clock.advance(1_000);
    }
    sent.reverse();
    let (mut listed, mut from) = (Vec::new(), None);
    loop {
        let page = bob.list(List::Account, &ListFilter::default(), from, 10).await.unwrap();
        listed.extend(page.items.iter().map(|message| message.id));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(listed, sent);
    let filter = ListFilter { after: Some(NOW + 5_000), before: Some(NOW + 8_000), ..ListFilter::default() };
    let page = bob.list(List::Account, &filter, None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|message| message.id).collect::<Vec<_>>(), sent[17..20]);
}

/// Mailboxes and keywords change together with lists and totals; a stale version changes nothing.
pub async fn a_patch_changes_lists_and_totals(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let id = keep(&bob, &message("1@x", &[], "Hello")).await.id;
    let (inbox, archive) = (bob.role_mailbox(Role::Inbox), bob.role_mailbox(Role::Archive));
    let Patched::Done(message) = bob.patch(id, &keywords(&[("$seen", true), ("blue", true)])).await.unwrap()
    else {
        panic!("the patch is done");
    };
    assert_eq!(message.state.version, 1);
    assert_eq!(ids(&bob, bob.keyword_list("blue")).await, [id]);
    let totals = bob.mailbox(inbox).await.unwrap().unwrap().1;
    assert_eq!((totals.total, totals.unread), (1, 0));
    let moved = StatePatch { mailboxes: vec![(inbox, false), (archive, true)], ..StatePatch::default() };
    let stale = StatePatch { if_version: Some(0), ..moved.clone() };
    assert_eq!(bob.patch(id, &stale).await.unwrap(), Patched::Stale);
    assert!(matches!(bob.patch(id, &moved).await.unwrap(), Patched::Done(_)));
    assert_eq!(ids(&bob, List::Mailbox(inbox)).await, []);
    assert_eq!(ids(&bob, List::Mailbox(archive)).await, [id]);
    let none = StatePatch { only_mailboxes: Some(BTreeSet::new()), ..StatePatch::default() };
    assert_eq!(bob.patch(id, &none).await.unwrap(), Patched::NoMailboxLeft);
    let nowhere = crate::MailboxId([9; 16]);
    let lost = StatePatch { mailboxes: vec![(nowhere, true)], ..StatePatch::default() };
    assert_eq!(bob.patch(id, &lost).await.unwrap(), Patched::NoSuchMailbox(nowhere));
    assert!(matches!(bob.patch(id, &keywords(&[("blue", false)])).await.unwrap(), Patched::Done(_)));
    assert_eq!(ids(&bob, bob.keyword_list("blue")).await, []);
}

/// A delete moves to the trash, there it is final; the same bytes stay deleted for 30 days, unless they are imported.
pub async fn a_final_delete_lasts(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let raw = message("1@x", &[], "Hello");
    let id = keep(&bob, &raw).await.id;
    assert!(matches!(bob.delete(id, None).await.unwrap(), Deleted::Trashed(_)));
    assert_eq!(ids(&bob, List::Mailbox(bob.role_mailbox(Role::Trash))).await, [id]);
    assert_eq!(bob.delete(id, None).await.unwrap(), Deleted::Destroyed);
    assert_eq!(bob.delete(id, None).await.unwrap(), Deleted::NotFound);
    bob.remove_message_remains(id).await.unwrap();
    assert_eq!(bob.raw(id).await.unwrap(), None);
    assert_eq!(bob.used().await.unwrap(), 0);
    assert!(bob.threads(&ListFilter::default(), None, 10).await.unwrap().items.is_empty());

    clock.advance(29 * DAY);
    assert!(!keep(&bob, &raw).await.is_new);
    assert_eq!(ids(&bob, List::Account).await, []);
    let import = Arrival { revive: true, ..Arrival::default() };
    assert!(keep_with(&bob, &raw, import).await.is_new);
    assert_eq!(ids(&bob, List::Account).await, [id]);
    bob.delete(id, None).await.unwrap();
    bob.delete(id, None).await.unwrap();
    clock.advance(31 * DAY);
    assert!(keep(&bob, &raw).await.is_new);
}

/// The mark of a final delete goes after 30 days, and not before.
pub async fn the_mark_of_a_final_delete_goes_after_its_time(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let store = &instance.backend.store;
    // Those marked by message, of two; and all by time.
    let marks = async |ids: [MessageId; 2]| {
        let keys = ids.map(|id| RowKey::of_message(Table::Deletions, bob.id(), id));
        let by_message = store.get(&keys).await.unwrap().iter().flatten().count();
        let by_time = Scan::all(Table::DeletionsByTime, *bob.id().as_bytes(), 10);
        (by_message, store.scan(&by_time).await.unwrap().len())
    };
    let delete = async |id: MessageId| {
        bob.delete(id, None).await.unwrap();
        assert_eq!(bob.delete(id, None).await.unwrap(), Deleted::Destroyed);
    };
    let raw = [message("1@x", &[], "Once"), message("2@x", &[], "Twice")];
    let ids = [keep(&bob, &raw[0]).await.id, keep(&bob, &raw[1]).await.id];
    for id in ids {
        delete(id).await;
    }
    assert_eq!(marks(ids).await, (2, 2));
    clock.advance(10 * DAY);
    let import = Arrival { revive: true, ..Arrival::default() };
    assert!(keep_with(&bob, &raw[1], import).await.is_new);
    assert_eq!(marks(ids).await, (1, 1));
    delete(ids[1]).await;
    clock.advance(20 * DAY - 1);
    instance.keep_house().await.unwrap();
    assert_eq!(marks(ids).await, (2, 2));
    assert!(!keep(&bob, &raw[0]).await.is_new);

    clock.advance(1);
    instance.keep_house().await.unwrap();
    assert_eq!(marks(ids).await, (1, 1));
    assert!(!keep(&bob, &raw[1]).await.is_new);
    clock.advance(10 * DAY);
    instance.keep_house().await.unwrap();
    assert_eq!(marks(ids).await, (0, 0));
    assert!(keep(&bob, &raw[1]).await.is_new);
}

/// Whatever the order of arrival, what ids connect is one thread, and what they do not is not.
pub async fn threads_do_not_depend_on_the_order(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let chain =
        [message("a@x", &[], "One"), message("b@x", &["a@x"], "Two"), message("c@x", &["b@x"], "Re: Three")];
    let other = message("d@x", &[], "One");
    for (number, order) in
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].iter().enumerate()
    {
        let account = new_account(&instance, &format!("user{number}@one.example")).await;
        let alone = keep(&account, &other).await.id;
        for &index in order {
            clock.advance(1_000);
            keep(&account, &chain[index]).await;
        }
        let found = threads(&account).await;
        let connected: HashSet<_> =
            found.iter().filter(|(id, _)| **id != alone).map(|(_, thread)| *thread).collect();
        assert_eq!(connected.len(), 1, "order {order:?}");
        assert!(!connected.contains(&found[&alone]));
        let thread = connected.into_iter().next().unwrap();
        assert_eq!(account.thread(thread, None, 10).await.unwrap().unwrap().1.items.len(), 3);
        let page = account.threads(&ListFilter::default(), None, 10).await.unwrap();
        assert_eq!(
            page.items.iter().map(|thread| thread.messages.len()).collect::<Vec<_>>(),
            [3, 1],
            "{order:?}"
        );
    }
}

/// A reply without references joins the newest thread of its subject among the same people within 30 days.
pub async fn a_bare_reply_joins_by_subject(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let first = keep(&bob, &message("1@x", &[], "Plans")).await.id;
    let reply = keep(&bob, &message("2@x", &[], "Re: Plans")).await.id;
    let late = message("3@x", &[], "Re: Plans").replace("1 Jan 2026", "9 Mar 2026");
    let late = keep(&bob, &late).await.id;
    let strangers =
        message("4@x", &[], "Re: Plans").replace("ada@two", "eve@two").replace("bob@one", "joe@one");
    let strangers = keep(&bob, &strangers).await.id;
    let no_reply = keep(&bob, &message("5@x", &[], "Plans")).await.id;
    let found = threads(&bob).await;
    assert_eq!(found[&reply], found[&first]);
    for other in [late, strangers, no_reply] {
        assert_ne!(found[&other], found[&first]);
    }
}

/// A client that replays the feed from any cursor ends with the server's state.
pub async fn the_feed_replays_to_the_state(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let mut cursors = vec![(Position::default(), BTreeSet::new())];
    let mut there = BTreeSet::new();
    for number in 0..12 {
        let id = keep(&bob, &message(&format!("{number}@x"), &[], "Hello")).await.id;
        there.insert(id.0);
        if number % 3 == 0 {
            bob.patch(id, &keywords(&[("$seen", true)])).await.unwrap();
        }
        if number % 4 == 0 {
            bob.delete(id, None).await.unwrap();
            bob.delete(id, None).await.unwrap();
            there.remove(&id.0);
        }
        cursors.push((bob.position().await.unwrap(), there.clone()));
    }
    for (mut cursor, mut replayed) in cursors {
        loop {
            let page = bob.changes(cursor, 5).await.unwrap();
            for (_, change) in &page.changes {
                match change.kind {
                    ChangeKind::MessageCreated => replayed.insert(change.id),
                    ChangeKind::MessageDestroyed => replayed.remove(&change.id),
                    _ => false,
                };
            }
            cursor = page.cursor;
            if !page.has_more {
                break;
            }
        }
        assert_eq!(replayed, there);
    }
}

/// Old changes are forgotten: a cursor of the last 30 days goes on, an older one is expired.
pub async fn old_changes_are_forgotten(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let mut cursors = Vec::new();
    for day in 0..40 {
        let before = bob.position().await.unwrap();
        cursors.push(before);
        keep(&bob, &message(&format!("{day}@x"), &[], "Hello")).await;
        let began = Instant::now();
        while bob.position().await.unwrap() == before {
            assert!(began.elapsed() < Duration::from_secs(60), "no cursor ever stands behind the entry");
            tokio::task::yield_now().await;
        }
        instance.keep_house().await.unwrap();
        clock.advance(DAY);
    }
    assert!(matches!(bob.changes(cursors[1], 10).await, Err(crate::Error::CursorExpired)));
    let (mut cursor, mut seen) = (cursors[12], BTreeSet::new());
    loop {
        let page = bob.changes(cursor, 10).await.unwrap();
        seen.extend(page.changes.iter().map(|(position, _)| *position));
        cursor = page.cursor;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen.len(), 28);
}

/// Mail finds its account by address, subaddress, alias and catch-all, and nobody else's.
pub async fn recipients_are_resolved(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "Bob@One.example").await.id();
    let eve = new_account(&instance, "eve@one.example").await.id();
    instance.add_domain("two.example").await.unwrap();
    instance.add_address("@two.example", eve).await.unwrap();
    instance.add_address("robert@one.example", bob).await.unwrap();
    for (recipient, account) in [
        ("bob@one.example", Recipient::Account(bob)),
        ("BOB+news@ONE.example", Recipient::Account(bob)),
        ("robert@one.example", Recipient::Account(bob)),
        ("anyone@two.example", Recipient::Account(eve)),
        ("nobody@one.example", Recipient::UnknownAddress),
        ("bob@three.example", Recipient::UnknownDomain),
    ] {
        assert_eq!(instance.resolve(recipient).await.unwrap(), account, "{recipient}");
    }
    assert!(instance.add_address("robert@one.example", eve).await.is_err());

    // A domain outside ASCII is one in both of its forms; a local part is not touched.
    assert_eq!(instance.add_domain("Bücher.example").await.unwrap(), "xn--bcher-kva.example");
    assert!(instance.add_domain("xn--bcher-kva.example").await.is_err());
    let ada = new_account(&instance, "ada@xn--bcher-kva.example").await.id();
    assert!(instance.create_account("ADA@bücher.example", "correct horse", None).await.is_err());
    assert!(instance.sign_in("ada@BÜCHER.example", "correct horse").await.unwrap().is_some());
    let jörg = instance.add_address("jörg@bücher.example", ada).await.unwrap();
    assert_eq!(jörg, "jörg@xn--bcher-kva.example");
    for (recipient, account) in [
        ("ada@bücher.example", Recipient::Account(ada)),
        ("ada+tag@bu\u{308}cher.example", Recipient::Account(ada)),
        ("ada@XN--BCHER-KVA.example", Recipient::Account(ada)),
        ("jörg@bücher.example", Recipient::Account(ada)),
        ("jörg@xn--bcher-kva.example", Recipient::Account(ada)),
        ("xn--jrg-sna@bücher.example", Recipient::UnknownAddress),
        ("ada@bucher.example", Recipient::UnknownDomain),
        ("ada@b\u{FFFD}cher.example", Recipient::UnknownAddress),
    ] {
        assert_eq!(instance.resolve(recipient).await.unwrap(), account, "{recipient}");
    }
    assert!(instance.remove_address("jörg@xn--bcher-kva.example").await.unwrap());
    assert!(instance.remove_domain("bücher.example").await.is_err());
    assert!(instance.remove_domain("two.example").await.is_err());
    assert!(instance.remove_address("@two.example").await.unwrap());
    assert!(instance.remove_domain("two.example").await.unwrap());
    assert_eq!(instance.resolve("anyone@two.example").await.unwrap(), Recipient::UnknownDomain);
}

/// A mailbox's name is taken in whatever case and however its characters are composed.
pub async fn mailboxes_of_one_name_are_one(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let made = bob.create_mailbox("Cafe\u{301}").await.unwrap();
    assert_eq!(made.name, "Caf\u{e9}");
    for same in ["Caf\u{e9}", "CAFE\u{301}"] {
        assert!(matches!(bob.create_mailbox(same).await, Err(Error::Conflict { .. })), "{same}");
    }
    let other = bob.create_mailbox("Other").await.unwrap().id;
    assert!(matches!(bob.rename_mailbox(other, "caf\u{e9}").await, Err(Error::Conflict { .. })));
    // To itself it may be written anew.
    let renamed = bob.rename_mailbox(made.id, "cafe\u{301}").await.unwrap().unwrap();
    assert_eq!(renamed.name, "caf\u{e9}");
}

/// An account that holds as much as it may is over quota until something is deleted.
pub async fn a_quota_is_met(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let first = message("1@x", &[], "Hello").replace('\n', "\r\n");
    let quota = first.len() as u64;
    let id = instance.create_account("bob@one.example", "correct horse", Some(quota)).await.unwrap();
    let bob = instance.account(id).await.unwrap().unwrap();
    assert_eq!(instance.resolve("bob@one.example").await.unwrap(), Recipient::Account(id));
    let larger = format!("{first}.\r\n");
    let incoming = Incoming::prepare(larger.as_bytes(), &mail::Limits::default());
    let refused = bob.keep(&incoming, Arrival::default()).await;
    assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    assert_eq!(ids(&bob, List::Account).await, []);
    let incoming = Incoming::prepare(first.as_bytes(), &mail::Limits::default());
    let message = bob.keep(&incoming, Arrival::default()).await.unwrap().id;
    // The same bytes again are no more than are there.
    assert!(!bob.keep(&incoming, Arrival::default()).await.unwrap().is_new);
    assert_eq!(instance.resolve("bob@one.example").await.unwrap(), Recipient::OverQuota);
    bob.delete(message, None).await.unwrap();
    bob.delete(message, None).await.unwrap();
    assert_eq!(instance.resolve("bob@one.example").await.unwrap(), Recipient::Account(id));
}

/// A quota that is set is in force at once: below what the account holds nothing comes in, above it mail does again.
pub async fn a_quota_is_changed(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let size =
        bob.message(keep(&bob, &message("1@x", &[], "Hello")).await.id).await.unwrap().unwrap().row.size;
    let second = message("2@x", &[], "Hello").replace('\n', "\r\n");
    let incoming = Incoming::prepare(second.as_bytes(), &mail::Limits::default());
    let (full, takes) = (Recipient::OverQuota, Recipient::Account(bob.id()));
    for (quota, found) in [
        (None, takes),
        (Some(size + 1), takes),
        (Some(size), full),
        (Some(size - 1), full),
        (Some(1), full),
        (Some(2 * size - 1), takes),
    ] {
        assert!(instance.set_quota(bob.id(), quota).await.unwrap());
        assert_eq!(instance.account_info(bob.id()).await.unwrap().unwrap().quota, quota);
        assert_eq!(instance.resolve("bob@one.example").await.unwrap(), found, "{quota:?}");
        if quota.is_some() {
            let refused = bob.keep(&incoming, Arrival::default()).await;
            assert!(matches!(refused, Err(Error::Limit { .. })), "{quota:?}: {refused:?}");
        }
    }
    assert_eq!(ids(&bob, List::Account).await.len(), 1, "what was there is kept");
    instance.set_quota(bob.id(), Some(2 * size)).await.unwrap();
    assert!(bob.keep(&incoming, Arrival::default()).await.unwrap().is_new);
    assert_eq!(instance.resolve("bob@one.example").await.unwrap(), full);
    instance.set_quota(bob.id(), None).await.unwrap();
    assert_eq!(instance.resolve("bob@one.example").await.unwrap(), takes);
    instance.purge_account(bob.id()).await.unwrap();
    assert!(!instance.set_quota(bob.id(), None).await.unwrap());
}

/// A sign-in works with the right password only, until it is ended, expired, or the account is locked.
pub async fn sessions_begin_and_end(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await.id();
    assert!(instance.sign_in("bob@one.example", "wrong horse").await.unwrap().is_none());
    assert!(instance.sign_in("eve@one.example", "correct horse").await.unwrap().is_none());
    let sign_in = || async { instance.sign_in("bob@one.example", "correct horse").await.unwrap() };
    let first = sign_in().await.unwrap().credential;
    let second = sign_in().await.unwrap().credential;
    assert_eq!(instance.session(&first).await.unwrap().unwrap().account.id(), bob);
    instance.sign_out(&first).await.unwrap();
    assert!(instance.session(&first).await.unwrap().is_none());
    clock.advance(8 * DAY);
    assert!(instance.session(&second).await.unwrap().is_none());
    let third = sign_in().await.unwrap().credential;
    instance.set_locked(bob, true).await.unwrap();
    assert!(instance.session(&third).await.unwrap().is_none());
    assert!(sign_in().await.is_none());
    instance.set_locked(bob, false).await.unwrap();
    let fourth = sign_in().await.unwrap().credential;
    instance.set_password(bob, "another horse").await.unwrap();
    assert!(instance.session(&fourth).await.unwrap().is_none());
    assert!(sign_in().await.is_none());
}

/// After a rotation everything opens; after a purge the account is gone and everything else opens.
pub async fn keys_rotate_and_purge(backend: Backend, keys: &Path) {
    let (first, _) = instance(backend.clone(), keys).await;
    let bob = new_account(&first, "bob@one.example").await;
    let eve = new_account(&first, "eve@one.example").await;
    let raw = message("1@x", &[], "Hello");
    let (of_bob, of_eve) = (keep(&bob, &raw).await.id, keep(&eve, &raw).await.id);
    assert_ne!(of_bob, of_eve);
    assert!(bob.message(of_eve).await.unwrap().is_none());
    let epoch = first.rotate_keys().await.unwrap();
    let purged = first.purge_account(eve.id()).await.unwrap().unwrap();
    assert!(purged.epoch > epoch);
    assert!(first.account(eve.id()).await.unwrap().is_none());
    assert_eq!(first.resolve("eve@one.example").await.unwrap(), Recipient::UnknownAddress);
    first.remove_account_remains(eve.id()).await.unwrap();
    assert_eq!(backend.blobs.ids(eve.id(), None, 10).await.unwrap(), []);

    let (again, _) = instance(backend, keys).await;
    let bob = again.account(bob.id()).await.unwrap().unwrap();
    assert_eq!(bob.raw(of_bob).await.unwrap().unwrap(), raw.replace('\n', "\r\n").as_bytes());
    assert!(again.account(eve.id()).await.unwrap().is_none());
    assert_eq!(again.purges().await.unwrap().len(), 1);
}

/// A node is listed while it lives and forgotten when it ends; what one is asked does not touch another.
pub async fn a_node_is_listed_while_it_lives_and_drains_when_asked(backend: Backend, keys: &Path) {
    let is_shared = backend.is_shared;
    let (instance, clock) = instance(backend, keys).await;
    let node = |role: &str| {
        let listeners = vec![("internal".to_owned(), "192.0.2.1:8421".to_owned())];
        let about = About { role: role.to_owned(), listeners, ..About::default() };
        LocalNode::new(about, clock.now(), tokio_util::sync::CancellationToken::new())
    };
    let first = node("lmtp");
    clock.advance(1);
    let second = node("workers");
    let note = async |node: &LocalNode| instance.note_node(&node.tell(clock.now())).await.unwrap();
    let listed = async || {
        let nodes = instance.nodes().await.unwrap();
        nodes.into_iter().map(|node| (node.id, node.is_asked)).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, []);
    note(&second).await;
    note(&first).await;
    assert_eq!(listed().await, [(first.id(), false), (second.id(), false)], "in the order of their start");
    assert_eq!(instance.node(second.id()).await.unwrap(), Some(second.tell(clock.now())));

    assert!(instance.ask_to_drain(first.id(), true).await.unwrap());
    assert!(!instance.ask_to_drain(NodeId([1; 16]), true).await.unwrap(), "nobody is asked in vain");
    note(&first).await;
    assert_eq!(listed().await, [(first.id(), true), (second.id(), false)], "telling undoes no mark");
    assert!(instance.is_asked_to_drain(first.id()).await.unwrap());
    assert!(!instance.is_asked_to_drain(second.id()).await.unwrap());

    // One of them is killed.
    clock.advance(19_000);
    note(&second).await;
    clock.advance(11_000);
    match is_shared {
        true => assert_eq!(listed().await, [(second.id(), false)], "silent for 30 s"),
        // It can only be the one that is asked.
        false => assert_eq!(listed().await.len(), 2),
    }
    assert_eq!(instance.forget_dead_nodes(None).await.unwrap(), 0, "it may only be asleep");
    note(&first).await;
    assert_eq!(listed().await, [(first.id(), true), (second.id(), false)], "and is still asked");
    clock.advance(3_600_000);
    note(&second).await;
    assert_eq!(instance.forget_dead_nodes(Some(second.id())).await.unwrap(), 1);
    assert_eq!(listed().await, [(second.id(), false)]);
    assert!(!instance.is_asked_to_drain(first.id()).await.unwrap());
    instance.forget_node(second.id()).await.unwrap();
    assert_eq!(listed().await, []);
}

/// What is done once in a while is done by one, when it is due, and what it found is noted.
pub async fn a_periodic_job_is_run_by_one_when_it_is_due(backend: Backend, keys: &Path) {
    let (instance, clock) = instance(backend, keys).await;
    let hour = Duration::from_secs(3600);
    let (due, later) = (Due::Every(hour), Due::After(hour));
    let nodes = [NodeId([1; 16]), NodeId([2; 16])];
    let [one, other] = nodes.map(|node| instance.lookout("house", node));
    let begin = async |lookout, due| instance.begin_run(lookout, due).await.unwrap();
    let only = async || {
        let jobs = instance.periodic_jobs().await.unwrap();
        assert_eq!((jobs.len(), jobs[0].name.as_str()), (1, "house"));
        jobs.into_iter().next().unwrap()
    };
    assert_eq!(instance.periodic_jobs().await.unwrap(), []);

    // One of two that look at the same time.
    let (mine, theirs) = tokio::join!(begin(&one, due), begin(&other, due));
    assert!(mine.is_some() != theirs.is_some());
    let at = usize::from(theirs.is_some());
    let [(first, first_is), (second, second_is)] = match at {
        0 => [(&one, nodes[0]), (&other, nodes[1])],
        _ => [(&other, nodes[1]), (&one, nodes[0])],
    };
    let mut run = mine.or(theirs).unwrap();
    let shown = only().await.run.unwrap();
    assert_eq!((shown.node, shown.began_at), (first_is, NOW));
    assert!(begin(second, Due::Now).await.is_none(), "somebody is at it");
    clock.advance(1_000);
    assert!(instance.renew_run(first, &mut run).await.unwrap());
    assert!(only().await.run.unwrap().until > shown.until);
    let found = Counts::from([("things".to_owned(), 7)]);
    assert!(instance.end_run(first, run, Some(found.clone())).await.unwrap());
    let last = LastRun { node: first_is, began_at: NOW, ended_at: NOW + 1_000, found: Some(found) };
    assert_eq!(only().await, PeriodicJob { name: "house".into(), run: None, last: Some(last.clone()) });

    clock.advance(3_599_999);
    assert!(begin(second, due).await.is_none() && begin(first, later).await.is_none());
    clock.advance(1);
    // One that is given up is the other's at once, and changes nothing of what is known of the last.
    let run = begin(second, due).await.unwrap();
    assert!(instance.undo_run(second, run).await.unwrap());
    assert_eq!(only().await.last, Some(last));
    let run = begin(first, due).await.unwrap();
    assert!(instance.end_run(first, run, None).await.unwrap());
    assert_eq!(only().await.last.unwrap().found, None, "it failed");
    assert!(begin(second, due).await.is_none());
    clock.advance(60_000);
    let run = begin(second, due).await.unwrap();
    assert!(instance.end_run(second, run, Some(Counts::new())).await.unwrap());
    assert_eq!(only().await.last.unwrap().node, second_is);

    // What is to be done only after a while is not done when it is first heard of.
    let scrub = instance.lookout("scrub", nodes[0]);
    assert!(begin(&scrub, later).await.is_none() && begin(&scrub, later).await.is_none());
    clock.advance(3_600_000);
    assert!(begin(&scrub, later).await.is_some());
    assert_eq!(instance.periodic_jobs().await.unwrap().len(), 2);
}
