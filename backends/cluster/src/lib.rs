//! The cluster backend: Cassandra (rows, blobs), Elasticsearch (index), RabbitMQ (jobs) and Redis (what may be forgotten),
//! one file each.
//!
//! [`apply_schema`] makes and upgrades what the servers need, [`Cluster`] connects to them, and [`Cluster::backend`] gives
//! the five traits.

mod options;
mod start;

pub use options::{
    CassandraOptions, ElasticsearchOptions, Login, Options, RabbitmqOptions, RedisOptions,
};
pub use start::StartError;
