//! Several nodes on one store, each with the key files: shared, or copies.

use std::sync::Arc;
use std::time::Duration;

use embedded::{Embedded, Options};
use schema::{AccountId, Instance, Settings, SystemClock};

use super::*;

const ID: [u8; 16] = [7; 16];
const PASSWORD: &str = "correct horse";

struct Nodes {
    embedded: Embedded,
    directory: tempfile::TempDir,
}

impl Nodes {
    /// The keys of a new store, in the directory of the first node.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("data"), Options::default()).unwrap();
        let nodes = Self { embedded, directory };
        KeyFile::create(&nodes.key("one"), &ID).unwrap();
        nodes
    }

    fn key(&self, node: &str) -> PathBuf {
        self.directory.path().join(node).join("master.key")
    }

    /// What an operator does.
    fn copy(&self, from: &str, to: &str) {
        let to = self.key(to);
        directory::make(to.parent().unwrap()).unwrap();
        for extension in ["key", "epochs"] {
            std::fs::copy(self.key(from).with_extension(extension), to.with_extension(extension)).unwrap();
        }
    }

    /// A node with the files of this directory.
    async fn open(&self, files: &str) -> Arc<Instance> {
        let mut key_file = KeyFile::open(&self.key(files), &ID).unwrap();
        key_file.share();
        let backend = self.embedded.backend();
        let opened = Instance::open(backend, key_file, ID, Arc::new(SystemClock), Settings::default());
        opened.await.unwrap()
    }
}

async fn create(node: &Arc<Instance>, name: &str) -> schema::Result<AccountId> {
    node.create_account(&format!("{name}@one.example"), PASSWORD, None).await
}

async fn opens(node: &Arc<Instance>, account: AccountId) -> bool {
    node.account(account).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_the_key_files_follow_each_others_epochs() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.open("one").await, nodes.open("one").await);
    one.add_domain("one.example").await.unwrap();
    let anna = create(&one, "anna").await.unwrap();
    assert_eq!(one.rotate_keys().await.unwrap(), 2);
    assert!(opens(&other, anna).await, "a node that knew epoch 1 only opens what epoch 2 wraps");
    assert_eq!(one.rotate_keys().await.unwrap(), 3);
    let boris = create(&other, "boris").await.unwrap();
    assert_eq!(other.rotate_keys().await.unwrap(), 4, "no epoch begins twice");
    assert!(opens(&one, boris).await);
    let purged = one.purge_account(anna).await.unwrap().unwrap();
    assert_eq!(purged.epoch, 5);
    assert!(other.account_info(anna).await.unwrap().is_none());
    // Nothing is left to one process's memory.
    assert!(opens(&nodes.open("one").await, boris).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_old_copy_changes_nothing_until_it_gets_the_new_one() {
    let nodes = Nodes::new();
    nodes.copy("one", "other");
    let (one, other) = (nodes.open("one").await, nodes.open("other").await);
    one.add_domain("one.example").await.unwrap();
    let anna = create(&one, "anna").await.unwrap();
    one.rotate_keys().await.unwrap();
    let old = std::fs::read(nodes.key("other").with_extension("epochs")).unwrap();
    for refused in [
        other.account(anna).await.map(drop),
        create(&other, "boris").await.map(drop),
        other.rotate_keys().await.map(drop),
        other.purge_account(anna).await.map(drop),
    ] {
        assert!(refused.as_ref().is_err_and(schema::Error::is_transient), "{refused:?}");
    }
    assert_eq!(std::fs::read(nodes.key("other").with_extension("epochs")).unwrap(), old);
    assert!(opens(&one, anna).await && one.account_by_address("boris@one.example").await.unwrap().is_none());

    nodes.copy("one", "other");
    assert!(opens(&other, anna).await, "without a start anew");
    let boris = create(&other, "boris").await.unwrap();
    assert!(opens(&one, boris).await);
    other.rotate_keys().await.unwrap();
    nodes.copy("other", "one");
    let claire = create(&one, "claire").await.unwrap();
    for account in [anna, boris, claire] {
        assert!(opens(&nodes.open("other").await, account).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_copy_of_the_key_files_leaves_a_purge_to_who_was_asked() {
    let nodes = Nodes::new();
    nodes.copy("one", "other");
    let (one, other) = (nodes.open("one").await, nodes.open("other").await);
    one.add_domain("one.example").await.unwrap();
    for round in 0..5 {
        let gone = create(&one, &format!("gone{round}")).await.unwrap();
        nodes.copy("one", "other");
        let epochs = || std::fs::read(nodes.key("other").with_extension("epochs")).unwrap();
        let (before, worker) = (epochs(), other.clone());
        let working = tokio::spawn(async move {
            let wait = Duration::from_secs(30);
            let leased = worker.backend.queue.lease(1, wait, wait).await.unwrap();
            worker.backend.queue.ack(&[leased[0].id]).await.unwrap();
            while let Err(error) = worker.remove_account_remains(gone).await {
                assert!(error.is_transient(), "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert_eq!(one.purge_account(gone).await.unwrap().unwrap().epoch, 2 + round);
        tokio::time::timeout(Duration::from_secs(60), working)
            .await
            .expect("the worker has not ended")
            .unwrap();
        assert_eq!(epochs(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_rotations_and_purges_of_several_nodes_at_once_lose_no_key() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.open("one").await, nodes.open("one").await);
    one.add_domain("one.example").await.unwrap();
    let gone = create(&one, "gone").await.unwrap();
    let work = |node: Arc<Instance>, name: &'static str| {
        tokio::spawn(async move {
            let mut made = Vec::new();
            for round in 0..4 {
                made.push(create(&node, &format!("{name}{round}")).await.unwrap());
                node.rotate_keys().await.unwrap();
            }
            made
        })
    };
    let working = [work(one.clone(), "one"), work(other.clone(), "other")];
    // What the API does, and what a worker does that gets the job at once.
    let (purged, removed) = tokio::join!(one.purge_account(gone), other.remove_account_remains(gone));
    purged.unwrap();
    removed.unwrap();
    let mut made = Vec::new();
    for working in working {
        made.extend(working.await.unwrap());
    }
    let fresh = nodes.open("one").await;
    for account in made {
        assert!(opens(&fresh, account).await);
    }
    assert!(!opens(&fresh, gone).await);
}
