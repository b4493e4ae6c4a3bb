//! Plays the sessions of `tests/dialogs`: `->` sent, `<-` expected. See the README beside them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lmtp::{BareLf, Delivery, Proxy, Reply, Server, Settings, Submission};
use schema::{AccountId, LocalNode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio_util::sync::CancellationToken;

const KEPT: Reply = Reply { code: 250, enhanced: "2.0.0", text: "Kept" };

/// One recipient's copy of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub sender: Option<String>,
    pub recipient: String,
    pub message: Vec<u8>,
    pub from_relay: bool,
}

/// Keeps mail in memory. The local part of an address says what becomes of it.
#[derive(Default)]
pub struct Memory {
    pub kept: Mutex<Vec<Kept>>,
}

#[async_trait]
impl Delivery for Memory {
    async fn accepts(&self, recipient: &str) -> Result<AccountId, Reply> {
        let refuse = |code, enhanced, text| Err(Reply { code, enhanced, text });
        match recipient.split_once('@').unwrap() {
            ("nobody", _) => refuse(550, "5.1.1", "No such address here"),
            ("full", _) => refuse(452, "4.2.2", "The mailbox is full"),
            ("broken", _) => refuse(451, "4.3.0", "Cannot keep it now, try again later"),
            ("stuck", _) => std::future::pending().await,
            (_, "elsewhere.example") => refuse(550, "5.1.2", "No such domain here"),
            _ => Ok(AccountId::random()),
        }
    }

    async fn deliver(&self, submission: Submission<'_>) -> Vec<Reply> {
        let mut replies = Vec::new();
        for recipient in submission.recipients {
            let reply = match recipient.address.split_once('@') {
                Some(("late", _)) => {
                    Reply { code: 451, enhanced: "4.3.0", text: "Cannot keep it now, try again later" }
                }
                Some(("filled", _)) => Reply { code: 452, enhanced: "4.2.2", text: "The mailbox is full" },
                _ => KEPT,
            };
            if reply == KEPT {
                self.kept.lock().unwrap().push(Kept {
                    sender: submission.sender.map(str::to_owned),
                    recipient: recipient.address.clone(),
                    message: submission.message.to_vec(),
                    from_relay: submission.from_relay,
                });
            }
            replies.push(reply);
        }
        replies
    }
}

/// The octets that a dialog's text stands for: `\r \n \0 \t \\ \xNN`, and `#` for the number of a repeated line.
fn octets(text: &str, number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().expect("an escape") {
                'r' => out.push(b'\r'),
                'n' => out.push(b'\n'),
                't' => out.push(b'\t'),
                '0' => out.push(0),
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    out.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                other => out.extend(other.to_string().bytes()),
            },
            '#' => out.extend(number.to_string().bytes()),
            other => out.extend(other.to_string().bytes()),
        }
    }
    out
}

/// One client of a server that keeps mail in memory.
pub struct Client {
    stream: BufReader<DuplexStream>,
}

impl Client {
    pub fn connect(server: &Arc<Server>, socket: IpAddr, proxy: &Proxy) -> Self {
        let (client, served) = tokio::io::duplex(64 << 10);
        let (server, proxy) = (server.clone(), proxy.clone());
        tokio::spawn(async move { server.attend(served, Some(socket), &proxy).await });
        Self { stream: BufReader::new(client) }
    }

    pub async fn send(&mut self, octets: &[u8]) {
        // A server that has closed says so by its last reply.
        let _ = self.stream.write_all(octets).await;
    }

    /// The next line without its line end; `None` at the end of the connection.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        // An hour of the paused clock: longer than any limit.
        let read = tokio::time::timeout(Duration::from_secs(7200), self.stream.read_line(&mut line)).await;
        match read.expect("a reply or a close") {
            Ok(octets) if octets > 0 => Some(line.strip_suffix("\r\n").expect("a whole line").to_owned()),
            _ => None,
        }
    }

    /// Everything until the end of the connection.
    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        String::from_utf8(rest).expect("replies are text")
    }

    pub async fn finish_sending(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}

struct Player {
    settings: Settings,
    proxy: Proxy,
    socket: IpAddr,
    memory: Arc<Memory>,
    shutdown: CancellationToken,
    server: Option<Arc<Server>>,
    clients: Vec<Client>,
    current: usize,
}

/// Plays one dialog; panics with its name and line where it goes otherwise.
pub async fn play(name: &str, dialog: &str) {
    let mut player = Player {
        settings: Settings { hostname: "signet.example".into(), ..Settings::default() },
        proxy: Proxy::Off,
        socket: "192.0.2.1".parse().unwrap(),
        memory: Arc::default(),
        shutdown: CancellationToken::new(),
        server: None,
        clients: Vec::new(),
        current: 0,
    };
    for (number, line) in dialog.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (mark, times) = match mark.split_once('*') {
            Some((mark, times)) => (mark, times.parse().expect("a number of times")),
            None => (mark, 1),
        };
        for at in 0..times {
            player.step(&place, mark, rest, at).await;
        }
    }
}

impl Player {
    async fn step(&mut self, place: &str, mark: &str, rest: &str, at: usize) {
        match mark {
            "" | "#" => {}
            "!" => self.direct(place, rest).await,
            "->" => self.client().await.send(&[octets(rest, at), b"\r\n".to_vec()].concat()).await,
            "=>" => self.client().await.send(&octets(rest, at)).await,
            "<-" if rest == "(close)" => {
                let line = self.client().await.line().await;
                assert_eq!(line, None, "{place}: expected the end");
            }
            "<-" => {
                let line = self.client().await.line().await;
                let line = line.unwrap_or_else(|| panic!("{place}: closed instead of {rest:?}"));
                let expected = String::from_utf8(octets(rest, at)).unwrap();
                let fits = match expected.strip_suffix("...") {
                    Some(start) => line.starts_with(start),
                    None => line == expected,
                };
                assert!(fits, "{place}: {line:?} instead of {expected:?}");
            }
            _ => panic!("{place}: what is {mark:?}?"),
        }
    }

    async fn client(&mut self) -> &mut Client {
        if self.clients.is_empty() {
            self.connect().await;
        }
        &mut self.clients[self.current]
    }

    async fn connect(&mut self) {
        let server = self.server.get_or_insert_with(|| {
            Server::new(self.memory.clone(), self.settings.clone(), LocalNode::unnamed(self.shutdown.clone()))
        });
        self.clients.push(Client::connect(server, self.socket, &self.proxy));
        self.current = self.clients.len() - 1;
    }

    async fn direct(&mut self, place: &str, order: &str) {
        let (word, value) = order.split_once(' ').unwrap_or((order, ""));
        let seconds = || Duration::from_secs(value.parse().unwrap());
        match word {
            "message_bytes" => self.settings.message_bytes = value.parse().unwrap(),
            "bytes_in_flight" => self.settings.bytes_in_flight = value.parse().unwrap(),
            "bytes_wait" => self.settings.bytes_wait = seconds(),
            "recipients" => self.settings.recipients = value.parse().unwrap(),
            "connections_per_peer" => self.settings.connections_per_peer = value.parse().unwrap(),
            "trusted_relays" => self.settings.trusted_relays = vec![value.parse().unwrap()],
            "idle_time" => self.settings.idle_time = seconds(),
            "transaction_time" => self.settings.transaction_time = seconds(),
            "drain_time" => self.settings.drain_time = seconds(),
            "session_time" => self.settings.session_time = seconds(),
            "bad_commands" => self.settings.bad_commands = value.parse().unwrap(),
            "bare_lf_kept" => self.settings.bare_lf = BareLf::Keep,
            "proxy_from" => self.proxy = Proxy::Required { trusted: vec![value.parse().unwrap()] },
            "socket" => self.socket = value.parse().unwrap(),
            "connect" => self.connect().await,
            "client" => self.current = value.parse().unwrap(),
            "wait" => tokio::time::sleep(seconds()).await,
            "shutdown" => self.shutdown.cancel(),
            "end" => self.client().await.finish_sending().await,
            "kept" => {
                let mut kept = self.memory.kept.lock().unwrap();
                assert!(!kept.is_empty(), "{place}: nothing is kept");
                let Kept { sender, recipient, message, .. } = kept.remove(0);
                let (envelope, expected) = value.split_once(' ').unwrap_or((value, ""));
                let shown = format!("{}>{recipient}", sender.unwrap_or_default());
                assert_eq!(shown, envelope, "{place}: the envelope");
                assert_eq!(
                    message.escape_ascii().to_string(),
                    octets(expected, 0).escape_ascii().to_string(),
                    "{place}: the bytes"
                );
            }
            "relayed" => {
                let kept = self.memory.kept.lock().unwrap();
                assert_eq!(kept[0].from_relay.to_string(), value, "{place}");
            }
            "nothing_kept" => assert_eq!(*self.memory.kept.lock().unwrap(), [], "{place}"),
            _ => panic!("{place}: what is {word:?}?"),
        }
    }
}
