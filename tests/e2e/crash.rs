//! Killed at any time, it keeps what it has answered 250, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Http, Lmtp, PASSWORD, Signet, message, wait_for, wait_seconds};

const SESSIONS: usize = 8;
const ACCOUNTS: usize = 3;

/// What each account was sent: the subjects that were answered 250, and all that were sent.
#[derive(Default)]
struct Sent {
    kept: BTreeSet<String>,
    all: BTreeSet<String>,
}

fn address(account: usize) -> String {
    format!("account{account}@localhost")
}

#[test]
fn killed_at_random_times_under_eight_sessions_every_250_is_there_exactly_once() {
    let rounds: u64 =
        std::env::var("SIGNET_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut signet = Signet::started();
    for account in 0..ACCOUNTS {
        signet.create_account(&address(account));
    }
    let sent: Vec<Arc<Mutex<Sent>>> = (0..ACCOUNTS).map(|_| Arc::default()).collect();
    let number = Arc::new(AtomicU64::new(0));
    // Replays the feed across all rounds, as a client does that is never told of the crashes.
    let mut feeds: Vec<Feed> = (0..ACCOUNTS).map(|_| Feed::default()).collect();
    let mut clients: Vec<Http> =
        (0..ACCOUNTS).map(|account| signet.client(&address(account), PASSWORD)).collect();
    let mut dice = 20_261_121_u64;
    for round in 0..rounds {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|_| {
                let (port, sent, number) = (signet.lmtp, sent.clone(), number.clone());
                std::thread::spawn(move || deliver_until_killed(port, &sent, &number))
            })
            .collect();
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Not a wait for something: the moment of death.
        std::thread::sleep(Duration::from_millis(20 + (dice >> 33) % 480));
        signet.kill();
        for session in sessions {
            session.join().unwrap();
        }
        signet.start();
        for (account, client) in clients.iter_mut().enumerate() {
            let sent = sent[account].lock().unwrap();
            check_lists(client, &sent, &format!("round {round}"));
            feeds[account].replay(client);
        }
    }
    for (account, client) in clients.iter().enumerate() {
        let sent = sent[account].lock().unwrap();
        let listed = check_lists(client, &sent, "at the end");
        assert_eq!(feeds[account].messages, listed, "the feed ends with the server's state");
        wait_seconds(240, "the index", || {
            client.get("/v1/search?q=crashword")["complete"].as_bool().filter(|&complete| complete)
        });
        let found: BTreeSet<String> = client.found("crashword").iter().map(id).collect();
        assert_eq!(found, listed, "everything is found, and nothing else");
        let mailboxes = client.get("/v1/mailboxes");
        let inbox = mailboxes["items"].as_array().unwrap().iter().find(|mailbox| mailbox["role"] == "inbox");
        assert_eq!(inbox.unwrap()["totalMessages"], listed.len(), "{mailboxes}");
    }
    // Bytes of a delivery that was cut short before its rows may be left; the check takes them away.
    let report = signet.output_of(&["check", "--repair", "--json"], "");
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let drift: Vec<&String> = report["drift"].as_object().unwrap().keys().collect();
    assert!(drift.is_empty() || drift == ["orphanBytes"], "{report}");
    wait_for("the repair", || {
        let report = signet.output_of(&["check", "--json"], "");
        report.status.success().then_some(())
    });
    eprintln!("{rounds} rounds, {} messages sent: {report}", number.load(Ordering::Relaxed));
}

/// Needs a build with the feature `failpoints`: `cargo test --features failpoints --test e2e`.
#[cfg(feature = "failpoints")]
#[test]
fn killed_at_every_named_step_every_250_is_there_exactly_once() {
    let steps = [
        "delivery.blob",
        "delivery.links",
        "delivery.rows",
        "delivery.job",
        "indexing.put",
        "indexing.noted",
    ];
    let mut signet = Signet::started();
    signet.create_account(&address(0));
    let client = signet.client(&address(0), PASSWORD);
    let sent: Vec<Arc<Mutex<Sent>>> = vec![Arc::default()];
    let number = Arc::new(AtomicU64::new(0));
    let is_indexed = |client: &Http| client.get("/v1/search?q=crashword")["complete"] == true;
    for step in steps {
        for count in [1, 2, 7] {
            wait_seconds(60, "the index", || is_indexed(&client).then_some(()));
            // A job that is done but not acknowledged for good would come to the step before the start is through.
            signet.terminate();
            // Indexing gets its turn beside the sessions, so that its steps are reached before the queue is long.
            signet.variables = vec![
                ("SIGNET_STEP".into(), format!("{step}:{count}")),
                ("SIGNET_WORKERS_NICE".into(), "0".into()),
            ];
            signet.start();
            let sessions: Vec<_> = (0..SESSIONS)
                .map(|_| {
                    let (port, sent, number) = (signet.lmtp, sent.clone(), number.clone());
                    std::thread::spawn(move || deliver_until_killed(port, &sent, &number))
                })
                .collect();
            for session in sessions {
                session.join().unwrap();
            }
            signet.kill();
            signet.variables.clear();
            signet.start();
            check_lists(&client, &sent[0].lock().unwrap(), &format!("{step} {count}"));
        }
    }
    wait_seconds(60, "the index", || is_indexed(&client).then_some(()));
    let listed = check_lists(&client, &sent[0].lock().unwrap(), "at the end");
    let found: BTreeSet<String> = client.found("crashword").iter().map(id).collect();
    assert_eq!(found, listed);
    let report = signet.output_of(&["check", "--json"], "");
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let drift: Vec<&String> = report["drift"].as_object().unwrap().keys().collect();
    assert!(drift.is_empty() || drift == ["orphanBytes"], "{report}");
}

fn deliver_until_killed(port: u16, sent: &[Arc<Mutex<Sent>>], number: &AtomicU64) {
    let Ok(mut session) = Lmtp::connect(port) else { return };
    loop {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let account = usize::try_from(number).unwrap() % sent.len();
        let subject = format!("crash {number}");
        let text =
            format!("crashword {}", "and more of it ".repeat(usize::try_from(number * 7 % 400).unwrap()));
        let text = message(&subject, &text);
        sent[account].lock().unwrap().all.insert(subject.clone());
        match session.deliver(&address(account), &text) {
            Ok(250) => {
                sent[account].lock().unwrap().kept.insert(subject);
            }
            Ok(code) => panic!("the reply was {code}"),
            Err(_) => return,
        }
    }
}

fn id(head: &Value) -> String {
    head["id"].as_str().unwrap().to_owned()
}

/// Every 250 is listed once, and nothing is that was never sent. Returns the ids.
fn check_lists(client: &Http, sent: &Sent, when: &str) -> BTreeSet<String> {
    let heads = client.messages();
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for head in &heads {
        *times.entry(head["subject"].as_str().unwrap()).or_default() += 1;
    }
    for subject in &sent.kept {
        assert_eq!(times.get(subject.as_str()), Some(&1), "{when}: {subject}");
    }
    for (subject, count) in times {
        assert!(count == 1 && sent.all.contains(subject), "{when}: {subject} stands there {count} times");
    }
    heads.iter().map(id).collect()
}

/// A client's copy of the account, kept by the change feed alone.
#[derive(Default)]
struct Feed {
    cursor: Option<String>,
    messages: BTreeSet<String>,
}

impl Feed {
    fn replay(&mut self, client: &Http) {
        loop {
            let since = self.cursor.as_ref().map(|cursor| format!("?since={cursor}")).unwrap_or_default();
            if since.is_empty() {
                // A feed begins with a listing and the cursor from before it.
                self.cursor = client.get("/v1/changes")["cursor"].as_str().map(str::to_owned);
                self.messages = client.messages().iter().map(id).collect();
                continue;
            }
            let page = client.get(&format!("/v1/changes{since}"));
            for change in page["changes"].as_array().unwrap() {
                match (change["type"].as_str(), change["change"].as_str()) {
                    (Some("message"), Some("destroyed")) => self.messages.remove(&id(change)),
                    (Some("message"), _) => self.messages.insert(id(change)),
                    _ => continue,
                };
            }
            self.cursor = page["cursor"].as_str().map(str::to_owned);
            if page["hasMore"] != true {
                return;
            }
        }
    }
}
