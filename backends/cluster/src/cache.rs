//! What may be forgotten, on Redis.
//!
//! Redis may go at any time: then nothing is remembered, counts go on in this process's memory, and no call waits for it
//! until a probe finds that it takes writes again. What could not be replaced or removed meanwhile is removed before it
//! is used again, so that nothing old comes back with it; only a process that ends before that leaves it to its time.

mod local;
mod news;
mod stale;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    Pipeline, RedisError, RedisResult, TlsCertificates, cmd, pipe,
};
use schema::{AccountId, Cache, Change, Result};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::tls::{self, Authorities};
use crate::{RedisOptions, StartError};
use local::LocalCounts;
use news::News;
use stale::Stale;

const SERVER: &str = "Redis";
/// The wait before the first probe; it doubles with each that fails.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(1);
/// A connection may take longer to begin than a request.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// The longest time that anything is kept, in milliseconds: Redis takes no time that ends after year 292,277,026.
const LONGEST: u64 = 1 << 45;
/// Keys removed by one command.
const REMOVED_AT_ONCE: usize = 1000;

/// Values, counts and news.
pub struct RedisCache {
    line: Arc<Line>,
    local: LocalCounts,
    news: News,
    keeper: JoinHandle<()>,
}

impl RedisCache {
    /// Connects; if Redis is gone it is used once it is there. Connections are made on the runtime that this is called
    /// on.
    ///
    /// # Errors
    /// [`StartError::Unusable`] if Redis refuses us, or what answers is no Redis.
    pub async fn connect(options: &RedisOptions) -> std::result::Result<Self, StartError> {
        let line = Arc::new(Line::new(options)?);
        match line.connect().await {
            Ok(()) => {}
            Err(error) if is_refusal(&error) => {
                let reason = error.to_string();
                return Err(unusable(tls::objection(&reason).unwrap_or(reason)));
            }
            Err(_) if line.is_asked_for_tls().await => {
                return Err(unusable("it asks for TLS: rediss://".into()));
            }
            Err(error) => {
                tracing::warn!(
                    reason = error.to_string(),
                    "Redis is gone: nothing is remembered until it is back"
                );
                metrics::gauge!("signet_cache_up").set(0.0);
                line.wake.notify_one();
            }
        }
        let keeper = tokio::spawn(Arc::clone(&line).keep());
        let news = News::begin(&line);
        Ok(Self { line, local: LocalCounts::default(), news, keeper })
    }
}

impl Drop for RedisCache {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found: Option<Option<Vec<u8>>> = self.line.run(cmd("GET").arg(self.line.value_key(key))).await;
        let found = found.flatten();
        let hit = if found.is_some() { "hit" } else { "miss" };
        metrics::counter!("signet_cache_reads_total", "result" => hit).increment(1);
        Ok(found)
    }

    async fn put(&self, key: &[u8], value: Vec<u8>, time: Duration) -> Result<()> {
        let mut put = cmd("SET");
        put.arg(self.line.value_key(key)).arg(value).arg("PX").arg(millis(time));
        self.line.run_or_remove(key, &put).await;
        Ok(())
    }

    async fn remove(&self, key: &[u8]) -> Result<()> {
        self.line.run_or_remove(key, cmd("DEL").arg(self.line.value_key(key))).await;
        Ok(())
    }

    async fn count(&self, key: &[u8], time: Duration) -> Result<u64> {
        let name = self.line.count_key(key);
        let mut counting = pipe();
        counting.atomic();
        counting.cmd("SET").arg(&name).arg(0).arg("PX").arg(millis(time)).arg("NX").ignore();
        counting.cmd("INCR").arg(&name).cmd("PTTL").arg(&name);
        let Some((count, left)) = self.line.run::<(u64, i64)>(&counting).await else {
            return Ok(self.local.count(key, time));
        };
        if left < 0 {
            // Its time was over between the first command and the second, which began a count without an end.
            let _: Option<()> = self.line.run(cmd("PEXPIRE").arg(&name).arg(millis(time))).await;
        }
        Ok(count)
    }

    fn tell(&self, account: AccountId, change: Change) {
        self.news.tell(account, change);
    }

    fn watch(&self, account: AccountId) -> broadcast::Receiver<Change> {
        self.news.watchers().watch(account)
    }
}

/// A command, or some that are carried out in one step.
trait Request: Sync {
    fn send<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> impl Future<Output = RedisResult<T>> + Send;
}

impl Request for Cmd {
    async fn send<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> RedisResult<T> {
        self.query_async(connection).await
    }
}

impl Request for Pipeline {
    async fn send<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> RedisResult<T> {
        self.query_async(connection).await
    }
}

/// The connection in use, with how many were before it. None: Redis is gone.
#[derive(Default)]
struct InUse {
    number: u64,
    connection: Option<MultiplexedConnection>,
}

/// The line to Redis.
struct Line {
    client: Client,
    config: AsyncConnectionConfig,
    request_time: Duration,
    prefix: Vec<u8>,
    in_use: Mutex<InUse>,
    stale: Mutex<Stale>,
    /// The connection is gone, or there is something stale.
    wake: Notify,
}

impl Line {
    fn new(options: &RedisOptions) -> std::result::Result<Self, StartError> {
        let wrong = |error: RedisError| unusable(error.to_string());
        let mut info = options.url.as_str().into_connection_info().map_err(wrong)?;
        if let Some(login) = &options.login {
            let settings = info.redis_settings().clone();
            let settings = settings.set_username(&login.name).set_password(login.password.as_str());
            info = info.set_redis_settings(settings);
        }
        // Two providers are linked in, so one must be chosen; one that the program chose before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match &options.ca_file {
            None => Client::open(info),
            Some(path) => {
                let root_cert = Some(Authorities::read(path, SERVER)?.pem.into_bytes());
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME))
            .set_response_timeout(Some(options.request_time));
        Ok(Self {
            client: client.map_err(wrong)?,
            config,
            request_time: options.request_time,
            prefix: options.prefix.clone().into_bytes(),
            in_use: Mutex::default(),
            stale: Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// Whether we talk in clear to a server that does not.
    async fn is_asked_for_tls(&self) -> bool {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => tls::is_spoken_at((host.as_str(), *port)).await,
            _ => false,
        }
    }

    fn value_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, b"v:".as_slice(), key].concat()
    }

    fn count_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, b"c:".as_slice(), key].concat()
    }

    fn news_channel(&self) -> Vec<u8> {
        [&self.prefix, b"news".as_slice()].concat()
    }

    /// The answer, or `None` if Redis is gone or goes now.
    async fn run<T: FromRedisValue>(&self, request: &impl Request) -> Option<T> {
        let (number, mut connection) = {
            let in_use = lock(&self.in_use);
            (in_use.number, in_use.connection.clone()?)
        };
        let error = match timeout(self.request_time, request.send(&mut connection)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error,
            Err(_) => RedisError::from((ErrorKind::Io, "it does not answer in time")),
        };
        let mut in_use = lock(&self.in_use);
        // Else it is noticed already, and another may be in use.
        if in_use.number == number && in_use.connection.take().is_some() {
            drop(in_use);
            tracing::warn!(
                reason = error.to_string(),
                "Redis is gone: nothing is remembered until it is back"
            );
            metrics::gauge!("signet_cache_up").set(0.0);
            self.wake.notify_one();
        }
        None
    }

    /// Changes what is under `key`, or has it removed before Redis is used again.
    async fn run_or_remove(&self, key: &[u8], change: &Cmd) {
        if self.run::<()>(change).await.is_none() {
            lock(&self.stale).note(self.value_key(key));
            self.wake.notify_one();
        }
    }

    /// Brings Redis back when it is gone, for ever.
    async fn keep(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            let mut rest = FIRST_REST;
            loop {
                let connection = lock(&self.in_use).connection.clone();
                let back = match connection {
                    // A change failed while the next connection was made: what is stale came late.
                    Some(mut connection) => self.remove_stale(&mut connection).await.is_ok(),
                    None => {
                        let back = self.connect().await.is_ok();
                        if back {
                            tracing::info!("Redis is back");
                        }
                        back
                    }
                };
                if back {
                    break;
                }
                sleep(rest).await;
                rest = (rest * 2).min(LONGEST_REST);
            }
        }
    }

    /// Makes a connection that takes writes, and uses it.
    async fn connect(&self) -> RedisResult<()> {
        let connecting = self.client.get_multiplexed_async_connection_with_config(&self.config);
        // It may be asked for more than once: for the connection, the login, the version.
        let late = |_| RedisError::from((ErrorKind::Io, "it does not answer in time"));
        let mut connection = timeout(CONNECT_TIME * 2, connecting).await.map_err(late)??;
        let mut probe = cmd("SET");
        probe.arg([&self.prefix, b"probe".as_slice()].concat()).arg(1).arg("PX").arg(1000);
        self.ask::<()>(&mut connection, &probe).await?;
        // Nothing is no news: whoever hears it passes it over.
        self.ask::<()>(&mut connection, cmd("PUBLISH").arg(self.news_channel()).arg(b"")).await?;
        self.remove_stale(&mut connection).await?;
        let mut in_use = lock(&self.in_use);
        in_use.number += 1;
        in_use.connection = Some(connection);
        metrics::gauge!("signet_cache_up").set(1.0);
        Ok(())
    }

    async fn ask<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        request: &impl Request,
    ) -> RedisResult<T> {
        let late = |_| RedisError::from((ErrorKind::Io, "it does not answer in time"));
        timeout(self.request_time, request.send(connection)).await.map_err(late)?
    }

    /// Removes what could not be changed.
    async fn remove_stale(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let stale = std::mem::take(&mut *lock(&self.stale));
        let removed = self.remove(connection, &stale).await;
        if removed.is_err() {
            lock(&self.stale).add(stale);
        }
        removed
    }

    async fn remove(&self, connection: &mut MultiplexedConnection, stale: &Stale) -> RedisResult<()> {
        let keys: Vec<_> = stale.keys().collect();
        for keys in keys.chunks(REMOVED_AT_ONCE) {
            self.ask::<()>(connection, cmd("DEL").arg(keys)).await?;
        }
        if stale.is_everything() {
            let pattern = stale::pattern(&self.value_key(b""));
            let mut cursor = 0_u64;
            loop {
                let mut scan = cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(REMOVED_AT_ONCE);
                let (next, keys): (u64, Vec<Vec<u8>>) = self.ask(connection, &scan).await?;
                if !keys.is_empty() {
                    self.ask::<()>(connection, cmd("DEL").arg(&keys)).await?;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Whether somebody has to change something before Redis can be used.
fn is_refusal(error: &RedisError) -> bool {
    match error.kind() {
        // The kind of a failed handshake cannot be asked for; this is how it is told.
        ErrorKind::Io => tls::objection(&error.to_string()).is_some(),
        ErrorKind::Server(_) | ErrorKind::Extension => {
            matches!(error.code(), Some("ERR" | "NOAUTH" | "NOPERM" | "WRONGPASS" | "DENIED"))
        }
        _ => true,
    }
}

fn unusable(reason: String) -> StartError {
    StartError::Unusable { server: SERVER, reason }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(LONGEST).clamp(1, LONGEST)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a thread that panicked left is whole: no guard is held over anything that can.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
