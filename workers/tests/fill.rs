//! Filling an index that is built beside the one that searches read, both on a real backend.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use embedded::{Embedded, Options};
use schema::index::IndexedMessage;
use schema::{
    Account, Arrival, Durability, Incoming, Instance, MessageId, RowKey, SearchIndex, SystemClock, Table,
    Write,
};
use workers::{Filled, Settings, fill};

struct Place {
    instance: Arc<Instance>,
    next: Arc<dyn SearchIndex>,
    _kept: ([Embedded; 2], tempfile::TempDir),
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = |name| Embedded::open(&directory.path().join(name), Options::default()).unwrap();
        let (data, other) = (open("data"), open("other"));
        let instance =
            schema::contract::instance(data.backend(), directory.path(), Arc::new(SystemClock)).await;
        Self { instance, next: other.backend().index, _kept: ([data, other], directory) }
    }

    async fn account(&self, name: &str) -> Account {
        let address = format!("{name}@one.example");
        let id = self.instance.create_account(&address, "correct horse", None).await.unwrap();
        self.instance.account(id).await.unwrap().unwrap()
    }

    async fn keep(&self, account: &Account, text: &str) -> MessageId {
        let raw = format!("Subject: {text}\r\n\r\n{text}\r\n");
        let incoming = Incoming::prepare(raw.as_bytes(), &self.instance.settings.limits);
        account.keep(&incoming, Arrival::default()).await.unwrap().id
    }

    async fn fill(&self) -> Filled {
        let mut filled = Filled::default();
        fill(&self.instance, self.next.clone(), &Settings::default(), &mut filled).await.unwrap();
        filled
    }

    async fn held(&self, account: &Account) -> BTreeSet<MessageId> {
        self.next.ids(account.id(), None, 100).await.unwrap().into_iter().collect()
    }
}

/// As a message that is nowhere else.
fn strange(id: MessageId) -> IndexedMessage {
    IndexedMessage { id, received_at: 1, size: 1, has_attachment: false, words: 0, postings: vec![] }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lacking_is_put_in_once_and_what_is_no_messages_is_taken_out() {
    let place = Place::new().await;
    let [anna, boris] = [place.account("anna").await, place.account("boris").await];
    let mut wanted = BTreeSet::new();
    for number in 0..7 {
        wanted.insert(place.keep(&anna, &format!("wombat {number}")).await);
    }
    let of_boris = place.keep(&boris, "wombat").await;
    place.next.put(anna.id(), vec![strange(MessageId([7; 16]))]).await.unwrap();
    assert_eq!(place.fill().await, Filled { put: 8, removed: 1, refused: 0 });
    assert_eq!(place.held(&anna).await, wanted);
    assert_eq!(place.held(&boris).await, [of_boris].into());

    // As an index sees them that jobs put them into.
    let mut jobs = Vec::new();
    for &id in &wanted {
        jobs.push(anna.indexed_message(id).await.unwrap().unwrap());
    }
    let token = |message: &IndexedMessage| message.postings[0].token;
    let query = schema::index::Query::Token { token: token(&jobs[0]), weight: 1.0 };
    place.instance.backend.index.put(anna.id(), jobs).await.unwrap();
    let search = async |index: &Arc<dyn SearchIndex>| {
        index.search(anna.id(), &query, schema::index::Sort::Relevance, 0, 100).await.unwrap()
    };
    let found = search(&place.next).await;
    assert!(!found.hits.is_empty());
    assert_eq!(found, search(&place.instance.backend.index).await);

    let later = place.keep(&anna, "later").await;
    assert_eq!(place.fill().await, Filled { put: 1, removed: 0, refused: 0 });
    assert!(place.held(&anna).await.contains(&later));
    assert_eq!(place.fill().await, Filled::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_index_that_serves_still_waits_for_it() {
    let place = Place::new().await;
    let anna = place.account("anna").await;
    place.keep(&anna, "wombat").await;
    place.fill().await;
    assert!(!anna.index_progress().await.unwrap().complete);
    assert!(anna.languages().await.unwrap().is_empty(), "its job counts the language");
    let depth = place.instance.backend.queue.depth().await.unwrap();
    assert_eq!(depth.ready, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_list_lacks_keeps_its_entry() {
    let place = Place::new().await;
    let anna = place.account("anna").await;
    let id = place.keep(&anna, "wombat").await;
    place.fill().await;
    let message = anna.message(id).await.unwrap().unwrap();
    let at = schema::ListPosition::new(message.row.received_at, id.0);
    let row = schema::List::Account.row(anna.id(), at);
    place.instance.backend.store.write(vec![Write::Delete(row)], Durability::Now).await.unwrap();
    assert_eq!(place.fill().await, Filled::default());
    assert_eq!(place.held(&anna).await, [id].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_message_holds_up_no_other() {
    let place = Place::new().await;
    let anna = place.account("anna").await;
    let (damaged, whole) = (place.keep(&anna, "wombat").await, place.keep(&anna, "quokka").await);
    let row = RowKey::of_message(Table::Messages, anna.id(), damaged);
    let noise = Write::Put(row, b"noise".to_vec());
    place.instance.backend.store.write(vec![noise], Durability::Now).await.unwrap();
    assert_eq!(place.fill().await, Filled { put: 1, removed: 0, refused: 1 });
    assert_eq!(place.held(&anna).await, [whole].into());
}
