//! A client and a server that keeps mail in memory, on a clock that runs as fast as everybody waits.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lmtp::{Delivery, Proxy, Reply, Server, Settings, Submission};
use schema::{AccountId, LocalNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// Keeps mail in memory, for everybody but `nobody@`.
#[derive(Default)]
pub struct Memory {
    /// Sender, recipient and bytes.
    pub kept: Mutex<Vec<(Option<String>, String, Vec<u8>)>>,
}

#[async_trait]
impl Delivery for Memory {
    async fn accepts(&self, recipient: &str) -> Result<AccountId, Reply> {
        match recipient.starts_with("nobody@") {
            true => Err(Reply { code: 550, enhanced: "5.1.1", text: "No such address here" }),
            false => Ok(AccountId([1; 16])),
        }
    }

    async fn deliver(&self, submission: Submission<'_>) -> Vec<Reply> {
        let mut kept = self.kept.lock().expect("nobody panics with it");
        submission
            .recipients
            .iter()
            .map(|recipient| {
                let sender = submission.sender.map(str::to_owned);
                kept.push((sender, recipient.address.clone(), submission.message.to_vec()));
                Reply { code: 250, enhanced: "2.0.0", text: "Kept" }
            })
            .collect()
    }
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime can be built"),
    );
}

/// Runs on the paused clock.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow_mut(|runtime| runtime.block_on(future))
}

/// Sends `octets` in pieces of `piece` octets, then nothing more, and returns what the server said and what it kept.
pub fn play(
    octets: &[u8],
    piece: usize,
    settings: Settings,
) -> (String, Vec<(Option<String>, String, Vec<u8>)>) {
    run(async {
        let memory = Arc::new(Memory::default());
        let server = Server::new(memory.clone(), settings, LocalNode::unnamed(CancellationToken::new()));
        let (client, served) = tokio::io::duplex(4 << 10);
        let attended = server.attend(served, None, &Proxy::Off);
        let (mut from, mut to) = tokio::io::split(client);
        let send = async {
            for piece in octets.chunks(piece.max(1)) {
                // A server that has closed says so by its last reply.
                if to.write_all(piece).await.is_err() {
                    return;
                }
                // So that the other side sees the pieces one by one.
                tokio::task::yield_now().await;
            }
            let _ = to.shutdown().await;
        };
        let mut said = Vec::new();
        let session = async { tokio::join!(attended, send, from.read_to_end(&mut said)) };
        let (_, _, read) =
            tokio::time::timeout(Duration::from_secs(24 * 3600), session).await.expect("an end");
        read.expect("what is said can be read");
        let said = String::from_utf8(said).expect("replies are text");
        let kept = std::mem::take(&mut *memory.kept.lock().expect("nobody panics with it"));
        (said, kept)
    })
}

/// Every line is a reply: three digits, a blank or a minus, printable ASCII, CRLF.
pub fn assert_replies(said: &str) {
    assert!(said.is_empty() || said.ends_with("\r\n"), "{said:?}");
    for line in said.split_terminator("\r\n") {
        let (code, text) = line.split_at_checked(3).unwrap_or_else(|| panic!("{line:?} is no reply"));
        assert!(code.bytes().all(|octet| octet.is_ascii_digit()), "{line:?}");
        assert!(
            text.starts_with([' ', '-']) && text.bytes().all(|octet| (b' '..=b'~').contains(&octet)),
            "{line:?}"
        );
    }
}
