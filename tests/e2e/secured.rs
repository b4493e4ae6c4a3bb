//! The program on servers that speak nothing but TLS and ask for a login, which may do what docs/operations.md says that it
//! has to and no more. They are those of `tests/services/run up 1 --secured`; what is ours on them has the names that it
//! has unless somebody says otherwise, so all of these tests share one instance.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::names::server;
use crate::support::{Http, Lmtp, PASSWORD, Signet, message, wait_for};

const CONFIG: i32 = 78;
const WRONG: &str = "wrong horse";

/// A server's settings begin with the one, messages call it the other; the third says where it is.
const SERVERS: [(&str, &str, &str); 4] = [
    ("CASSANDRA", "Cassandra", "NODES"),
    ("ELASTICSEARCH", "Elasticsearch", "URLS"),
    ("RABBITMQ", "RabbitMQ", "URLS"),
    ("REDIS", "Redis", "URL"),
];

/// A setting, and what it is instead; `None`: it is not set.
type Change = (String, Option<String>);

fn set(setting: &str, value: &str) -> Change {
    (setting.to_owned(), Some(value.to_owned()))
}

fn unset(setting: &str) -> Change {
    (setting.to_owned(), None)
}

/// A file that a client of the servers is given.
fn file(name: &str) -> String {
    let directory = std::env::var("SIGNET_TEST_ACCESS");
    let directory =
        directory.expect("SIGNET_TEST_ACCESS names no directory: tests/services/run up 1 --secured");
    PathBuf::from(directory).join(name).display().to_string()
}

/// The passwords that the servers ask for.
fn passwords() -> Vec<String> {
    let read = |(name, ..): (&str, _, _)| {
        let path = file(&format!("{}.password", name.to_lowercase()));
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    };
    SERVERS.map(read).to_vec()
}

/// A node with all that the servers ask for, but for these changes. It is not started.
fn node(changes: &[Change]) -> Signet {
    let mut settings = vec![
        set("BACKEND", "cluster"),
        set("START_SECONDS", "30"),
        // Beside the servers, so that the tests can be run on them again.
        set("MASTER_KEY_FILE", &file("keys/master.key")),
        set("ELASTICSEARCH_SHARDS", "1"),
        set("ELASTICSEARCH_REPLICAS", "0"),
        set("RABBITMQ_COPIES", "1"),
        // Redis counts as gone after this time: this machine does other work too.
        set("REDIS_REQUEST_MILLISECONDS", "5000"),
    ];
    for (name, _, place) in SERVERS {
        settings.extend([
            set(&format!("{name}_{place}"), &server(name)),
            set(&format!("{name}_LOGIN"), "signet"),
            set(&format!("{name}_PASSWORD_FILE"), &file(&format!("{}.password", name.to_lowercase()))),
            set(&format!("{name}_CA_FILE"), &file("ca.crt")),
        ]);
    }
    for (setting, value) in changes {
        settings.retain(|(other, _)| other != setting);
        settings.push((setting.clone(), value.clone()));
    }
    let mut node = Signet::new();
    for (setting, value) in settings {
        // Of what is not ours, the name is whole.
        let name = if setting == "SSL_CERT_FILE" { setting } else { format!("SIGNET_{setting}") };
        node.variables.extend(value.map(|value| (name, value)));
    }
    node
}

/// Makes, once, what the servers need.
fn apply_schema() {
    static APPLIED: OnceLock<()> = OnceLock::new();
    APPLIED.get_or_init(|| drop(node(&[]).run(&["schema", "apply"])));
}

fn tells_no_password(said: &str) {
    for password in passwords().iter().map(String::as_str).chain([WRONG]) {
        assert!(!said.contains(password), "a password is nobody's to read: {said}");
    }
}

/// A start with these changes ends, not to be tried again, and says what is wrong in these words.
fn refused(changes: &[Change], words: &[&str]) {
    apply_schema();
    let node = node(&[changes, &[set("START_SECONDS", "1")]].concat());
    let mut child = node.command(&["all"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    // One that has ended takes no harm.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(CONFIG), "{changes:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{changes:?}: {said:?} lacks {word:?}");
    }
    tells_no_password(&said);
}

/// A start with these changes is ready; the node.
fn started(changes: &[Change]) -> Signet {
    apply_schema();
    let mut node = node(changes);
    node.start_as(&["all"]);
    node
}

#[test]
fn mail_is_taken_listed_and_found_with_tls_and_a_login_on_every_server() {
    let mut node = started(&[set("LOG", "info,cluster=debug")]);
    let domain = format!("d{}.example", std::process::id());
    let to = format!("anna@{domain}");
    node.run(&["domain", "add", &domain]);
    node.create_account(&to);
    let text = message("through closed doors", "a wombat walks by");
    assert_eq!(Lmtp::connect(node.lmtp).unwrap().deliver(&to, &text).unwrap(), 250);
    let client = node.client(&to, PASSWORD);
    let head = wait_for("the message", || client.messages().pop());
    assert_eq!(head["subject"], "through closed doors");
    assert!(client.raw(head["id"].as_str().unwrap()).ends_with(text.as_bytes()));
    let hits = wait_for("the index", || Some(client.found("wombat")).filter(|hits| !hits.is_empty()));
    assert_eq!(hits[0]["id"], head["id"]);
    assert_eq!(node.json(&["check"])["ok"], true);

    // Redis may be away, so that it is used has to be looked for; so do the rights that only its log would miss.
    let metrics = Http::new(node.internal).call("GET", "/metrics", None).text();
    for up in ["signet_cache_up 1", "signet_queue_up 1"] {
        assert!(metrics.lines().any(|line| line == up), "{up} is not among {metrics}");
    }
    for trouble in ["Redis is gone", "are not heard", "is lost"] {
        assert!(!node.log().contains(trouble), "{}", node.log());
    }
    // What is there is looked through by a login that may not make it.
    let again = node.json(&["schema", "apply"]);
    assert_eq!((&again["from"], &again["isNew"]), (&again["to"], &false.into()));
    assert!(node.terminate().0.success());
    tells_no_password(&node.log());
}

#[test]
fn a_wrong_or_missing_login_ends_the_start_and_names_the_server() {
    for (name, server, _) in SERVERS {
        let [login, password, file] =
            ["LOGIN", "PASSWORD", "PASSWORD_FILE"].map(|setting| format!("{name}_{setting}"));
        refused(&[unset(&file), set(&password, WRONG)], &[server]);
        refused(&[unset(&file), unset(&login)], &[server]);
    }
}

#[test]
fn what_is_beyond_the_rights_of_the_login_ends_the_start() {
    refused(&[set("CASSANDRA_KEYSPACE", "system_auth")], &["Cassandra"]);
    refused(&[set("RABBITMQ_PREFIX", "another")], &["RabbitMQ", "another.jobs"]);
    refused(&[set("REDIS_PREFIX", "another:")], &["Redis"]);
    refused(&[set("REDIS_LOGIN", "silent")], &["Redis"]);
}

#[test]
fn a_certificate_that_another_authority_signed_ends_the_start() {
    for (name, server, _) in SERVERS {
        let other = set(&format!("{name}_CA_FILE"), &file("other.crt"));
        let words = [server, "certificate is not trusted", "`ca_file`"];
        refused(std::slice::from_ref(&other), &words);
        // Who names one trusts nobody else. Elasticsearch's client always trusts those of the system too.
        if name != "ELASTICSEARCH" {
            refused(&[other, set("SSL_CERT_FILE", &file("ca.crt"))], &words);
        }
    }
}

#[test]
fn without_a_file_of_certificates_those_of_the_system_count() {
    let unnamed = ["ELASTICSEARCH", "RABBITMQ", "REDIS"].map(|name| unset(&format!("{name}_CA_FILE")));
    for ((_, server, _), unnamed) in SERVERS.into_iter().skip(1).zip(&unnamed) {
        refused(std::slice::from_ref(unnamed), &[server, "certificate is not trusted"]);
    }
    let node = started(&[&unnamed[..], &[set("SSL_CERT_FILE", &file("ca.crt"))]].concat());
    assert!(!node.log().contains("Redis is gone"), "{}", node.log());
}

#[test]
fn a_certificate_for_another_address_ends_the_start() {
    // Cassandra's driver looks names up before it connects: its certificates are for addresses alone.
    for (name, called, place) in SERVERS.into_iter().skip(1) {
        let elsewhere = server(name).replace("127.0.0.1", "localhost");
        let words = [called, "certificate is not trusted", "localhost"];
        refused(&[set(&format!("{name}_{place}"), &elsewhere)], &words);
    }
}

#[test]
fn a_server_that_asks_for_tls_ends_the_start_of_who_does_not_speak_it() {
    refused(&[unset("CASSANDRA_CA_FILE")], &["Cassandra", "asks for TLS", "`cassandra.ca_file`"]);
    for ((name, called, place), scheme) in SERVERS.into_iter().skip(1).zip(["http", "amqp", "redis"]) {
        let in_clear = server(name).replace(&format!("{scheme}s:"), &format!("{scheme}:"));
        let changes = [set(&format!("{name}_{place}"), &in_clear), unset(&format!("{name}_CA_FILE"))];
        refused(&changes, &[called, "asks for TLS", &format!("{scheme}s://")]);
    }
}

#[test]
fn a_server_without_tls_ends_the_start_of_who_asks_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who gave up does not listen.
            let _ = stream.read(&mut [0; 16]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    for (name, called, place) in SERVERS {
        let there = server(name);
        let there = there.replace(there.rsplit(':').next().unwrap(), &port.to_string());
        refused(&[set(&format!("{name}_{place}"), &there)], &[called, "does not speak TLS with us"]);
    }
}

#[test]
fn a_file_of_certificates_that_holds_none_ends_the_start_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("key"), "-----BEGIN PRIVATE KEY-----\nbm9uZQ==\n-----END PRIVATE KEY-----\n")
        .unwrap();
    std::fs::write(path("torn"), "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")
        .unwrap();
    for (name, server, _) in SERVERS {
        for (given, words) in [
            ("missing", "cannot be read"),
            ("", "cannot be read"),
            ("key", "holds no"),
            ("torn", "that is none"),
        ] {
            let given = path(given);
            refused(&[set(&format!("{name}_CA_FILE"), &given)], &[server, &given, words]);
        }
    }
}
