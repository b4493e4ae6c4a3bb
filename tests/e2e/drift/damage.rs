//! What happens to rows, blobs, documents and jobs behind the program's back: by drivers of the test's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lapin::options::QueuePurgeOptions;
use lapin::{Connection, ConnectionProperties};
use schema::{AccountId, MessageId};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::serialize::row::SerializeRow;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::names::server;
use crate::support::Http;

/// Where a row stands in Cassandra.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub table: &'static str,
    pub partition: Vec<u8>,
    pub bucket: Vec<u8>,
    pub clustering: Vec<u8>,
}

impl Place {
    /// The id of what the row of a list stands for.
    pub fn id(&self) -> &[u8] {
        &self.clustering[8..]
    }
}

/// The servers, with the names that the nodes use on them.
pub struct Servers {
    name: String,
    runtime: Runtime,
    session: Session,
    elasticsearch: Http,
}

impl Servers {
    pub fn of(name: String) -> Self {
        let runtime = Runtime::new().unwrap();
        let nodes = server("CASSANDRA");
        let builder = SessionBuilder::new().known_nodes(nodes.split(',')).use_keyspace(&name, false);
        let session = runtime.block_on(builder.build()).unwrap();
        let urls = server("ELASTICSEARCH");
        let port = urls.split(',').next().unwrap().trim_end_matches('/').rsplit_once(':').unwrap().1;
        Self { name, runtime, session, elasticsearch: Http::new(port.parse().unwrap()) }
    }

    fn run(&self, text: String, values: impl SerializeRow) {
        self.runtime.block_on(self.session.query_unpaged(text, values)).unwrap();
    }

    /// Every row of a table whose partition begins with `prefix`.
    pub fn rows(&self, table: &'static str, prefix: &[u8]) -> Vec<Place> {
        let text = format!("SELECT partition, bucket, clustering FROM {table}");
        let found = self.runtime.block_on(self.session.query_unpaged(text, ())).unwrap();
        let found = found.into_rows_result().unwrap();
        let rows = found.rows::<(Vec<u8>, Vec<u8>, Vec<u8>)>().unwrap().map(Result::unwrap);
        let places =
            rows.map(|(partition, bucket, clustering)| Place { table, partition, bucket, clustering });
        places.filter(|place| place.partition.starts_with(prefix)).collect()
    }

    pub fn delete(&self, at: &Place) {
        let text = format!("DELETE FROM {} WHERE partition = ? AND bucket = ? AND clustering = ?", at.table);
        self.run(text, (&at.partition, &at.bucket, &at.clustering));
    }

    /// Puts a row as if that had been done an hour ago, if `is_old`.
    pub fn put(&self, at: &Place, value: &[u8], is_old: bool) {
        let age = if is_old { Duration::from_secs(3600) } else { Duration::ZERO };
        let then = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - age;
        let text = format!(
            "INSERT INTO {} (partition, bucket, clustering, value) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            at.table
        );
        let then = i64::try_from(then.as_micros()).unwrap();
        self.run(text, (&at.partition, &at.bucket, &at.clustering, value, then));
    }

    pub fn value(&self, at: &Place) -> Vec<u8> {
        let text =
            format!("SELECT value FROM {} WHERE partition = ? AND bucket = ? AND clustering = ?", at.table);
        let values = (&at.partition, &at.bucket, &at.clustering);
        let found = self.runtime.block_on(self.session.query_unpaged(text, values)).unwrap();
        found.into_rows_result().unwrap().first_row::<(Vec<u8>,)>().unwrap().0
    }

    fn document(&self, account: AccountId, message: MessageId) -> String {
        let id = BASE64_URL_SAFE_NO_PAD.encode([account.0, message.0].concat());
        let routing = BASE64_URL_SAFE_NO_PAD.encode(account.0);
        format!("/{}/_doc/{id}?routing={routing}&refresh=true", self.name)
    }

    pub fn delete_document(&self, account: AccountId, message: MessageId) {
        let answer = self.elasticsearch.call("DELETE", &self.document(account, message), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// A document of a message that need not be there.
    pub fn put_document(&self, account: AccountId, message: MessageId) {
        // As an id is kept: two numbers that sort as it does.
        let halves = u128::from_be_bytes(message.0);
        let [high, low] = [(halves >> 64) as u64, halves as u64].map(|half| (half ^ 1 << 63) as i64);
        let document = json!({
            "messageHigh": high, "messageLow": low, "receivedAt": 1, "size": 1, "hasAttachment": false,
        });
        let answer = self.elasticsearch.call("PUT", &self.document(account, message), Some(document));
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// Loses every job that waits to be done.
    pub fn lose_jobs(&self) -> u32 {
        self.runtime.block_on(async {
            let urls = server("RABBITMQ");
            let url = urls.split(',').next().unwrap();
            let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            let queue = format!("{}.jobs", self.name);
            channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap()
        })
    }
}
