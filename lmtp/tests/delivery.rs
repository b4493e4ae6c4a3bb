//! From a socket to the accounts of a real instance on the embedded backend.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use embedded::{Embedded, Options};
use lmtp::{Listener, Proxy, Settings};
use schema::{
    AccountId, BlobStore, Durability, Error, Instance, List, ListFilter, LocalNode, ManualClock, Message,
    MessageId, Result, Written,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// 2026-11-21T08:00:00Z
const NOW: u64 = 1_795_248_000_000;
/// How long anything may take here before it counts as never.
const DEADLINE: Duration = Duration::from_secs(60);

/// A blob store that fails while it is told to.
struct Faulty {
    blobs: Arc<dyn BlobStore>,
    fails: AtomicBool,
}

#[async_trait]
impl BlobStore for Faulty {
    async fn put(
        &self,
        account: AccountId,
        message: MessageId,
        chunks: Vec<Vec<u8>>,
        durability: Durability,
    ) -> Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::permanent("no blob can be written", "the disk is gone"));
        }
        self.blobs.put(account, message, chunks, durability).await
    }

    async fn get(&self, account: AccountId, message: MessageId) -> Result<Option<Vec<Vec<u8>>>> {
        self.blobs.get(account, message).await
    }

    async fn written(&self, account: AccountId, message: MessageId) -> Result<Option<Written>> {
        self.blobs.written(account, message).await
    }

    async fn remove(
        &self,
        account: AccountId,
        message: MessageId,
        until: i64,
        durability: Durability,
    ) -> Result<()> {
        self.blobs.remove(account, message, until, durability).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        self.blobs.remove_account(account).await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        self.blobs.ids(account, after, limit).await
    }
}

/// An instance with one.example, anna (also info@) and boris, and chloe who may hold [`FILLING`] and no more.
struct House {
    instance: Arc<Instance>,
    clock: Arc<ManualClock>,
    faulty: Arc<Faulty>,
    shutdown: CancellationToken,
    node: Arc<LocalNode>,
    _embedded: Embedded,
    directory: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("data"), Options::default()).unwrap();
        let mut backend = embedded.backend();
        let faulty = Arc::new(Faulty { blobs: backend.blobs.clone(), fails: AtomicBool::new(false) });
        backend.blobs = faulty.clone();
        let clock = ManualClock::at(NOW);
        let instance = schema::contract::instance(backend, directory.path(), clock.clone()).await;
        let filled = message(FILLING).len() as u64;
        for (address, quota) in
            [("anna@one.example", None), ("boris@one.example", None), ("chloe@one.example", Some(filled))]
        {
            instance.create_account(address, "correct horse battery", quota).await.unwrap();
        }
        let anna = instance.account_by_address("anna@one.example").await.unwrap().unwrap();
        instance.add_address("info@one.example", anna).await.unwrap();
        let shutdown = CancellationToken::new();
        let node = LocalNode::unnamed(shutdown.clone());
        Self { instance, clock, faulty, shutdown, node, _embedded: embedded, directory }
    }

    async fn serve(&self, settings: Settings) -> (std::net::SocketAddr, JoinHandle<()>) {
        let listener = Listener::tcp("127.0.0.1:0", Proxy::Off).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = lmtp::serve(vec![listener], self.instance.clone(), settings, self.node.clone());
        (address, tokio::spawn(serving))
    }

    /// What an account holds, newest first.
    async fn messages(&self, address: &str) -> Vec<(Message, Vec<u8>)> {
        let id = self.instance.account_by_address(address).await.unwrap().unwrap();
        let account = self.instance.account(id).await.unwrap().unwrap();
        let page = account.list(List::Account, &ListFilter::default(), None, 100).await.unwrap();
        let mut messages = Vec::new();
        for message in page.items {
            let raw = account.raw(message.id).await.unwrap().unwrap();
            messages.push((message, raw));
        }
        messages
    }
}

struct Client<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn greeted(stream: S) -> Self {
        let mut client = Self { stream: BufReader::new(stream) };
        assert!(client.reply().await.starts_with("220 "));
        client.say("LHLO relay.example\r\n").await;
        while client.reply().await.starts_with("250-") {}
        client
    }

    async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
    }

    async fn say(&mut self, text: &str) {
        self.send(text.as_bytes()).await;
    }

    /// The next line; empty at the end of the connection.
    async fn reply(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(DEADLINE, self.stream.read_line(&mut line)).await;
        read.expect("a reply in time").unwrap();
        line.trim_end().to_owned()
    }

    async fn envelope(&mut self, recipients: &[&str], parameters: &str) -> Vec<String> {
        self.say(&format!("MAIL FROM:<sender@away.example>{parameters}\r\n")).await;
        assert_eq!(self.reply().await, "250 2.1.0 Sender accepted");
        let mut replies = Vec::new();
        for recipient in recipients {
            self.say(&format!("RCPT TO:<{recipient}>\r\n")).await;
            replies.push(self.reply().await);
        }
        replies
    }

    /// Delivers by one BDAT; the last replies of those who were accepted.
    async fn deliver(&mut self, recipients: &[&str], message: &[u8]) -> Vec<String> {
        let accepted = self.envelope(recipients, &format!(" SIZE={}", message.len())).await;
        let accepted = accepted.iter().filter(|reply| reply.starts_with("250 ")).count();
        self.say(&format!("BDAT {} LAST\r\n", message.len())).await;
        self.send(message).await;
        let mut replies = Vec::new();
        for _ in 0..accepted {
            replies.push(self.reply().await);
        }
        replies
    }
}

const KEPT: &str = "250 2.0.0 Kept";
const LEAVE: &str = "421 4.3.2 Shutting down, try again later";
const FILLING: &str = "fills it";

fn message(subject: &str) -> Vec<u8> {
    format!("From: Sender <sender@away.example>\r\nSubject: {subject}\r\nMessage-ID: <same@away.example>\r\n\r\nbody\r\n")
        .into_bytes()
}

#[tokio::test]
async fn what_is_kept_is_there_as_it_was_sent_with_its_envelope() {
    let house = House::open().await;
    let (address, _serving) = house.serve(Settings::default()).await;
    let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    let broken = b"Subject: no end, NUL \0, bare \r and \n, \xff octets";
    assert_eq!(client.deliver(&["anna+lists@one.example"], broken).await, [KEPT]);
    let [(kept, raw)] = house.messages("anna@one.example").await.try_into().unwrap();
    assert_eq!(raw, broken);
    assert_eq!(kept.row.envelope.sender.as_deref(), Some("sender@away.example"));
    assert_eq!(kept.row.envelope.recipient.as_deref(), Some("anna+lists@one.example"));
    assert_eq!(kept.row.received_at, NOW);
    // And nothing at all is a message too.
    assert_eq!(client.deliver(&["boris@one.example"], b"").await, [KEPT]);
    assert_eq!(house.messages("boris@one.example").await[0].1, b"");
}

#[tokio::test]
async fn a_domain_outside_ascii_is_one_in_both_of_its_forms() {
    let house = House::open().await;
    house.instance.add_domain("bücher.example").await.unwrap();
    let anna = house.instance.account_by_address("anna@one.example").await.unwrap().unwrap();
    house.instance.add_address("jörg@xn--bcher-kva.example", anna).await.unwrap();
    house.instance.add_address("@bücher.example", anna).await.unwrap();
    let (address, _serving) = house.serve(Settings::default()).await;
    let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    let recipients = ["jörg@BÜCHER.example", "jörg@xn--bcher-kva.example", "ada+x@bücher.example"];
    let replies = client.envelope(&recipients, " SMTPUTF8").await;
    assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
    client.say("RSET\r\n").await;
    client.reply().await;
    // A relay that does not know SMTPUTF8 writes the name as DNS has it.
    assert_eq!(client.deliver(&["ada@xn--bcher-kva.example"], &message("in ASCII")).await, [KEPT]);
    assert_eq!(house.messages("jörg@bücher.example").await.len(), 1);
}

#[tokio::test]
async fn each_recipient_has_its_own_fate() {
    let house = House::open().await;
    let (address, _serving) = house.serve(Settings::default()).await;
    let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    assert_eq!(client.deliver(&["chloe@one.example"], &message(FILLING)).await, [KEPT]);
    let recipients = [
        "anna@one.example",
        "nobody@one.example",
        "info@one.example",
        "chloe@one.example",
        "anna@elsewhere.example",
        "\"boris\"@one.example",
    ];
    let replies = client.envelope(&recipients, "").await;
    assert_eq!(
        replies,
        [
            "250 2.1.5 Recipient accepted",
            "550 5.1.1 No such address here",
            "250 2.1.5 Recipient accepted",
            "452 4.2.2 The mailbox is full",
            "550 5.1.2 No such domain here",
            "250 2.1.5 Recipient accepted",
        ]
    );
    client.say("DATA\r\n").await;
    assert!(client.reply().await.starts_with("354 "));
    client.send(&[&message("for three")[..], b".\r\n"].concat()).await;
    for _ in 0..3 {
        assert_eq!(client.reply().await, KEPT);
    }
    let [(anna, _)] = house.messages("anna@one.example").await.try_into().unwrap();
    assert_eq!(
        anna.row.envelope.recipient.as_deref(),
        Some("anna@one.example"),
        "one message, for the first"
    );
    assert_eq!(house.messages("boris@one.example").await.len(), 1);
}

#[tokio::test]
async fn a_message_without_room_is_refused_after_its_data() {
    let house = House::open().await;
    let (address, _serving) = house.serve(Settings::default()).await;
    let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    // One octet too many for chloe is none too many for anna.
    let larger = message(&format!("{FILLING}."));
    let replies = client.deliver(&["chloe@one.example", "anna@one.example"], &larger).await;
    assert_eq!(replies, ["452 4.2.2 The mailbox is full", KEPT]);
    assert!(house.messages("chloe@one.example").await.is_empty());
    assert_eq!(house.messages("anna@one.example").await.len(), 1);
}

#[tokio::test]
async fn the_same_bytes_again_are_one_message_with_one_time() {
    let house = House::open().await;
    let (address, _serving) = house.serve(Settings::default()).await;
    for _ in 0..2 {
        // As a relay does that has lost the connection before the reply.
        let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
        assert_eq!(client.deliver(&["anna@one.example"], &message("once")).await, [KEPT]);
        house.clock.advance(60_000);
    }
    let [(kept, _)] = house.messages("anna@one.example").await.try_into().unwrap();
    assert_eq!(kept.row.received_at, NOW);
    // A forged Message-ID hides nothing.
    let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    assert_eq!(client.deliver(&["anna@one.example"], &message("another")).await, [KEPT]);
    assert_eq!(house.messages("anna@one.example").await.len(), 2);
}

#[tokio::test]
async fn a_relay_of_ours_says_when_it_came() {
    let house = House::open().await;
    let settings = Settings { trusted_relays: vec!["127.0.0.0/8".parse().unwrap()], ..Settings::default() };
    let (address, _serving) = house.serve(settings).await;
    let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    let traced = b"Received: by mx.example; Sat, 21 Nov 2026 07:00:00 +0000\r\n\r\nbody\r\n";
    assert_eq!(client.deliver(&["anna@one.example"], traced).await, [KEPT]);
    assert_eq!(house.messages("anna@one.example").await[0].0.row.received_at, NOW - 3_600_000);
}

#[tokio::test]
async fn a_fault_defers_and_the_next_try_is_kept() {
    let house = House::open().await;
    let (address, _serving) = house.serve(Settings::default()).await;
    let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    let both = ["anna@one.example", "boris@one.example"];
    house.faulty.fails.store(true, Ordering::SeqCst);
    let replies = client.deliver(&both, &message("later")).await;
    assert!(replies.iter().all(|reply| reply.starts_with("451 4.3.0 ")) && replies.len() == 2, "{replies:?}");
    house.faulty.fails.store(false, Ordering::SeqCst);
    assert_eq!(client.deliver(&both, &message("later")).await, [KEPT, KEPT]);
    assert_eq!(house.messages("anna@one.example").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_messages_at_once_wait_for_their_turn() {
    let house = House::open().await;
    let settings = Settings { message_bytes: 3 << 20, bytes_in_flight: 4 << 20, ..Settings::default() };
    let (address, _serving) = house.serve(settings).await;
    let mut sessions = Vec::new();
    for number in 0u8..6 {
        sessions.push(tokio::spawn(async move {
            let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
            // Half of them do not say how large they are.
            let line = [vec![b'a' + number; 70], b"\r\n".to_vec()].concat();
            let body = line.repeat((2 << 20) / line.len());
            if number % 2 == 0 {
                return client.deliver(&["anna@one.example"], &body).await;
            }
            client.envelope(&["anna@one.example"], "").await;
            client.say("DATA\r\n").await;
            assert!(client.reply().await.starts_with("354 "));
            client.send(&[&body, &b".\r\n"[..]].concat()).await;
            vec![client.reply().await]
        }));
    }
    for session in sessions {
        assert_eq!(session.await.unwrap(), [KEPT]);
    }
    let messages = house.messages("anna@one.example").await;
    assert_eq!(messages.len(), 6);
    assert!(
        messages
            .iter()
            .all(|(_, raw)| raw.len() > 2_000_000 && raw.iter().all(|o| *o == raw[0] || b"\r\n".contains(o)))
    );
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let house = House::open().await;
    let (address, _serving) = house.serve(Settings { connections: 1, ..Settings::default() }).await;
    let first = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    let mut second = Client { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) };
    assert_eq!(second.reply().await, "421 4.7.0 Too many connections");
    assert_eq!(second.reply().await, "");
    drop(first);
    let again = async {
        loop {
            let mut client = Client { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) };
            if client.reply().await.starts_with("220 ") {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("room again");
}

#[tokio::test]
async fn the_shutdown_waits_for_what_has_begun_and_for_nothing_else() {
    let house = House::open().await;
    let (address, serving) = house.serve(Settings::default()).await;
    let mut idle = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    let mut busy = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    busy.envelope(&["anna@one.example"], "").await;
    house.shutdown.cancel();
    assert_eq!(idle.reply().await, LEAVE);
    let mut late = Client { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) };
    assert_eq!(late.reply().await, LEAVE);
    assert!(!serving.is_finished());
    busy.say("BDAT 3 LAST\r\nend").await;
    assert_eq!(busy.reply().await, KEPT);
    assert_eq!(busy.reply().await, LEAVE);
    drop((idle, busy, late));
    tokio::time::timeout(DEADLINE, serving).await.expect("it returns").unwrap();
    assert_eq!(house.messages("anna@one.example").await.len(), 1);
}

#[tokio::test]
async fn a_node_that_drains_finishes_what_has_begun_and_serves_again_when_it_is_resumed() {
    let house = House::open().await;
    let (address, serving) = house.serve(Settings::default()).await;
    let connect = async || TcpStream::connect(address).await.unwrap();
    let mut idle = Client::greeted(connect().await).await;
    let mut busy = Client::greeted(connect().await).await;
    busy.envelope(&["anna@one.example"], "").await;
    assert_eq!(house.node.load().sessions, 2);

    assert!(house.node.set_draining(true));
    assert_eq!(idle.reply().await, LEAVE);
    let mut late = Client { stream: BufReader::new(connect().await) };
    assert_eq!(late.reply().await, LEAVE, "what a health check sees, too");
    assert!(!house.node.load().is_idle());
    busy.say("BDAT 3 LAST\r\nend").await;
    assert_eq!(busy.reply().await, KEPT);
    assert_eq!(busy.reply().await, LEAVE);
    drop((idle, busy, late));
    let began = std::time::Instant::now();
    while !house.node.load().is_idle() {
        assert!(began.elapsed() < DEADLINE, "{:?}", house.node.load());
        tokio::task::yield_now().await;
    }
    assert!(!serving.is_finished(), "it stays");

    assert!(house.node.set_draining(false));
    let mut client = Client::greeted(connect().await).await;
    assert_eq!(client.deliver(&["anna@one.example"], &message("again")).await, [KEPT]);
    assert_eq!(house.messages("anna@one.example").await.len(), 2);
    house.shutdown.cancel();
    assert_eq!(client.reply().await, LEAVE);
    drop(client);
    tokio::time::timeout(DEADLINE, serving).await.expect("it returns").unwrap();
}

#[tokio::test]
async fn a_shutdown_is_not_held_up_for_ever() {
    let house = House::open().await;
    let (address, serving) =
        house.serve(Settings { drain_time: Duration::from_millis(50), ..Settings::default() }).await;
    let mut client = Client::greeted(TcpStream::connect(address).await.unwrap()).await;
    client.envelope(&["anna@one.example"], "").await;
    house.shutdown.cancel();
    assert_eq!(client.reply().await, LEAVE);
    assert_eq!(client.reply().await, "");
    // Not even by one who does not go.
    tokio::time::timeout(DEADLINE, serving).await.expect("it returns").unwrap();
    assert_eq!(house.messages("anna@one.example").await.len(), 0);
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let house = House::open().await;
    let path = house.directory.path().join("lmtp.sock");
    // What a process that was killed has left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::unix(&path, Proxy::Off).unwrap();
    assert!(Listener::unix(&path, Proxy::Off).is_err(), "somebody listens already");
    let serving =
        lmtp::serve(vec![listener], house.instance.clone(), Settings::default(), house.node.clone());
    let serving = tokio::spawn(serving);
    let mut client = Client::greeted(UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(client.deliver(&["anna@one.example"], &message("local")).await, [KEPT]);
    house.shutdown.cancel();
    drop(client);
    tokio::time::timeout(DEADLINE, serving).await.expect("it returns").unwrap();
    assert!(!Path::new(&path).exists(), "the file is gone with the listener");
}
