//! Messages as they were received, in Cassandra.
//!
//! A blob's first row holds the number of its chunks and, if there is one of moderate size, the chunk itself. Larger
//! blobs have their chunks in partitions of their own, under the generation that the first row names: it is written
//! last, so that a blob is always a whole one.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{AccountId, BlobStore, Durability, Error, MessageId, Result};

use crate::cassandra::Cassandra;

/// A chunk that stands in the first row has at most so many octets.
const INLINE: usize = 256 * 1024;
/// Chunks of a blob that are written or read at once: what a call holds twice.
const CHUNKS_AT_ONCE: usize = 4;
/// Blobs of an account that are removed at once.
const BLOBS_AT_ONCE: usize = 32;

const PUT: &str = "INSERT INTO blobs (partition, bucket, clustering, value) VALUES (?, ?, 0x, ?)";
const GET: &str = "SELECT value FROM blobs WHERE partition = ? AND bucket = ? AND clustering = 0x";
const REMOVE: &str = "DELETE FROM blobs WHERE partition = ? AND bucket = ?";

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

    async fn value(&self, partition: &[u8], bucket: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.cassandra.rows("reading a blob", GET, (partition, bucket)).await?;
        let row = found.maybe_first_row::<(Vec<u8>,)>();
        Ok(row.map_err(|error| Error::permanent("reading a blob", error))?.map(|(value,)| value))
    }

    async fn first(&self, partition: &[u8]) -> Result<Option<First>> {
        self.value(partition, &[]).await?.map(First::from_bytes).transpose()
    }

    async fn remove_chunks(&self, partition: &[u8], first: Option<First>) -> Result<()> {
        let Some(First::Chunks { generation, count }) = first else { return Ok(()) };
        stream::iter((0..count).map(Ok))
            .try_for_each_concurrent(BLOBS_AT_ONCE, |number| async move {
                let bucket = chunk_bucket(&generation, number);
                self.cassandra.run("removing a blob", REMOVE, (partition, bucket)).await.map(drop)
            })
            .await
    }

    /// The partitions and buckets of an account's blobs.
    async fn walk(&self, account: AccountId) -> Result<BTreeSet<(Vec<u8>, Vec<u8>)>> {
        self.cassandra.walk("blobs", |partition| partition.starts_with(account.as_bytes())).await
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
            return self.cassandra.run(WHAT, PUT, (partition, &[][..] as &[u8], first)).await.map(drop);
        }
        let replaced = self.first(partition).await?;
        let generation: Generation = rand::random();
        let count = u32::try_from(chunks.len()).map_err(|error| Error::permanent(WHAT, error))?;
        stream::iter((0..).zip(chunks).map(Ok))
            .try_for_each_concurrent(CHUNKS_AT_ONCE, |(number, chunk)| async move {
                let bucket = chunk_bucket(&generation, number);
                self.cassandra.run(WHAT, PUT, (partition, bucket, chunk)).await.map(drop)
            })
            .await?;
        let first = First::Chunks { generation, count }.to_bytes();
        self.cassandra.run(WHAT, PUT, (partition, &[][..] as &[u8], first)).await?;
        self.remove_chunks(partition, replaced).await
    }

    async fn get(&self, account: AccountId, message: MessageId) -> Result<Option<Vec<Vec<u8>>>> {
        let partition = &schema::pair(account, message.as_bytes());
        // A blob that is replaced meanwhile loses its chunks: the first row says where the new ones are.
        for _ in 0..3 {
            let (generation, count) = match self.first(partition).await? {
                None => return Ok(None),
                Some(First::Inline(chunk)) => return Ok(Some(vec![chunk])),
                Some(First::Chunks { generation, count }) => (generation, count),
            };
            let chunks: Vec<Option<Vec<u8>>> = stream::iter(0..count)
                .map(|number| async move { self.value(partition, &chunk_bucket(&generation, number)).await })
                .buffered(CHUNKS_AT_ONCE)
                .try_collect()
                .await?;
            if let Some(chunks) = chunks.into_iter().collect() {
                return Ok(Some(chunks));
            }
        }
        Err(Error::Damaged { what: "blobs" })
    }

    async fn remove(&self, account: AccountId, message: MessageId, _: Durability) -> Result<()> {
        let partition = &schema::pair(account, message.as_bytes());
        let first = self.first(partition).await?;
        let no_bucket: &[u8] = &[];
        self.cassandra.run("removing a blob", REMOVE, (partition, no_bucket)).await?;
        self.remove_chunks(partition, first).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        stream::iter(self.walk(account).await?.into_iter().map(Ok))
            .try_for_each_concurrent(BLOBS_AT_ONCE, |key| async move {
                self.cassandra.run("removing a blob", REMOVE, key).await.map(drop)
            })
            .await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        let partitions = self.walk(account).await?;
        let firsts = partitions.iter().filter(|(_, bucket)| bucket.is_empty());
        let ids = firsts.filter_map(|(partition, _)| MessageId::from_slice(partition.get(16..)?));
        Ok(ids.filter(|id| after.is_none_or(|after| *id > after)).take(limit).collect())
    }
}
