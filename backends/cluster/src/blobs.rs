//! Messages as they were received, in Cassandra.
//!
//! A blob's first row holds the number of its chunks and, if there is one of moderate size, the chunk itself. Larger
//! blobs have their chunks in partitions of their own, under the generation that the first row names: it is written
//! last, so that a blob is always a whole one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{AccountId, BlobStore, Chunks, Durability, Error, MessageId, Result, Written};

use crate::cassandra::{Cassandra, keep_least, now_micros};

/// A chunk that stands in the first row has at most so many octets.
const INLINE: usize = 256 * 1024;
/// Chunks of a blob that are written or read at once: what a call holds twice.
const CHUNKS_AT_ONCE: usize = 4;
/// First rows that one request asks for.
const FIRSTS_AT_ONCE: usize = 16;
/// Blobs of an account that are removed at once.
const BLOBS_AT_ONCE: usize = 32;

const PUT: &str =
    "INSERT INTO blobs (partition, bucket, clustering, value) VALUES (?, ?, 0x, ?) USING TIMESTAMP ?";
const FIRST: &str =
    "SELECT value, WRITETIME(value) FROM blobs WHERE partition = ? AND bucket = 0x AND clustering = 0x";
const FIRSTS: &str =
    "SELECT partition, value FROM blobs WHERE partition IN ? AND bucket = 0x AND clustering = 0x";
const WRITTEN: &str =
    "SELECT WRITETIME(value) FROM blobs WHERE partition = ? AND bucket = 0x AND clustering = 0x";
const GET: &str = "SELECT value FROM blobs WHERE partition = ? AND bucket = ? AND clustering = 0x";
const REMOVE: &str = "DELETE FROM blobs USING TIMESTAMP ? WHERE partition = ? AND bucket = ?";
const READING: &str = "reading a blob";
const REMOVING: &str = "removing a blob";

type Generation = [u8; 16];

/// What a first row says.
enum First {
    Inline(Vec<u8>),
    Chunks { generation: Generation, count: u32 },
}

impl First {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Inline(chunk) => [&[0][..], chunk].concat(),
            Self::Chunks { generation, count } => [&[1][..], generation, &count.to_be_bytes()].concat(),
        }
    }

    fn from_bytes(mut bytes: Vec<u8>) -> Result<Self> {
        let damaged = Error::Damaged { what: "blobs" };
        match bytes.first() {
            Some(0) => {
                bytes.remove(0);
                Ok(Self::Inline(bytes))
            }
            Some(1) if bytes.len() == 21 => {
                let (generation, count) = bytes[1..].split_at(16);
                match (generation.try_into(), count.try_into()) {
                    (Ok(generation), Ok(count)) => {
                        Ok(Self::Chunks { generation, count: u32::from_be_bytes(count) })
                    }
                    _ => Err(damaged),
                }
            }
            _ => Err(damaged),
        }
    }
}

fn chunk_bucket(generation: &Generation, number: u32) -> Vec<u8> {
    [&generation[..], &number.to_be_bytes()].concat()
}

/// The chunks of every message.
pub(crate) struct CassandraBlobs {
    cassandra: Arc<Cassandra>,
}

impl CassandraBlobs {
    pub(crate) fn new(cassandra: Arc<Cassandra>) -> Arc<Self> {
        Arc::new(Self { cassandra })
    }

    async fn chunk(&self, partition: &[u8], bucket: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.cassandra.rows(READING, GET, (partition, bucket)).await?;
        let row = found.maybe_first_row::<(Vec<u8>,)>();
        Ok(row.map_err(|error| Error::transient(READING, error))?.map(|(value,)| value))
    }

    /// The first row, and when it was written.
    async fn first(&self, partition: &[u8]) -> Result<Option<(First, i64)>> {
        let found = self.cassandra.rows(READING, FIRST, (partition,)).await?;
        let row = found.maybe_first_row::<(Vec<u8>, i64)>();
        let row = row.map_err(|error| Error::transient(READING, error))?;
        row.map(|(value, written_at)| Ok((First::from_bytes(value)?, written_at))).transpose()
    }

    async fn remove_chunks(&self, partition: &[u8], first: First) -> Result<()> {
        let First::Chunks { generation, count } = first else { return Ok(()) };
        let until = self.cassandra.stamp();
        stream::iter((0..count).map(Ok))
            .try_for_each_concurrent(BLOBS_AT_ONCE, |number| async move {
                let bucket = chunk_bucket(&generation, number);
                self.cassandra.run(REMOVING, REMOVE, (until, partition, bucket)).await.map(drop)
            })
            .await
    }

    /// Takes the chunks of `first` away unless the first row names them (again).
    async fn remove_if_replaced(&self, partition: &[u8], first: First) -> Result<()> {
        let First::Chunks { generation, .. } = first else { return Ok(()) };
        match self.first(partition).await? {
            Some((First::Chunks { generation: now, .. }, _)) if now == generation => Ok(()),
            _ => self.remove_chunks(partition, first).await,
        }
    }

    /// The partitions and buckets of an account's blobs.
    async fn walk(&self, account: AccountId) -> Result<BTreeSet<(Vec<u8>, Vec<u8>)>> {
        let mut own = BTreeSet::new();
        let visit = |partition: Vec<u8>, bucket| {
            if partition.starts_with(account.as_bytes()) {
                own.insert((partition, bucket));
            }
        };
        self.cassandra.walk("blobs", visit).await?;
        Ok(own)
    }
}

#[async_trait]
impl BlobStore for CassandraBlobs {
    async fn put(
        &self,
        account: AccountId,
        message: MessageId,
        mut chunks: Vec<Vec<u8>>,
        _: Durability,
    ) -> Result<()> {
        const WHAT: &str = "writing a blob";

        let partition = &schema::pair(account, message.as_bytes());
        if chunks.len() == 1 && chunks[0].len() <= INLINE {
            let first = First::Inline(chunks.swap_remove(0)).to_bytes();
            let values = (partition, &[][..] as &[u8], first, self.cassandra.stamp());
            return self.cassandra.run(WHAT, PUT, values).await.map(drop);
        }
        let replaced = self.first(partition).await?;
        // Another node's clock may be ahead of this one's.
        let above = replaced.as_ref().map_or(0, |(_, written_at)| written_at.saturating_add(1));
        let generation: Generation = rand::random();
        let count = u32::try_from(chunks.len()).map_err(|error| Error::permanent(WHAT, error))?;
        stream::iter((0..).zip(chunks).map(Ok))
            .try_for_each_concurrent(CHUNKS_AT_ONCE, |(number, chunk)| async move {
                let bucket = chunk_bucket(&generation, number);
                let values = (partition, bucket, chunk, self.cassandra.stamp());
                self.cassandra.run(WHAT, PUT, values).await.map(drop)
            })
            .await?;
        let first = First::Chunks { generation, count };
        let values = (partition, &[][..] as &[u8], first.to_bytes(), self.cassandra.stamp().max(above));
        self.cassandra.run(WHAT, PUT, values).await?;
        // Of two that are put at once one has replaced the other by now.
        self.remove_if_replaced(partition, first).await?;
        match replaced {
            Some((replaced, _)) => self.remove_if_replaced(partition, replaced).await,
            None => Ok(()),
        }
    }

    async fn get(&self, account: AccountId, message: MessageId) -> Result<Chunks> {
        let partition = &schema::pair(account, message.as_bytes());
        // A blob that is replaced meanwhile loses its chunks: the first row says where the new ones are.
        for _ in 0..3 {
            let (generation, count) = match self.first(partition).await? {
                None => return Ok(None),
                Some((First::Inline(chunk), _)) => return Ok(Some(vec![chunk])),
                Some((First::Chunks { generation, count }, _)) => (generation, count),
            };
            let chunks: Vec<Option<Vec<u8>>> = stream::iter(0..count)
                .map(|number| async move { self.chunk(partition, &chunk_bucket(&generation, number)).await })
                .buffered(CHUNKS_AT_ONCE)
                .try_collect()
                .await?;
            if let Some(chunks) = chunks.into_iter().collect() {
                return Ok(Some(chunks));
            }
        }
        Err(Error::Damaged { what: "blobs" })
    }

    async fn get_all(&self, account: AccountId, messages: &[MessageId]) -> Result<Vec<Result<Chunks>>> {
        let partitions: Vec<_> =
            messages.iter().map(|message| schema::pair(account, message.as_bytes())).collect();
        let mut firsts = HashMap::with_capacity(messages.len());
        for some in partitions.chunks(FIRSTS_AT_ONCE) {
            let found = self.cassandra.rows(READING, FIRSTS, (some,)).await?;
            let rows = found.rows::<(Vec<u8>, Vec<u8>)>();
            for row in rows.map_err(|error| Error::transient(READING, error))? {
                let (partition, value) = row.map_err(|error| Error::transient(READING, error))?;
                firsts.insert(partition, First::from_bytes(value));
            }
        }
        let mut all = Vec::with_capacity(messages.len());
        for (&message, partition) in messages.iter().zip(&partitions) {
            all.push(match firsts.get_mut(partition) {
                None => Ok(None),
                Some(Ok(First::Inline(chunk))) => Ok(Some(vec![std::mem::take(chunk)])),
                Some(_) => match self.get(account, message).await {
                    Err(error) if error.is_transient() => return Err(error),
                    found => found,
                },
            });
        }
        Ok(all)
    }

    async fn written(&self, account: AccountId, message: MessageId) -> Result<Option<Written>> {
        let partition = schema::pair(account, message.as_bytes());
        let found = self.cassandra.rows(READING, WRITTEN, (partition,)).await?;
        let row = found.maybe_first_row::<(i64,)>().map_err(|error| Error::transient(READING, error))?;
        let age = |at: i64| Duration::from_micros(u64::try_from(now_micros() - at).unwrap_or(0));
        Ok(row.map(|(at,)| Written { at, age: age(at) }))
    }

    async fn remove(&self, account: AccountId, message: MessageId, until: i64, _: Durability) -> Result<()> {
        let partition = &schema::pair(account, message.as_bytes());
        let Some((first, written_at)) = self.first(partition).await? else { return Ok(()) };
        if written_at > until {
            return Ok(());
        }
        let no_bucket: &[u8] = &[];
        self.cassandra.run(REMOVING, REMOVE, (until, partition, no_bucket)).await?;
        self.remove_if_replaced(partition, first).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        // Nothing is written for an account that is removed, but the clocks of who wrote before may be ahead.
        let until = self.cassandra.stamp() + self.cassandra.options.skew_micros();
        stream::iter(self.walk(account).await?.into_iter().map(Ok))
            .try_for_each_concurrent(BLOBS_AT_ONCE, |(partition, bucket)| async move {
                self.cassandra.run(REMOVING, REMOVE, (until, partition, bucket)).await.map(drop)
            })
            .await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        let mut least = BTreeSet::new();
        let visit = |partition: Vec<u8>, bucket: Vec<u8>| {
            let own = partition.strip_prefix(account.as_bytes()).filter(|_| bucket.is_empty());
            let id = own.and_then(MessageId::from_slice).filter(|id| after.is_none_or(|after| *id > after));
            id.into_iter().for_each(|id| keep_least(&mut least, limit, id));
        };
        self.cassandra.walk("blobs", visit).await?;
        Ok(least.into_iter().collect())
    }
}
