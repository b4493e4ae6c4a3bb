//! The newest rows of a partition that holds what Signet keeps of as many messages.

use std::time::Duration;

use clap::Args;
use futures_util::TryStreamExt as _;
use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Failure;
use crate::measure::in_parallel;
use crate::tables::{Tables, put};

/// Rows of a page, where many are read.
const PAGE: i32 = 1_000;
/// Writes under way at once.
const WRITES: usize = 64;

#[derive(Args)]
pub(crate) struct Slice {
    #[command(flatten)]
    tables: Tables,
    /// The keyspace of an instance of Signet: the values of its table `messages` are copied.
    #[arg(long)]
    from: String,
    /// Rows of the partition.
    #[arg(long, default_value_t = 10_000)]
    rows: usize,
    /// Rows of a slice.
    #[arg(long, default_value_t = 50)]
    limit: i32,
    #[arg(long)]
    count: u64,
    /// Read before the clock starts.
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Ends the run even when its count is not reached.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl Slice {
    pub(crate) async fn run(&self) -> Result<Value, Failure> {
        let session = self.tables.connect().await?;
        let values = self.values(&session).await?;
        let (rows, octets) = (values.len(), values.iter().map(Vec::len).sum::<usize>());
        let partition = Uuid::new_v4().into_bytes();
        let (to, put) = (session.clone(), put(&session).await?);
        let values = std::sync::Arc::new(values);
        let write = move |number: u64| {
            let (session, put, values) = (to.clone(), put.clone(), values.clone());
            async move {
                // As in a list: a time, and an id.
                let clustering = [&number.to_be_bytes()[..], &Uuid::new_v4().into_bytes()].concat();
                let row = (&partition[..], clustering, &values[number as usize]);
                session.execute_unpaged(&put, row).await?;
                Ok(())
            }
        };
        in_parallel(WRITES, rows as u64, Duration::from_secs(self.seconds), write).await?;
        let text = "SELECT clustering, value FROM rows WHERE partition = ? AND bucket = 0x \
                    ORDER BY clustering DESC LIMIT ?";
        let mut select = session.prepare(text).await?;
        select.set_is_idempotent(true);
        let (select, limit) = (std::sync::Arc::new(select), self.limit);
        let read = move |_| {
            let (session, select) = (session.clone(), select.clone());
            async move {
                let found = session.execute_unpaged(&select, (&partition[..], limit)).await?;
                let found = found.into_rows_result()?;
                let read = found.rows::<(Vec<u8>, Vec<u8>)>()?.collect::<Result<Vec<_>, _>>()?;
                if read.len() == limit as usize { Ok(()) } else { Err("rows are missing".into()) }
            }
        };
        let longest = Duration::from_secs(self.seconds);
        in_parallel(1, self.warmup, longest, read.clone()).await?;
        let tally = in_parallel(1, self.count, longest, read).await?;
        Ok(json!({
            "tool": "bare slice", "rows": rows, "octets_each": octets / rows.max(1), "done": tally.done,
            "wall_s": tally.wall, "latency": tally.latency(),
        }))
    }

    /// The values of as many messages as are asked for and there.
    async fn values(&self, session: &Session) -> Result<Vec<Vec<u8>>, Failure> {
        let is_name = self.from.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !is_name {
            return Err("that is no name of a keyspace".into());
        }
        let text = format!("SELECT value FROM {}.messages LIMIT {}", self.from, self.rows);
        let found = session.query_iter(Statement::new(text).with_page_size(PAGE), ()).await?;
        let values: Vec<(Vec<u8>,)> = found.rows_stream()?.try_collect().await?;
        if values.len() < self.limit as usize {
            return Err("there are too few messages".into());
        }
        Ok(values.into_iter().map(|(value,)| value).collect())
    }
}
