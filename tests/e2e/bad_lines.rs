//! The program while the line to Cassandra or Elasticsearch is slow, ends in mid-answer, garbles or loses answers: nobody
//! waits for ever, who asks is told to come again, and it goes on by itself when the line is well.

#[path = "../../backends/cluster/tests/proxy/mod.rs"]
mod proxy;

use std::time::{Duration, Instant};

use serde_json::Value;

use self::proxy::{Line, Proxy};
use crate::cluster::Cluster;
use crate::names::server;
use crate::support::{Http, Lmtp, PASSWORD, message, wait_seconds};

// Where less is garbled, what is not sealed could change unseen: that is for TLS.
const LINES: [Line; 5] =
    [Line::Mute, Line::Slow(Duration::from_secs(4)), Line::Short(30), Line::Garbled(5), Line::Cut];
const TO: &str = "anna@one.example";
/// A reply or an answer that takes longer is none, however busy the machine is.
const TOO_LONG: Duration = Duration::from_secs(60);

/// The code of the reply that a delivery ends with; a node that takes no mail now may say so at any point.
fn delivered(port: u16, subject: &str) -> u16 {
    let began = Instant::now();
    let replied =
        Lmtp::connect(port).and_then(|mut session| session.deliver(TO, &message(subject, "a wombat")));
    assert!(began.elapsed() < TOO_LONG, "{:?}", began.elapsed());
    replied.unwrap()
}

/// What is listed at `path`, if it answers 200; else it says when to come again. One good answer does not mean that the
/// next comes: each connection finds out for itself that the line was bad.
fn listed(client: &Http, path: &str, line: Line) -> Option<Vec<Value>> {
    let began = Instant::now();
    let answer = client.call("GET", path, None);
    assert!(began.elapsed() < TOO_LONG, "{line:?}: {:?}", began.elapsed());
    match answer.status {
        200 => Some(answer.json()["items"].as_array().unwrap().clone()),
        503 => {
            assert!(answer.head.to_lowercase().contains("\r\nretry-after:"), "{line:?}: {}", answer.head);
            None
        }
        status => panic!("{path} is answered {status} while the line is {line:?}: {}", answer.text()),
    }
}

#[test]
fn a_bad_line_to_cassandra_or_elasticsearch_means_try_again_and_then_all_goes_on() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let line_to = |name: &str| {
        let first = server(name).split(',').next().unwrap().trim_end_matches('/').to_owned();
        runtime.block_on(Proxy::to(first.trim_start_matches("http://").to_owned()))
    };
    let (cassandra, elasticsearch) = (line_to("CASSANDRA"), line_to("ELASTICSEARCH"));
    let (cluster, _) = Cluster::applied();
    let mut node = cluster.node();
    for (name, value) in [
        ("CASSANDRA_NODES", cassandra.address().to_string()),
        ("CASSANDRA_REQUEST_MILLISECONDS", "1500".to_owned()),
        ("ELASTICSEARCH_URLS", format!("http://{}", elasticsearch.address())),
        ("ELASTICSEARCH_REQUEST_MILLISECONDS", "3000".to_owned()),
    ] {
        node.variables.push((format!("SIGNET_{name}"), value));
    }
    node.start_as(&["all"]);
    node.run(&["domain", "add", "one.example"]);
    node.create_account(TO);
    let client = node.client(TO, PASSWORD);
    let mut kept = Vec::new();
    assert_eq!(delivered(node.lmtp, "first"), 250);
    kept.push("first".to_owned());
    let (list, search) = ("/v1/messages?mailbox=inbox&limit=200", "/v1/search?q=wombat&limit=200");
    let wait_for_hits = |number: usize, line: Line| {
        wait_seconds(180, &format!("{number} hits after {line:?}"), || {
            listed(&client, search, line).filter(|hits| hits.len() == number)
        });
    };

    for (number, line) in LINES.into_iter().enumerate() {
        elasticsearch.set(line);
        let subject = format!("without the index {number}");
        assert_eq!(delivered(node.lmtp, &subject), 250, "the index is {line:?}");
        kept.push(subject);
        assert!(listed(&client, list, line).is_some(), "the index is {line:?}");
        listed(&client, search, line);
        elasticsearch.open();
        wait_for_hits(kept.len(), line);

        cassandra.set(line);
        let subject = format!("without the store {number}");
        let code = delivered(node.lmtp, &subject);
        assert!(code == 250 || code / 100 == 4, "{code} while the line is {line:?}");
        listed(&client, list, line);
        cassandra.open();
        // postfix sends it again; the same bytes are the same message.
        wait_seconds(180, &format!("mail taken after {line:?}"), || {
            (delivered(node.lmtp, &subject) == 250).then_some(())
        });
        kept.push(subject);
        let heads = wait_seconds(180, &format!("lists after {line:?}"), || listed(&client, list, line));
        let mut subjects: Vec<_> = heads.iter().map(|head| head["subject"].as_str().unwrap()).collect();
        subjects.sort_unstable();
        let mut wanted = kept.clone();
        wanted.sort();
        assert_eq!(subjects, wanted, "each once, after {line:?}");
        wait_for_hits(kept.len(), line);
    }
    let ready = || Http::new(node.internal).call("GET", "/health/ready", None).status == 200;
    wait_seconds(120, "ready", || ready().then_some(()));
    assert_eq!(node.json(&["check"])["ok"], true);
    assert!(node.terminate().0.success());
}
