//! The program on the servers of a cluster: one process a role, in names of its own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::names::{Names, server};
use crate::support::{Http, Lmtp, PASSWORD, Signet, message, wait_for, wait_seconds};

/// What the nodes share: names on the servers, and key files.
pub struct Cluster {
    pub names: Names,
    home: TempDir,
}

impl Cluster {
    /// Nothing is made on the servers yet.
    pub fn new() -> Self {
        Self { names: Names::new(), home: tempfile::tempdir().unwrap() }
    }

    /// With schema, instance and keys.
    pub fn applied() -> (Self, Value) {
        let cluster = Self::new();
        let applied = cluster.node().json(&["schema", "apply"]);
        (cluster, applied)
    }

    pub fn key(&self) -> PathBuf {
        self.home.path().join("keys/master.key")
    }

    /// A node that is not started.
    pub fn node(&self) -> Signet {
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

    pub fn started(&self, role: &str) -> Signet {
        let mut node = self.node();
        node.start_as(&[role]);
        node
    }
}

pub fn refused(node: &Signet, arguments: &[&str], code: i32, words: &[&str]) {
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
fn a_backup_of_a_directory_is_refused_and_so_is_a_restore_while_nodes_live() {
    let (cluster, _) = Cluster::applied();
    let api = cluster.started("all");
    let to = cluster.home.path().join("backup");
    refused(&api, &["backup", to.to_str().unwrap()], 1, &["the cluster has no backup of its own"]);
    refused(&api, &["restore", to.to_str().unwrap()], 78, &["`backend`", "without a directory"]);
    refused(&api, &["restore"], 69, &["1 nodes are alive"]);
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

/// The living nodes as `asked` lists them.
fn listed(asked: &Signet) -> Vec<Value> {
    asked.json(&["node", "list"])["items"].as_array().unwrap().clone()
}

/// A node's id once it is listed.
fn id_of(asked: &Signet, node: &Signet) -> String {
    let internal = format!("127.0.0.1:{}", node.internal);
    let found = wait_for("the node on the list", || {
        listed(asked).into_iter().find(|listed| listed["listeners"]["internal"] == internal.as_str())
    });
    found["nodeId"].as_str().unwrap().to_owned()
}

#[test]
fn a_killed_node_leaves_the_list_and_loses_its_periodic_job() {
    let (cluster, _) = Cluster::applied();
    let [api, mut lmtp] = ["api", "lmtp"].map(|role| cluster.started(role));
    let ids = [&api, &lmtp].map(|node| id_of(&api, node));
    let of = |role: &str| listed(&api).into_iter().find(|node| node["role"] == role);
    let versions = std::fs::read_dir("schema/cassandra").unwrap().count();
    assert_eq!(
        (&of("lmtp").unwrap()["state"], &of("lmtp").unwrap()["schemaVersion"]),
        (&"ready".into(), &versions.into())
    );

    // One that dies, as by kill -9, the moment it has begun the first of its periodic jobs.
    let dying = cluster.node();
    let mut command = dying.command(&["workers"]);
    command.env("SIGNET_STEP", "a periodic job: begun:1").stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let ended = wait_seconds(120, "its death", || process.try_wait().unwrap());
    assert!(!ended.success());
    let left = |api: &Signet| api.json(&["jobs", "list"])["periodic"].as_array().unwrap().clone();
    let held =
        left(&api).into_iter().find(|job| !job["run"].is_null()).expect("a job that the dead one holds");

    let workers = cluster.started("workers");
    let killed = Instant::now();
    lmtp.kill();
    wait_seconds(30, "the killed node off the list", || {
        let now = listed(&api);
        (!now.iter().any(|node| node["nodeId"] == ids[1].as_str())).then_some(())
    });
    assert!(killed.elapsed() < Duration::from_secs(30), "{:?}", killed.elapsed());
    assert!(listed(&api).iter().any(|node| node["nodeId"] == ids[0].as_str()));
    let taker = id_of(&api, &workers);
    wait_seconds(120, "the job of the dead node done by another", || {
        let job = left(&api).into_iter().find(|job| job["job"] == held["job"])?;
        (job["last"]["nodeId"] == taker.as_str() && job["last"]["failed"] == false).then_some(())
    });
    for what in ["drain", "resume"] {
        refused(&api, &["node", what, &ids[1]], 1, &["no node with the id", "is alive"]);
    }
}

#[test]
fn a_node_that_is_drained_under_load_loses_nothing() {
    const SENDERS: usize = 4;
    let (cluster, _) = Cluster::applied();
    let [mut going, staying, api] = ["lmtp", "lmtp", "api"].map(|role| cluster.started(role));
    api.run(&["domain", "add", "one.example"]);
    api.create_account("anna@one.example");
    let id = id_of(&api, &going);
    let ports = [going.lmtp, staying.lmtp];
    let (kept, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let by_going = AtomicUsize::new(0);
    // Each of them goes to the other node only where this one takes nothing new: what one has begun, it ends.
    let send = |sender: usize| {
        let (mut at, mut sent) = (0, 0);
        while !is_over.load(Ordering::SeqCst) {
            let Ok(mut session) = Lmtp::connect(ports[at]) else {
                at = 1 - at;
                continue;
            };
            while !is_over.load(Ordering::SeqCst) {
                let begun = session.command("MAIL FROM:<sender@test.example>");
                if !matches!(begun, Ok(250)) {
                    assert!(matches!(begun, Ok(421) | Err(_)), "{begun:?}");
                    at = 1 - at;
                    break;
                }
                let text = message(&format!("{sender} {sent}"), "under load");
                assert_eq!(session.command("RCPT TO:<anna@one.example>").unwrap(), 250);
                assert_eq!(session.command("DATA").unwrap(), 354);
                assert_eq!(session.command(&format!("{text}.")).unwrap(), 250);
                sent += 1;
                kept.fetch_add(1, Ordering::SeqCst);
                if at == 0 {
                    by_going.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        sent
    };
    let sent: usize = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|sender| scope.spawn(move || send(sender))).collect();
        let count = |more: usize| {
            let wanted = kept.load(Ordering::SeqCst) + more;
            wait_for("more messages", || (kept.load(Ordering::SeqCst) >= wanted).then_some(()));
        };
        count(20);
        assert!(by_going.load(Ordering::SeqCst) > 0);
        let asked = Instant::now();
        api.run(&["node", "drain", &id]);
        let health = || Http::new(going.internal).call("GET", "/health/ready", None).status;
        wait_for("not ready", || (health() == 503).then_some(()));
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        assert_eq!(api.json(&["node", "drain", &id, "--wait", "30"])["state"], "drained");
        let before = by_going.load(Ordering::SeqCst);
        count(20);
        assert_eq!(by_going.load(Ordering::SeqCst), before, "a drained node takes nothing");
        assert!(going.terminate().0.success());
        is_over.store(true, Ordering::SeqCst);
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    });
    assert!(!listed(&api).iter().any(|node| node["nodeId"] == id.as_str()), "one that ends says so");
    let heads = api.client("anna@one.example", PASSWORD).messages();
    let subjects: std::collections::BTreeSet<_> =
        heads.iter().map(|head| head["subject"].to_string()).collect();
    assert_eq!((heads.len(), subjects.len()), (sent, sent), "each message once");
}
