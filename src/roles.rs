//! The roles of the program: LMTP, API, workers and the internal listener, from ready to drained.

use std::sync::Arc;
use std::time::Duration;

use api::{ApiSettings, Internal, Readiness, ServeSettings};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use proxy_protocol::{IpNet, Policy};
use schema::{Instance, LocalNode};
use seal::Secret;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::directory::hex;
use crate::failure::Failure;
use crate::node;
use crate::operator::Operations;
use crate::periodic;
use crate::start::Started;
use crate::welcome;

/// How long transactions and calls in progress have after the signal; the whole end takes less than 10 s.
const DRAIN_TIME: Duration = Duration::from_secs(7);
/// How long the roles may take to end before the program ends without them.
const END_TIME: Duration = Duration::from_millis(8_500);
/// How often measures are folded; without it they would grow until somebody reads them.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often the cluster's store is tried.
const PROBE: Duration = Duration::from_secs(1);

/// The roles that a process has; each has the internal listener too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    /// Every one.
    All,
    /// Takes mail in.
    Lmtp,
    /// Works off jobs.
    Workers,
    /// Serves clients.
    Api,
}

impl Roles {
    fn has(self, role: Self) -> bool {
        self == Self::All || self == role
    }

    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Lmtp => "lmtp",
            Self::Workers => "workers",
            Self::Api => "api",
        }
    }

    /// A directory has one process, which has every role.
    ///
    /// # Errors
    /// If the backend does not let these roles be a process of their own.
    pub fn check(self, config: &Config) -> Result<(), Failure> {
        if self == Self::All || config.is_cluster() {
            return Ok(());
        }
        Err(Failure::config(format!(
            "a process with the role `{}` alone needs the servers of a cluster, but `backend` is \"embedded\": run `signet all`",
            self.name()
        )))
    }
}

/// Cancelled by SIGTERM and SIGINT.
///
/// # Errors
/// If signals cannot be heard.
pub fn stop_signal() -> Result<CancellationToken, Failure> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        cancelled.cancel();
    });
    Ok(stop)
}

/// Where the program is reached; what its roles do not need is empty.
pub struct Listeners {
    lmtp: Vec<lmtp::Listener>,
    api: Option<TcpListener>,
    internal: TcpListener,
}

impl Listeners {
    /// Listens where these roles do; nothing is answered yet.
    ///
    /// # Errors
    /// Names the listener that cannot be had.
    pub async fn bind(config: &Config, roles: Roles) -> Result<Self, Failure> {
        let address = |key: &str| config.text(key).unwrap_or_default().to_owned();
        let cannot = |key: &str, error: std::io::Error| {
            Failure::other(format!("`{key}`: {} cannot be listened on: {error}", address(key)))
        };
        let mut lmtp = Vec::new();
        if roles.has(Roles::Lmtp) {
            let asked = policy(config, "delivery.proxy_protocol", "delivery.proxies");
            let tcp = lmtp::Listener::tcp(address("lmtp"), asked).await;
            lmtp.push(tcp.map_err(|error| cannot("lmtp", error))?);
        }
        if let Some(path) = config.path("lmtp_socket").filter(|_| roles.has(Roles::Lmtp)) {
            // The proxies' addresses are of no matter here: a unix socket's mode says who may connect.
            let asked = policy(config, "delivery.socket_proxy_protocol", "delivery.proxies");
            lmtp.push(lmtp::Listener::unix(path, asked).map_err(|error| cannot("lmtp_socket", error))?);
        }
        let mut api = None;
        if roles.has(Roles::Api) {
            api = Some(TcpListener::bind(address("api")).await.map_err(|error| cannot("api", error))?);
        }
        let internal = TcpListener::bind(address("internal")).await;
        Ok(Self { lmtp, api, internal: internal.map_err(|error| cannot("internal", error))? })
    }
}

/// Measures from now on: what is set once, such as whether a server is there, is lost before.
///
/// # Errors
/// If something measures already.
pub fn measure() -> Result<PrometheusHandle, Failure> {
    let recorder = PrometheusBuilder::new().install_recorder();
    recorder.map_err(|error| Failure::of("measures cannot be taken", &error))
}

/// Runs the roles until `stop` is cancelled, then drains them and closes what they were kept on.
///
/// # Errors
/// If a role ends by itself, or the data do not close.
pub async fn run(
    config: &Config,
    role: Roles,
    started: Started,
    listeners: Listeners,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Started { storage, instance } = started;
    let Listeners { lmtp, api, internal } = listeners;
    let readiness = Readiness::default();
    let about = node::about(role.name(), config.is_cluster(), &lmtp, api.as_ref(), &internal);
    let node = LocalNode::new(about, instance.clock.now(), stop.clone());
    let token = Secret::new(hex(&seal::random_bytes::<32>()));
    storage.directory().announce(token.expose(), internal.local_addr()?)?;
    let lmtp_address = lmtp.first().and_then(lmtp::Listener::local_addr);

    let mut roles: JoinSet<(&str, std::io::Result<()>)> = JoinSet::new();
    if role.has(Roles::Lmtp) {
        let delivery = lmtp::serve(lmtp, instance.clone(), delivery_settings(config), node.clone());
        roles.spawn(async move {
            delivery.await;
            ("lmtp", Ok(()))
        });
    }
    if role.has(Roles::Workers) {
        let periodic = periodic::jobs(config, &storage);
        let working = workers::run(instance.clone(), worker_settings(config), periodic, node.clone());
        roles.spawn(async move { ("workers", working.await) });
    }
    if let Some(api) = api {
        let router = api::router(instance.clone(), api_settings(config), node.clone());
        let serving = api::serve(vec![api], router, serve_settings(config), stop.clone());
        roles.spawn(async move { ("api", serving.await) });
    }

    // Commands and health are answered until everything else has ended.
    let internal_stop = CancellationToken::new();
    let router = api::internal_router(Internal {
        instance: instance.clone(),
        operator: Arc::new(Operations::new(storage.embedded().cloned(), instance.clone())),
        token,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        node: node.clone(),
        message_bytes: config.size("delivery.message_bytes"),
    });
    let settings = ServeSettings { drain_time: Duration::from_millis(500), ..ServeSettings::default() };
    let administration = tokio::spawn(api::serve(vec![internal], router, settings, internal_stop.clone()));
    let mut upkeep = JoinSet::new();
    upkeep.spawn(node::keep_listed(instance.clone(), node.clone()));
    upkeep.spawn(keep_measures(metrics));
    if config.is_cluster() {
        upkeep.spawn(watch_store(instance.clone(), readiness.clone()));
    }

    readiness.set(true);
    tracing::info!(role = role.name(), "ready");
    if let (Some(data), Some(address)) = (storage.data(), lmtp_address) {
        deliver_welcome(data, address).await;
    }

    let early = tokio::select! {
        () = stop.cancelled() => None,
        // A role that has drained at once after the signal has not ended early.
        ended = roles.join_next() => ended.filter(|_| !stop.is_cancelled()),
    };
    readiness.set(false);
    stop.cancel();
    let drained = tokio::time::timeout(END_TIME, async { while roles.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!("some work did not end in time");
    }
    upkeep.shutdown().await;
    node::forget(&instance, &node).await;
    internal_stop.cancel();
    end(administration).await;
    storage.directory().withdraw();
    drop((roles, instance));
    storage.close().await?;
    match early {
        None => Ok(()),
        Some(Ok((role, Ok(())))) => Err(Failure::other(format!("the role {role} ended by itself"))),
        Some(Ok((role, Err(error)))) => Err(Failure::of(role, &error)),
        Some(Err(error)) => Err(Failure::of("a role", &error)),
    }
}

async fn end(administration: JoinHandle<std::io::Result<()>>) {
    if let Ok(Err(error)) = administration.await {
        tracing::warn!(%error, "the internal listener ended badly");
    }
}

async fn keep_measures(metrics: PrometheusHandle) {
    let mut turns = tokio::time::interval(UPKEEP);
    loop {
        turns.tick().await;
        metrics.run_upkeep();
    }
}

/// Notes when the store cannot be reached, and when it can again, so that nobody sends work here meanwhile.
async fn watch_store(instance: Arc<Instance>, readiness: Readiness) {
    let mut turns = tokio::time::interval(PROBE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let reached = api::reach_store(&instance).await;
        if readiness.set_cut_off(reached.is_err()) {
            match reached {
                Ok(()) => tracing::info!("the store is reached again"),
                Err(error) => tracing::warn!(%error, "the store cannot be reached: not ready"),
            }
        }
    }
}

async fn deliver_welcome(data: &DataDirectory, lmtp: std::net::SocketAddr) {
    let Some(written_at) = data.pending_welcome() else { return };
    let delivered = welcome::deliver(lmtp, &written_at).await.and_then(|()| data.forget_welcome());
    if let Err(error) = delivered {
        tracing::warn!(%error, "the welcome message was not delivered; the next start tries again");
    }
}

fn networks(config: &Config, key: &str) -> Vec<IpNet> {
    config.list(key).unwrap_or_default().iter().filter_map(|text| text.parse().ok()).collect()
}

/// What `setting` asks of who connects; `proxies` is the setting that names the proxies.
fn policy(config: &Config, setting: &str, proxies: &str) -> Policy {
    match config.text(setting) {
        Some("required") => Policy::Required { trusted: networks(config, proxies) },
        _ => Policy::Off,
    }
}

fn delivery_settings(config: &Config) -> lmtp::Settings {
    lmtp::Settings {
        hostname: config.text("delivery.hostname").unwrap_or("localhost").to_owned(),
        message_bytes: config.size("delivery.message_bytes"),
        recipients: config.size("delivery.recipients"),
        connections: config.size("delivery.connections"),
        connections_per_peer: config.size("delivery.connections_per_peer"),
        trusted_relays: networks(config, "delivery.trusted_relays"),
        idle_time: config.seconds("delivery.idle_seconds"),
        transaction_time: config.seconds("delivery.transaction_seconds"),
        session_time: config.seconds("delivery.session_seconds"),
        delivery_time: config.seconds("delivery.delivery_seconds"),
        bytes_in_flight: config.size("delivery.bytes_in_flight"),
        bytes_wait: config.seconds("delivery.bytes_wait_seconds"),
        bare_lf: match config.text("delivery.bare_lf") {
            Some("keep") => lmtp::BareLf::Keep,
            _ => lmtp::BareLf::Refuse,
        },
        bad_commands: config.size("delivery.bad_commands"),
        drain_time: DRAIN_TIME,
        ..lmtp::Settings::default()
    }
}

fn api_settings(config: &Config) -> ApiSettings {
    ApiSettings {
        calls: config.size("rest.calls"),
        time: config.seconds("rest.call_seconds"),
        streams: config.size("rest.streams"),
        bytes_in_flight: config.integer("rest.bytes_in_flight"),
        bytes_wait: config.seconds("rest.bytes_wait_seconds"),
        search_candidates: config.size("rest.search_candidates"),
        sign_ins: config.size("rest.sign_ins"),
        failures_per_address: config.integer("rest.failures_per_address"),
        failures_per_peer: config.integer("rest.failures_per_peer"),
    }
}

fn serve_settings(config: &Config) -> ServeSettings {
    ServeSettings {
        proxy_protocol: policy(config, "rest.proxy_protocol", "rest.proxies"),
        connections: config.size("rest.connections"),
        header_time: config.seconds("rest.header_seconds"),
        header_bytes: config.size("rest.header_bytes"),
        write_time: config.seconds("rest.write_seconds"),
        drain_time: DRAIN_TIME,
    }
}

fn worker_settings(config: &Config) -> workers::Settings {
    let defaults = workers::Settings::default();
    workers::Settings {
        threads: config
            .integer_if_set("workers.threads")
            .map_or(defaults.threads, |_| config.size("workers.threads")),
        batch: config.size("workers.batch"),
        yield_time: config.seconds("workers.yield_seconds"),
        attempts: u32::try_from(config.integer("workers.attempts")).unwrap_or(u32::MAX),
        nice: i32::try_from(config.integer("workers.nice")).unwrap_or(defaults.nice),
        ..defaults
    }
}
