//! An instance goes from a directory to the servers of a cluster, and back.

use serde_json::{Value, json};

use crate::cluster::{Cluster, refused};
use crate::support::{Http, Lmtp, PASSWORD, Signet, message, wait_seconds};

const ANNA: &str = "anna@one.example";

/// A process on a directory, with the key files of the cluster.
fn single(cluster: &Cluster) -> Signet {
    let mut signet = Signet::new();
    signet.variables = vec![("SIGNET_MASTER_KEY_FILE".into(), cluster.key().display().to_string())];
    signet
}

/// What one client of the account has before a migration, and is to have after it.
struct Story {
    /// The octets of each message that is there, by id, with its keywords and mailboxes.
    messages: Vec<(String, Vec<u8>, Value)>,
    /// A session from before.
    session: Option<String>,
    /// Where the change feed stood.
    cursor: String,
}

fn state(client: &Http, id: &str) -> Value {
    let shown = client.get(&format!("/v1/messages/{id}"));
    json!([shown["keywords"], shown["mailboxIds"], shown["receivedAt"], shown["threadId"]])
}

fn mailbox(client: &Http, role: &str) -> String {
    let mailboxes = client.get("/v1/mailboxes");
    let found = mailboxes["items"].as_array().unwrap().iter().find(|mailbox| mailbox["role"] == role);
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

fn id_of(client: &Http, subject: &str) -> String {
    let head = client.messages().into_iter().find(|head| head["subject"] == subject).unwrap();
    head["id"].as_str().unwrap().to_owned()
}

fn deliver(node: &Signet, subject: &str) {
    let mut session = Lmtp::connect(node.lmtp).unwrap();
    let text = message(subject, &format!("a wombat says {}", subject.replace(' ', "")));
    assert_eq!(session.deliver(ANNA, &text).unwrap(), 250, "{subject}");
}

impl Story {
    /// A message that stays, one that is moved, one that is deleted for good, and a large one.
    fn begin(node: &Signet) -> Self {
        node.run(&["domain", "add", "one.example"]);
        node.create_account(ANNA);
        let client = node.client(ANNA, PASSWORD);
        for subject in ["it stays", "it is moved", "it is deleted"] {
            deliver(node, subject);
        }
        let large = message("it is large", &"0123456789abcdef\r\n".repeat(100_000));
        assert_eq!(Lmtp::connect(node.lmtp).unwrap().deliver(ANNA, &large).unwrap(), 250);
        let (inbox, archive) = (mailbox(&client, "inbox"), mailbox(&client, "archive"));
        let moved = json!({ "keywords": { "wanted": true }, "mailboxIds": { &inbox: null, &archive: true } });
        let path = format!("/v1/messages/{}", id_of(&client, "it is moved"));
        assert_eq!(client.call("PATCH", &path, Some(moved)).status, 200);
        let path = format!("/v1/messages/{}", id_of(&client, "it is deleted"));
        for _ in 0..2 {
            assert_eq!(client.call("DELETE", &path, None).status, 204);
        }
        Self::look(client)
    }

    fn look(client: Http) -> Self {
        let cursor = client.get("/v1/changes")["cursor"].as_str().unwrap().to_owned();
        let of = |head: &Value| {
            let id = head["id"].as_str().unwrap().to_owned();
            (id.clone(), client.raw(&id), state(&client, &id))
        };
        let messages: Vec<_> = client.items("/v1/messages?").iter().map(of).collect();
        Self { messages, cursor, session: client.token }
    }

    /// Everything is there, is found, and goes on.
    fn check(&self, node: &Signet) {
        let mut old = Http::new(node.api);
        old.token.clone_from(&self.session);
        assert_eq!(old.call("GET", "/v1/account", None).status, 200, "the session lasts");
        let client = node.client(ANNA, PASSWORD);
        let expired = client.call("GET", &format!("/v1/changes?since={}", self.cursor), None);
        assert_eq!(expired.status, 410, "{}", expired.text());
        let now = client.get("/v1/changes")["cursor"].as_str().unwrap().to_owned();

        assert_eq!(client.items("/v1/messages?").len(), self.messages.len());
        for (id, octets, before) in &self.messages {
            assert_eq!((&client.raw(id), &state(&client, id)), (octets, before));
        }
        // The same octets again are no news, wherever they were put.
        for subject in ["it stays", "it is moved", "it is deleted"] {
            deliver(node, subject);
        }
        assert_eq!(client.items("/v1/messages?").len(), self.messages.len());
        for (id, _, before) in &self.messages {
            assert_eq!(&state(&client, id), before);
        }
        wait_seconds(300, "the index", || {
            let answer = client.get("/v1/search?q=wombat");
            (answer["complete"] == true).then_some(())
        });
        assert_eq!(client.found("wombat").len(), self.messages.len() - 1);

        let subject = format!("it is new on {}", node.api);
        deliver(node, &subject);
        let new = id_of(&client, &subject);
        wait_seconds(120, "the new message in the feed", || {
            let page = client.get(&format!("/v1/changes?since={now}"));
            let changes = page["changes"].as_array().unwrap().clone();
            changes.iter().any(|change| change["id"] == new.as_str()).then_some(())
        });
        wait_seconds(300, "agreement", || (node.json(&["check"])["ok"] == true).then_some(()));
    }
}

#[test]
fn an_instance_goes_to_the_servers_and_back() {
    let cluster = Cluster::new();
    let mut old = single(&cluster);
    old.start();
    let story = Story::begin(&old);
    let directory = old.data.to_str().unwrap().to_owned();
    let to_cluster = ["migrate", &directory, "--to", "cluster"];
    let node = cluster.node();
    refused(&old, &to_cluster, 78, &["`backend`"]);
    refused(&node, &to_cluster, 69, &["in use"]);
    assert!(old.terminate().0.success());

    let report = node.json(&to_cluster);
    // With the account and the welcome of the first start.
    let count = story.messages.len() as u64;
    assert_eq!((&report["ok"], &report["accounts"]), (&true.into(), &2.into()), "{report}");
    assert_eq!(report["messages"], count + 1, "{report}");
    let said = String::from_utf8(old.start_and_end().stderr).unwrap();
    assert!(said.contains("instance.migrated"), "{said}");
    refused(&node, &to_cluster, 78, &["hold this instance", "already"]);

    let mut all = cluster.started("all");
    story.check(&all);
    // Another instance finds no place there.
    let mut other = Signet::started();
    other.terminate();
    let mut node = cluster.node();
    let key = format!("{}.key", std::fs::read_to_string(other.data.join("instance")).unwrap().trim());
    let key = other.home.path().join("config/signet").join(key);
    node.variables.push(("SIGNET_MASTER_KEY_FILE".into(), key.display().to_string()));
    refused(&node, &["migrate", other.data.to_str().unwrap(), "--to", "cluster"], 78, &["another instance"]);

    let again = Story::look(all.client(ANNA, PASSWORD));
    let mut new = single(&cluster);
    let directory = new.data.to_str().unwrap().to_owned();
    let to_embedded = ["migrate", &directory, "--to", "embedded"];
    let node = cluster.node();
    refused(&node, &to_embedded, 69, &["alive"]);
    assert!(!new.data.exists());
    assert!(all.terminate().0.success());
    let report = node.json(&to_embedded);
    assert_eq!((&report["ok"], &report["messages"]), (&true.into(), &(count + 2).into()), "{report}");
    refused(&cluster.node(), &["all"], 78, &["migrated into a directory"]);
    refused(&node, &to_embedded, 78, &["is not empty"]);
    new.start();
    again.check(&new);
    assert!(new.terminate().0.success());

    // And once more to the servers, which take over what has changed.
    let report = node.json(&["migrate", &directory, "--to", "cluster"]);
    assert_eq!((&report["ok"], &report["messages"]), (&true.into(), &(count + 3).into()), "{report}");
    let all = cluster.started("all");
    let client = all.client(ANNA, PASSWORD);
    for before in [&story.cursor, &again.cursor] {
        assert_eq!(client.call("GET", &format!("/v1/changes?since={before}"), None).status, 410);
    }
    assert_eq!(client.items("/v1/messages?").len() as u64, count + 2);
}

/// Runs it with `step` in its way; it is to die there.
#[cfg(feature = "failpoints")]
fn killed(node: &Signet, arguments: &[&str], step: &str) {
    use std::os::unix::process::ExitStatusExt as _;

    let output = node.command(arguments).env("SIGNET_STEP", step).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.signal().is_some(), "{step}: it ended with {}: {said}", output.status);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_migration_that_is_killed_anywhere_goes_on_and_nothing_is_served_before_its_end() {
    let cluster = Cluster::new();
    let mut old = single(&cluster);
    old.start();
    let mut story = Story::begin(&old);
    assert!(old.terminate().0.success());
    let directory = old.data.to_str().unwrap().to_owned();
    let to_cluster = ["migrate", &directory, "--to", "cluster"];
    for step in ["migration.begun:1", "migration.partition:12"] {
        killed(&cluster.node(), &to_cluster, step);
        refused(&cluster.node(), &["all"], 78, &["signet migrate"]);
    }
    // The directory may be served from in between.
    old.start();
    deliver(&old, "it is late");
    let client = old.client(ANNA, PASSWORD);
    let path = format!("/v1/messages/{}", id_of(&client, "it stays"));
    assert_eq!(client.call("PATCH", &path, Some(json!({ "keywords": { "late": true } }))).status, 200);
    story = Story { session: story.session.take(), ..Story::look(client) };
    assert!(old.terminate().0.success());
    for step in ["migration.bytes:3", "migration.copied:1", "migration.verified:1", "migration.left:1"] {
        killed(&cluster.node(), &to_cluster, step);
        refused(&cluster.node(), &["lmtp"], 78, &["signet migrate"]);
    }
    let report = cluster.node().json(&to_cluster);
    assert_eq!(report["ok"], true, "{report}");
    let mut all = cluster.started("all");
    story.check(&all);

    let story = Story::look(all.client(ANNA, PASSWORD));
    assert!(all.terminate().0.success());
    let mut new = single(&cluster);
    let directory = new.data.to_str().unwrap().to_owned();
    let to_embedded = ["migrate", &directory, "--to", "embedded"];
    for step in ["migration.partition:30", "migration.bytes:2", "migration.verified:1", "migration.left:1"] {
        killed(&cluster.node(), &to_embedded, step);
        let refused = new.start_and_end();
        assert_eq!(refused.status.code(), Some(78), "{step}");
    }
    let report = cluster.node().json(&to_embedded);
    assert_eq!(report["ok"], true, "{report}");
    new.start();
    story.check(&new);
}
