//! Every listener and every session together, from the start to the drained end.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proxy_protocol::{Policy, contains};
use schema::{LocalNode, Work};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::connections::{Connections, Counted};
use crate::deliver::Delivery;
use crate::listener::{Accepted, Listener};
use crate::metrics::Metrics;
use crate::reply::{Reply, write_lines};
use crate::session::Session;
use crate::{Settings, wire::Wire};

/// How long to wait after an accept that failed for want of descriptors or memory.
const RESPITE: Duration = Duration::from_millis(100);
/// How long sessions that are told to go when the drain time is over have to say so.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long sessions that are busy beyond that have.
const LAST_WORK: Duration = Duration::from_millis(500);

/// What all sessions share.
pub struct Server {
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) settings: Settings,
    pub(crate) node: Arc<LocalNode>,
    pub(crate) budget: Budget,
    pub(crate) metrics: Metrics,
    pub(crate) greeting: Vec<u8>,
    pub(crate) capabilities: Vec<u8>,
    connections: Arc<Connections>,
}

impl Server {
    /// A server that hands mail to `delivery` until `node` is to stop.
    pub fn new(delivery: Arc<dyn Delivery>, settings: Settings, node: Arc<LocalNode>) -> Arc<Self> {
        let (mut greeting, mut capabilities) = (Vec::new(), Vec::new());
        write_lines(220, &[&format!("{} LMTP Signet", settings.hostname)], &mut greeting);
        let size = format!("SIZE {}", settings.message_bytes);
        let offered = [
            settings.hostname.as_str(),
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "SMTPUTF8",
            &size,
            "CHUNKING",
            "BINARYMIME",
        ];
        write_lines(250, &offered, &mut capabilities);
        Arc::new(Self {
            delivery,
            budget: Budget::new(&settings),
            metrics: Metrics::new(),
            settings,
            node,
            greeting,
            capabilities,
            connections: Arc::default(),
        })
    }

    /// Serves what connects to `listeners`. After the shutdown it lets the transactions in progress finish, for at
    /// most `drain_time`, while whoever begins something new gets 421; then whoever is left gets it too, and it returns.
    pub async fn serve(self: Arc<Self>, listeners: Vec<Listener>) {
        let (sessions, acceptors) = (TaskTracker::new(), TaskTracker::new());
        let (stop_sessions, stop_accepting) = (CancellationToken::new(), CancellationToken::new());
        for listener in listeners {
            let (server, sessions) = (self.clone(), sessions.clone());
            let (stop_sessions, stop_accepting) = (stop_sessions.clone(), stop_accepting.clone());
            acceptors.spawn(async move {
                let accept = server.accept_from(&listener, &sessions, &stop_sessions);
                stop_accepting.run_until_cancelled(accept).await;
            });
        }
        self.node.stop().cancelled().await;
        sessions.close();
        if timeout(self.settings.drain_time, sessions.wait()).await.is_err() {
            tracing::warn!(sessions = sessions.len(), "sessions were cut off at the shutdown");
            let _ = timeout(LAST_WORDS, sessions.wait()).await;
            stop_sessions.cancel();
        }
        stop_accepting.cancel();
        acceptors.close();
        acceptors.wait().await;
        // A session that is busy with a large message ends with that.
        let _ = timeout(LAST_WORK, sessions.wait()).await;
    }

    async fn accept_from(
        self: &Arc<Self>,
        listener: &Listener,
        sessions: &TaskTracker,
        stop: &CancellationToken,
    ) {
        loop {
            let accepted = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    self.metrics.refused("accept");
                    tokio::time::sleep(RESPITE).await;
                    continue;
                }
            };
            if self.node.is_leaving() {
                self.dismiss(accepted, Reply::SHUTTING_DOWN, "shutdown");
                continue;
            }
            let Some(counted) = self.connections.enter(self.settings.connections) else {
                self.dismiss(accepted, Reply::TOO_MANY_CONNECTIONS, "total");
                continue;
            };
            let (server, policy, stop) = (self.clone(), listener.policy.clone(), stop.clone());
            sessions.spawn(async move {
                let attend = server.attend_accepted(accepted, &policy, counted);
                stop.run_until_cancelled(attend).await;
            });
        }
    }

    fn dismiss(&self, accepted: Accepted, reply: Reply, why: &'static str) {
        let mut words = Vec::new();
        reply.write_to(&mut words);
        accepted.dismiss(&words);
        self.metrics.refused(why);
    }

    async fn attend_accepted(&self, accepted: Accepted, policy: &Policy, _counted: Counted) {
        match accepted {
            Accepted::Tcp(stream, ip) => self.attend(stream, Some(ip), policy).await,
            Accepted::Unix(stream) => self.attend(stream, None, policy).await,
        }
    }

    /// Serves one connection to its end. `socket` is the address it comes from, `None` for a unix socket.
    pub async fn attend<S>(&self, mut stream: S, socket: Option<IpAddr>, policy: &Policy)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let peer = match policy.peer(&mut stream, socket, self.settings.proxy_header_time).await {
            Ok(peer) => peer,
            Err(error) => {
                // Its text names no address.
                tracing::debug!(%error, "a connection has no PROXY header to trust");
                return self.metrics.refused("proxy");
            }
        };
        if let Some(peer) = peer {
            tracing::debug!(%peer, "a session begins");
        }
        let from_relay = peer.is_some_and(|peer| contains(&self.settings.trusted_relays, peer));
        let mut counted = None;
        if let Some(peer) = peer.filter(|_| !from_relay) {
            counted = self.connections.enter_peer(peer, self.settings.connections_per_peer);
            if counted.is_none() {
                self.metrics.refused("peer");
                let mut wire = Wire::new(stream, self.settings.idle_time);
                Reply::TOO_MANY_FROM_PEER.write_to(wire.output());
                return wire.close().await;
            }
        }
        let (_open, _busy) = (self.metrics.connected(), self.node.begin(Work::Session, 1));
        Session::new(self, stream, from_relay).run().await;
        drop(counted);
    }
}

/// Whether an accept failed because of the connection, not because of us.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected)
}
