//! What an operator does on the command line.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Http, Lmtp, PASSWORD, Signet, message, wait_for};

#[test]
fn domains_accounts_and_addresses_come_and_go() {
    let signet = Signet::started();
    signet.run(&["domain", "add", "Example.ORG"]);
    assert!(signet.run(&["domain", "list"]).lines().any(|line| line == "example.org"));
    let refused = signet.output_of(&["domain", "add", "example.org"], "");
    assert_eq!(refused.status.code(), Some(1));

    let id = signet.create_account("anna@example.org");
    assert_eq!(id.len(), 32);
    signet.run(&["address", "add", "info@example.org", "--account", "anna@example.org"]);
    signet.run(&["address", "add", "@example.org", "--account", &id]);
    let shown = signet.json(&["account", "show", &id]);
    assert_eq!(shown["addresses"].as_array().unwrap().len(), 3, "{shown}");
    let mut session = Lmtp::connect(signet.lmtp).unwrap();
    for recipient in ["anna+tag@example.org", "info@example.org", "whoever@example.org"] {
        assert_eq!(session.deliver(recipient, &message(recipient, "text")).unwrap(), 250);
    }
    assert_eq!(signet.client("anna@example.org", PASSWORD).messages().len(), 3);

    signet.run(&["address", "remove", "@example.org"]);
    assert_eq!(session.deliver("whoever@example.org", &message("late", "text")).unwrap(), 550);
    assert!(!signet.output_of(&["domain", "remove", "example.org"], "").status.success());
    signet.run(&["domain", "add", "other.example"]);
    signet.run(&["domain", "remove", "other.example"]);
}

#[test]
fn a_random_password_is_printed_once_and_a_locked_account_signs_in_no_more() {
    let signet = Signet::started();
    let made = signet.json(&["account", "create", "anna@localhost"]);
    let password = made["password"].as_str().unwrap();
    let client = signet.client("anna@localhost", password);
    signet.run(&["account", "lock", "anna@localhost"]);
    assert_eq!(client.call("GET", "/v1/account", None).status, 401);
    signet.run(&["account", "unlock", "anna@localhost"]);
    let changed = signet.json(&["account", "password", "anna@localhost"]);
    assert_ne!(changed["password"], made["password"]);
    signet.client("anna@localhost", changed["password"].as_str().unwrap());
}

#[test]
fn a_quota_is_set_and_lifted_and_holds_at_once() {
    let signet = Signet::started();
    signet.create_account("anna@localhost");
    let mut session = Lmtp::connect(signet.lmtp).unwrap();
    let mut deliver = |subject: &str| {
        let code = session.deliver("anna@localhost", &message(subject, "text")).unwrap();
        session.command("RSET").unwrap();
        code
    };
    assert_eq!(deliver("first"), 250);
    let set = signet.json(&["account", "quota", "anna@localhost", "100"]);
    assert_eq!(set["quota"], 100);
    assert!(set["used"].as_u64().unwrap() > 100, "{set}");
    assert_eq!(deliver("second"), 452);
    assert!(signet.run(&["account", "quota", "anna@localhost", "1000000"]).contains("quota 1000000 octets"));
    assert_eq!(deliver("third"), 250);
    signet.run(&["account", "quota", "anna@localhost", "1"]);
    assert_eq!(deliver("fourth"), 452);
    assert!(signet.run(&["account", "quota", "anna@localhost", "none"]).contains("no limit"));
    assert_eq!(deliver("fifth"), 250);
    assert_eq!(signet.output_of(&["account", "quota", "anna@localhost", "0"], "").status.code(), Some(2));
    assert_eq!(signet.output_of(&["account", "quota", "eve@localhost", "none"], "").status.code(), Some(1));
}

/// Runs a command with a terminal as its standard input and output, and types an answer; whether it succeeded, and what
/// the terminal showed.
fn on_a_terminal(signet: &Signet, arguments: &str, answer: &str) -> (bool, String) {
    let plain = signet.command(&[]);
    let line = format!("{} {arguments}", plain.get_program().to_str().unwrap());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("SHELL", "/bin/sh");
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(answer.as_bytes()).unwrap();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    drop(stdin);
    (child.wait().unwrap().success(), shown)
}

#[test]
fn a_purge_asks_on_a_terminal_unless_it_is_told_not_to() {
    let signet = Signet::started();
    for name in ["anna", "boris", "chloe"] {
        signet.create_account(&format!("{name}@localhost"));
    }
    for answer in ["no\n", "\n", "y\n"] {
        let (purged, shown) = on_a_terminal(&signet, "account purge anna@localhost", answer);
        assert!(
            !purged && shown.contains("lost for good") && shown.contains("nothing was purged"),
            "{shown}"
        );
    }
    signet.run(&["account", "show", "anna@localhost"]);
    let (purged, shown) = on_a_terminal(&signet, "account purge anna@localhost", "yes\n");
    assert!(purged && shown.contains("anna@localhost") && shown.contains("lost for good"), "{shown}");
    let (purged, shown) = on_a_terminal(&signet, "account purge --yes boris@localhost", "");
    assert!(purged && !shown.contains("lost for good"), "{shown}");
    // A script has no terminal, and nothing to say.
    signet.run(&["account", "purge", "chloe@localhost"]);
    let left = signet.run(&["account", "list"]);
    assert!(!["anna", "boris", "chloe"].iter().any(|name| left.contains(name)), "{left}");
    assert!(!signet.log().contains("@localhost"), "the log names nobody");
}

#[test]
fn with_json_a_command_that_fails_says_so_in_one_object() {
    let signet = Signet::started();
    let failed = |arguments: &[&str], code: i32| -> Value {
        let output = signet.output_of(&[arguments, &["--json"]].concat(), "");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        let mut said: Value = serde_json::from_str(&said).unwrap();
        assert!(!said["error"]["message"].as_str().unwrap().is_empty(), "{said}");
        said["error"].take()
    };
    let refused = failed(&["domain", "add", "no domain"], 1);
    assert_eq!((&refused["status"], &refused["code"]), (&422.into(), &"invalid".into()), "{refused}");
    assert_eq!(refused["errors"][0]["field"], "name");
    let missing = failed(&["account", "show", "eve@localhost"], 1);
    assert_eq!((&missing["status"], &missing["code"]), (&404.into(), &"not-found".into()), "{missing}");
    assert_eq!(failed(&["jobs", "retry", "4711"], 1)["status"], 404);
    // Without a process to talk to, and before there is one to look for.
    let nobody = failed(&["account", "list", "--data", "elsewhere"], 1);
    assert!(nobody["message"].as_str().unwrap().contains("elsewhere"), "{nobody}");
    assert!(nobody["status"].is_null(), "{nobody}");
    assert!(failed(&["config", "show", "--lmtp", "x"], 78)["message"].as_str().unwrap().contains("--lmtp"));
    assert!(failed(&["account", "lose"], 2)["message"].as_str().unwrap().contains("lose"));

    signet.create_account("anna@localhost");
    let file = signet.home.path().join("one.eml");
    std::fs::write(&file, message("one", "text")).unwrap();
    let import = failed(&["import", "anna@localhost", file.to_str().unwrap(), "--mailbox", "nowhere"], 1);
    assert!(import["errors"][0]["message"].as_str().unwrap().contains("one.eml"), "{import}");

    // Without it the same is text.
    let text = String::from_utf8(signet.output_of(&["domain", "add", "no domain"], "").stderr).unwrap();
    assert!(text.starts_with("signet: name: "), "{text}");
}

#[test]
fn what_an_import_brought_an_export_gives_back() {
    let signet = Signet::started();
    signet.create_account("anna@localhost");
    let maildir = signet.home.path().join("Maildir");
    for folder in ["cur", "new", "tmp", ".Lists/cur"] {
        std::fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    let first = message("first", "of the maildir, searchable by zanzibar");
    std::fs::write(maildir.join("cur/1.x:2,FS"), &first).unwrap();
    std::fs::write(maildir.join(".Lists/cur/2.x:2,"), message("second", "in a folder")).unwrap();
    let mbox = signet.home.path().join("box");
    let third = "Subject: third\n\nFrom the start\n";
    std::fs::write(&mbox, "From a@b Fri Nov 20 08:00:00 2020\nSubject: third\n\n>From the start\n\n")
        .unwrap();

    let path = maildir.to_str().unwrap();
    assert_eq!(signet.json(&["import", "anna@localhost", path])["imported"], 2);
    assert_eq!(signet.json(&["import", "anna@localhost", path])["alreadyThere"], 2);
    let path = mbox.to_str().unwrap();
    assert_eq!(signet.json(&["import", "anna@localhost", path, "--mailbox", "archive"])["imported"], 1);

    let client = signet.client("anna@localhost", PASSWORD);
    let head = &client.messages()[0];
    assert_eq!(
        (&head["subject"], &head["keywords"]),
        (&"first".into(), &serde_json::json!({"$flagged": true, "$seen": true}))
    );
    let archived = client.items("/v1/messages?mailbox=archive");
    assert_eq!(archived[0]["receivedAt"], "2020-11-20T08:00:00Z");
    assert_eq!(client.raw(archived[0]["id"].as_str().unwrap()), third.as_bytes());
    let mailboxes = client.get("/v1/mailboxes");
    assert!(
        mailboxes["items"].as_array().unwrap().iter().any(|mailbox| mailbox["name"] == "Lists"),
        "{mailboxes}"
    );
    wait_for("the index", || (client.found("zanzibar").len() == 1).then_some(()));

    let file = signet.home.path().join("anna.zip");
    assert_eq!(signet.json(&["export", "anna@localhost", file.to_str().unwrap()])["messages"], 3);
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&file).unwrap()).unwrap();
    let name = format!("messages/{}.eml", archived[0]["id"].as_str().unwrap());
    let dated = zip.by_name(&name).unwrap().last_modified().unwrap();
    assert_eq!(dated.to_string(), "2020-11-20 08:00:00");
    let mut read = |name: &str| {
        let mut content = Vec::new();
        zip.by_name(name).unwrap().read_to_end(&mut content).unwrap();
        content
    };
    assert_eq!(read(&format!("messages/{}.eml", head["id"].as_str().unwrap())), first.as_bytes());
    let described: Value = serde_json::from_slice(&read("messages.json")).unwrap();
    assert_eq!(described.as_array().unwrap().len(), 3);

    // Another account has the same messages from the mbox.
    std::fs::write(&mbox, read("messages.mbox")).unwrap();
    signet.create_account("boris@localhost");
    assert_eq!(signet.json(&["import", "boris@localhost", path])["imported"], 3);
    let boris = signet.client("boris@localhost", PASSWORD);
    let mut raw: Vec<Vec<u8>> =
        boris.messages().iter().map(|head| boris.raw(head["id"].as_str().unwrap())).collect();
    raw.sort();
    let mut wanted = vec![first.into_bytes(), message("second", "in a folder").into_bytes(), third.into()];
    wanted.sort();
    assert!(raw == wanted);
    assert_eq!(signet.json(&["check"])["ok"], true);
}

#[test]
fn a_job_that_was_given_up_is_listed_and_tried_again() {
    let mut signet = Signet::started();
    // The welcome message is indexed first: its job would be among the others.
    wait_for("the welcome message", || (!signet.data.join("welcome.pending").exists()).then_some(()));
    wait_for("no jobs", || {
        let listed = signet.json(&["jobs", "list"]);
        assert_eq!(listed["deadLetters"], serde_json::json!([]));
        ["ready", "delayed", "leased"].iter().all(|state| listed[*state] == 0).then_some(())
    });
    signet.terminate();
    let (account, message) = (schema::AccountId([1; 16]), schema::MessageId([2; 16]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let embedded = embedded::Embedded::open(&signet.data, embedded::Options::default()).unwrap();
        let queue = embedded.backend().queue;
        queue.publish(vec![schema::Job::RemoveMessage { account, message }; 3]).await.unwrap();
        let leases = queue.lease(10, std::time::Duration::from_secs(60), std::time::Duration::ZERO).await;
        for lease in leases.unwrap() {
            queue.bury(lease.id, "the disk was gone").await.unwrap();
        }
        drop(queue);
        embedded.close().unwrap();
    });
    signet.start();

    let listed = signet.json(&["jobs", "list"]);
    assert_eq!((&listed["dead"], &listed["ready"]), (&3.into(), &0.into()), "{listed}");
    let letter = &listed["deadLetters"][0];
    assert_eq!(letter["job"], "remove_message");
    assert_eq!(letter["messageId"], "02".repeat(16));
    assert_eq!((&letter["attempts"], &letter["reason"]), (&1.into(), &"the disk was gone".into()));
    let id = letter["id"].to_string();
    assert!(
        signet.run(&["jobs", "list"]).lines().nth(1).unwrap().starts_with(&format!("{id}  remove_message"))
    );

    assert_eq!(signet.json(&["jobs", "retry", &id])["retried"], serde_json::json!([letter["id"]]));
    assert_eq!(signet.output_of(&["jobs", "retry", &id], "").status.code(), Some(1));
    assert_eq!(signet.json(&["jobs", "list"])["deadLetters"].as_array().unwrap().len(), 2);
    assert_eq!(signet.json(&["jobs", "retry", "--all"])["retried"].as_array().unwrap().len(), 2);
    // There is no such message: they are done at once.
    wait_for("the jobs' end", || {
        let listed = signet.json(&["jobs", "list"]);
        ["ready", "delayed", "leased", "dead"].iter().all(|state| listed[*state] == 0).then_some(())
    });
    for wrong in [&["jobs", "retry"][..], &["jobs", "retry", "1", "--all"], &["jobs", "retry", "x"]] {
        assert_eq!(signet.output_of(wrong, "").status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_only_node_is_listed_drained_and_resumed() {
    let mut signet = Signet::started();
    let listed =
        wait_for("the node", || signet.json(&["node", "list"])["items"].as_array()?.first().cloned());
    assert_eq!(
        (&listed["role"], &listed["state"], &listed["isThis"]),
        (&"all".into(), &"ready".into(), &true.into())
    );
    assert_eq!(listed["listeners"]["lmtp"], format!("127.0.0.1:{}", signet.lmtp));
    let id = listed["nodeId"].as_str().unwrap().to_owned();
    let table = signet.run(&["node", "list"]);
    assert!(table.starts_with("NODE ") && table.lines().nth(1).unwrap().starts_with(&id), "{table}");

    for wrong in ["1", "0123456789abcdef0123456789abcdef"] {
        for what in ["drain", "resume"] {
            let output = signet.output_of(&["node", what, wrong], "");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&format!("no node with the id {wrong} is alive")), "{said}");
        }
    }
    let ready = |signet: &Signet| Http::new(signet.internal).call("GET", "/health/ready", None).status;
    assert_eq!(signet.json(&["node", "drain", &id, "--wait", "30"])["state"], "drained");
    assert_eq!(ready(&signet), 503);
    assert!(Lmtp::connect(signet.lmtp).is_err(), "421, and nothing more");
    signet.run(&["node", "resume", &id]);
    wait_for("ready", || (ready(&signet) == 200).then_some(()));
    assert!(Lmtp::connect(signet.lmtp).is_ok());

    let periodic = |name: &str| {
        let listed = signet.json(&["jobs", "list"])["periodic"].clone();
        listed.as_array().unwrap().iter().find(|job| job["job"] == name).cloned()
    };
    let house = wait_for("the first housekeeping", || periodic("house").filter(|job| !job["last"].is_null()));
    assert_eq!(
        (&house["last"]["nodeId"], &house["last"]["found"]["accounts"]),
        (&id.as_str().into(), &1.into())
    );
    let scrub = wait_for("the scrubber", || periodic("scrub"));
    assert_eq!((&scrub["run"], &scrub["last"]), (&Value::Null, &Value::Null), "not before a week has passed");
    assert!(signet.run(&["jobs", "list"]).contains("periodic house: done 20"));

    // Killed, it is not there beside the one that comes after it.
    signet.run(&["node", "drain", &id]);
    signet.kill();
    signet.start();
    let only = wait_for("the new node alone", || {
        let listed = signet.json(&["node", "list"]);
        let items = listed["items"].as_array().unwrap();
        (items.len() == 1 && items[0]["nodeId"] != id.as_str()).then(|| items[0].clone())
    });
    assert_eq!(only["state"], "ready", "the mark was the other's");
    assert!(signet.terminate().0.success());
}
