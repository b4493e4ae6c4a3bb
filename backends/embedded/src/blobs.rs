//! Messages as received: the sealed chunks of each, keyed by account, message and the chunk's number.

use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fjall::{Keyspace, Readable};
use schema::{AccountId, BlobStore, Durability, Error, MessageId, Result, Written};

use crate::calls::{LARGE, run, timed};
use crate::database::Core;
use crate::log::{Log, failed, lock, read_number};
use crate::store::successor;

const READ: &str = "a blob was not read";
/// Locks that puts and removals of one message share.
const LOCKS: usize = 64;
/// Octets before the first chunk that say how many chunks there are.
const COUNT: usize = 8;

/// The chunks of every message.
pub(crate) struct Blobs {
    core: Arc<Core>,
    locks: Vec<Mutex<()>>,
    /// Held by who writes a large message: the journal takes one at a time anyway, and memory holds the copy of one.
    large: tokio::sync::Mutex<()>,
}

impl Blobs {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            locks: std::iter::repeat_with(Mutex::default).take(LOCKS).collect(),
            large: tokio::sync::Mutex::new(()),
        }
    }

    fn log(&self) -> &Log {
        &self.core.log
    }

    fn part(&self) -> &Keyspace {
        &self.core.parts.blobs
    }

    /// So that two puts of one message do not mix their chunks. A message's id is a digest: any octet of it will do.
    fn lock_of(&self, message: MessageId) -> &Mutex<()> {
        &self.locks[usize::from(message.as_bytes()[0]) % LOCKS]
    }

    fn count(&self, account: AccountId, message: MessageId) -> Result<u32> {
        let first = self.part().get(key(account, message, 0)).map_err(failed(READ))?;
        first.map_or(Ok(0), |first| count_of(&first))
    }

    fn write(&self, account: AccountId, message: MessageId, chunks: Vec<Vec<u8>>) -> Result<()> {
        let _lock = lock(self.lock_of(message));
        let before = self.count(account, message)?;
        let count = u32::try_from(chunks.len())
            .map_err(|_| Error::Limit { what: "the number of chunks of a message" })?;
        if before == 0 && count == 0 {
            return Ok(());
        }
        let mut batch = self.log().batch();
        for (number, chunk) in (0..).zip(chunks) {
            // Each chunk is let go when it is copied: a large message is in memory about once.
            if number == 0 {
                let first = [u64::from(count).to_be_bytes().as_slice(), &chunk].concat();
                batch.insert(self.part(), key(account, message, 0), first);
            } else {
                batch.insert(self.part(), key(account, message, number), chunk);
            }
        }
        for number in count..before {
            batch.remove(self.part(), key(account, message, number));
        }
        self.log().commit(batch)
    }

    fn read(&self, account: AccountId, message: MessageId) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(first) = self.part().get(key(account, message, 0)).map_err(failed(READ))? else {
            return Ok(None);
        };
        if count_of(&first)? == 1 {
            return Ok(Some(vec![first[COUNT..].to_vec()]));
        }
        drop(first);
        // As of one moment, in case the chunks are being replaced.
        let snapshot = self.log().database().snapshot();
        let get = |number| snapshot.get(self.part(), key(account, message, number)).map_err(failed(READ));
        let Some(first) = get(0)? else { return Ok(None) };
        let mut chunks = vec![first[COUNT..].to_vec()];
        for number in 1..count_of(&first)? {
            chunks.push(get(number)?.ok_or(Error::Damaged { what: "a blob" })?.to_vec());
        }
        Ok(Some(chunks))
    }

    async fn finish(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::Now => self.log().sync().await,
            Durability::Later => Ok(()),
        }
    }
}

#[async_trait]
impl BlobStore for Blobs {
    async fn put(
        &self,
        account: AccountId,
        message: MessageId,
        chunks: Vec<Vec<u8>>,
        durability: Durability,
    ) -> Result<()> {
        let _time = timed("blobs.put");
        self.log().check()?;
        let octets = chunks.iter().map(Vec::len).sum();
        if octets > LARGE {
            let _turn = self.large.lock().await;
            self.core.wait_for_room(self.part(), 1).await?;
            run(octets, || self.write(account, message, chunks))?;
        } else {
            self.core.wait_for_room(self.part(), 3).await?;
            self.write(account, message, chunks)?;
        }
        self.finish(durability).await
    }

    async fn get(&self, account: AccountId, message: MessageId) -> Result<Option<Vec<Vec<u8>>>> {
        let _time = timed("blobs.get");
        self.log().check()?;
        // Only the first chunk tells whether the message is large, and reading it is most of the work if it is not.
        let large = self.part().size_of(key(account, message, 0)).map_err(failed(READ))?.unwrap_or(0);
        run(large as usize * 8, || self.read(account, message))
    }

    async fn written(&self, account: AccountId, message: MessageId) -> Result<Option<Written>> {
        let _time = timed("blobs.written");
        self.log().check()?;
        let is_there = self.part().contains_key(key(account, message, 0)).map_err(failed(READ))?;
        // One process writes, so nobody needs to know which of two writings it was.
        Ok(is_there.then_some(Written { at: 0, age: Duration::MAX }))
    }

    async fn remove(
        &self,
        account: AccountId,
        message: MessageId,
        until: i64,
        durability: Durability,
    ) -> Result<()> {
        let _time = timed("blobs.remove");
        self.log().check()?;
        if until < 0 {
            return Ok(());
        }
        self.write(account, message, Vec::new())?;
        self.finish(durability).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        let _time = timed("blobs.remove_account");
        self.log().check()?;
        let prefix = account.as_bytes().to_vec();
        let upper = upper_bound(&prefix);
        run(usize::MAX, || self.core.sweep(self.part(), Bound::Included(prefix), upper))?;
        self.log().sync().await
    }

    async fn ids(
        &self,
        account: AccountId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>> {
        let _time = timed("blobs.ids");
        self.log().check()?;
        let lower = match after {
            Some(message) => Bound::Excluded(key(account, message, u32::MAX)),
            None => Bound::Included(account.as_bytes().to_vec()),
        };
        let upper = upper_bound(account.as_bytes());
        let mut ids = Vec::new();
        for guard in self.part().range::<Vec<u8>, _>((lower, upper)) {
            let key = guard.key().map_err(failed(READ))?;
            // A message's first chunk stands for it.
            if key.get(32..) != Some(&[0; 4]) {
                continue;
            }
            ids.extend(MessageId::from_slice(&key[16..32]));
            if ids.len() >= limit {
                break;
            }
        }
        Ok(ids)
    }
}

fn key(account: AccountId, message: MessageId, chunk: u32) -> Vec<u8> {
    [account.as_bytes().as_slice(), message.as_bytes(), &chunk.to_be_bytes()].concat()
}

fn count_of(first: &[u8]) -> Result<u32> {
    let count = first.get(..COUNT).map(read_number).and_then(|count| u32::try_from(count).ok());
    count.filter(|count| *count > 0).ok_or(Error::Damaged { what: "a blob" })
}

fn upper_bound(prefix: &[u8]) -> Bound<Vec<u8>> {
    let next = successor(prefix);
    if next.is_empty() { Bound::Unbounded } else { Bound::Excluded(next) }
}
