//! Tells the other nodes of this one, and does what it is asked to: drain, or go on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use schema::{About, Instance, LocalNode, Node, TOLD_EVERY};
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, timeout};

/// How often it is looked whether the node is asked to drain.
const LOOK: Duration = Duration::from_secs(1);
/// How long a call on the store may take here.
const PATIENCE: Duration = Duration::from_secs(2);

/// What there is to tell from the start to the end.
pub fn about(
    role: &str,
    is_cluster: bool,
    lmtp: &[lmtp::Listener],
    api: Option<&TcpListener>,
    internal: &TcpListener,
) -> About {
    let mut listeners = Vec::new();
    let mut add = |name: &str, address: io::Result<SocketAddr>| {
        listeners.extend(address.ok().map(|address| (name.to_owned(), address.to_string())));
    };
    for address in lmtp.iter().filter_map(lmtp::Listener::local_addr) {
        add("lmtp", Ok(address));
    }
    if let Some(api) = api {
        add("api", api.local_addr());
    }
    add("internal", internal.local_addr());
    // Asked of the kernel itself: a hardened unit does not see /proc/sys.
    let machine = rustix::system::uname();
    About {
        role: role.to_owned(),
        host: machine.nodename().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema_version: is_cluster.then_some(cluster::SCHEMA_VERSION),
        listeners,
    }
}

/// Keeps the node listed, and draining or not as it is asked to, for as long as it is polled.
pub async fn keep_listed(instance: Arc<Instance>, node: Arc<LocalNode>) {
    if let Err(error) = patiently(instance.forget_dead_nodes(Some(node.id()))).await {
        tracing::warn!(%error, "nodes of before were not forgotten");
    }
    let mut turns = tokio::time::interval(LOOK);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<(Instant, Node)> = None;
    loop {
        turns.tick().await;
        // A store that cannot be reached is reported elsewhere; until it says something else the node goes on as it was.
        if let Ok(is_asked) = patiently(instance.is_asked_to_drain(node.id())).await
            && node.set_draining(is_asked)
        {
            tracing::info!(node = %node.id(), is_draining = is_asked, "asked to drain, or to go on");
        }
        let now = node.tell(instance.clock.now());
        let is_old = told.as_ref().is_none_or(|(at, told)| {
            let is_due = instance.backend.is_shared && at.elapsed() >= TOLD_EVERY;
            is_due || told.is_draining != now.is_draining || told.load.is_idle() != now.load.is_idle()
        });
        if is_old && patiently(instance.note_node(&now)).await.is_ok() {
            told = Some((Instant::now(), now));
        }
    }
}

/// Takes the node off the list; if that fails the others see by themselves that it is gone.
pub async fn forget(instance: &Instance, node: &LocalNode) {
    let _ = patiently(instance.forget_node(node.id())).await;
}

async fn patiently<T>(call: impl Future<Output = schema::Result<T>>) -> schema::Result<T> {
    let late = |late| schema::Error::transient("the store does not answer in time", late);
    timeout(PATIENCE, call).await.map_err(late)?
}
