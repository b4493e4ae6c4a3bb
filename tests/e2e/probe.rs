//! The probe, through a mail server that hands on by LMTP as postfix does.

mod relay;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::relay::{Gate, Relay, authority, serve_https, server_config};
use crate::support::{Http, PASSWORD, Signet, wait_for};

const ACCOUNT: &str = "probe@one.example";
const STEPS: [&str; 5] = ["sign_in", "send", "list", "search", "delete"];

/// An instance, and a machine that probes it: one without a configuration or data.
struct Scene {
    signet: Signet,
    prober: Signet,
    password: PathBuf,
    metrics: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let signet = Signet::started();
        signet.run(&["domain", "add", "one.example"]);
        signet.create_account(ACCOUNT);
        let prober = Signet::new();
        let password = prober.home.path().join("password");
        let metrics = prober.home.path().join("signet_probe.prom");
        let scene = Self { signet, prober, password, metrics };
        scene.write_password(PASSWORD, 0o600);
        scene
    }

    fn write_password(&self, text: &str, mode: u32) {
        std::fs::write(&self.password, format!("{text}\n")).unwrap();
        std::fs::set_permissions(&self.password, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn variables(&self, smtp: u16) -> Vec<(&'static str, String)> {
        vec![
            ("SIGNET_PROBE_SMTP", format!("127.0.0.1:{smtp}")),
            ("SIGNET_PROBE_API", format!("http://127.0.0.1:{}", self.signet.api)),
            ("SIGNET_PROBE_ACCOUNT", ACCOUNT.to_owned()),
            ("SIGNET_PROBE_PASSWORD_FILE", self.password.display().to_string()),
            ("SIGNET_PROBE_METRICS", self.metrics.display().to_string()),
            ("SIGNET_CONFIG", "/nowhere/signet.toml".to_owned()),
        ]
    }

    fn probe(&self, smtp: u16, arguments: &[&str]) -> Output {
        let mut command = self.prober.command(&[&["probe"], arguments].concat());
        command.envs(self.variables(smtp)).output().unwrap()
    }

    /// Probes as JSON; must fail at `step`, for a reason with these words and nothing that is not to be told.
    fn fail(&self, smtp: u16, arguments: &[&str], step: &str, words: &[&str]) -> Duration {
        let began = Instant::now();
        let output = self.probe(smtp, &[&["--json"], arguments].concat());
        let took = began.elapsed();
        self.assert_failed(&output, step, words);
        took
    }

    fn assert_failed(&self, output: &Output, step: &str, words: &[&str]) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let error: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(error["error"]["step"], step, "{said}");
        for word in words {
            assert!(said.contains(word), "{said} lacks {word:?}");
        }
        for hidden in [ACCOUNT, PASSWORD, "wrong horse", "Signet probe"] {
            assert!(!said.contains(hidden), "{hidden:?} is told: {said}");
        }
        assert_eq!(self.metric("signet_probe_success"), Some(0.0));
        for each in STEPS {
            let failed = self.metric(&format!("signet_probe_failed{{step=\"{each}\"}}"));
            assert_eq!(failed, Some(f64::from(u8::from(each == step))), "{each}");
        }
    }

    /// A sample of the metrics that the last probe wrote.
    fn metric(&self, name: &str) -> Option<f64> {
        let text = std::fs::read_to_string(&self.metrics).unwrap();
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        value.map(|value| value.parse().unwrap())
    }

    /// The subjects of what is in the inbox and in the trash.
    fn subjects(&self) -> Vec<String> {
        let client = self.signet.client(ACCOUNT, PASSWORD);
        let heads = client.messages().into_iter().chain(client.items("/v1/messages?mailbox=trash"));
        heads.map(|head| head["subject"].as_str().unwrap().to_owned()).collect()
    }
}

/// A port of the loopback that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_probe_needs_no_configuration_and_leaves_nothing_behind() {
    let scene = Scene::new();
    let port = Relay::to(&scene.signet).start();
    let output = scene.probe(port, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        said.starts_with("taken after ")
            && said.contains(", listed after ")
            && said.contains(", found after ")
    );
    assert_eq!(scene.subjects(), Vec::<String>::new());
    assert_eq!(scene.metric("signet_probe_success"), Some(1.0));
    assert!(scene.metric("signet_probe_timestamp_seconds").is_some_and(|time| time > 1.7e9));
    let mut last = 0.0;
    for step in STEPS {
        let after = scene.metric(&format!("signet_probe_step_seconds{{step=\"{step}\"}}")).expect(step);
        assert!(after >= last, "{step} was done at {after}, the one before at {last}");
        last = after;
    }
    assert!(!scene.prober.data.exists());

    let output = scene.probe(port, &["--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["ok"], true);
    let steps: Vec<&String> = said["steps"].as_object().unwrap().keys().collect();
    assert!(steps.len() == 5 && STEPS.iter().all(|step| said["steps"][step].is_number()), "{said}");
}

#[test]
fn a_probe_takes_away_what_older_ones_left_and_nothing_else() {
    let scene = Scene::new();
    let word = "abcdefghijklmnop".repeat(2);
    let messages = [
        // Older, of another sender, of no probe, and too young to be nobody's.
        (ACCOUNT, format!("Signet probe {word}"), "Sat, 21 Nov 2020 08:00:00 +0000".to_owned()),
        ("anna@one.example", format!("Signet probe {word}"), "Sat, 21 Nov 2020 08:00:01 +0000".to_owned()),
        (ACCOUNT, "Signet probe results".to_owned(), "Sat, 21 Nov 2020 08:00:02 +0000".to_owned()),
        (
            ACCOUNT,
            format!("Signet probe {}", word.replace('a', "q")),
            "Fri, 21 Nov 2098 08:00:00 +0000".to_owned(),
        ),
    ];
    let folder = scene.signet.home.path().join("old");
    std::fs::create_dir(&folder).unwrap();
    for (number, (from, subject, date)) in messages.iter().enumerate() {
        let text = format!(
            "From: {from}\r\nTo: {ACCOUNT}\r\nSubject: {subject}\r\nDate: {date}\r\n\r\n{number}\r\n"
        );
        std::fs::write(folder.join(format!("{number}.eml")), text).unwrap();
    }
    scene.signet.run(&["import", ACCOUNT, folder.to_str().unwrap()]);
    let client = scene.signet.client(ACCOUNT, PASSWORD);
    wait_for("the index", || (client.found("subject:signet").len() == messages.len()).then_some(()));

    let output = scene.probe(Relay::to(&scene.signet).start(), &["--from", ACCOUNT]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut left = scene.subjects();
    left.sort();
    let mut wanted: Vec<String> = messages[1..].iter().map(|(_, subject, _)| subject.clone()).collect();
    wanted.sort();
    assert_eq!(left, wanted);
}

#[test]
fn a_message_that_is_to_come_again_comes_again() {
    let scene = Scene::new();
    let relay = Relay { deferred: AtomicU32::new(2), ..Relay::to(&scene.signet) };
    let output = scene.probe(relay.start(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let always = Relay { deferred: AtomicU32::new(u32::MAX), ..Relay::to(&scene.signet) };
    scene.fail(
        always.start(),
        &["--timeout", "3"],
        "send",
        &["was not taken within 3 s", "answered 450 4.1.1"],
    );
}

#[test]
fn where_the_workers_do_nothing_search_is_the_step_that_fails() {
    let scene = Scene::new();
    let nodes = scene.signet.json(&["node", "list"]);
    let node = nodes["items"][0]["nodeId"].as_str().unwrap();
    let (reached, is_reached) = channel();
    let (go_on, gone_on) = channel();
    let gate = Some(Gate { reached, go_on: Mutex::new(gone_on) });
    let port = Relay { gate, ..Relay::to(&scene.signet) }.start();

    let began = Instant::now();
    let mut command = scene.prober.command(&["probe", "--json", "--timeout", "20"]);
    command.envs(scene.variables(port)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let probing = command.spawn().unwrap();
    is_reached.recv_timeout(Duration::from_secs(20)).unwrap();
    // What came in before is taken still; no job is.
    scene.signet.run(&["node", "drain", node]);
    wait_for("the node drains", || {
        let answer = Http::new(scene.signet.internal).try_call("GET", "/health/ready", None);
        (answer?.status == 503).then_some(())
    });
    go_on.send(()).unwrap();
    let output = probing.wait_with_output().unwrap();
    let took = began.elapsed();
    scene.assert_failed(&output, "search", &["the probe's message was not found by search within 20 s"]);
    assert!((20..30).contains(&took.as_secs()), "{took:?}");
    assert!(scene.metric("signet_probe_step_seconds{step=\"list\"}").is_some());
    assert!(scene.metric("signet_probe_step_seconds{step=\"search\"}").is_none());
    assert_eq!(scene.subjects(), Vec::<String>::new());

    scene.signet.run(&["node", "resume", node]);
    wait_for("the node goes on", || {
        let answer = Http::new(scene.signet.internal).try_call("GET", "/health/ready", None);
        (answer?.status == 200).then_some(())
    });
    let output = scene.probe(Relay::to(&scene.signet).start(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_lasts_fails_at_once_and_names_its_step() {
    let scene = Scene::new();
    let relay = Relay { recipient: Some("nobody@one.example"), ..Relay::to(&scene.signet) };
    let took = scene.fail(relay.start(), &["--timeout", "300"], "send", &["not taken: ", "550 5.1.1"]);
    assert!(took < Duration::from_secs(60), "{took:?}");
    scene.write_password("wrong horse", 0o600);
    let took = scene.fail(free_port(), &["--timeout", "300"], "sign_in", &["the password is wrong"]);
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn where_nobody_listens_the_probe_ends_in_its_time() {
    let scene = Scene::new();
    let refused = "cannot be reached: Connection refused";
    let took = scene.fail(free_port(), &["--timeout", "2"], "send", &["not taken within 2 s", refused]);
    assert!(took < Duration::from_secs(20), "{took:?}");
    let api = format!("http://127.0.0.1:{}", free_port());
    let took = scene.fail(
        free_port(),
        &["--timeout", "1", "--api", &api],
        "sign_in",
        &["not signed in within 1 s", refused],
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_certificate_has_to_be_of_a_trusted_authority_and_of_the_server() {
    let scene = Scene::new();
    let (ours, others) = (authority(), authority());
    let write = |name: &str, pem: &str| {
        let path = scene.prober.home.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let (ours_file, others_file) = (write("ours.crt", &ours.1), write("others.crt", &others.1));
    let relay = |name: &str| {
        let tls = Some(server_config(&ours.0, name));
        Relay { tls, ..Relay::to(&scene.signet) }.start()
    };
    let here = relay("127.0.0.1");
    let untrusted = ["not taken: ", "certificate that is not trusted"];
    scene.fail(here, &["--timeout", "300"], "send", &untrusted);
    scene.fail(here, &["--timeout", "300", "--ca-file", &others_file], "send", &untrusted);
    let elsewhere = relay("mx.example.org");
    scene.fail(elsewhere, &["--timeout", "300", "--ca-file", &ours_file], "send", &untrusted);
    let plain = Relay::to(&scene.signet).start();
    scene.fail(plain, &["--timeout", "300", "--ca-file", &ours_file], "send", &["does not offer STARTTLS"]);
    let output = scene.probe(here, &["--ca-file", &ours_file]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let api =
        format!("https://127.0.0.1:{}", serve_https(scene.signet.api, server_config(&ours.0, "127.0.0.1")));
    let untrusted = ["not signed in: ", "certificate that is not trusted"];
    scene.fail(here, &["--timeout", "300", "--api", &api], "sign_in", &untrusted);
    let output = scene.probe(here, &["--api", &api, "--ca-file", &ours_file]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_wrong_with_the_command_line_is_told_by_the_name_of_the_flag() {
    let scene = Scene::new();
    for (flag, value) in [
        ("--timeout", "0"),
        ("--timeout", "601"),
        ("--api", "mail.one.example"),
        ("--api", "http://mail.one.example"),
        ("--smtp", "mx.one.example"),
        ("--account", "nobody in particular"),
        ("--from", "nobody in particular"),
    ] {
        let output = scene.probe(25, &[flag, value]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flag} {value}: {said}");
        assert!(said.contains(flag) && !said.contains("in particular"), "{flag} {value}: {said}");
    }
    let missing = scene.prober.command(&["probe"]).output().unwrap();
    let said = String::from_utf8_lossy(&missing.stderr);
    for flag in ["--smtp", "--api", "--account", "--password-file"] {
        assert!(missing.status.code() == Some(2) && said.contains(flag), "{said}");
    }
    assert!(!scene.metrics.exists());

    scene.write_password(PASSWORD, 0o644);
    let output = scene.probe(25, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && said.contains("--password-file"), "{said}");
    assert_eq!(scene.metric("signet_probe_success"), Some(0.0));
}
