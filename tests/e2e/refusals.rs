//! Starts that cannot succeed before somebody changes something: they say what, and end with 78.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use crate::support::Signet;

const CONFIG: i32 = 78;

fn assert_refused(case: &str, output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(CONFIG), "{case}: {said}");
    for word in words {
        assert!(said.contains(word), "{case}: {said:?} lacks {word:?}");
    }
    assert!(!said.contains("wrong horse"), "{case}: a password is nobody's to read: {said}");
}

/// A port at which each connection is served by `serve`.
fn served(serve: fn(TcpStream) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// A Cassandra that asks for a password and takes none, in the words of its protocol.
fn refuse_login(mut stream: TcpStream) -> std::io::Result<()> {
    const OPTIONS: u8 = 5;
    const STARTUP: u8 = 1;
    let string = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [_, _, high, low, operation, length @ ..] = head;
        stream.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize])?;
        let (operation, body) = match operation {
            OPTIONS => (6, [vec![0, 1], string("CQL_VERSION"), vec![0, 1], string("3.4.5")].concat()),
            STARTUP => (3, string("org.apache.cassandra.auth.PasswordAuthenticator")),
            _ => {
                let text = "Provided username somebody and/or password are incorrect";
                (0, [0x100_u32.to_be_bytes().to_vec(), string(text)].concat())
            }
        };
        let length = (body.len() as u32).to_be_bytes();
        stream.write_all(&[&[0x84, 0, high, low, operation][..], &length, &body].concat())?;
    }
}

fn setting(name: &str, value: &str) -> (String, String) {
    (format!("SIGNET_{name}"), value.to_owned())
}

#[test]
fn a_login_that_cassandra_refuses_or_misses_ends_the_start() {
    let mut signet = Signet::new();
    let nodes = format!("127.0.0.1:{}", served(refuse_login));
    let servers = [setting("BACKEND", "cluster"), setting("CASSANDRA_NODES", &nodes)];
    let login = [setting("CASSANDRA_LOGIN", "somebody"), setting("CASSANDRA_PASSWORD", "wrong horse")];
    for (case, variables) in [("wrong", [&servers[..], &login].concat()), ("missing", servers.to_vec())] {
        signet.variables = variables;
        for arguments in [&["api"][..], &["schema", "apply"]] {
            let output = signet.output_of(arguments, "");
            assert_refused(case, &output, &["Cassandra", "login"]);
        }
    }
}

#[cfg(feature = "servers")]
mod servers {
    use scylla::client::session_builder::SessionBuilder;

    use super::*;
    use crate::cluster::Cluster;
    use crate::names::server;

    /// What is wrong, the settings that make it so, and words of what is said.
    type Case = (&'static str, Vec<(String, String)>, &'static [&'static str]);

    /// An Elasticsearch that takes no login.
    fn refuse_request(mut stream: TcpStream) -> std::io::Result<()> {
        let mut seen = Vec::new();
        let mut octets = [0; 1024];
        while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut octets)? {
                0 => return Ok(()),
                number => seen.extend_from_slice(&octets[..number]),
            }
        }
        stream.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"security\"\r\nContent-Length: 2\r\n\
              Connection: close\r\n\r\n{}",
        )
    }

    #[test]
    fn what_is_missing_refused_or_not_ours_ends_the_start_of_every_role() {
        let (cluster, _) = Cluster::applied();
        let wrong_login = |server: &str| {
            [("LOGIN", "nobody"), ("PASSWORD", "wrong horse")]
                .map(|(name, value)| setting(&format!("{server}_{name}"), value))
                .to_vec()
        };
        let elasticsearch = format!("http://127.0.0.1:{}", served(refuse_request));
        let cases: [Case; 8] = [
            ("a wrong password for RabbitMQ", wrong_login("RABBITMQ"), &["RabbitMQ"]),
            ("a wrong password for Redis", wrong_login("REDIS"), &["Redis"]),
            (
                "a wrong password for Elasticsearch",
                [wrong_login("ELASTICSEARCH"), vec![setting("ELASTICSEARCH_URLS", &elasticsearch)]].concat(),
                &["Elasticsearch", "login"],
            ),
            (
                "no keyspace",
                vec![setting("CASSANDRA_KEYSPACE", "nowhere")],
                &["nowhere", "signet schema apply"],
            ),
            (
                "no index",
                vec![setting("ELASTICSEARCH_ALIAS", "nowhere")],
                &["nowhere", "signet schema apply"],
            ),
            ("no queues", vec![setting("RABBITMQ_PREFIX", "nowhere")], &["RabbitMQ", "signet schema apply"]),
            (
                "another's master key",
                vec![setting("MASTER_KEY", &"ab".repeat(32))],
                &["not that of these data"],
            ),
            (
                "a master key that is none",
                vec![setting("MASTER_KEY", "short")],
                &["the master key that was given is none"],
            ),
        ];
        let refused = |case: &str, variables: &[(String, String)], words: &[&str]| {
            for role in ["all", "lmtp", "workers", "api"] {
                let mut node = cluster.node();
                node.variables.extend_from_slice(variables);
                assert_refused(&format!("{case}, {role}"), &node.output_of(&[role], ""), words);
            }
        };
        for (case, variables, words) in cases {
            refused(case, &variables, words);
        }

        // Tables that an older program made, and such as only a newer one understands.
        let run = |text: &str| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let text = text.replace("{}", &format!("{}.schema_versions", cluster.names));
            runtime.block_on(async {
                let nodes = server("CASSANDRA");
                let session = SessionBuilder::new().known_nodes(nodes.split(',')).build().await.unwrap();
                session.query_unpaged(text, ()).await.unwrap();
            });
        };
        run("DELETE FROM {} WHERE part = 'rows' AND version > 1");
        refused("tables of an older program", &[], &["version 1,", "signet schema apply"]);
        run("INSERT INTO {} (part, version, serves) VALUES ('rows', 1000, 999)");
        refused("tables of a newer program", &[], &["version 1000,", "newer program"]);
        run("DELETE FROM {} WHERE part = 'rows' AND version = 1000");
        cluster.node().run(&["schema", "apply"]);
        cluster.started("all");
    }
}
