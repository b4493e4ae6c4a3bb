//! Names that a test has on the servers for itself, and takes away at its end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::options::QueueDeleteOptions;
use lapin::{Connection, ConnectionProperties};
use scylla::client::session_builder::SessionBuilder;
use serde_json::Value;

use crate::support::Http;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the variable `SIGNET_TEST_<NAME>` says of where a server is.
pub fn server(name: &str) -> String {
    let variable = format!("SIGNET_TEST_{name}");
    std::env::var(&variable).unwrap_or_else(|_| panic!("{variable} names no server"))
}

/// One name, for a keyspace, an alias, queues and keys.
pub struct Names(String);

impl Names {
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self(format!("e2e_{}_{:x}", std::process::id(), since.as_nanos()))
    }

    async fn drop_keyspace(&self) -> Result<()> {
        let nodes = server("CASSANDRA");
        let session = SessionBuilder::new().known_nodes(nodes.split(',')).build().await?;
        session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {self}"), ()).await?;
        Ok(())
    }

    pub async fn delete_queues(&self) -> Result<()> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/rabbitmq/topology-1.json");
        let topology: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        let urls = server("RABBITMQ");
        let url = urls.split(',').next().unwrap_or_default();
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        for queue in topology["queues"].as_array().into_iter().flatten() {
            let name = queue["name"].as_str().unwrap_or_default().replace("{prefix}", &self.0);
            channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
        }
        Ok(())
    }

    async fn delete_cached(&self) -> Result<()> {
        let mut connection = redis::Client::open(server("REDIS"))?.get_multiplexed_async_connection().await?;
        let keys: Vec<Vec<u8>> =
            redis::cmd("KEYS").arg(format!("{self}:*")).query_async(&mut connection).await?;
        if !keys.is_empty() {
            redis::cmd("DEL").arg(keys).exec_async(&mut connection).await?;
        }
        Ok(())
    }

    pub fn delete_indexes(&self) -> Result<()> {
        let urls = server("ELASTICSEARCH");
        let port = urls.split(',').next().and_then(|url| url.trim_end_matches('/').rsplit_once(':'));
        let http = Http::new(port.ok_or("no port")?.1.parse()?);
        let listed = http.try_call("GET", &format!("/{self}-v*/_alias"), None).ok_or("no answer")?;
        if listed.status == 200 {
            for index in listed.json().as_object().into_iter().flatten().map(|(index, _)| index) {
                http.try_call("DELETE", &format!("/{index}"), None);
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let done = runtime.map(|runtime| {
            runtime.block_on(async {
                let all = async {
                    [self.drop_keyspace().await, self.delete_queues().await, self.delete_cached().await]
                };
                tokio::time::timeout(Duration::from_secs(60), all).await
            })
        });
        // A test that fails already must not end all others.
        match done {
            Ok(Ok(done)) => done.into_iter().chain([self.delete_indexes()]).for_each(|done| {
                if let Err(error) = done {
                    eprintln!("something of {self} is left: {error}");
                }
            }),
            _ => eprintln!("all of {self} is left"),
        }
    }
}
