//! The index is built anew while mail comes, is searched and goes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::drift::Meanwhile;
use crate::names::{Names, server};
use crate::support::{Http, Lmtp, PASSWORD, Signet, message, wait_seconds};

const ANNA: &str = "anna@one.example";
/// Messages before the rebuild.
const EARLY: usize = 60;
/// Messages that come meanwhile, at most: the machine is the servers' too.
const LATE: usize = 300;

fn deliver(session: &mut Lmtp, number: usize) {
    let text = message(&format!("wombat {number}"), "walks by");
    assert_eq!(session.deliver(ANNA, &text).unwrap(), 250);
}

/// The subjects of what a search finds, each once.
fn found(client: &Http) -> BTreeSet<String> {
    let hits = client.found("wombat&sort=date");
    let subjects: BTreeSet<_> = hits.iter().map(|hit| hit["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(subjects.len(), hits.len(), "each message once");
    subjects
}

fn wait_until_indexed(client: &Http) {
    let path = "/v1/search?q=wombat&limit=1";
    wait_seconds(120, "a complete search", || (client.get(path)["complete"] == true).then_some(()));
}

fn indices(names: &Names) -> BTreeSet<String> {
    let port = server("ELASTICSEARCH").rsplit_once(':').unwrap().1.parse().unwrap();
    let listed = Http::new(port).get(&format!("/{names}-v*/_alias"));
    listed.as_object().unwrap().keys().map(|name| name.replace(&names.to_string(), "")).collect()
}

fn reindex(node: &Signet, step: &str) -> std::process::Output {
    let mut command = node.command(&["schema", "reindex", "--json"]);
    command.env("SIGNET_STEP", step).output().unwrap()
}

#[test]
fn a_rebuild_that_is_killed_and_run_again_loses_no_hit_while_mail_comes_and_goes() {
    let (cluster, _) = Cluster::applied();
    let [lmtp, _workers, api] = ["lmtp", "workers", "api"].map(|role| cluster.started(role));
    api.run(&["domain", "add", "one.example"]);
    api.create_account(ANNA);
    let mut session = Lmtp::connect(lmtp.lmtp).unwrap();
    (0..EARLY).for_each(|number| deliver(&mut session, number));
    let client = api.client(ANNA, PASSWORD);
    wait_until_indexed(&client);
    let early = found(&client);
    assert_eq!(early.len(), EARLY);
    assert_eq!(indices(&cluster.names), ["-v1".to_owned()].into());

    let (is_over, delivered) = (AtomicBool::new(false), AtomicUsize::new(EARLY));
    let goes_on = || !is_over.load(Ordering::SeqCst);
    let gone: BTreeSet<String> = std::thread::scope(|scope| {
        let _ends = Meanwhile(&is_over);
        scope.spawn(|| {
            while goes_on() && delivered.load(Ordering::SeqCst) < EARLY + LATE {
                deliver(&mut session, delivered.load(Ordering::SeqCst));
                delivered.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        });
        // Every third of the early ones goes for ever, one after the other.
        let deleting = scope.spawn(|| {
            let mut gone = BTreeSet::new();
            for head in client.found("wombat&sort=date").iter().filter(|head| is_early(head)).step_by(3) {
                let path = format!("/v1/messages/{}", head["id"].as_str().unwrap());
                // Into the trash, and out of it.
                for _ in 0..2 {
                    assert_eq!(client.call("DELETE", &path, None).status, 204);
                }
                gone.insert(head["subject"].as_str().unwrap().to_owned());
                std::thread::sleep(std::time::Duration::from_millis(300));
                if !goes_on() {
                    break;
                }
            }
            gone
        });
        let searching = scope.spawn(|| {
            let client = api.client(ANNA, PASSWORD);
            let mut searches = 0;
            while goes_on() {
                let number = found(&client).len();
                assert!(number >= EARLY - EARLY.div_ceil(3), "{number} hits after {searches} searches");
                searches += 1;
            }
            searches
        });
        for step in ["indexing.put:1", "reindex.filled:1"] {
            let killed = reindex(&api, step);
            assert!(killed.status.code().is_none(), "{}", String::from_utf8_lossy(&killed.stderr));
            assert_eq!(indices(&cluster.names), ["-v1", "-v1-2"].map(str::to_owned).into());
        }
        let ended = reindex(&api, "none");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(said["refused"], 0, "{said}");
        is_over.store(true, Ordering::SeqCst);
        assert!(searching.join().unwrap() > 3);
        deleting.join().unwrap()
    });
    assert_eq!(indices(&cluster.names), ["-v1-2".to_owned()].into());
    assert!(!gone.is_empty());
    let kept = delivered.load(Ordering::SeqCst);
    let wanted: BTreeSet<_> = (0..kept)
        .map(|number| format!("wombat {number}"))
        .filter(|subject| !gone.contains(subject))
        .collect();
    wait_until_indexed(&client);
    assert_eq!(found(&client), wanted);
    wait_seconds(120, "everything in agreement", || (api.json(&["check"])["ok"] == true).then_some(()));
}

fn is_early(head: &Value) -> bool {
    let number = head["subject"].as_str().unwrap().rsplit_once(' ').unwrap().1;
    number.parse::<usize>().unwrap() < EARLY
}

#[test]
fn a_rebuild_makes_the_number_of_shards_that_is_configured_and_can_be_given_up() {
    let (cluster, _) = Cluster::applied();
    let mut node = cluster.node();
    assert_eq!(node.json(&["schema", "reindex", "--abandon"])["abandoned"], false);
    let killed = reindex(&node, "reindex.filled:1");
    assert!(killed.status.code().is_none());
    assert_eq!(node.json(&["schema", "reindex", "--abandon"])["abandoned"], true);
    assert_eq!(indices(&cluster.names), ["-v1".to_owned()].into());
    for (name, value) in &mut node.variables {
        if name == "SIGNET_ELASTICSEARCH_SHARDS" {
            *value = "3".to_owned();
        }
    }
    let said = node.json(&["schema", "reindex"]);
    assert_eq!((&said["messages"], &said["refused"]), (&0.into(), &0.into()));
    let port = server("ELASTICSEARCH").rsplit_once(':').unwrap().1.parse().unwrap();
    let health = Http::new(port).get(&format!("/_cluster/health/{}", cluster.names));
    assert_eq!(health["active_primary_shards"], 3);
}
