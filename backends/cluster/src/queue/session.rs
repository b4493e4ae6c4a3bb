//! One connection to RabbitMQ.
//!
//! lapin's own recovery is not used: it replays what was declared and consumed on the old connection, whose deliveries
//! nobody can acknowledge any more. Here a connection that broke is over with all its leases, and [`super::link`] makes
//! the next one.

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::tcp::{AMQPUriTcpExt as _, RustlsConnector};
use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use super::lock;
use crate::tls::{self, Authorities};
use crate::{RabbitmqOptions, StartError};

pub(super) const SERVER: &str = "RabbitMQ";
/// Seconds between signs of life; after twice this time without any the connection is given up.
const HEARTBEAT: u16 = 10;
/// Lanes in use at most.
const LANES: usize = 2;
/// Messages sent before their confirms are waited for.
const SENT_AT_ONCE: usize = 512;

/// Where RabbitMQ is.
pub(super) struct Servers {
    uris: Vec<AMQPUri>,
    /// What trusts none but those whose certificates we were given.
    trusting: Option<RustlsConnector>,
    request_time: Duration,
}

/// A message on its way to a queue.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) queue: ShortString,
    pub(super) body: Vec<u8>,
    pub(super) properties: BasicProperties,
}

/// A connection.
pub(super) struct Session {
    connection: Connection,
    request_time: Duration,
    runtime: Handle,
    posts: Mutex<Posts>,
}

/// What is to be published.
#[derive(Default)]
struct Posts {
    waiting: Vec<Post>,
    /// Tasks that publish.
    running: usize,
    /// Lanes on which nothing is under way. All that is sent on one is confirmed before more is, and what fails there
    /// fails together: lapin tells confirms and returned messages apart by their order only, so where many tasks share
    /// a channel the confirm of one message could be taken for another's.
    lanes: Vec<Lane>,
}

/// What one caller publishes.
struct Post {
    messages: Vec<Outgoing>,
    caller: oneshot::Sender<Result<(), Unpublished>>,
}

/// Why something was not published, or not for certain.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Unpublished {
    #[error("its queue is missing")]
    Returned,
    #[error("its queue did not take it")]
    Refused,
    #[error("RabbitMQ does not answer in time")]
    Late,
    #[error(transparent)]
    Broken(#[from] lapin::Error),
}

/// A channel that closes when it is dropped, whatever was under way on it: a consumer that was just being started would
/// keep it open else, and the jobs that come by it.
pub(super) struct Lane {
    channel: Channel,
    runtime: Handle,
    lingers: Duration,
}

impl Lane {
    /// The same lane, that stays open for so long once it is dropped.
    pub(super) fn lingering(mut self, lingers: Duration) -> Self {
        self.lingers = lingers;
        self
    }
}

impl Deref for Lane {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let (channel, lingers) = (self.channel.clone(), self.lingers);
        self.runtime.spawn(async move {
            tokio::time::sleep(lingers).await;
            // What fails to close is closed already.
            let _ = channel.close(200, "OK".into()).await;
        });
    }
}

impl Servers {
    /// # Errors
    /// [`StartError::Unusable`] if an address is none, or the certificates cannot be read.
    pub(super) fn new(options: &RabbitmqOptions) -> Result<Self, StartError> {
        let unusable = |reason: String| StartError::Unusable { server: SERVER, reason };
        let mut uris = Vec::new();
        for url in &options.urls {
            let mut uri: AMQPUri =
                url.parse().map_err(|_| unusable("an address is not amqp://host:port".into()))?;
            if let Some(address) = url.split_once("://[").and_then(|(_, rest)| rest.split_once(']')) {
                // lapin takes names only and would go to localhost.
                uri.authority.host = address.0.to_owned();
            }
            if let Some(login) = &options.login {
                uri.authority.userinfo.username = login.name.clone();
                uri.authority.userinfo.password = login.password.to_string();
            }
            uri.vhost = options.virtual_host.clone();
            uri.query.heartbeat = Some(HEARTBEAT);
            uris.push(uri);
        }
        if uris.is_empty() {
            return Err(unusable("no address is given".into()));
        }
        let trusting = match &options.ca_file {
            Some(path) => Some(Authorities::read(path, SERVER)?.client(SERVER)?.into()),
            None => None,
        };
        Ok(Self { uris, trusting, request_time: options.request_time })
    }

    pub(super) fn request_time(&self) -> Duration {
        self.request_time
    }

    /// A connection to one of the servers, any of them first.
    ///
    /// # Errors
    /// [`StartError::Unusable`] if one of them refuses us and none takes us, else [`StartError::Unreachable`].
    pub(super) async fn connect(&self) -> Result<Arc<Session>, StartError> {
        let first = Uuid::new_v4().as_u128() as usize % self.uris.len();
        let mut failure = None;
        for uri in self.uris.iter().cycle().skip(first).take(self.uris.len()) {
            match self.connect_to(uri.clone()).await {
                Ok(session) => return Ok(Arc::new(session)),
                Err(error) => {
                    let refused = matches!(failure, Some(StartError::Unusable { .. }));
                    failure = if refused { failure } else { Some(error) };
                }
            }
        }
        Err(failure.unwrap_or_else(|| unreachable("no address is given".into())))
    }

    async fn connect_to(&self, uri: AMQPUri) -> Result<Session, StartError> {
        let runtime = lapin::runtime::default_runtime().map_err(|error| unreachable(error.to_string()))?;
        let properties = ConnectionProperties::default().with_connection_name("signet".into());
        let trusting = self.trusting.clone();
        let (is_plain, host, port) =
            (uri.scheme == AMQPScheme::AMQP, uri.authority.host.clone(), uri.authority.port);
        let connecting = Connection::connector(
            uri,
            runtime,
            async move |uri, runtime| match &trusting {
                Some(trusting) => {
                    // What lapin is given to trust it adds to what the system does.
                    let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() };
                    let stream = plain.connect_async(&runtime).await?;
                    Ok(stream.into_rustls(trusting, &uri.authority.host).await?)
                }
                None => Ok(uri.connect_async(&runtime).await?),
            },
            properties,
        );
        let Ok(connected) = timeout(self.request_time, connecting).await else {
            return Err(unreachable("it does not answer".into()));
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(_) if is_plain && tls::is_spoken_at((host.as_str(), port)).await => {
                return Err(StartError::Unusable {
                    server: SERVER,
                    reason: "it asks for TLS: amqps://".into(),
                });
            }
            Err(error) => return Err(refused(&error, "it does not take the connection")),
        };
        let (request_time, runtime) = (self.request_time, Handle::current());
        Ok(Session { connection, request_time, runtime, posts: Mutex::default() })
    }
}

impl Session {
    /// Whether the connection is in use.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// Returns when the connection is over.
    pub(super) async fn ended(&self) {
        let mut events = Box::pin(self.connection.events_listener());
        while self.is_open() {
            // The state is looked at once in a while too, in case an event came between two looks.
            if let Ok(None) = timeout(Duration::from_secs(1), events.next()).await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Ends the connection: RabbitMQ takes back what was delivered on it.
    pub(super) async fn close(&self) {
        // What fails to close is closed already.
        let _ = self.connection.close(200, "OK".into()).await;
    }

    pub(super) async fn lane(&self) -> lapin::Result<Lane> {
        let channel = self.connection.create_channel().await?;
        Ok(Lane { channel, runtime: self.runtime.clone(), lingers: Duration::ZERO })
    }

    /// Returns once RabbitMQ has all messages on the disks of a quorum. On an error some of them may be there.
    ///
    /// What comes while others are being confirmed goes together, as one: the more callers, the fewer round trips each.
    pub(super) async fn publish(self: &Arc<Self>, messages: Vec<Outgoing>) -> Result<(), Unpublished> {
        let (caller, confirmed) = oneshot::channel();
        {
            let mut posts = lock(&self.posts);
            posts.waiting.push(Post { messages, caller });
            if posts.running < LANES {
                posts.running += 1;
                // A task of its own: others wait for it too, whatever becomes of this caller.
                self.runtime.spawn(Arc::clone(self).post());
            }
        }
        confirmed.await.unwrap_or(Err(Unpublished::Late))
    }

    /// Publishes until nothing waits any more.
    async fn post(self: Arc<Self>) {
        loop {
            let posts = {
                let mut posts = lock(&self.posts);
                if posts.waiting.is_empty() {
                    posts.running -= 1;
                    return;
                }
                std::mem::take(&mut posts.waiting)
            };
            let sent = self.send(posts.iter().flat_map(|post| &post.messages)).await;
            let alone = posts.len() == 1;
            for post in posts {
                let sent = match &sent {
                    // Whose queue is missing is found by sending each by itself.
                    Err(Unpublished::Returned) if !alone => self.send(&post.messages).await,
                    sent => sent.clone(),
                };
                // A caller that went away is told nothing.
                let _ = post.caller.send(sent);
            }
        }
    }

    async fn send<'a>(&self, messages: impl IntoIterator<Item = &'a Outgoing>) -> Result<(), Unpublished> {
        timeout(self.request_time, self.send_on_lane(messages)).await.unwrap_or(Err(Unpublished::Late))
    }

    async fn send_on_lane<'a>(
        &self,
        messages: impl IntoIterator<Item = &'a Outgoing>,
    ) -> Result<(), Unpublished> {
        let free = lock(&self.posts).lanes.pop();
        let lane = match free {
            Some(lane) if lane.status().connected() => lane,
            _ => {
                let lane = self.lane().await?;
                lane.confirm_select(ConfirmSelectOptions::default()).await?;
                lane
            }
        };
        let messages: Vec<_> = messages.into_iter().collect();
        for messages in messages.chunks(SENT_AT_ONCE) {
            let sending = messages.iter().map(|message| {
                let options = BasicPublishOptions { mandatory: true, immediate: false };
                let properties = message.properties.clone();
                lane.basic_publish("".into(), message.queue.clone(), options, &message.body, properties)
            });
            for sent in join_all(sending).await {
                match sent?.await? {
                    Confirmation::Ack(None) => {}
                    Confirmation::Ack(Some(_)) => return Err(Unpublished::Returned),
                    _ => return Err(Unpublished::Refused),
                }
            }
        }
        // One on which something failed is closed instead: confirms may be under way on it.
        lock(&self.posts).lanes.push(lane);
        Ok(())
    }
}

/// What RabbitMQ's refusal means at a start.
pub(super) fn refused(error: &lapin::Error, what: &str) -> StartError {
    match error.kind() {
        ErrorKind::ProtocolError(error) => {
            StartError::Unusable { server: SERVER, reason: format!("{what} ({})", error.get_message()) }
        }
        ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => {
            StartError::Unusable { server: SERVER, reason: "what answers there is no RabbitMQ".into() }
        }
        _ => match tls::objection(&error.to_string()) {
            Some(reason) => StartError::Unusable { server: SERVER, reason },
            None => unreachable(error.to_string()),
        },
    }
}

pub(super) fn unreachable(reason: String) -> StartError {
    StartError::Unreachable { server: SERVER, reason }
}
