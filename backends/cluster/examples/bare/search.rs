//! Searches that were recorded, asked again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use elasticsearch::http::Method;
use serde_json::{Value, json};

use crate::Failure;
use crate::elastic::{Elastic, recorded};
use crate::measure::in_parallel;

#[derive(Args)]
pub(crate) struct Search {
    /// A node of Elasticsearch, `http://host:port`.
    #[arg(long)]
    url: String,
    /// Requests to `_search` that were recorded, one a line.
    #[arg(long)]
    requests: PathBuf,
    #[arg(long)]
    count: u64,
    /// Asked before the clock starts.
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Ends the run even when its count is not reached.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

impl Search {
    pub(crate) async fn run(&self) -> Result<Value, Failure> {
        let requests = Arc::new(recorded(&self.requests)?);
        let elastic = Elastic::open(&self.url)?;
        let (known, longest) = (requests.len(), Duration::from_secs(self.seconds));
        let ask = move |number: u64| {
            let (elastic, requests) = (elastic.clone(), requests.clone());
            async move {
                let request = &requests[number as usize % requests.len()];
                elastic.ask(Method::Post, &request.path, request.body.clone()).await.map(drop)
            }
        };
        in_parallel(1, self.warmup, longest, ask.clone()).await?;
        let tally = in_parallel(1, self.count, longest, ask).await?;
        Ok(json!({
            "tool": "bare search", "recorded": known, "done": tally.done, "wall_s": tally.wall,
            "latency": tally.latency(),
        }))
    }
}
