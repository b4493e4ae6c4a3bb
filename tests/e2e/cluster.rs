//! The program on the servers of a cluster: one process a role, in names of its own.

use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::names::{Names, server};
use crate::support::{Http, Lmtp, PASSWORD, Signet, message, wait_for};

/// What the nodes share: names on the servers, and key files.
struct Cluster {
    names: Names,
    home: TempDir,
}

impl Cluster {
    /// Nothing is made on the servers yet.
    fn new() -> Self {
        Self { names: Names::new(), home: tempfile::tempdir().unwrap() }
    }

    /// With schema, instance and keys.
    fn applied() -> (Self, Value) {
        let cluster = Self::new();
        let applied = cluster.node().json(&["schema", "apply"]);
        (cluster, applied)
    }

    fn key(&self) -> PathBuf {
        self.home.path().join("keys/master.key")
    }

    /// A node that is not started.
    fn node(&self) -> Signet {
        let name = self.names.to_string();
        let mut node = Signet::new();
        let settings = [
            ("BACKEND", "cluster".to_owned()),
            ("START_SECONDS", "30".to_owned()),
            ("MASTER_KEY_FILE", self.key().display().to_string()),
            ("CASSANDRA_NODES", server("CASSANDRA")),
            ("CASSANDRA_KEYSPACE", name.clone()),
            ("CASSANDRA_COPIES", "1".to_owned()),
            ("ELASTICSEARCH_URLS", server("ELASTICSEARCH")),
            ("ELASTICSEARCH_ALIAS", name.clone()),
            ("ELASTICSEARCH_SHARDS", "1".to_owned()),
            ("ELASTICSEARCH_REPLICAS", "0".to_owned()),
            ("RABBITMQ_URLS", server("RABBITMQ")),
            ("RABBITMQ_PREFIX", name.clone()),
            ("RABBITMQ_COPIES", "1".to_owned()),
            ("REDIS_URL", server("REDIS")),
            ("REDIS_PREFIX", format!("{name}:")),
        ];
        node.variables = settings.map(|(name, value)| (format!("SIGNET_{name}"), value)).to_vec();
        node
    }

    fn started(&self, role: &str) -> Signet {
        let mut node = self.node();
        node.start_as(&[role]);
        node
    }
}

fn refused(node: &Signet, arguments: &[&str], code: i32, words: &[&str]) {
    let output = node.output_of(arguments, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: {said:?} lacks {word:?}");
    }
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The only message of the inbox once it is there, by its id.
fn only_message(client: &Http, subject: &str) -> String {
    let head = wait_for("the message", || client.messages().pop());
    assert_eq!((client.messages().len(), &head["subject"]), (1, &subject.into()));
    head["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_message_goes_through_a_node_of_each_role_and_every_api_node_serves_it() {
    let (cluster, _) = Cluster::applied();
    let [mut lmtp, mut workers, mut api, mut second] =
        ["lmtp", "workers", "api", "api"].map(|role| cluster.started(role));
    // Each listens where its role does, and nowhere else.
    for (node, has) in [(&lmtp, [true, false]), (&workers, [false, false]), (&api, [false, true])] {
        assert_eq!([answers(node.lmtp), answers(node.api)], has);
        assert_eq!(Http::new(node.internal).call("GET", "/health/ready", None).status, 200);
    }
    assert_eq!(api.json(&["account", "list"])["items"], serde_json::json!([]), "nobody was made unasked");

    api.run(&["domain", "add", "one.example"]);
    let account = api.create_account("anna@one.example");
    assert_eq!(second.json(&["account", "show", "anna@one.example"])["accountId"], account.as_str());
    let text = message("through the nodes", "a wombat walks by");
    let mut session = Lmtp::connect(lmtp.lmtp).unwrap();
    assert_eq!(session.deliver("anna@one.example", &text).unwrap(), 250);
    assert_eq!(session.deliver("nobody@one.example", &text).unwrap(), 550);

    let clients = [&api, &second].map(|node| node.client("anna@one.example", PASSWORD));
    let ids = clients.each_ref().map(|client| only_message(client, "through the nodes"));
    assert_eq!(ids[0], ids[1]);
    for client in &clients {
        assert!(client.raw(&ids[0]).ends_with(text.as_bytes()));
        let hits = wait_for("the index", || Some(client.found("wombat")).filter(|hits| !hits.is_empty()));
        assert_eq!(hits[0]["id"], ids[0].as_str());
    }
    assert_eq!(api.json(&["check"])["ok"], true);
    for node in [&mut lmtp, &mut workers, &mut api, &mut second] {
        let (status, time) = node.terminate();
        assert!(status.success() && time.as_secs() < 10, "{status} after {time:?}: {}", node.log());
        assert!(!node.log().contains("anna@"), "the log names nobody");
    }
}

#[test]
fn a_schema_that_is_applied_again_stays_as_it_is() {
    let (cluster, first) = Cluster::applied();
    assert_eq!((&first["from"], &first["isNew"]), (&Value::Null, &true.into()), "{first}");
    assert_eq!(first["masterKeyFile"], cluster.key().display().to_string());
    let key = std::fs::read(cluster.key()).unwrap();
    let again = cluster.node().json(&["schema", "apply"]);
    assert_eq!((&again["from"], &again["to"], &again["isNew"]), (&first["to"], &first["to"], &false.into()));
    assert_eq!(again["instanceId"], first["instanceId"]);
    assert_eq!(std::fs::read(cluster.key()).unwrap(), key);
    let shown = cluster.node().json(&["schema", "show"]);
    assert_eq!((&shown["servers"], &shown["program"]), (&first["to"], &first["to"]));
}

#[test]
fn a_node_makes_neither_a_schema_nor_a_key() {
    let cluster = Cluster::new();
    refused(&cluster.node(), &["api"], 78, &["signet schema apply"]);
    assert!(!cluster.key().exists());
    cluster.node().run(&["schema", "apply"]);
    let away = cluster.home.path().join("away");
    std::fs::rename(cluster.key().parent().unwrap(), &away).unwrap();
    for arguments in [&["lmtp"][..], &["schema", "apply"]] {
        refused(&cluster.node(), arguments, 78, &["is missing"]);
        assert!(!cluster.key().exists());
    }
    // Another instance's.
    let (other, _) = Cluster::applied();
    std::fs::rename(other.key().parent().unwrap(), cluster.key().parent().unwrap()).unwrap();
    for arguments in [&["workers"][..], &["schema", "apply"]] {
        refused(&cluster.node(), arguments, 78, &["not that of these data"]);
    }
}

#[test]
fn a_rotation_and_a_purge_on_one_node_hold_on_all() {
    let (cluster, _) = Cluster::applied();
    let [lmtp, _workers, api, second] = ["lmtp", "workers", "api", "api"].map(|role| cluster.started(role));
    api.run(&["domain", "add", "one.example"]);
    let anna = api.create_account("anna@one.example");
    second.create_account("boris@one.example");
    assert_eq!(api.json(&["keys", "rotate"])["epoch"], 2);
    assert_eq!(second.json(&["keys", "rotate"])["epoch"], 3);
    let mut session = Lmtp::connect(lmtp.lmtp).unwrap();
    for address in ["anna@one.example", "boris@one.example"] {
        assert_eq!(session.deliver(address, &message("kept", "under a new epoch")).unwrap(), 250);
        for node in [&api, &second] {
            only_message(&node.client(address, PASSWORD), "kept");
        }
    }
    second.run(&["account", "purge", "anna@one.example"]);
    assert_eq!(session.deliver("anna@one.example", &message("late", "text")).unwrap(), 550);
    session.command("RSET").unwrap();
    assert!(!api.output_of(&["account", "show", &anna], "").status.success());
    assert_eq!(session.deliver("boris@one.example", &message("later", "text")).unwrap(), 250);
    let client = api.client("boris@one.example", PASSWORD);
    wait_for("both messages", || (client.messages().len() == 2).then_some(()));
    wait_for("everything in agreement", || (api.json(&["check"])["ok"] == true).then_some(()));
}

#[test]
fn a_backup_is_refused_and_so_is_a_restore() {
    let (cluster, _) = Cluster::applied();
    let api = cluster.started("all");
    let to = cluster.home.path().join("backup");
    refused(&api, &["backup", to.to_str().unwrap()], 1, &["the cluster has no backup of its own"]);
    refused(&api, &["restore", to.to_str().unwrap()], 78, &["`backend`"]);
    assert!(!to.exists());
}

#[test]
fn wrong_passwords_are_refused_with_78() {
    let cluster = Cluster::new();
    let mut node = cluster.node();
    for (name, value) in [("RABBITMQ_LOGIN", "nobody"), ("RABBITMQ_PASSWORD", "wrong horse")] {
        node.variables.push((format!("SIGNET_{name}"), value.to_owned()));
    }
    let output = node.output_of(&["schema", "apply"], "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("RabbitMQ") && !said.contains("wrong horse"), "{said}");
}
