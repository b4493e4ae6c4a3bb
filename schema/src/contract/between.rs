//! What a test puts between an instance and its store.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    AccountId, ChangePage, Durability, MailStore, Partitions, Position, Result, Row, RowKey, Scan, Table,
    Write,
};

/// Has its way with calls.
#[async_trait]
pub(super) trait Between: Send + Sync {
    async fn get(&self, store: &dyn MailStore, keys: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>> {
        store.get(keys).await
    }

    async fn scan(&self, store: &dyn MailStore, scan: &Scan) -> Result<Vec<Row>> {
        store.scan(scan).await
    }

    async fn write(&self, store: &dyn MailStore, writes: Vec<Write>, durability: Durability) -> Result<()> {
        store.write(writes, durability).await
    }

    async fn replace(
        &self,
        store: &dyn MailStore,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool> {
        store.replace(key, expected, new, then).await
    }
}

/// A store as it is behind `between`.
pub(super) struct Behind<B> {
    store: Arc<dyn MailStore>,
    pub between: B,
}

impl<B> Behind<B> {
    pub(super) fn new(between: B, store: Arc<dyn MailStore>) -> Arc<Self> {
        Arc::new(Self { store, between })
    }
}

#[async_trait]
impl<B: Between> MailStore for Behind<B> {
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>> {
        self.between.get(&*self.store, keys).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Vec<Row>> {
        self.between.scan(&*self.store, scan).await
    }

    async fn partitions(
        &self,
        table: Table,
        of: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Partitions> {
        self.store.partitions(table, of, after, limit).await
    }

    async fn write(&self, writes: Vec<Write>, durability: Durability) -> Result<()> {
        self.between.write(&*self.store, writes, durability).await
    }

    async fn replace(
        &self,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool> {
        self.between.replace(&*self.store, key, expected, new, then).await
    }

    async fn changes(&self, account: AccountId, since: Position, limit: usize) -> Result<ChangePage> {
        self.store.changes(account, since, limit).await
    }

    async fn position(&self, account: AccountId) -> Result<Position> {
        self.store.position(account).await
    }

    async fn forget_changes(&self, account: AccountId, until: Position) -> Result<()> {
        self.store.forget_changes(account, until).await
    }

    async fn remove_account(&self, account: AccountId) -> Result<()> {
        self.store.remove_account(account).await
    }

    async fn flush(&self) -> Result<()> {
        self.store.flush().await
    }
}
