//! Answers HTTP on a listener until told to stop: version 1.1, which any proxy in front speaks to what is behind it.
//! Version 2 would let a client hold an answer's memory by never taking it, without the socket ever being full.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use proxy_protocol::Policy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::auth::Peer;

/// What can be set for a listener.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Whether connections start with a PROXY header.
    pub proxy_protocol: Policy,
    /// Connections at once; more wait to be accepted. At least 1.
    pub connections: usize,
    /// How long a client may take for a request's header, from the connection's start or the answer before; and for a
    /// PROXY header.
    pub header_time: Duration,
    /// How long a client may take nothing of an answer.
    pub write_time: Duration,
    /// The most octets of a request's header, at least 8 KiB.
    pub header_bytes: usize,
    /// How long calls in progress may take after the stop before they are cut off.
    pub drain_time: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            proxy_protocol: Policy::Off,
            connections: 4096,
            header_time: Duration::from_secs(10),
            write_time: Duration::from_secs(60),
            header_bytes: 32 << 10,
            drain_time: Duration::from_secs(8),
        }
    }
}

/// Answers on `listeners` until `stop` is cancelled, then finishes the calls in progress.
///
/// # Errors
/// When none of the listeners can accept any more.
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    settings: ServeSettings,
    stop: CancellationToken,
) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(settings.connections));
    let settings = Arc::new(settings);
    let tracker = TaskTracker::new();
    // Ends what is still going on after the drain.
    let cut = CancellationToken::new();
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        let (router, settings, stop, cut) = (router.clone(), settings.clone(), stop.clone(), cut.clone());
        let (connections, tracker) = (connections.clone(), tracker.clone());
        accepting.spawn(async move {
            loop {
                let permit = tokio::select! {
                    () = stop.cancelled() => return,
                    permit = connections.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
                };
                let (stream, peer) = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => accepted,
                        Err(error) => {
                            tracing::warn!(%error, "a connection could not be accepted");
                            // Without file descriptors accept fails at once, again and again.
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            continue;
                        }
                    },
                };
                let connection = Connection { stream, socket: peer, router: router.clone(), settings: settings.clone() };
                let (stop, cut) = (stop.clone(), cut.clone());
                tracker.spawn(async move {
                    tokio::select! {
                        () = cut.cancelled() => {}
                        () = connection.answer(stop) => {}
                    }
                    drop(permit);
                });
            }
        });
    }
    while accepting.join_next().await.is_some() {}
    tracker.close();
    if tokio::time::timeout(settings.drain_time, tracker.wait()).await.is_err() {
        cut.cancel();
        tracker.wait().await;
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    socket: std::net::SocketAddr,
    router: Router,
    settings: Arc<ServeSettings>,
}

impl Connection {
    async fn answer(mut self, stop: CancellationToken) {
        let settings = &self.settings;
        let named =
            settings.proxy_protocol.peer(&mut self.stream, Some(self.socket.ip()), settings.header_time);
        let peer = match named.await {
            Ok(peer) => Peer(peer),
            Err(error) => {
                tracing::debug!(%error, "a connection was closed for its PROXY header");
                return;
            }
        };
        // Small answers are not to wait for the peer's acknowledgement of the one before.
        let _ = self.stream.set_nodelay(true);
        let router = self.router;
        let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            router.clone().oneshot(request)
        });
        let mut builder = Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_time)
            .max_buf_size(settings.header_bytes.max(8 << 10));
        let mut stream = TimeoutWriter::new(self.stream);
        stream.set_timeout(Some(settings.write_time));
        let stream = Box::pin(stream);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection ended early");
        }
    }
}
