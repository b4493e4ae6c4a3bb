//! The four servers together.

use std::sync::Arc;
use std::time::Duration;

use schema::Backend;
use tokio::task::JoinHandle;

use crate::blobs::CassandraBlobs;
use crate::cache::RedisCache;
use crate::cassandra::{Applied, Cassandra};
use crate::index::ElasticIndex;
use crate::options::Options;
use crate::queue::RabbitQueue;
use crate::start::StartError;
use crate::store::CassandraStore;

/// How often what dead processes have left half done is looked for.
const SETTLING: Duration = Duration::from_secs(30);

/// The servers, connected.
pub struct Cluster {
    backend: Backend,
    queue: Arc<RabbitQueue>,
    settling: JoinHandle<()>,
}

/// Makes what the servers need, or upgrades it: tables, the index, queues. Safe to repeat, and to run from several places
/// at once.
///
/// # Errors
/// [`StartError`]; what was done until then stays, and the next call goes on.
pub async fn apply_schema(options: &Options) -> Result<Applied, StartError> {
    let applied = crate::cassandra::apply_schema(&options.cassandra).await?;
    ElasticIndex::apply_schema(&options.elasticsearch).await?;
    crate::queue::apply_schema(&options.rabbitmq).await?;
    Ok(applied)
}

/// What [`apply_schema`] would do to the rows; nothing is changed.
///
/// # Errors
/// [`StartError`] if Cassandra cannot be asked.
pub async fn schema_version(options: &Options) -> Result<Applied, StartError> {
    crate::cassandra::schema_version(&options.cassandra).await
}

impl Cluster {
    /// Connects to the servers. Redis may be away.
    ///
    /// # Errors
    /// [`StartError`], also where the schema is not the one this program works with.
    pub async fn connect(options: &Options) -> Result<Self, StartError> {
        let cassandra = Cassandra::connect(&options.cassandra).await?;
        let store = CassandraStore::new(cassandra.clone(), options.cassandra.bucket_rows);
        let index = ElasticIndex::connect(&options.elasticsearch).await?;
        let queue = Arc::new(RabbitQueue::connect(&options.rabbitmq).await?);
        let cache = RedisCache::connect(&options.redis).await?;
        let settling = tokio::spawn(settle(store.clone()));
        let backend = Backend {
            store,
            blobs: CassandraBlobs::new(cassandra),
            index: Arc::new(index),
            queue: queue.clone(),
            cache: Arc::new(cache),
            is_shared: true,
        };
        Ok(Self { backend, queue, settling })
    }

    /// The five traits.
    pub fn backend(&self) -> Backend {
        self.backend.clone()
    }

    /// Gives back the jobs that this process holds.
    pub async fn close(self) {
        self.settling.abort();
        self.queue.close().await;
    }
}

async fn settle(store: Arc<CassandraStore>) {
    let mut tick = tokio::time::interval(SETTLING);
    loop {
        tick.tick().await;
        match store.settle_intents().await {
            Ok(0) => {}
            Ok(settled) => {
                metrics::counter!("signet_drift_repaired_total", "table" => "intents").increment(settled);
            }
            Err(error) => tracing::warn!(%error, "what was left half done was not looked for"),
        }
    }
}
