//! The cluster backend: Cassandra (rows, blobs), Elasticsearch (index), RabbitMQ (jobs) and Redis (what may be forgotten),
//! one file each.
//!
//! [`apply_schema`] makes and upgrades what the servers need, [`Cluster`] connects to them, and [`Cluster::backend`] gives
//! the five traits.

mod blobs;
pub mod cache;
mod calls;
mod cassandra;
mod cluster;
pub mod index;
mod options;
pub mod queue;
mod start;
mod store;
mod tls;

use std::sync::Arc;

use schema::{BlobStore, MailStore};

pub use cassandra::{Applied, VERSION as SCHEMA_VERSION, apply_schema as apply_rows_schema};
pub use cluster::{Cluster, Settling, apply_schema, schema_version};
pub use options::{CassandraOptions, ElasticsearchOptions, Login, Options, RabbitmqOptions, RedisOptions};
pub use start::StartError;

/// Connects to what keeps rows and blobs.
///
/// # Errors
/// [`StartError`], also where the schema is not the one this program works with.
pub async fn connect_rows(
    options: &CassandraOptions,
) -> Result<(Arc<dyn MailStore>, Arc<dyn BlobStore>), StartError> {
    let cassandra = cassandra::Cassandra::connect(options).await?;
    let store = store::CassandraStore::new(cassandra.clone(), options.bucket_rows);
    Ok((store, blobs::CassandraBlobs::new(cassandra)))
}
