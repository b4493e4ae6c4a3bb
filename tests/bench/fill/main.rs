//! Makes the mailbox behind `tests/bench/run --cluster` a large one: copies of messages that were delivered to it, each
//! with an id, a time and a draw of the tokens of its own, written as rows, blobs and documents by the backend itself,
//! past LMTP and the queue. One JSON object on the standard output; loopback only; bounded by count and by time.

mod copies;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use cluster::{CassandraOptions, Cluster, ElasticsearchOptions, Options, RabbitmqOptions, RedisOptions};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{Account, Instance, Recipient, RowKey, Settings, SystemClock, Table};
use seal::KeyFile;
use serde_json::{Value, json};

use crate::copies::Copies;

/// Whatever goes wrong ends the run.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Messages that are written together: each such lot has Elasticsearch refresh once.
const LOT: u64 = 2_000;
/// Lots under way at once.
const LOTS: usize = 3;

/// The servers and the keys are found as the program finds them.
#[derive(Parser)]
#[command(about = "A large mailbox for tests/bench/run --cluster")]
struct Fill {
    #[arg(long, env = "SIGNET_CASSANDRA_NODES", value_delimiter = ',')]
    cassandra: Vec<String>,
    #[arg(long, env = "SIGNET_CASSANDRA_KEYSPACE")]
    keyspace: String,
    #[arg(long, env = "SIGNET_ELASTICSEARCH_URLS", value_delimiter = ',')]
    elasticsearch: Vec<String>,
    #[arg(long, env = "SIGNET_ELASTICSEARCH_ALIAS")]
    alias: String,
    #[arg(long, env = "SIGNET_RABBITMQ_URLS", value_delimiter = ',')]
    rabbitmq: Vec<String>,
    #[arg(long, env = "SIGNET_RABBITMQ_PREFIX")]
    queues: String,
    #[arg(long, env = "SIGNET_REDIS_URL")]
    redis: String,
    #[arg(long, env = "SIGNET_MASTER_KEY_FILE")]
    key: PathBuf,
    /// Whose mailbox it is.
    #[arg(long)]
    address: String,
    /// Messages to add.
    #[arg(long)]
    count: u64,
    /// Tokens of each, at most.
    #[arg(long, default_value_t = 100)]
    tokens: usize,
    /// Delivered messages that are copied; the shortest of those looked at.
    #[arg(long, default_value_t = 500)]
    templates: usize,
    /// Ends the run even when its count is not reached.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

impl Fill {
    fn options(&self) -> Result<Options, Failure> {
        let places = [&self.cassandra, &self.elasticsearch, &self.rabbitmq].into_iter().flatten();
        for address in places.chain([&self.redis]) {
            let place = address.rsplit_once("://").map_or(address.as_str(), |(_, place)| place);
            let host: Option<IpAddr> = place.rsplit_once(':').and_then(|(host, _)| host.parse().ok());
            if !host.is_some_and(|host| host.is_loopback()) {
                return Err("loopback addresses only".into());
            }
        }
        let (patience, defaults) = (Duration::from_secs(60), CassandraOptions::default());
        Ok(Options {
            cassandra: CassandraOptions {
                nodes: self.cassandra.clone(),
                keyspace: self.keyspace.clone(),
                request_time: patience,
                change_time: patience,
                ..defaults
            },
            elasticsearch: ElasticsearchOptions {
                urls: self.elasticsearch.clone(),
                alias: self.alias.clone(),
                request_time: patience,
                ..ElasticsearchOptions::default()
            },
            rabbitmq: RabbitmqOptions {
                urls: self.rabbitmq.clone(),
                prefix: self.queues.clone(),
                ..RabbitmqOptions::default()
            },
            redis: RedisOptions { url: self.redis.clone(), ..RedisOptions::default() },
        })
    }

    async fn account(&self, cluster: &Cluster) -> Result<Account, Failure> {
        let backend = cluster.backend();
        let id = backend.store.get(&[RowKey::new(Table::Instance, [], *b"id")]).await?.pop().flatten();
        let id: [u8; 16] =
            id.ok_or("there is no instance")?.try_into().map_err(|_| "no id of an instance")?;
        let mut keys = KeyFile::open(&self.key, &id)?;
        keys.share();
        let instance = Instance::open(backend, keys, id, Arc::new(SystemClock), Settings::default()).await?;
        match instance.resolve(&self.address).await? {
            Recipient::Account(id) => Ok(instance.account(id).await?.ok_or("the account is gone")?),
            _ => Err("the address is nobody's".into()),
        }
    }

    async fn run(&self) -> Result<Value, Failure> {
        let cluster = Cluster::connect(&self.options()?).await?;
        let account = self.account(&cluster).await?;
        let copies = Arc::new(Copies::of(account, self.templates, self.tokens, self.count).await?);
        let (start, longest) = (Instant::now(), Duration::from_secs(self.seconds));
        let firsts = (0..self.count).step_by(LOT as usize);
        let lots = stream::iter(firsts.take_while(|_| start.elapsed() < longest)).map(|first| {
            let (copies, numbers) = (copies.clone(), first..(first + LOT).min(self.count));
            async move { tokio::spawn(async move { copies.put(numbers).await }).await? }
        });
        let (done, tokens) = lots
            .buffer_unordered(LOTS)
            .try_fold((0, 0), |sum, lot| async move { Ok((sum.0 + lot.messages, sum.1 + lot.tokens)) })
            .await?;
        let wall = start.elapsed().as_secs_f64();
        cluster.close().await;
        Ok(json!({
            "tool": "fill", "done": done, "wall_s": wall, "messages_per_s": done as f64 / wall,
            "tokens_each": tokens as f64 / done.max(1) as f64,
        }))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match Fill::parse().run().await {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fill: {error}");
            ExitCode::FAILURE
        }
    }
}
