//! Documents that were recorded, in bulk.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use elasticsearch::http::Method;
use serde_json::{Value, json};

use crate::Failure;
use crate::elastic::{Elastic, Recorded, recorded};
use crate::measure::in_parallel;

/// How long Elasticsearch may take to learn what its copies hold; it looks every 30 s.
const RELEASE_TIME: Duration = Duration::from_secs(120);

#[derive(Args)]
pub(crate) struct Bulk {
    /// A node of Elasticsearch, `http://host:port`.
    #[arg(long)]
    url: String,
    /// The index; it is made, and taken away at the end.
    #[arg(long)]
    index: String,
    /// How the index is made: settings and mappings.
    #[arg(long)]
    definition: PathBuf,
    /// Requests to `_bulk` that were recorded, one a line.
    #[arg(long)]
    requests: PathBuf,
    /// Copies of the shard beside the primary.
    #[arg(long, default_value_t = 0)]
    replicas: u8,
    /// Has Elasticsearch keep the documents as they were sent.
    #[arg(long)]
    with_source: bool,
    /// Documents in all; those recorded come again under other ids.
    #[arg(long)]
    count: u64,
    /// Documents of a request.
    #[arg(long, default_value_t = 250)]
    together: usize,
    /// Requests under way at once.
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// Ends the run even when its count is not reached.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

/// A document on its way.
struct Document {
    id: String,
    routing: String,
    line: String,
}

impl Bulk {
    pub(crate) async fn run(&self) -> Result<Value, Failure> {
        let documents: Vec<Document> = recorded(&self.requests)?.iter().flat_map(documents).collect();
        if documents.is_empty() {
            return Err("no document was recorded".into());
        }
        let elastic = Elastic::open(&self.url)?;
        let mut definition: Value = serde_json::from_str(&fs::read_to_string(&self.definition)?)?;
        definition["mappings"]["_source"]["enabled"] = self.with_source.into();
        definition["settings"]["index"]["number_of_shards"] = 1.into();
        definition["settings"]["index"]["number_of_replicas"] = self.replicas.into();
        elastic.ask(Method::Put, &self.index, definition.to_string()).await?;
        let found = self.fill(&elastic, Arc::new(documents)).await;
        elastic.ask(Method::Delete, &self.index, String::new()).await?;
        found
    }

    async fn fill(&self, elastic: &Elastic, documents: Arc<Vec<Document>>) -> Result<Value, Failure> {
        let octets: usize = documents.iter().map(|document| document.line.len()).sum();
        let octets = octets as f64 / documents.len() as f64;
        let (count, together) = (self.count, self.together as u64);
        let path = format!("{}/_bulk?filter_path=errors", self.index);
        let (to, source) = (elastic.clone(), documents.clone());
        let send = move |number: u64| {
            let (to, documents, path) = (to.clone(), source.clone(), path.clone());
            async move {
                let numbers = number * together..((number + 1) * together).min(count);
                let body: String = numbers.map(|number| lines(&documents, number)).collect();
                let answer = to.json(Method::Post, &path, body).await?;
                if answer["errors"] == false { Ok(()) } else { Err("a document was not taken".into()) }
            }
        };
        let start = Instant::now();
        let requests = count.div_ceil(together);
        let tally = in_parallel(self.at_once, requests, Duration::from_secs(self.seconds), send).await?;
        let done = (tally.done * together).min(count);
        // Only now all of them are found.
        elastic.ask(Method::Post, &format!("{}/_refresh", self.index), String::new()).await?;
        let wall = start.elapsed().as_secs_f64();
        let kept = self.kept(elastic).await?;
        Ok(json!({
            "tool": "bare bulk", "with_source": self.with_source, "done": done, "recorded": documents.len(),
            "octets_sent_each": octets, "wall_s": wall, "documents_per_s": done as f64 / wall,
            "octets_kept_each": kept / done as f64,
        }))
    }

    /// Octets on the disk, once all is in one segment.
    async fn kept(&self, elastic: &Elastic) -> Result<f64, Failure> {
        let deadline = Instant::now() + RELEASE_TIME;
        while !self.is_released(elastic).await? {
            if Instant::now() > deadline {
                return Err("documents are still kept for their recovery".into());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for step in ["_flush", "_forcemerge?max_num_segments=1", "_flush", "_refresh"] {
            elastic.ask(Method::Post, &format!("{}/{step}", self.index), String::new()).await?;
        }
        let stats = elastic.json(Method::Get, &format!("{}/_stats/store", self.index), String::new()).await?;
        let octets = stats.pointer("/_all/primaries/store/size_in_bytes").and_then(Value::as_f64);
        octets.ok_or_else(|| "no size is told".into())
    }

    /// Whether Elasticsearch may forget what it was sent: until each copy of a shard is known to hold a document, it keeps
    /// the source for the copy's recovery, also where the mapping wants none (`_recovery_source`).
    async fn is_released(&self, elastic: &Elastic) -> Result<bool, Failure> {
        let path = format!("{}/_stats?level=shards", self.index);
        let stats = elastic.json(Method::Get, &path, String::new()).await?;
        let shards = stats["indices"][&self.index]["shards"].as_object().ok_or("no shards are told")?;
        let copies = shards.values().filter_map(Value::as_array).flatten();
        Ok(copies.into_iter().all(|copy| {
            let leases = copy["retention_leases"]["leases"].as_array();
            leases
                .into_iter()
                .flatten()
                .all(|lease| lease["retaining_seq_no"].as_i64() > copy["seq_no"]["max_seq_no"].as_i64())
        }))
    }
}

/// A document and what is to be done with it, as lines. Each round has ids of its own.
fn lines(documents: &[Document], number: u64) -> String {
    let (round, at) = (number / documents.len() as u64, number % documents.len() as u64);
    let Document { id, routing, line } = &documents[at as usize];
    let id = if round == 0 { id.clone() } else { format!("{id}{round}") };
    format!("{}\n{line}\n", json!({ "index": { "_id": id, "routing": routing } }))
}

fn documents(request: &Recorded) -> Vec<Document> {
    let lines: Vec<&str> = request.body.lines().collect();
    let puts = lines.chunks_exact(2).filter_map(|pair| {
        let action: Value = serde_json::from_str(pair[0]).ok()?;
        let of = |name: &str| Some(action.pointer(name)?.as_str()?.to_owned());
        Some(Document { id: of("/index/_id")?, routing: of("/index/routing")?, line: pair[1].to_owned() })
    });
    puts.collect()
}
