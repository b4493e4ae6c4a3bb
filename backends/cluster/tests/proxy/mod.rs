//! A bad line to a server: it can be cut, and it can lose the answers.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// What the server answers is lost.
    Mute,
    Cut,
}

pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A line to `server`, `host:port`.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (line, state) = watch::channel(Line::Open);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                if *state.borrow() == Line::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry(from_client, to_server, state.clone(), false));
                tokio::spawn(carry(from_server, to_client, state.clone(), true));
            }
        });
        Self { address, line, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection and takes no new one.
    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Loses what the server answers from now on.
    pub fn mute(&self) {
        self.line.send_replace(Line::Mute);
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.line.send_replace(Line::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
    answers: bool,
) {
    let mut octets = vec![0; 64 * 1024];
    loop {
        let number = tokio::select! {
            cut = line.wait_for(|line| *line == Line::Cut) => { drop(cut); return }
            read = from.read(&mut octets) => match read { Ok(0) | Err(_) => return, Ok(number) => number },
        };
        if answers && *line.borrow() == Line::Mute {
            continue;
        }
        if to.write_all(&octets[..number]).await.is_err() {
            return;
        }
    }
}
