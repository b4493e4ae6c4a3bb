use embedded::{Embedded, Options};
use schema::{
    Account, Arrival, Incoming, MessageId, NewSession, Patched, Position, Role, RowKey, StatePatch,
    SystemClock, pair,
};
use tempfile::TempDir;

use super::*;

/// What is migrated.
struct Side {
    embedded: Embedded,
    instance: Arc<Instance>,
    _directory: TempDir,
}

const ADDRESS: &str = "anna@one.example";
const PASSWORD: &str = "correct horse";

struct Place {
    keys: TempDir,
    source: Side,
    target: Embedded,
    _directory: TempDir,
}

async fn instance(embedded: &Embedded, keys: &TempDir) -> Arc<Instance> {
    schema::contract::instance(embedded.backend(), keys.path(), Arc::new(SystemClock)).await
}

impl Place {
    async fn new() -> Self {
        let (keys, from, to) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
        let (keys, from, to) = (keys.unwrap(), from.unwrap(), to.unwrap());
        let embedded = Embedded::open(from.path(), Options::default()).unwrap();
        let source = Side { instance: instance(&embedded, &keys).await, embedded, _directory: from };
        // As where positions are larger on the source: it has given out none of these.
        let options = Options { positions_above: 1 << 62, ..Options::default() };
        let target = Embedded::open(to.path(), options).unwrap();
        Self { keys, source, target, _directory: to }
    }

    async fn account(&self, address: &str) -> Account {
        let id = self.source.instance.create_account(address, PASSWORD, None).await.unwrap();
        self.source.instance.account(id).await.unwrap().unwrap()
    }

    async fn migration(&self) -> Migration {
        Migration::new(self.source.instance.clone(), self.target.backend()).await.unwrap()
    }

    /// Copies and verifies; the target, opened.
    async fn migrate(&self) -> (Arc<Instance>, Report) {
        let migration = self.migration().await;
        migration.copy().await.unwrap();
        let target = instance(&self.target, &self.keys).await;
        let report = migration.verify(&target).await.unwrap();
        (target, report)
    }
}

fn raw(name: &str) -> String {
    format!(
        "From: sender@two.example\r\nSubject: {name}\r\nMessage-ID: <{name}@two.example>\r\n\r\n{name}\r\n"
    )
}

async fn keep(account: &Account, name: &str) -> (MessageId, bool) {
    let raw = raw(name);
    let incoming = Incoming::prepare(raw.as_bytes(), &mail::Limits::default());
    let kept = account.keep(&incoming, Arrival::default()).await.unwrap();
    (kept.id, kept.is_new)
}

async fn move_to(account: &Account, id: MessageId, role: Role) {
    let only = Some([account.role_mailbox(role)].into());
    let keywords = vec![("seen-by-a-test".to_owned(), true)];
    let patch = StatePatch { only_mailboxes: only, keywords, ..StatePatch::default() };
    assert!(matches!(account.patch(id, &patch).await.unwrap(), Patched::Done(_)));
}

async fn delete(account: &Account, id: MessageId) {
    for _ in 0..2 {
        account.delete(id, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_and_cursors_of_before_are_expired() {
    let place = Place::new().await;
    let anna = place.account(ADDRESS).await;
    let (stays, _) = keep(&anna, "stays").await;
    let (moved, _) = keep(&anna, "moved").await;
    let (deleted, _) = keep(&anna, "deleted").await;
    move_to(&anna, moved, Role::Archive).await;
    delete(&anna, deleted).await;
    let session: NewSession = place.source.instance.sign_in(ADDRESS, PASSWORD).await.unwrap().unwrap();
    let end = anna.position().await.unwrap();
    assert!(end > Position(0));

    let (target, report) = place.migrate().await;
    assert!(report.is_ok(), "{}", report.to_json());
    assert_eq!((report.accounts, report.messages), (1, 2));
    let opened = target.session(&session.credential).await.unwrap().expect("the session lasts").account;
    assert!(target.sign_in(ADDRESS, PASSWORD).await.unwrap().is_some());
    for (id, name) in [(stays, "stays"), (moved, "moved")] {
        assert_eq!(opened.raw(id).await.unwrap().unwrap(), raw(name).as_bytes());
        assert_eq!(opened.message(id).await.unwrap(), anna.message(id).await.unwrap());
    }
    // What comes again stays where it was put.
    assert_eq!(keep(&opened, "deleted").await, (deleted, false));
    assert_eq!(keep(&opened, "moved").await, (moved, false));
    assert!(opened.message(deleted).await.unwrap().is_none());
    assert_eq!(opened.message(moved).await.unwrap().unwrap().state.mailboxes, {
        [opened.role_mailbox(Role::Archive)].into()
    });
    // No cursor is gone on from, and a new one is.
    for before in [Position(0), Position(1), end] {
        assert!(matches!(opened.changes(before, 10).await, Err(schema::Error::CursorExpired)), "{before:?}");
    }
    let now = opened.position().await.unwrap();
    assert!(now > Position(1 << 62));
    let (new, _) = keep(&opened, "new").await;
    let page = opened.changes(now, 10).await.unwrap();
    assert_eq!(page.changes.iter().map(|(_, change)| change.id).collect::<Vec<_>>(), [new.0]);
    // The index is made anew.
    assert!(!opened.index_progress().await.unwrap().complete);
    let depth = place.target.backend().queue.depth().await.unwrap();
    assert!(depth.ready >= 3, "{depth:?}");
    let checked = crate::check::run(&target, false).await.unwrap().to_json();
    assert_eq!((&checked["ok"], &checked["waitingForIndex"]), (&true.into(), &3.into()), "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_takes_over_what_has_changed_since() {
    let place = Place::new().await;
    let (anna, boris) = (place.account(ADDRESS).await, place.account("boris@one.example").await);
    let mut ids = Vec::new();
    for name in ["first", "second", "third", "fourth"] {
        ids.push(keep(&anna, name).await.0);
    }
    keep(&boris, "of boris").await;
    place.source.instance.add_address("info@one.example", anna.id()).await.unwrap();
    place.migration().await.copy().await.unwrap();

    // Served from in between.
    move_to(&anna, ids[1], Role::Archive).await;
    delete(&anna, ids[2]).await;
    let (late, _) = keep(&anna, "late").await;
    assert!(place.source.instance.remove_address("info@one.example").await.unwrap());
    place.source.instance.purge_account(boris.id()).await.unwrap().unwrap();

    let (target, report) = place.migrate().await;
    assert!(report.is_ok(), "{}", report.to_json());
    assert_eq!((report.accounts, report.messages), (1, 4));
    let opened = target.account(anna.id()).await.unwrap().unwrap();
    for &id in [ids[0], ids[1], ids[3], late].iter() {
        assert_eq!(opened.message(id).await.unwrap(), anna.message(id).await.unwrap());
        assert_eq!(opened.raw(id).await.unwrap(), anna.raw(id).await.unwrap());
    }
    let target_backend = place.target.backend();
    assert!(target_backend.blobs.written(anna.id(), ids[2]).await.unwrap().is_none());
    assert!(target.account_by_address("info@one.example").await.unwrap().is_none());
    // Nothing is left of who was purged.
    assert!(target.account(boris.id()).await.unwrap().is_none());
    assert!(target.account_by_address("boris@one.example").await.unwrap().is_none());
    assert!(target_backend.blobs.ids(boris.id(), None, 10).await.unwrap().is_empty());
    let checked = crate::check::run(&target, false).await.unwrap().to_json();
    assert_eq!(checked["ok"], true, "{checked}");
    // And again, with nothing to do.
    let (_, report) = place.migrate().await;
    assert!(report.is_ok(), "{}", report.to_json());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_many_pages_come_whole() {
    const COUNT: usize = 2 * PAGE + 7;
    let place = Place::new().await;
    let anna = place.account(ADDRESS).await;
    let names: Vec<_> = (0..COUNT).map(|number| format!("message {number}")).collect();
    let kept = futures_util::future::join_all(names.iter().map(|name| keep(&anna, name))).await;
    let (target, report) = place.migrate().await;
    assert!(report.is_ok(), "{}", report.to_json());
    assert_eq!(report.messages, COUNT as u64);
    let opened = target.account(anna.id()).await.unwrap().unwrap();
    assert_eq!(opened.mailboxes().await.unwrap(), anna.mailboxes().await.unwrap());
    let ids: Vec<_> = kept.iter().map(|(id, _)| *id).collect();
    assert!(opened.messages(&ids).await.unwrap().iter().all(Option::is_some));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_it_was_is_counted() {
    let place = Place::new().await;
    let anna = place.account(ADDRESS).await;
    let mut ids = Vec::new();
    for name in ["first", "second", "third"] {
        ids.push(keep(&anna, name).await.0);
    }
    let migration = place.migration().await;
    migration.copy().await.unwrap();
    let target = instance(&place.target, &place.keys).await;
    let backend = place.target.backend();
    // The bytes of one are another's, those of another are gone, and a row is one too many.
    let others = backend.blobs.get(anna.id(), ids[1]).await.unwrap().unwrap();
    backend.blobs.put(anna.id(), ids[0], others, Durability::Later).await.unwrap();
    backend.blobs.remove(anna.id(), ids[2], i64::MAX, Durability::Later).await.unwrap();
    let surplus = RowKey::new(Table::MessagesByKeyword, pair(anna.id(), &[1; 16]), [0; 24]);
    let lost = RowKey::of_message(Table::Messages, anna.id(), ids[1]);
    let writes = vec![Write::Put(surplus, vec![1]), Write::Delete(lost)];
    backend.store.write(writes, Durability::Now).await.unwrap();
    let report = migration.verify(&target).await.unwrap();
    let shown = report.to_json();
    assert!(!report.is_ok(), "{shown}");
    assert_eq!((report.messages, report.wrong), (0, 3), "{shown}");
    let differing = serde_json::json!({ "messages": 1, "messages_by_keyword": 1 });
    assert_eq!(shown["differingRows"], differing);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_unreadable_before_holds_nobody_up() {
    let place = Place::new().await;
    let anna = place.account(ADDRESS).await;
    let (id, _) = keep(&anna, "whole").await;
    let (damaged, _) = keep(&anna, "damaged").await;
    let blobs = place.source.embedded.backend().blobs;
    blobs.put(anna.id(), damaged, vec![vec![7; 100]], Durability::Now).await.unwrap();
    let (target, report) = place.migrate().await;
    assert!(report.is_ok(), "{}", report.to_json());
    assert_eq!((report.messages, report.unreadable), (1, 1));
    let opened = target.account(anna.id()).await.unwrap().unwrap();
    assert!(opened.raw(damaged).await.is_err() && opened.raw(id).await.is_ok());
}
