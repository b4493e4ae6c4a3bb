//! The four servers together.

use std::sync::Arc;
use std::time::Duration;

use schema::{Backend, Result};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::blobs::CassandraBlobs;
use crate::cache::RedisCache;
use crate::cassandra::{Applied, Cassandra};
use crate::index::ElasticIndex;
use crate::options::Options;
use crate::queue::RabbitQueue;
use crate::start::StartError;
use crate::store::CassandraStore;

/// How often this machine's clock is compared with the servers'.
const COMPARING: Duration = Duration::from_secs(30);

/// The servers, connected.
pub struct Cluster {
    backend: Backend,
    queue: Arc<RabbitQueue>,
    store: Arc<CassandraStore>,
    comparing: JoinHandle<()>,
}

/// Finishes what processes that died have left half done.
#[derive(Clone)]
pub struct Settling(Arc<CassandraStore>);

/// Makes what the servers need, or upgrades it: tables, the index, queues. Safe to repeat, and to run from several places
/// at once.
///
/// # Errors
/// [`StartError`]; what was done until then stays, and the next call goes on.
pub async fn apply_schema(options: &Options) -> std::result::Result<Applied, StartError> {
    let applied = crate::cassandra::apply_schema(&options.cassandra).await?;
    ElasticIndex::apply_schema(&options.elasticsearch).await?;
    crate::queue::apply_schema(&options.rabbitmq).await?;
    Ok(applied)
}

/// What [`apply_schema`] would do to the rows; nothing is changed.
///
/// # Errors
/// [`StartError`] if Cassandra cannot be asked.
pub async fn schema_version(options: &Options) -> std::result::Result<Applied, StartError> {
    crate::cassandra::schema_version(&options.cassandra).await
}

impl Cluster {
    /// Connects to the servers. Redis may be away.
    ///
    /// # Errors
    /// [`StartError`], also where the schema is not the one this program works with.
    pub async fn connect(options: &Options) -> std::result::Result<Self, StartError> {
        let cassandra = Cassandra::connect(&options.cassandra).await?;
        // What is away now may be back when something is to be written.
        if let Err(error) = cassandra.compare_clocks().await {
            tracing::warn!(%error, "the clocks were not compared");
        }
        let store = CassandraStore::new(cassandra.clone(), options.cassandra.bucket_rows);
        let index = ElasticIndex::connect(&options.elasticsearch).await?;
        let queue = Arc::new(RabbitQueue::connect(&options.rabbitmq).await?);
        let cache = RedisCache::connect(&options.redis).await?;
        let comparing = tokio::spawn(compare_clocks(cassandra.clone()));
        let backend = Backend {
            store: store.clone(),
            blobs: CassandraBlobs::new(cassandra),
            index: Arc::new(index),
            queue: queue.clone(),
            cache: Arc::new(cache),
            is_shared: true,
            // Each of two is as far as that from a server, and servers from each other.
            clocks_apart: options.cassandra.clock_skew * 4,
        };
        Ok(Self { backend, queue, store, comparing })
    }

    /// The five traits.
    pub fn backend(&self) -> Backend {
        self.backend.clone()
    }

    /// What is to be called now and then, by one process or more.
    pub fn settling(&self) -> Settling {
        Settling(self.store.clone())
    }

    /// Gives back the jobs that this process holds.
    pub async fn close(self) {
        self.comparing.abort();
        self.queue.close().await;
    }
}

impl Settling {
    /// Returns how many compare-and-sets of dead processes it has finished.
    ///
    /// # Errors
    /// What Cassandra says.
    pub async fn settle(&self) -> Result<u64> {
        let settled = self.0.settle_intents().await?;
        metrics::counter!("signet_drift_repaired_total", "kind" => "intents").increment(settled);
        Ok(settled)
    }
}

async fn compare_clocks(cassandra: Arc<Cassandra>) {
    // The first time was before anything could be written.
    let mut turns = tokio::time::interval_at(Instant::now() + COMPARING, COMPARING);
    loop {
        turns.tick().await;
        match cassandra.compare_clocks().await {
            Ok(distance) => metrics::gauge!("signet_clock_distance_seconds").set(distance.as_secs_f64()),
            Err(error) => tracing::warn!(%error, "the clocks were not compared"),
        }
    }
}
