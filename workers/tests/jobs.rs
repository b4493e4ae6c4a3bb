//! What workers do with jobs, on a real backend, and on an index that fails as it is told.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use embedded::{Embedded, Options};
use schema::index::{Hits, IndexedMessage, Query, Sort};
use schema::{
    Account, AccountId, Arrival, Counts, Due, Error, Incoming, Instance, Job, LocalNode, MessageId, Result,
    SearchIndex, SystemClock,
};
use tokio_util::sync::CancellationToken;
use workers::{Periodic, Settings};

/// An index whose first puts fail.
struct Failing {
    index: Arc<dyn SearchIndex>,
    faults: AtomicU32,
    fault: fn() -> Result<()>,
    /// Messages that were in them.
    failed: Arc<AtomicU32>,
}

#[async_trait]
impl SearchIndex for Failing {
    async fn put_all(&self, all: Vec<(AccountId, Vec<IndexedMessage>)>) -> Result<()> {
        if self.faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            let messages: usize = all.iter().map(|(_, messages)| messages.len()).sum();
            self.failed.fetch_add(u32::try_from(messages).unwrap(), Ordering::SeqCst);
            (self.fault)()?;
        }
        self.index.put_all(all).await
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
    node: Arc<LocalNode>,
    failed: Arc<AtomicU32>,
    _embedded: Embedded,
    _directory: tempfile::TempDir,
}

impl Place {
    /// `faults` puts fail with `fault`.
    async fn new(faults: u32, fault: fn() -> Result<()>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("data"), Options::default()).unwrap();
        let mut backend = embedded.backend();
        let failed = Arc::new(AtomicU32::new(0));
        let failing = Failing { index: backend.index, faults: faults.into(), fault, failed: failed.clone() };
        backend.index = Arc::new(failing);
        let instance = schema::contract::instance(backend, directory.path(), Arc::new(SystemClock)).await;
        let id = instance.create_account("anna@one.example", "correct horse", None).await.unwrap();
        let account = instance.account(id).await.unwrap().unwrap();
        let stop = CancellationToken::new();
        let node = LocalNode::unnamed(stop.clone());
        Self { instance, account, stop, node, failed, _embedded: embedded, _directory: directory }
    }

    async fn keep(&self, text: &str) -> MessageId {
        let raw = format!("Subject: {text}\r\n\r\n{text}\r\n");
        let incoming = Incoming::prepare(raw.as_bytes(), &self.instance.settings.limits);
        self.account.keep(&incoming, Arrival::default()).await.unwrap().id
    }

    fn work(&self) -> tokio::task::JoinHandle<std::io::Result<()>> {
        self.work_with(Settings::default().threads, vec![])
    }

    fn work_with(
        &self,
        threads: usize,
        periodic: Vec<Periodic>,
    ) -> tokio::task::JoinHandle<std::io::Result<()>> {
        let settings =
            Settings { threads, first_delay: Duration::from_millis(10), attempts: 5, ..Settings::default() };
        tokio::spawn(workers::run(self.instance.clone(), settings, periodic, self.node.clone()))
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
async fn while_a_server_is_away_one_job_at_a_time_tries_it() {
    let place = Place::new(4, || Err(Error::transient("the index is away", "test"))).await;
    let mut ids = vec![];
    for number in 0..20 {
        ids.push(place.keep(&number.to_string()).await);
    }
    ids.sort_unstable();
    let working = place.work_with(1, vec![]);
    place.wait_until_idle().await;
    assert_eq!(place.indexed().await, ids);
    assert!(place.dead().await.is_empty());
    assert_eq!(place.failed.load(Ordering::SeqCst), 20 + 3, "all of the first batch, then one at a time");
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
    assert_eq!(
        workers::requeue_forgotten(&place.instance).await.unwrap(),
        Some(0),
        "what was given up stays so"
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_leases_nothing_until_it_is_resumed() {
    let place = Place::new(0, none).await;
    let working = place.work();
    place.keep("before").await;
    place.wait_until_idle().await;
    assert!(place.node.set_draining(true));
    let queue = &place.instance.backend.queue;
    // Twice what an idle worker waits for a job, so that none waits for one any more.
    assert!(queue.lease(1, Duration::ZERO, Duration::from_secs(1)).await.unwrap().is_empty());
    let waiting = place.keep("meanwhile").await;
    let left = queue.lease(1, Duration::ZERO, Duration::ZERO).await.unwrap();
    let left: Vec<_> = left.iter().map(|lease| lease.job).collect();
    assert_eq!(left, [Job::IndexMessage { account: place.account.id(), message: waiting }]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert!(place.node.load().is_idle() && !place.indexed().await.contains(&waiting));
        tokio::task::yield_now().await;
    }
    assert!(place.node.set_draining(false));
    place.wait_until_idle().await;
    assert!(place.indexed().await.contains(&waiting));
    place.end(working).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_done_once_and_noted_and_a_drain_cuts_off_what_goes_on() {
    let place = Place::new(0, none).await;
    let hour = Due::Every(Duration::from_secs(3600));
    let done = Arc::new(AtomicU32::new(0));
    let counted = done.clone();
    let quick = Periodic::new("quick", hour, move |_| {
        let count = u64::from(counted.fetch_add(1, Ordering::SeqCst)) + 1;
        async move { Ok(Some(Counts::from([("count".to_owned(), count)]))) }
    });
    let panicking = Periodic::new("panicking", hour, async |_| panic!("as the test wants"));
    let endless = Periodic::new("endless", hour, async |_| std::future::pending().await);
    let never = Periodic::new("never", hour, async |_| Ok(None));
    let working = place.work_with(1, vec![quick, panicking, endless, never]);

    let found = |name: &'static str| {
        let instance = place.instance.clone();
        async move { instance.periodic_jobs().await.unwrap().into_iter().find(|job| job.name == name) }
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let ends = [found("quick").await, found("panicking").await];
        let is_running = found("endless").await.is_some_and(|job| job.run.is_some());
        let is_undone = found("never").await.is_some_and(|job| job.run.is_none() && job.last.is_none());
        if is_running && is_undone && ends.iter().flatten().filter(|job| job.last.is_some()).count() == 2 {
            let [quick, panicked] = ends.map(|job| job.unwrap().last.unwrap().found);
            assert_eq!((quick, panicked), (Some(Counts::from([("count".to_owned(), 1)])), None));
            break;
        }
        assert!(Instant::now() < deadline, "{:?}", place.instance.periodic_jobs().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The others have noted their ends, but may not have ended.
    while place.node.load().jobs != 1 {
        assert!(Instant::now() < deadline, "{:?}", place.node.load());
        tokio::task::yield_now().await;
    }
    assert!(place.node.set_draining(true));
    while !place.node.load().is_idle() {
        assert!(Instant::now() < deadline, "{:?}", place.node.load());
        tokio::task::yield_now().await;
    }
    let endless = found("endless").await.unwrap();
    assert!(endless.run.is_none() && endless.last.is_none(), "for another, or for later: {endless:?}");
    assert!(place.node.set_draining(false));
    while found("endless").await.unwrap().run.is_none() {
        assert!(Instant::now() < deadline, "it is begun again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(done.load(Ordering::SeqCst), 1);
    place.end(working).await;
}
