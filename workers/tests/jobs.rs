//! What workers do with jobs, on a real backend, and on an index that fails as it is told.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use embedded::{Embedded, Options};
use schema::index::{Hits, IndexedMessage, Query, Sort};
use schema::{
    Account, AccountId, Arrival, Error, Incoming, Instance, Job, MessageId, Result, SearchIndex, SystemClock,
};
use tokio_util::sync::CancellationToken;
use workers::Settings;

/// An index whose first puts fail.
struct Failing {
    index: Arc<dyn SearchIndex>,
    faults: AtomicU32,
    fault: fn() -> Result<()>,
}

#[async_trait]
impl SearchIndex for Failing {
    async fn put(&self, account: AccountId, messages: Vec<IndexedMessage>) -> Result<()> {
        if self.faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            (self.fault)()?;
        }
        self.index.put(account, messages).await
    }

    async fn remove(&self, account: AccountId, messages: &[MessageId]) -> Result<()> {
        self.index.remove(account, messages).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        self.index.remove_account(account).await
    }

    async fn search(
        &self,
        account: AccountId,
        query: &Query,
        sort: Sort,
        offset: usize,
        limit: usize,
    ) -> Result<Hits> {
        self.index.search(account, query, sort, offset, limit).await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        self.index.ids(account, after, limit).await
    }
}

struct Place {
    instance: Arc<Instance>,
    account: Account,
    stop: CancellationToken,
    _embedded: Embedded,
    _directory: tempfile::TempDir,
}

impl Place {
    /// `faults` puts fail with `fault`.
    async fn new(faults: u32, fault: fn() -> Result<()>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("data"), Options::default()).unwrap();
        let mut backend = embedded.backend();
        backend.index = Arc::new(Failing { index: backend.index, faults: faults.into(), fault });
        let instance = schema::contract::instance(backend, directory.path(), Arc::new(SystemClock)).await;
        let id = instance.create_account("anna@one.example", "correct horse", None).await.unwrap();
        let account = instance.account(id).await.unwrap().unwrap();
        let stop = CancellationToken::new();
        Self { instance, account, stop, _embedded: embedded, _directory: directory }
    }

    async fn keep(&self, text: &str) -> MessageId {
        let raw = format!("Subject: {text}\r\n\r\n{text}\r\n");
        let incoming = Incoming::prepare(raw.as_bytes(), &self.instance.settings.limits);
        self.account.keep(&incoming, Arrival::default()).await.unwrap().id
    }

    fn work(&self) -> tokio::task::JoinHandle<std::io::Result<()>> {
        let settings =
            Settings { first_delay: Duration::from_millis(10), attempts: 5, ..Settings::default() };
        tokio::spawn(workers::run(self.instance.clone(), settings, self.stop.clone()))
    }

    async fn indexed(&self) -> Vec<MessageId> {
        self.instance.backend.index.ids(self.account.id(), None, 100).await.unwrap()
    }

    async fn dead(&self) -> Vec<schema::DeadLetter> {
        self.instance.backend.queue.dead_letters(0, 100).await.unwrap()
    }

    async fn wait_until_idle(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let depth = self.instance.backend.queue.depth().await.unwrap();
            if depth.ready + depth.delayed + depth.leased == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "the queue is not empty: {depth:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self, working: tokio::task::JoinHandle<std::io::Result<()>>) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), working).await.unwrap().unwrap().unwrap();
    }
}

fn none() -> Result<()> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_indexed_soon_after_it_was_kept() {
    let place = Place::new(0, none).await;
    let working = place.work();
    for text in ["one", "two", "three"] {
        let id = place.keep(text).await;
        let began = Instant::now();
        place.wait_until_idle().await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(place.indexed().await.contains(&id));
    }
    assert!(place.account.index_progress().await.unwrap().complete);
    place.end(working).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_put_a_job_off_until_they_have_passed() {
    let place = Place::new(3, || Err(Error::transient("the index is away", "test"))).await;
    let id = place.keep("patience").await;
    let working = place.work();
    place.wait_until_idle().await;
    assert_eq!(place.indexed().await, [id]);
    assert!(place.dead().await.is_empty());
    place.end(working).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_meets_them_too_often_is_given_up_and_can_be_put_back() {
    let place = Place::new(5, || Err(Error::transient("the index is away", "test"))).await;
    let id = place.keep("patience").await;
    let working = place.work();
    place.wait_until_idle().await;
    let dead = place.dead().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(workers::requeue_forgotten(&place.instance).await.unwrap(), 0, "what was given up stays so");
    assert!(place.instance.backend.queue.requeue(dead[0].id).await.unwrap());
    place.wait_until_idle().await;
    assert_eq!(place.indexed().await, [id]);
    place.end(working).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_own_job_only() {
    // Together, then the first alone: the second is put in.
    let place = Place::new(2, || panic!("as the test wants")).await;
    place.keep("first").await;
    place.keep("second").await;
    let working = place.work();
    place.wait_until_idle().await;
    assert_eq!(place.dead().await.len() + place.indexed().await.len(), 2);
    assert!(place.dead().await.iter().all(|letter| letter.reason.contains("panicked")));
    let last = place.keep("third").await;
    place.wait_until_idle().await;
    assert!(place.indexed().await.contains(&last), "the worker goes on");
    place.end(working).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_or_account_that_is_gone_needs_nothing() {
    let place = Place::new(0, none).await;
    let (account, message) = (place.account.id(), MessageId([9; 16]));
    let jobs = vec![
        Job::IndexMessage { account, message },
        Job::RemoveMessage { account, message },
        Job::IndexMessage { account: AccountId([1; 16]), message },
        Job::RemoveMessage { account: AccountId([1; 16]), message },
        Job::PurgeAccount { account: AccountId([1; 16]) },
    ];
    place.instance.backend.queue.publish(jobs).await.unwrap();
    let working = place.work();
    place.wait_until_idle().await;
    assert!(place.dead().await.is_empty() && place.indexed().await.is_empty());
    place.end(working).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_account_leaves_nothing_behind() {
    let place = Place::new(0, none).await;
    let working = place.work();
    place.keep("secret").await;
    place.wait_until_idle().await;
    let id = place.account.id();
    place.instance.purge_account(id).await.unwrap().unwrap();
    place.wait_until_idle().await;
    assert!(place.indexed().await.is_empty());
    assert!(place.instance.backend.blobs.ids(id, None, 10).await.unwrap().is_empty());
    place.end(working).await;
}
