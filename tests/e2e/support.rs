//! Runs the program, and speaks LMTP and HTTP with it. Standard library only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub const PASSWORD: &str = "correct horse battery staple";

/// Calls `condition` until it gives something; the test ends after a minute.
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_seconds(60, what, condition)
}

/// The same with another deadline.
pub fn wait_seconds<T>(seconds: u64, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One instance: its data, its key and its output lie under one directory that goes with it.
pub struct Signet {
    pub home: TempDir,
    pub data: PathBuf,
    pub lmtp: u16,
    pub api: u16,
    pub internal: u16,
    pub variables: Vec<(String, String)>,
    process: Option<Child>,
}

impl Signet {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        Self {
            home,
            data,
            lmtp: free_port(),
            api: free_port(),
            internal: free_port(),
            variables: Vec::new(),
            process: None,
        }
    }

    pub fn started() -> Self {
        let mut signet = Self::new();
        signet.start();
        signet
    }

    /// The binary, with nothing of this process's environment that would set anything.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signet"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SIGNET_")) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("XDG_STATE_HOME", self.home.path().join("state"))
            .env("SIGNET_DATA", &self.data)
            .env("SIGNET_LMTP", format!("127.0.0.1:{}", self.lmtp))
            .env("SIGNET_API", format!("127.0.0.1:{}", self.api))
            .env("SIGNET_INTERNAL", format!("127.0.0.1:{}", self.internal))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        self.start_as(&[]);
    }

    /// The same with arguments, such as a role.
    pub fn start_as(&mut self, arguments: &[&str]) {
        let open = |name: &str| {
            let path = self.home.path().join(name);
            std::fs::File::options().create(true).append(true).open(path).unwrap()
        };
        let child = self.command(arguments).stdout(open("out")).stderr(open("log")).spawn().unwrap();
        let child = self.process.insert(child);
        let internal = self.internal;
        let home = self.home.path();
        wait_for("ready", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("it ended at its start with {status}: {}", read(&home.join("log")));
            }
            let answer = Http::new(internal).try_call("GET", "/health/ready", None);
            (answer?.status == 200).then_some(())
        });
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        read(&self.home.path().join("out"))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        read(&self.home.path().join("log"))
    }

    /// Runs the program to its end, for a start that must not succeed.
    pub fn start_and_end(&self) -> Output {
        self.command(&[]).output().unwrap()
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; how it ended and how long that took.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let mut child = self.process.take().unwrap();
        let began = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = wait_for("the end after SIGTERM", || child.try_wait().unwrap());
        (status, began.elapsed())
    }

    /// Runs a command that must succeed; its output.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "")
    }

    pub fn run_with(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.output_of(arguments, stdin);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} ended with {}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn output_of(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Makes an account with [`PASSWORD`]; its id.
    pub fn create_account(&self, address: &str) -> String {
        let made = self.run_with(&["account", "create", address, "--password-stdin", "--json"], PASSWORD);
        let made: Value = serde_json::from_str(&made).unwrap();
        made["accountId"].as_str().unwrap().to_owned()
    }

    /// The API with a session of the account.
    pub fn client(&self, address: &str, password: &str) -> Http {
        let mut http = Http::new(self.api);
        let body = json!({ "address": address, "password": password });
        let made = http.call("POST", "/v1/session", Some(body));
        assert_eq!(made.status, 201, "{}", made.text());
        http.token = made.json()["token"].as_str().map(str::to_owned);
        http
    }
}

impl Drop for Signet {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

pub struct Answer {
    pub status: u16,
    /// The status line and the header.
    #[cfg_attr(not(feature = "servers"), expect(dead_code, reason = "only stories on servers read it"))]
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One call per connection.
pub struct Http {
    port: u16,
    pub token: Option<String>,
}

impl Http {
    pub fn new(port: u16) -> Self {
        Self { port, token: None }
    }

    /// `None` if nobody answers.
    pub fn try_call(&self, method: &str, path: &str, body: Option<Value>) -> Option<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n")?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head, body })
    }

    pub fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.try_call(method, path, body).expect("an answer")
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Every item of a listing, page by page. `path` has a query already.
    pub fn items(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}&limit=200{cursor}"));
            items.extend_from_slice(page["items"].as_array().unwrap());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    pub fn messages(&self) -> Vec<Value> {
        self.items("/v1/messages?mailbox=inbox")
    }

    pub fn found(&self, query: &str) -> Vec<Value> {
        self.items(&format!("/v1/search?q={query}"))
    }

    pub fn raw(&self, id: &str) -> Vec<u8> {
        let answer = self.call("GET", &format!("/v1/messages/{id}/raw"), None);
        assert_eq!(answer.status, 200);
        answer.body
    }
}

/// An LMTP session. Any error means that the other end is gone.
pub struct Lmtp(BufReader<TcpStream>);

impl Lmtp {
    pub fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let mut session = Self(BufReader::new(stream));
        session.reply()?;
        session.command("LHLO test.example")?;
        Ok(session)
    }

    /// The code of the next reply.
    pub fn reply(&mut self) -> std::io::Result<u16> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? < 4 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes()[3] != b'-' {
                return line[..3].parse().map_err(std::io::Error::other);
            }
        }
    }

    pub fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())
    }

    pub fn command(&mut self, line: &str) -> std::io::Result<u16> {
        self.send(&format!("{line}\r\n"))?;
        self.reply()
    }

    /// Delivers to one recipient; the last reply. `message` ends in CRLF and has no line that begins with a dot.
    pub fn deliver(&mut self, recipient: &str, message: &str) -> std::io::Result<u16> {
        for (command, wanted) in [
            ("MAIL FROM:<sender@test.example>".to_owned(), 250),
            (format!("RCPT TO:<{recipient}>"), 250),
            ("DATA".to_owned(), 354),
        ] {
            let code = self.command(&command)?;
            if code != wanted {
                return Ok(code);
            }
        }
        self.command(&format!("{message}."))
    }
}

/// A message with this subject and text.
pub fn message(subject: &str, text: &str) -> String {
    format!(
        "From: Sender <sender@test.example>\r\nTo: <somebody@test.example>\r\nSubject: {subject}\r\n\
         Message-ID: <{}@test.example>\r\nDate: Sat, 21 Nov 2026 08:00:00 +0000\r\n\r\n{text}\r\n",
        subject.replace(' ', ".")
    )
}
