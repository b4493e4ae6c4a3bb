//! Single rows, each in a partition of its own.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Failure;
use crate::measure::in_parallel;
use crate::tables::{Tables, put};

#[derive(Args)]
pub(crate) struct Rows {
    #[command(flatten)]
    tables: Tables,
    /// Octets of a value; they do not compress.
    #[arg(long, default_value_t = 4096)]
    octets: usize,
    /// Writes under way at once.
    #[arg(long, default_value_t = 128)]
    in_flight: usize,
    #[arg(long, default_value_t = 200_000)]
    count: u64,
    /// Ends the run even when its count is not reached.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Rows {
    pub(crate) async fn run(&self) -> Result<Value, Failure> {
        let session = self.tables.connect().await?;
        let put = put(&session).await?;
        let value: Arc<Vec<u8>> = Arc::new(noise(self.octets));
        let write = move |_| {
            let (session, put, value) = (session.clone(), put.clone(), value.clone());
            async move {
                let partition = Uuid::new_v4().into_bytes();
                session.execute_unpaged(&put, (&partition[..], &partition[..], &*value)).await?;
                Ok(())
            }
        };
        // The first writes compile what the server runs, and open connections.
        in_parallel(self.in_flight, self.count / 20, Duration::from_secs(2), write.clone()).await?;
        let tally = in_parallel(self.in_flight, self.count, Duration::from_secs(self.seconds), write).await?;
        Ok(json!({
            "tool": "bare rows", "octets": self.octets, "in_flight": self.in_flight, "done": tally.done,
            "wall_s": tally.wall, "rows_per_s": tally.rate(), "latency": tally.latency(),
        }))
    }
}

/// Octets that do not compress.
fn noise(octets: usize) -> Vec<u8> {
    std::iter::repeat_with(|| Uuid::new_v4().into_bytes()).flatten().take(octets).collect()
}
