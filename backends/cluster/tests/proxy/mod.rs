//! A bad line to a server: it can be cut, lose the answers, be slow, end in mid-answer, and garble what comes back.

#![allow(dead_code, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of what the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Open,
    /// It is lost.
    Mute,
    /// It comes so much later.
    Slow(Duration),
    /// After so many more octets of a connection, that ends.
    Short(usize),
    /// Of every so many octets of a connection the last is another.
    Garbled(usize),
    /// Nothing goes either way, and no connection is taken.
    Cut,
}

/// How a line is, and how often it was cut: a connection that began before the last cut is over, also if nobody looked
/// while the line was down.
#[derive(Clone, Copy)]
struct State {
    line: Line,
    cuts: u32,
}

pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A line to `server`, `host:port`, at the same host.
    pub async fn to(server: String) -> Self {
        let host = server.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (own, state) = watch::channel(State { line: Line::Open, cuts: 0 });
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                let began = *state.borrow();
                if began.line == Line::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(ask(from_client, to_server, state.clone(), began.cuts));
                tokio::spawn(answer(from_server, to_client, state.clone(), began.cuts));
            }
        });
        Self { address, state: own, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, also on connections that are there.
    pub fn set(&self, line: Line) {
        self.state.send_modify(|state| {
            state.cuts += u32::from(line == Line::Cut);
            state.line = line;
        });
    }

    /// Breaks every connection and takes no new one.
    pub fn cut(&self) {
        self.set(Line::Cut);
    }

    /// Loses what the server answers from now on.
    pub fn mute(&self) {
        self.set(Line::Mute);
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.set(Line::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

/// The next octets; `None` where the connection ends or the line is cut.
async fn next(
    from: &mut OwnedReadHalf,
    octets: &mut [u8],
    state: &mut watch::Receiver<State>,
    cuts: u32,
) -> Option<usize> {
    tokio::select! {
        _ = state.wait_for(|state| state.cuts != cuts) => None,
        read = from.read(octets) => read.ok().filter(|number| *number > 0),
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>, cuts: u32) {
    let mut octets = vec![0; 64 * 1024];
    while let Some(number) = next(&mut from, &mut octets, &mut state, cuts).await {
        if to.write_all(&octets[..number]).await.is_err() {
            return;
        }
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    cuts: u32,
) {
    let mut octets = vec![0; 64 * 1024];
    // Since when the line is as it is now, and how many octets have come since.
    let (mut was, mut passed) = (Line::Open, 0);
    while let Some(number) = next(&mut from, &mut octets, &mut state, cuts).await {
        let octets = &mut octets[..number];
        let now = state.borrow().line;
        if now != was {
            (was, passed) = (now, 0);
        }
        let mut end = number;
        match now {
            Line::Open => {}
            Line::Mute => continue,
            Line::Cut => return,
            Line::Slow(time) => tokio::time::sleep(time).await,
            Line::Short(after) => end = end.min(after - passed),
            Line::Garbled(every) => {
                let places = (passed..).zip(octets.iter_mut());
                places.filter(|(place, _)| place % every == every - 1).for_each(|(_, octet)| *octet ^= 0x80);
            }
        }
        passed += number;
        if to.write_all(&octets[..end]).await.is_err() || end < number {
            return;
        }
    }
}
