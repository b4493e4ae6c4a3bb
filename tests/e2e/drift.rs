//! What is lost, or comes to be wrong, on the servers while the program runs: it is found and repaired while it serves.

mod damage;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use schema::{AccountId, MessageId};
use serde_json::{Value, json};

use self::damage::{Place, Servers};
use crate::cluster::Cluster;
use crate::support::{Http, Lmtp, PASSWORD, Signet, wait_for, wait_seconds};

const ACCOUNTS: [&str; 2] = ["anna@one.example", "boris@one.example"];
/// Messages of each account before anything is broken.
const MESSAGES: usize = 90;
/// Messages of a thread, but for the last ones, which are alone.
const THREAD: usize = 3;
const ALONE: usize = 6;
/// Messages that come to each account meanwhile, at most: the machine is the servers' too.
const LATE: usize = 150;
/// Of so many messages one has a keyword.
const MARKED: usize = 4;
/// After this time bytes without a row are not those of a delivery that is about to write it.
const YOUNG: Duration = Duration::from_secs(32);
/// The message that is too large for one row.
const LARGE: usize = 7;
const LIST_TABLES: [(&str, usize); 5] = [
    ("messages_by_account", 3),
    ("messages_by_mailbox", 4),
    ("messages_by_keyword", 2),
    ("messages_by_thread", 3),
    ("messages_by_discussion", 2),
];

fn mail(number: usize) -> String {
    let first = number - number % THREAD;
    let mut head = format!(
        "From: Sender <sender{}@test.example>\r\nTo: <somebody@test.example>\r\nSubject: wombat {number}\r\n\
         Message-ID: <{number}@drift.example>\r\n",
        number % 4
    );
    if first != number && number < MESSAGES - ALONE {
        head += &format!("In-Reply-To: <{first}@drift.example>\r\nReferences: <{first}@drift.example>\r\n");
    }
    let body = match number == LARGE {
        false => format!("topic{} is what it is about\r\n", number % 5),
        true => noise(),
    };
    format!("{head}\r\n{body}")
}

/// Text that does not become much smaller by compression.
fn noise() -> String {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-";
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 32) as usize % 64])
    };
    let mut line = || (0..70).map(|_| letter()).chain(['\r', '\n']).collect::<String>();
    (0..8_000).map(|_| line()).collect()
}

fn late(number: usize) -> String {
    format!(
        "From: <late@test.example>\r\nSubject: late {number}\r\nMessage-ID: <late{number}@drift.example>\r\n\r\nnews\r\n"
    )
}

fn deliver(session: &mut Lmtp, to: &str, message: &str) {
    assert_eq!(session.deliver(to, message).unwrap(), 250);
}

/// Ids of what was there before anything was broken.
fn ids(items: &[Value], subject: impl Fn(&Value) -> &Value) -> Vec<String> {
    let early = items.iter().filter(|item| !subject(item).as_str().unwrap().starts_with("late"));
    early.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

const ALL: &str = "after=2000-01-01T00:00:00Z";

/// What an account's lists, threads and searches say of the messages that were there at first.
fn answers(client: &Http) -> BTreeMap<String, Vec<String>> {
    let heads = |path: &str| ids(&client.items(path), |head| &head["subject"]);
    let mut all = BTreeMap::new();
    for path in [
        "/v1/messages?mailbox=inbox".to_owned(),
        format!("/v1/messages?{ALL}"),
        "/v1/messages?keyword=marked".to_owned(),
        "/v1/search?q=wombat&sort=date".to_owned(),
        "/v1/search?q=topic2&sort=date".to_owned(),
        "/v1/search?q=wombat%20keyword:marked&sort=date".to_owned(),
    ] {
        let found = heads(&path);
        all.insert(path, found);
    }
    let threads = client.items(&format!("/v1/threads?{ALL}"));
    for id in ids(&threads, |thread| &thread["newest"]["subject"]) {
        let thread = client.get(&format!("/v1/threads/{id}"));
        all.insert(
            format!("thread {id}"),
            ids(thread["messages"].as_array().unwrap(), |head| &head["subject"]),
        );
    }
    let discussions = client.items(&format!("/v1/discussions?{ALL}"));
    for id in ids(&discussions, |discussion| &discussion["newest"]["subject"]) {
        all.insert(format!("discussion {id}"), heads(&format!("/v1/discussions/{id}?{ALL}")));
    }
    all
}

/// Ends what goes on meanwhile, also where the test fails.
pub struct Meanwhile<'a>(pub &'a AtomicBool);

impl Drop for Meanwhile<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn message_id(text: &str) -> MessageId {
    text.parse().unwrap()
}

/// Breaks something of everything; how many of each kind a check is to find.
fn break_all(servers: &Servers, accounts: [AccountId; 2], heads: &[HashMap<usize, String>; 2]) -> Value {
    let [anna, boris] = accounts;
    let mut missing = 0;
    for (table, number) in LIST_TABLES {
        let rows = servers.rows(table, anna.as_bytes());
        // Something of each list stays: who reads it finds it.
        let of_list = |row: &Place| rows.iter().filter(|other| other.partition == row.partition).count();
        let rows: Vec<_> = rows.iter().filter(|row| of_list(row) >= THREAD).collect();
        // Not those next to each other.
        for row in rows.iter().step_by(rows.len() / number).take(number) {
            servers.delete(row);
            missing += 1;
        }
    }
    // A thread that never had another place has only the one that counts. The oldest are not of what comes in meanwhile.
    let rows = servers.rows("threads_by_activity", anna.as_bytes());
    let is_alone = |row: &&Place| rows.iter().filter(|other| other.id() == row.id()).count() == 1;
    for row in rows.iter().rev().filter(is_alone).take(2) {
        servers.delete(row);
        missing += 1;
    }
    let inbox = servers.rows("messages_by_mailbox", boris.as_bytes());
    servers.delete(&inbox[5]);
    missing += 1;
    for row in &inbox[10..12] {
        servers.put(row, &[1, 2, 3], false);
    }
    let nobody = |row: &Place| [&row.clustering[..8], &[9; 16]].concat();
    servers.put(&Place { clustering: nobody(&inbox[20]), ..inbox[20].clone() }, &[1, 1], false);
    let keyword = Place { table: "messages_by_keyword", ..inbox[21].clone() };
    let unknown = [boris.as_bytes().as_slice(), &[7; 16]].concat();
    servers.put(&Place { partition: unknown, ..keyword }, &[1, 1], false);

    let touched = [5, 10, 11, 20, 21].map(|at| MessageId(inbox[at].id().try_into().unwrap()));
    let marked = (0..MESSAGES).step_by(MARKED).map(|number| message_id(&heads[1][&number]));
    for id in marked.filter(|id| !touched.contains(id)).take(2) {
        let partition = [boris.0, id.0].concat();
        servers.rows("messages", &partition).iter().for_each(|row| servers.delete(row));
    }

    for number in [20, 40, 60] {
        servers.delete_document(anna, message_id(&heads[0][&number]));
    }
    servers.put_document(boris, MessageId([9; 16]));

    let blobs = servers.rows("blobs", anna.as_bytes());
    let chunk = blobs.iter().find(|row| !row.bucket.is_empty()).expect("a blob with chunks of its own");
    servers.delete(chunk);
    let orphan = Place {
        table: "blobs",
        partition: [boris.as_bytes().as_slice(), &[8; 16]].concat(),
        bucket: vec![],
        clustering: vec![],
    };
    servers.put(&orphan, &[0, 1, 2, 3], true);
    json!({
        "missingListRows": missing, "wrongListRows": 2, "staleListRows": 2, "missingIndexEntries": 4,
        "staleIndexEntries": 1, "unreadableBytes": 1, "orphanBytes": 1, "missingMessageRows": 2,
    })
}

/// The scrubber's last run, once there is one after `before`.
fn scrubbed(api: &Signet, before: &Value) -> Value {
    wait_seconds(300, "a run of the scrubber", || {
        let jobs = api.json(&["jobs", "list"]);
        let last = jobs["periodic"].as_array()?.iter().find(|job| job["job"] == "scrub")?["last"].clone();
        (!last.is_null() && last != *before).then_some(last)
    })
}

/// What `signet check` says; its exit code is 1 where not everything agrees.
fn check(api: &Signet, arguments: &[&str]) -> Value {
    let output = api.output_of(&[&["check", "--json"], arguments].concat(), "");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The value of a counter by its kind.
fn counted(node: &Signet, metric: &str) -> BTreeMap<String, u64> {
    let text = Http::new(node.internal).call("GET", "/metrics", None).text();
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix("{kind=\""));
    lines
        .filter_map(|line| {
            let (kind, rest) = line.split_once('"')?;
            Some((kind.to_owned(), rest.rsplit_once(' ')?.1.parse().ok()?))
        })
        .collect()
}

#[test]
fn what_is_lost_behind_its_back_is_found_and_repaired_while_it_serves() {
    let (cluster, _) = Cluster::applied();
    let [lmtp, api] = ["lmtp", "api"].map(|role| cluster.started(role));
    let servers = Servers::of(cluster.names.to_string());
    api.run(&["domain", "add", "one.example"]);
    let accounts = ACCOUNTS.map(|address| api.create_account(address).parse::<AccountId>().unwrap());
    let [anna, _] = accounts;

    // A message that nobody indexes: its job is lost, and what says that it waits for one.
    let mut session = Lmtp::connect(lmtp.lmtp).unwrap();
    deliver(&mut session, ACCOUNTS[0], "Subject: forgotten\r\n\r\na platypus\r\n");
    assert_eq!(servers.lose_jobs(), 1);
    servers.rows("unindexed", anna.as_bytes()).iter().for_each(|row| servers.delete(row));

    let workers = cluster.started("workers");
    std::thread::scope(|scope| {
        for address in ACCOUNTS {
            let mut session = Lmtp::connect(lmtp.lmtp).unwrap();
            scope.spawn(move || {
                (0..MESSAGES).for_each(|number| deliver(&mut session, address, &mail(number)))
            });
        }
    });
    let delivered = Instant::now();
    let clients = ACCOUNTS.map(|address| api.client(address, PASSWORD));
    let heads = clients.each_ref().map(|client| {
        let heads = client.messages();
        let number = |head: &Value| head["subject"].as_str()?.strip_prefix("wombat ")?.parse::<usize>().ok();
        let id = |head: &Value| head["id"].as_str().unwrap().to_owned();
        heads.iter().filter_map(|head| Some((number(head)?, id(head)))).collect::<HashMap<_, _>>()
    });
    for (client, heads) in clients.iter().zip(&heads) {
        assert_eq!(heads.len(), MESSAGES);
        let marked: Vec<_> = (0..MESSAGES).step_by(MARKED).map(|number| &heads[&number]).collect();
        let body = json!({ "ids": marked, "keywords": { "marked": true } });
        assert_eq!(client.call("POST", "/v1/messages/batch", Some(body)).status, 200);
        wait_seconds(300, "all indexed", || {
            let found = client.get("/v1/search?q=wombat");
            (found["complete"] == true && found["total"] == MESSAGES).then_some(())
        });
    }
    wait_seconds(120, "agreement but for the forgotten one", || {
        (check(&api, &[])["drift"] == json!({ "missingIndexEntries": 1 })).then_some(())
    });
    assert_eq!(clients[0].found("platypus"), [] as [Value; 0]);
    let before = clients.each_ref().map(answers);
    let marked = clients[1].items("/v1/messages?keyword=marked");
    let large = heads[0][&LARGE].as_str();
    let raws: Vec<Vec<u8>> =
        (0..MESSAGES).step_by(9).map(|number| clients[1].raw(&heads[1][&number])).collect();

    let (is_over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _meanwhile = Meanwhile(&is_over);
        for (address, client) in ACCOUNTS.iter().zip(&clients) {
            let (is_over, calls, port) = (&is_over, &calls, lmtp.lmtp);
            scope.spawn(move || {
                let mut session = Lmtp::connect(port).unwrap();
                for number in 0..LATE {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    deliver(&mut session, address, &late(number));
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let answered = answers(client);
                    assert!(answered.contains_key("/v1/messages?mailbox=inbox"));
                    calls.fetch_add(answered.len(), Ordering::SeqCst);
                }
            });
        }

        // The scrubber runs every few days. A note of its last run that cannot be read counts as one of long ago.
        let note = wait_for("the scrubber's note", || {
            servers.rows("periodic_jobs", &[]).into_iter().find(|row| row.clustering == b"scrub")
        });
        wait_seconds(120, "no young bytes", || (delivered.elapsed() > YOUNG).then_some(()));
        let broken = break_all(&servers, accounts, &heads);
        let answered = calls.load(Ordering::SeqCst);
        let sealed = servers.value(&note);
        servers.put(&note, &sealed[..sealed.len() - 1], false);
        let last = scrubbed(&api, &Value::Null);
        assert_eq!(last["failed"], false);
        let mut found = last["found"].clone();
        let repaired: u64 = broken.as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>() - 1;
        assert_eq!(found["repaired"], repaired, "{found}");
        found.as_object_mut().unwrap().retain(|kind, _| broken.get(kind).is_some());
        assert_eq!(found, broken);
        assert!(calls.load(Ordering::SeqCst) > answered, "it served meanwhile");

        // What needs a job is done soon after.
        wait_seconds(300, "agreement but for the lost bytes", || {
            (check(&api, &[])["drift"] == json!({ "unreadableBytes": 1 })).then_some(())
        });
        let metric = |name| json!(counted(&workers, name));
        assert_eq!(metric("signet_drift_found_total"), broken);

        // By hand, on another node.
        let inbox = servers.rows("messages_by_mailbox", anna.as_bytes());
        inbox[30..32].iter().for_each(|row| servers.delete(row));
        let report = check(&api, &["--repair"]);
        assert_eq!(report["drift"], json!({ "missingListRows": 2, "unreadableBytes": 1 }));
        assert_eq!((&report["repaired"], &report["ok"]), (&json!(2), &json!(false)));
    });

    for (client, before) in clients.iter().zip(&before) {
        let after = wait_seconds(120, "every message in the index", || {
            let search = "/v1/search?q=wombat&sort=date";
            let after = answers(client);
            (after[search] == before[search]).then_some(after)
        });
        let mut differing =
            before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path));
        assert_eq!(differing.next(), None, "{differing:?}");
    }
    for client in &clients {
        let late = |path: &str, subject: fn(&Value) -> &Value| {
            let items = client.items(path);
            items.iter().filter(|item| subject(item).as_str().unwrap().starts_with("late")).count()
        };
        let messages = late("/v1/messages?mailbox=inbox", |head| &head["subject"]);
        let threads = late(&format!("/v1/threads?{ALL}"), |thread| &thread["newest"]["subject"]);
        assert_eq!(threads, messages, "each is a thread of its own");
    }
    assert_eq!(clients[0].found("platypus").len(), 1);
    assert_eq!(clients[1].items("/v1/messages?keyword=marked"), marked, "with all that their rows said");
    for (number, raw) in (0..MESSAGES).step_by(9).zip(&raws) {
        assert!(clients[1].raw(&heads[1][&number]) == *raw);
    }
    // What is lost is lost, and says so.
    let lost = clients[0].call("GET", &format!("/v1/messages/{large}/raw"), None);
    assert_eq!(lost.status, 500, "{}", lost.text());
    assert!(
        heads[0].iter().filter(|(number, _)| **number != LARGE).all(|(_, id)| !clients[0].raw(id).is_empty())
    );
}
