//! The first start, later starts, and starts that are refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Lmtp, PASSWORD, Signet, message, wait_for};

fn key_of(signet: &Signet) -> PathBuf {
    let id = std::fs::read_to_string(signet.data.join("instance")).unwrap();
    signet.home.path().join(format!("config/signet/{}.key", id.trim()))
}

fn refused(signet: &Signet, code: i32, words: &[&str]) {
    let output = signet.start_and_end();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} lacks {word:?}");
    }
}

#[test]
fn a_first_start_makes_key_account_and_welcome_message() {
    let signet = Signet::started();
    let output = signet.output();
    let key = key_of(&signet);
    assert!(output.contains(&*key.to_string_lossy()), "{output}");
    assert!(output.contains("lost the mail"), "{output}");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(signet.data.metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let line = output.lines().find_map(|line| line.strip_prefix("Password: ")).unwrap();
    let client = signet.client("demo@localhost", line.split_whitespace().next().unwrap());
    let head = wait_for("the welcome message", || client.messages().pop());
    assert_eq!(head["subject"], "Welcome to Signet");
    let hits =
        wait_for("the index", || Some(client.found("subject:welcome")).filter(|hits| !hits.is_empty()));
    assert_eq!(hits[0]["id"], head["id"]);
    assert!(!signet.log().contains("demo@"), "the log names nobody");
}

#[test]
fn a_first_start_makes_no_account_where_none_is_wanted() {
    let mut signet = Signet::new();
    signet.variables.push(("SIGNET_WELCOME".into(), "off".into()));
    for _ in 0..2 {
        signet.start();
        assert!(key_of(&signet).exists());
        for noun in ["account", "domain"] {
            assert_eq!(signet.json(&[noun, "list"])["items"], serde_json::json!([]));
        }
        assert!(!signet.output().contains("Password"), "{}", signet.output());
        assert!(signet.terminate().0.success());
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let signet = Signet::new();
    let directory = signet.home.path().join("man");
    signet.run(&["manual", directory.to_str().unwrap()]);
    for (page, words) in
        [("signet.1", "private mail platform"), ("signet-account-purge.1", "its key is destroyed")]
    {
        let text = std::fs::read_to_string(directory.join(page)).unwrap();
        assert!(text.contains(words), "{page}: {text}");
    }
}

#[test]
fn a_later_start_makes_nothing_new() {
    let mut signet = Signet::started();
    let id = signet.create_account("anna@localhost");
    let (status, time) = signet.terminate();
    assert!(status.success() && time < Duration::from_secs(10), "{status} after {time:?}");
    let printed = signet.output();
    signet.start();
    assert_eq!(signet.output(), printed);
    assert_eq!(signet.json(&["account", "show", "anna@localhost"])["accountId"], id.as_str());
}

#[test]
fn a_data_directory_open_to_others_is_closed_with_one_line_of_log() {
    let mut signet = Signet::started();
    signet.terminate();
    std::fs::set_permissions(&signet.data, PermissionsExt::from_mode(0o755)).unwrap();
    signet.start();
    assert_eq!(signet.data.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    signet.terminate();
    signet.start();
    let lines: Vec<String> =
        signet.log().lines().filter(|line| line.contains("open to others")).map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("0755"), "{lines:?}");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let signet = Signet::started();
    refused(&signet, 1, &["in use by another Signet process"]);
    assert!(signet.json(&["check"])["ok"] == true, "the first goes on");
}

#[test]
fn data_without_their_key_or_with_another_are_refused_and_get_no_new_one() {
    let mut signet = Signet::started();
    signet.kill();
    let key = key_of(&signet);
    let kept = std::fs::read(&key).unwrap();

    std::fs::remove_file(&key).unwrap();
    refused(&signet, 78, &["is missing", &key.to_string_lossy()]);
    assert!(!key.exists());

    std::fs::write(&key, format!("{}\n", "ab".repeat(32))).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    refused(&signet, 78, &["not that of these data"]);

    std::fs::write(&key, &kept).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    refused(&signet, 78, &["0644"]);

    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::rename(signet.data.join("instance"), signet.data.join("elsewhere")).unwrap();
    refused(&signet, 78, &["`instance`"]);

    std::fs::rename(signet.data.join("elsewhere"), signet.data.join("instance")).unwrap();
    signet.start();
}

/// How many files and directories lie under a path, as far as they are still there.
fn entries(path: &Path) -> usize {
    let found = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    found.map(|path| if path.is_dir() { 1 + entries(&path) } else { 1 }).sum()
}

#[test]
fn a_first_start_killed_at_any_moment_is_finished_by_the_next() {
    // The moments are what has been made by then, which on a slow machine are the same.
    for made in [0, 1, 2, 4, 7, 12, 20, 30, usize::MAX] {
        let mut signet = Signet::new();
        let mut child = signet.command(&[]).stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let is_ready = || TcpStream::connect(("127.0.0.1", signet.lmtp)).is_ok();
        while entries(signet.home.path()) < made && !is_ready() {
            assert!(Instant::now() < deadline, "the start goes no further");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        signet.start();
        assert!(signet.run(&["account", "list"]).contains("demo@localhost"));
    }
}

#[test]
fn a_master_key_from_a_variable_or_a_command_opens_the_data() {
    let mut signet = Signet::new();
    let key = "c0".repeat(32);
    signet.variables = vec![("SIGNET_MASTER_KEY".into(), key.clone())];
    signet.start();
    signet.kill();
    signet.variables = vec![("SIGNET_MASTER_KEY_COMMAND".into(), format!("echo {key}"))];
    signet.start();
    signet.kill();
    signet.variables = vec![("SIGNET_MASTER_KEY".into(), "c1".repeat(32))];
    refused(&signet, 78, &["not that of these data"]);
}

#[test]
fn an_unknown_key_or_a_value_out_of_range_is_named() {
    let mut signet = Signet::new();
    let file = signet.home.path().join("signet.toml");
    signet.variables = vec![("SIGNET_CONFIG".into(), file.display().to_string())];
    std::fs::write(&file, "[workers]\nthread = 1\n").unwrap();
    refused(&signet, 78, &["`workers.thread`", "signet.toml"]);
    std::fs::write(&file, "[workers]\nthreads = 1000\n").unwrap();
    refused(&signet, 78, &["`workers.threads`", "from 1 to 64"]);
    assert!(!signet.data.exists());
}

#[test]
fn a_log_filter_that_is_none_is_refused_by_every_command() {
    let signet = Signet::new();
    for command in [&["config", "show"][..], &["account", "list"], &[]] {
        let output = signet.output_of(&[command, &["--log", "info,,=x"]].concat(), "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{command:?}: {said}");
        assert!(said.contains("--log") && said.contains("`log`"), "{command:?}: {said}");
    }
    assert!(!signet.data.exists());
}

#[test]
fn a_role_of_its_own_is_refused_where_one_process_has_the_data() {
    let signet = Signet::new();
    for role in ["lmtp", "workers", "api"] {
        let output = signet.output_of(&[role], "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(&format!("`{role}`")) && said.contains("`backend`"), "{said}");
    }
    let output = signet.output_of(&["schema", "apply"], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(!signet.data.exists());
}

#[test]
fn servers_that_do_not_answer_end_the_start_with_a_code_that_has_it_start_again() {
    let mut signet = Signet::new();
    let setting = |name: &str, value: &str| (format!("SIGNET_{name}"), value.to_owned());
    signet.variables = vec![
        setting("BACKEND", "cluster"),
        setting("START_SECONDS", "0"),
        setting("CASSANDRA_NODES", &format!("127.0.0.1:{}", signet.lmtp)),
    ];
    for arguments in [&[][..], &["api"], &["schema", "apply"], &["schema", "show"]] {
        let output = signet.output_of(arguments, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {said}");
        assert!(said.contains("Cassandra cannot be reached"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_directory_with_data_is_no_nodes() {
    let mut signet = Signet::started();
    signet.terminate();
    signet.variables = vec![("SIGNET_BACKEND".to_owned(), "cluster".to_owned())];
    refused(&signet, 78, &["holds something else"]);
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let mut signet = Signet::new();
    let file = signet.home.path().join("signet.toml");
    std::fs::write(&file, "master_key_command = ['keeper', 'hunter2']\n[workers]\nbatch = 7\n").unwrap();
    signet.variables = vec![
        ("SIGNET_CONFIG".into(), file.display().to_string()),
        ("SIGNET_MASTER_KEY".into(), "c0".repeat(32)),
    ];
    let shown = signet.run(&["config", "show"]);
    assert!(shown.contains("batch = 7") && shown.contains("[hidden]"), "{shown}");
    let json = signet.json(&["config", "show"]);
    assert_eq!(json["workers"]["batch"], 7);
    for text in [shown, json.to_string()] {
        assert!(!text.contains("hunter2") && !text.contains("c0c0"), "{text}");
    }
}

#[test]
fn each_listener_asks_for_a_proxy_header_by_a_setting_of_its_own() {
    let mut signet = Signet::new();
    let socket = signet.home.path().join("lmtp.sock");
    let setting = |name: &str, value: &str| (format!("SIGNET_{name}"), value.to_owned());
    signet.variables = vec![
        setting("LMTP_SOCKET", socket.to_str().unwrap()),
        setting("DELIVERY_PROXY_PROTOCOL", "required"),
    ];
    refused(&signet, 78, &["`delivery.proxy_protocol`", "`delivery.proxies`"]);

    // What it says first to one who sends this first; nothing if it closes.
    fn greeting(mut stream: impl Read + Write, header: &str) -> String {
        stream.write_all(header.as_bytes()).unwrap();
        let mut greeting = vec![0; 4];
        let octets = stream.read(&mut greeting).unwrap_or_default();
        String::from_utf8_lossy(&greeting[..octets]).into_owned()
    }
    let header = "PROXY TCP4 192.0.2.7 192.0.2.9 1234 24\r\n";
    let over_tcp = |port: u16, first: &str| greeting(TcpStream::connect(("127.0.0.1", port)).unwrap(), first);
    let over_socket = |first: &str| greeting(UnixStream::connect(&socket).unwrap(), first);

    signet.variables.push(setting("DELIVERY_PROXIES", "127.0.0.0/8"));
    signet.start();
    assert_eq!((&*over_tcp(signet.lmtp, "QUIT\r\n"), &*over_tcp(signet.lmtp, header)), ("", "220 "));
    assert_eq!((&*over_socket(""), &*over_socket(header)), ("220 ", "220 "));
    signet.terminate();

    signet.variables.truncate(1);
    signet.variables.push(setting("DELIVERY_SOCKET_PROXY_PROTOCOL", "required"));
    signet.start();
    assert_eq!(over_tcp(signet.lmtp, ""), "220 ");
    assert_eq!((&*over_socket("QUIT\r\n"), &*over_socket(header)), ("", "220 "));
}

#[test]
fn a_stop_finishes_the_transaction_in_progress_and_takes_no_new_one() {
    let mut signet = Signet::started();
    signet.create_account("anna@localhost");
    let mut session = Lmtp::connect(signet.lmtp).unwrap();
    session.command("MAIL FROM:<>").unwrap();
    session.command("RCPT TO:<anna@localhost>").unwrap();
    assert_eq!(session.command("DATA").unwrap(), 354);
    let text = message("in progress", "text");
    let (first, rest) = text.split_at(40);
    session.send(first).unwrap();
    let delivering = std::thread::spawn({
        let (rest, port) = (rest.to_owned(), signet.lmtp);
        move || {
            // The stop has begun when nobody else is let in.
            wait_for("421 for a new session", || Lmtp::connect(port).err());
            let kept = session.command(&format!("{rest}.")).unwrap();
            (kept, session.command("MAIL FROM:<>").ok())
        }
    });
    let (status, time) = signet.terminate();
    assert!(status.success() && time < Duration::from_secs(10), "{status} after {time:?}");
    let (kept, next) = delivering.join().unwrap();
    assert_eq!(kept, 250);
    assert!(matches!(next, None | Some(421)), "{next:?}");
    signet.start();
    assert_eq!(signet.client("anna@localhost", PASSWORD).messages().len(), 1);
}
