//! What the drivers reach without Signet, on the servers of the moment: what `tests/bench/run --cluster` holds Signet's
//! figures against. One JSON object on the standard output; loopback only; bounded by count and by time.

mod bulk;
mod elastic;
mod measure;
mod publishes;
mod rows;
mod search;
mod slice;
mod tables;

use std::error::Error;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::timeout;

/// Whatever goes wrong ends the run.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A run that takes longer has failed.
const LONGEST_RUN: Duration = Duration::from_secs(300);

#[derive(Parser)]
#[command(about = "Bare drivers for tests/bench/run --cluster")]
enum Command {
    /// Write single rows to Cassandra, prepared, at QUORUM.
    Rows(rows::Rows),
    /// Publish to a quorum queue of RabbitMQ, each publish confirmed.
    Publishes(publishes::Publishes),
    /// Put documents that were recorded into an index of Elasticsearch, in bulk.
    Bulk(bulk::Bulk),
    /// Read the newest rows of one partition of Cassandra.
    Slice(slice::Slice),
    /// Ask Elasticsearch what was recorded.
    Search(search::Search),
}

/// The same address, if it is one of the loopback: `host:port`, with or without a scheme.
pub(crate) fn loopback(address: &str) -> Result<&str, Failure> {
    let place = address.rsplit_once("://").map_or(address, |(_, place)| place);
    let host: Option<IpAddr> = place.rsplit_once(':').and_then(|(host, _)| host.parse().ok());
    match host.is_some_and(|host| host.is_loopback()) {
        true => Ok(address),
        false => Err("loopback addresses only".into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let running = async {
        match Command::parse() {
            Command::Rows(rows) => rows.run().await,
            Command::Publishes(publishes) => publishes.run().await,
            Command::Bulk(bulk) => bulk.run().await,
            Command::Slice(slice) => slice.run().await,
            Command::Search(search) => search.run().await,
        }
    };
    match timeout(LONGEST_RUN, running).await {
        Ok(Ok(found)) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            eprintln!("bare: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("bare: not done within {LONGEST_RUN:?}");
            ExitCode::FAILURE
        }
    }
}
