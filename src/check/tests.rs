use embedded::{Embedded, Options};
use schema::{Arrival, Incoming, RowKey, StatePatch, SystemClock};
use serde_json::{Value, json};

use super::*;

struct Place {
    account: Account,
    _embedded: Embedded,
    _directory: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("data"), Options::default()).unwrap();
        let clock = Arc::new(SystemClock);
        let instance = schema::contract::instance(embedded.backend(), directory.path(), clock).await;
        let id = instance.create_account("anna@one.example", "correct horse", None).await.unwrap();
        let account = instance.account(id).await.unwrap().unwrap();
        Self { account, _embedded: embedded, _directory: directory }
    }

    /// A message with a keyword of its own and one that all have.
    async fn keep(&self, name: &str) -> Message {
        self.keep_of(name, Arrival::default()).await
    }

    async fn keep_of(&self, name: &str, arrival: Arrival) -> Message {
        let raw = format!("From: {name}@two.example\r\nSubject: {name}\r\n\r\n{name}\r\n");
        let incoming = Incoming::prepare(raw.as_bytes(), &mail::Limits::default());
        let id = self.account.keep(&incoming, arrival).await.unwrap().id;
        let keywords = vec![(name.to_owned(), true), ("all".to_owned(), true)];
        self.account.patch(id, &StatePatch { keywords, ..StatePatch::default() }).await.unwrap();
        self.account.message(id).await.unwrap().unwrap()
    }

    async fn write(&self, writes: Vec<Write>) {
        self.account.instance().backend.store.write(writes, Durability::Now).await.unwrap();
    }

    async fn value(&self, key: &RowKey) -> Option<Vec<u8>> {
        let store = &self.account.instance().backend.store;
        store.get(std::slice::from_ref(key)).await.unwrap().remove(0)
    }

    fn row(&self, list: List, message: &Message) -> RowKey {
        list.row(self.account.id(), ListPosition::new(message.row.received_at, message.id.0))
    }

    fn activity(&self, table: Table, at: Millis, id: [u8; 16]) -> RowKey {
        RowKey::new(table, *self.account.id().as_bytes(), ListPosition::new(at, id).clustering())
    }

    async fn check(&self, repair: bool) -> Value {
        run(self.account.instance(), repair).await.unwrap().to_json()
    }
}

#[tokio::test]
async fn a_row_that_the_message_contradicts_is_found_in_every_kind_of_list_and_removed() {
    let place = Place::new().await;
    let (first, second) = (place.keep("first").await, place.keep("second").await);
    assert_eq!(place.check(false).await["drift"], json!({}));

    let account = &place.account;
    let other_time = ListPosition::new(first.row.received_at + 1, first.id.0);
    let nobody = ListPosition::new(first.row.received_at, [9; 16]);
    let stale = [
        // A keyword that another message has, and one that none has.
        place.row(account.keyword_list("second"), &first),
        place.row(account.keyword_list("nowhere"), &first),
        // The thread and the discussion of another message, and of none.
        place.row(List::Thread(second.row.thread), &first),
        place.row(List::Thread(ThreadId([1; 16])), &first),
        place.row(List::Discussion(second.row.discussion), &first),
        place.row(List::Discussion(DiscussionId([1; 16])), &first),
        // A mailbox that is not there.
        place.row(List::Mailbox(MailboxId([1; 16])), &first),
        // Another time, in each list that it stands in.
        account.keyword_list("all").row(account.id(), other_time),
        List::Thread(first.row.thread).row(account.id(), other_time),
        List::Discussion(first.row.discussion).row(account.id(), other_time),
        List::Account.row(account.id(), other_time),
        // A message that is not there.
        account.keyword_list("all").row(account.id(), nobody),
        List::Thread(first.row.thread).row(account.id(), nobody),
        List::Discussion(first.row.discussion).row(account.id(), nobody),
        List::Account.row(account.id(), nobody),
    ];
    place.write(stale.iter().map(|key| Write::Put(key.clone(), vec![1])).collect()).await;

    let report = place.check(false).await;
    assert_eq!(report["drift"], json!({ "staleListRows": stale.len() }));
    assert_eq!((&report["ok"], &report["repaired"]), (&json!(false), &json!(0)));
    let report = place.check(true).await;
    assert_eq!((&report["ok"], &report["repaired"]), (&json!(true), &json!(stale.len())));
    for key in &stale {
        assert_eq!(place.value(key).await, None, "{key:?}");
    }
    assert_eq!(place.check(false).await["drift"], json!({}));
    for message in [first, second] {
        assert_eq!(account.message(message.id).await.unwrap(), Some(message));
    }
}

#[tokio::test]
async fn a_thread_listed_at_a_time_that_is_not_its_newest_is_no_drift_and_goes_with_a_repair() {
    let place = Place::new().await;
    let hour_ago = schema::Clock::now(&SystemClock) - 3_600_000;
    let arrival = Arrival { received_at: Some(hour_ago), ..Arrival::default() };
    let message = place.keep_of("first", arrival).await;
    for (table, id) in [
        (Table::ThreadsByActivity, message.thread.0),
        (Table::DiscussionsByActivity, message.row.discussion.0),
    ] {
        let right = place.activity(table, hour_ago, id);
        let passed = [
            place.activity(table, hour_ago + 1, id),
            place.activity(table, hour_ago - 1, id),
            place.activity(table, hour_ago, [9; 16]),
        ];
        // The message that they are of may be about to come into sight.
        let young = [id, [9; 16]].map(|id| place.activity(table, hour_ago + 3_590_000, id));
        let rows = passed.iter().chain(&young);
        place.write(rows.map(|key| Write::Put(key.clone(), vec![])).collect()).await;
        assert_eq!(place.check(false).await["drift"], json!({}));
        assert!(place.value(&passed[0]).await.is_some());
        assert_eq!(place.check(true).await["drift"], json!({}));
        for key in &passed {
            assert_eq!(place.value(key).await, None, "{key:?}");
        }
        for key in young.iter().chain([&right]) {
            assert!(place.value(key).await.is_some(), "{key:?}");
        }
    }
}

#[tokio::test]
async fn a_row_that_is_missing_is_written_as_it_was() {
    let place = Place::new().await;
    let message = place.keep("first").await;
    let account = &place.account;
    let lists = [
        List::Account,
        List::Mailbox(*message.state.mailboxes.first().unwrap()),
        account.keyword_list("all"),
        List::Thread(message.row.thread),
        List::Discussion(message.row.discussion),
    ];
    let mut keys = lists.map(|list| place.row(list, &message)).to_vec();
    let at = message.row.received_at;
    keys.push(place.activity(Table::ThreadsByActivity, at, message.thread.0));
    keys.push(place.activity(Table::DiscussionsByActivity, at, message.row.discussion.0));
    let mut values = Vec::new();
    for key in &keys {
        values.push(place.value(key).await.unwrap());
    }
    place.write(keys.iter().cloned().map(Write::Delete).collect()).await;
    let report = place.check(true).await;
    assert_eq!(report["drift"], json!({ "missingListRows": keys.len() }));
    for (key, value) in keys.iter().zip(values) {
        assert_eq!(place.value(key).await, Some(value), "{key:?}");
    }
    assert_eq!(place.check(false).await["drift"], json!({}));
}

#[tokio::test]
async fn a_row_that_says_something_else_of_its_message_is_written_as_it_was() {
    let place = Place::new().await;
    let message = place.keep("first").await;
    let key = place.row(List::Mailbox(*message.state.mailboxes.first().unwrap()), &message);
    let right = place.value(&key).await.unwrap();
    let wrong = Entry::new(&message.state, message.row.size + 1).to_bytes();
    assert_ne!(right, wrong);
    place.write(vec![Write::Put(key.clone(), wrong)]).await;
    assert_eq!(place.check(false).await["drift"], json!({ "wrongListRows": 1 }));
    let report = place.check(true).await;
    assert_eq!((&report["ok"], &report["repaired"]), (&json!(true), &json!(1)));
    assert_eq!(place.value(&key).await, Some(right));
}

#[tokio::test]
async fn a_message_that_does_not_open_keeps_its_list_rows_and_hides_no_other() {
    let place = Place::new().await;
    let (broken, fine) = (place.keep("broken").await, place.keep("fine").await);
    let account = &place.account;
    let key = RowKey::of_message(Table::Messages, account.id(), broken.id);
    let stale = place.row(account.keyword_list("nowhere"), &fine);
    place.write(vec![Write::Put(key, vec![1, 2, 3]), Write::Put(stale.clone(), vec![1])]).await;
    let report = place.check(true).await;
    assert_eq!(report["drift"], json!({ "staleListRows": 1, "unreadableMessages": 1 }));
    assert_eq!((&report["ok"], &report["repaired"]), (&json!(false), &json!(1)));
    assert_eq!(place.value(&stale).await, None);
    assert!(place.value(&place.row(account.keyword_list("all"), &broken)).await.is_some());
}
