//! A keyspace of our own in Cassandra, with a table of the form that Signet's have.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use crate::{Failure, loopback};

/// How long a request may take; tables are made by a server that may be busy.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Writes a row.
const PUT: &str = "INSERT INTO rows (partition, bucket, clustering, value) VALUES (?, 0x, ?, ?)";

#[derive(Args)]
pub(crate) struct Tables {
    /// Cassandra's nodes, `host:port`.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,
    /// The keyspace; made if it is not there.
    #[arg(long)]
    keyspace: String,
    /// Copies of each row.
    #[arg(long, default_value_t = 1)]
    copies: u8,
}

impl Tables {
    /// Connects, at QUORUM.
    pub(crate) async fn connect(&self) -> Result<Arc<Session>, Failure> {
        for node in &self.nodes {
            loopback(node)?;
        }
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::Quorum)
            .request_timeout(Some(REQUEST_TIME))
            .build();
        let builder = SessionBuilder::new()
            .known_nodes(&self.nodes)
            .default_execution_profile_handle(profile.into_handle())
            .keyspaces_to_fetch([&self.keyspace])
            .fetch_full_schema_metadata(false);
        let session = builder.build().await?;
        let (keyspace, copies) = (&self.keyspace, self.copies);
        let text = format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
             {{'class': 'SimpleStrategy', 'replication_factor': {copies}}}"
        );
        session.query_unpaged(text, ()).await?;
        session.use_keyspace(keyspace, false).await?;
        let text = "CREATE TABLE IF NOT EXISTS rows (partition blob, bucket blob, clustering blob, value blob, \
                    PRIMARY KEY ((partition, bucket), clustering)) WITH CLUSTERING ORDER BY (clustering DESC)";
        session.query_unpaged(text, ()).await?;
        session.await_schema_agreement().await?;
        Ok(Arc::new(session))
    }
}

/// What writes a row: partition, clustering, value.
pub(crate) async fn put(session: &Session) -> Result<Arc<PreparedStatement>, Failure> {
    let mut put = session.prepare(PUT).await?;
    put.set_is_idempotent(true);
    Ok(Arc::new(put))
}
