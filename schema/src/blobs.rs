//! Messages as they were received, compressed and sealed in chunks.

use std::time::Duration;

use async_trait::async_trait;

use crate::{AccountId, Durability, MessageId, Result};

/// When a message's bytes were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// As the store counts it: what is written later has a greater one.
    pub at: i64,
    /// How long ago that is, give or take the skew of clocks. Where one process alone writes it may be any time, for there
    /// the turn of the message keeps its writers apart.
    pub age: Duration,
}

/// The chunks of a message in order; `None` if there is no such blob.
pub type Chunks = Option<Vec<Vec<u8>>>;

/// The sealed chunks of every message. The store sees neither their content nor how they hang together.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Keeps the chunks of a message, in order, at least one. A repeated put of the same chunks changes nothing; chunks
    /// sealed anew replace the old ones as a whole.
    async fn put(
        &self,
        account: AccountId,
        message: MessageId,
        chunks: Vec<Vec<u8>>,
        durability: Durability,
    ) -> Result<()>;

    /// All chunks of a message in order, or `None` if there is no such blob.
    async fn get(&self, account: AccountId, message: MessageId) -> Result<Chunks>;

    /// The chunks of several messages, each as [`Self::get`] gives them, in the order of their ids. All are held at once, so
    /// it is for messages of moderate size.
    ///
    /// # Errors
    /// What keeps any of them from being read; what is wrong with one of them is said in its place.
    async fn get_all(&self, account: AccountId, messages: &[MessageId]) -> Result<Vec<Result<Chunks>>> {
        let mut found = Vec::with_capacity(messages.len());
        for &message in messages {
            found.push(match self.get(account, message).await {
                Err(error) if error.is_transient() => return Err(error),
                found => found,
            });
        }
        Ok(found)
    }

    /// When a message's chunks were put, or `None` if there is no such blob.
    async fn written(&self, account: AccountId, message: MessageId) -> Result<Option<Written>>;

    /// Takes a message's chunks away if they were written at `until` ([`Written::at`]) or before. An unknown one is
    /// ignored.
    async fn remove(
        &self,
        account: AccountId,
        message: MessageId,
        until: i64,
        durability: Durability,
    ) -> Result<()>;

    /// Takes away all chunks of the account; durable when it returns.
    async fn remove_account(&self, account: AccountId) -> Result<()>;

    /// Ids that have a blob, ascending, strictly after `after`, at most `limit`: what a check compares with the rows.
    async fn ids(&self, account: AccountId, after: Option<MessageId>, limit: usize)
    -> Result<Vec<MessageId>>;
}
