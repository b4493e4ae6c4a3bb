//! Where the four servers are and how they are talked to.

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// What connects to the cluster.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Rows and blobs.
    pub cassandra: CassandraOptions,
    /// The search index.
    pub elasticsearch: ElasticsearchOptions,
    /// Jobs.
    pub rabbitmq: RabbitmqOptions,
    /// What may be forgotten.
    pub redis: RedisOptions,
}

/// A name and a password.
#[derive(Clone)]
pub struct Login {
    /// Whom the server knows.
    pub name: String,
    /// What it asks for.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Cassandra.
#[derive(Debug, Clone)]
pub struct CassandraOptions {
    /// Some of its nodes, `host:port`; the others are found through them.
    pub nodes: Vec<String>,
    /// The keyspace that holds everything. Default: `signet`.
    pub keyspace: String,
    /// The data centre that is talked to: quorums are its own then. `None`: all nodes are one data centre.
    pub datacenter: Option<String>,
    /// Copies of each row (in the data centre), 1–9; counts when the keyspace is made. Default: 3.
    pub copies: u8,
    /// What it asks for.
    pub login: Option<Login>,
    /// The certificates (PEM) that sign the servers'; `None`: no TLS.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take, 100 ms and up. Default: 8 s.
    pub request_time: Duration,
    /// How far the clocks of any two nodes may be apart. Default: 1 s.
    pub clock_skew: Duration,
    /// How long after its own position an entry of a change feed may still appear, at least `request_time`.
    /// Default: 10 s.
    pub change_time: Duration,
    /// Rows of a list after which newer ones go to finer buckets, 1 and up; a partition never has more than about twice
    /// as many. Default: 50,000.
    pub bucket_rows: u64,
}

impl Default for CassandraOptions {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:9042".into()],
            keyspace: "signet".into(),
            datacenter: None,
            copies: 3,
            login: None,
            ca_file: None,
            request_time: Duration::from_secs(8),
            clock_skew: Duration::from_secs(1),
            change_time: Duration::from_secs(10),
            bucket_rows: 50_000,
        }
    }
}

impl CassandraOptions {
    /// How far the clocks of any two nodes may be apart, in microseconds.
    pub(crate) fn skew_micros(&self) -> i64 {
        i64::try_from(self.clock_skew.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Elasticsearch 7.17, 8 or 9.
#[derive(Debug, Clone)]
pub struct ElasticsearchOptions {
    /// Its nodes, `http://host:port` or `https://…`; one that does not answer is passed over.
    pub urls: Vec<String>,
    /// The alias that is searched; the index behind it is `<alias>-v<version>`. Default: `messages`.
    pub alias: String,
    /// Primary shards, 1–1024; counts when an index is made. Default: 3.
    pub shards: u16,
    /// Copies of each shard beside the primary, 0–9; counts when an index is made. Default: 1.
    pub replicas: u16,
    /// What it asks for.
    pub login: Option<Login>,
    /// The certificates (PEM) that sign the servers'; `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take. Default: 10 s.
    pub request_time: Duration,
}

impl Default for ElasticsearchOptions {
    fn default() -> Self {
        Self {
            urls: vec!["http://127.0.0.1:9200".into()],
            alias: "messages".into(),
            shards: 3,
            replicas: 1,
            login: None,
            ca_file: None,
            request_time: Duration::from_secs(10),
        }
    }
}

/// RabbitMQ 3.10 and up.
#[derive(Debug, Clone)]
pub struct RabbitmqOptions {
    /// Its nodes, `amqp://host:port` or `amqps://…`; one that does not answer is passed over.
    pub urls: Vec<String>,
    /// The virtual host. Default: `/`.
    pub virtual_host: String,
    /// What the names of our queues and exchanges begin with. Default: `signet`.
    pub prefix: String,
    /// Copies of each queue, 1–9; counts when the queues are made. Default: 3.
    pub copies: u8,
    /// What it asks for. `None`: guest, which RabbitMQ takes on loopback only.
    pub login: Option<Login>,
    /// The certificates (PEM) that sign the servers'; `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take. Default: 10 s.
    pub request_time: Duration,
}

impl Default for RabbitmqOptions {
    fn default() -> Self {
        Self {
            urls: vec!["amqp://127.0.0.1:5672".into()],
            virtual_host: "/".into(),
            prefix: "signet".into(),
            copies: 3,
            login: None,
            ca_file: None,
            request_time: Duration::from_secs(10),
        }
    }
}

/// Redis 6 and up.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://host:port` or `rediss://…`.
    pub url: String,
    /// What our keys begin with. Default: `signet:`.
    pub prefix: String,
    /// What it asks for.
    pub login: Option<Login>,
    /// The certificates (PEM) that sign the server's; `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take: after that Redis counts as gone, and nothing is remembered. Default: 250 ms.
    pub request_time: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            prefix: "signet:".into(),
            login: None,
            ca_file: None,
            request_time: Duration::from_millis(250),
        }
    }
}
