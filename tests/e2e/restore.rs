//! What Cassandra had a while ago is put back, the index and the queues are lost: the servers' own backup, restored.

use std::fs;

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::runtime::Runtime;

use crate::cluster::{Cluster, refused};
use crate::names::server;
use crate::support::{Http, Lmtp, PASSWORD, Signet, message, wait_seconds};

const ANNA: &str = "anna@one.example";
const BORIS: &str = "boris@one.example";

/// Every row of a keyspace, as JSON, by its table.
struct Snapshot(Vec<(String, String)>);

struct Cassandra {
    runtime: Runtime,
    session: Session,
    keyspace: String,
}

impl Cassandra {
    fn of(cluster: &Cluster) -> Self {
        let runtime = Runtime::new().unwrap();
        let nodes = server("CASSANDRA");
        let builder = SessionBuilder::new().known_nodes(nodes.split(','));
        let session = runtime.block_on(builder.build()).unwrap();
        Self { runtime, session, keyspace: cluster.names.to_string() }
    }

    fn texts(&self, query: String) -> Vec<String> {
        let found = self.runtime.block_on(self.session.query_unpaged(query, ())).unwrap();
        let found = found.into_rows_result().unwrap();
        found.rows::<(String,)>().unwrap().map(|row| row.unwrap().0).collect()
    }

    fn tables(&self) -> Vec<String> {
        let keyspace = &self.keyspace;
        self.texts(format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'"))
    }

    fn snapshot(&self) -> Snapshot {
        let rows_of = |table: String| {
            let rows = self.texts(format!("SELECT JSON * FROM {}.{table}", self.keyspace));
            rows.into_iter().map(move |row| (table.clone(), row))
        };
        Snapshot(self.tables().into_iter().flat_map(rows_of).collect())
    }

    fn restore(&self, snapshot: &Snapshot) {
        for table in self.tables() {
            self.run(format!("TRUNCATE {}.{table}", self.keyspace));
        }
        for (table, row) in &snapshot.0 {
            let row = row.replace('\'', "''");
            self.run(format!("INSERT INTO {}.{table} JSON '{row}'", self.keyspace));
        }
    }

    fn run(&self, query: String) {
        self.runtime.block_on(self.session.query_unpaged(query, ())).unwrap();
    }
}

fn deliver(node: &Signet, recipient: &str, subject: &str) {
    let mut session = Lmtp::connect(node.lmtp).unwrap();
    assert_eq!(session.deliver(recipient, &message(subject, "a wombat walks by")).unwrap(), 250);
}

fn subjects(client: &Http) -> Vec<String> {
    client.messages().iter().map(|head| head["subject"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_restored_cassandra_from_before_a_purge_serves_all_but_the_purged_account() {
    let (cluster, _) = Cluster::applied();
    let cassandra = Cassandra::of(&cluster);
    let mut node = cluster.started("all");
    node.run(&["domain", "add", "one.example"]);
    for address in [ANNA, BORIS] {
        node.create_account(address);
        deliver(&node, address, "from before");
    }
    let session = node.client(ANNA, PASSWORD);
    let raw = session.raw(session.messages()[0]["id"].as_str().unwrap());
    let snapshot = cassandra.snapshot();

    // Its key is destroyed, and every other is wrapped anew: nothing of the snapshot opens by itself any more.
    node.run(&["account", "purge", BORIS, "--yes"]);
    deliver(&node, ANNA, "from after");
    node.terminate();
    cassandra.restore(&snapshot);
    cluster.names.delete_indexes().unwrap();
    cassandra.runtime.block_on(cluster.names.delete_queues()).unwrap();
    refused(&node, &["schema", "apply"], 78, &["key"]);
    // Its row says for some time that it lives.
    let restored = wait_seconds(60, "the node counts as dead", || {
        let output = node.output_of(&["restore", "--json"], "");
        (output.status.code() != Some(69)).then_some(output)
    });
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let said: serde_json::Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!(said["purged"], 1, "{said}");
    let built = node.json(&["schema", "reindex"]);
    assert_eq!(built["messages"], 1, "{built}");

    node.start_as(&["all"]);
    let answer = Http::new(node.api).call("POST", "/v1/session", Some(sign_in(BORIS)));
    assert_eq!(answer.status, 401, "{}", answer.text());
    let mut smtp = Lmtp::connect(node.lmtp).unwrap();
    assert_eq!(smtp.deliver(BORIS, &message("to nobody", "text")).unwrap(), 550);
    let mut old = Http::new(node.api);
    old.token.clone_from(&session.token);
    assert_eq!(old.call("GET", "/v1/account", None).status, 401, "the backup's sessions are over");
    let client = node.client(ANNA, PASSWORD);
    assert_eq!(subjects(&client), ["from before"]);
    assert_eq!(client.raw(client.messages()[0]["id"].as_str().unwrap()), raw);
    wait_seconds(60, "the search", || (client.found("wombat").len() == 1).then_some(()));
    deliver(&node, ANNA, "from now on");
    wait_seconds(60, "the search", || (client.found("wombat").len() == 2).then_some(()));
    wait_seconds(120, "agreement", || (node.json(&["check"])["ok"] == true).then_some(()));
}

#[test]
fn a_restore_on_the_servers_needs_an_instance_and_its_keys() {
    let cluster = Cluster::new();
    let node = cluster.node();
    refused(&node, &["restore"], 78, &["hold no instance"]);
    node.run(&["schema", "apply"]);
    let keys = cluster.key().parent().unwrap().to_owned();
    let away = keys.with_extension("away");
    fs::rename(&keys, &away).unwrap();
    refused(&node, &["restore"], 78, &["key"]);
    fs::rename(&away, &keys).unwrap();
    let done = node.json(&["restore"]);
    assert_eq!(done["purged"], 0, "{done}");
}

fn sign_in(address: &str) -> serde_json::Value {
    serde_json::json!({ "address": address, "password": PASSWORD })
}
