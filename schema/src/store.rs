//! Rows.

use async_trait::async_trait;

use crate::{AccountId, Change, ChangePage, Millis, Position, Result, Row, RowKey, Scan, Table};

/// One change to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The row holds the value from now on.
    Put(RowKey, Vec<u8>),
    /// The same, as of an earlier time (milliseconds since 1970): what was written later without such a time, and a
    /// delete, stay as they are. The row is a new one, unless the same write is repeated. Where one process alone
    /// writes, it need not differ from a put, for nobody repeats a write that another has followed.
    PutAsOf(RowKey, Vec<u8>, Millis),
    /// The row is not there any more.
    Delete(RowKey),
    /// The account's change feed has one more entry, at a position that the store chooses.
    Change(AccountId, Change),
}

impl Write {
    /// The row that it puts.
    pub(crate) fn puts(&self) -> Option<&RowKey> {
        match self {
            Self::Put(key, _) | Self::PutAsOf(key, _, _) => Some(key),
            Self::Delete(_) | Self::Change(..) => None,
        }
    }

    /// The same write as of now.
    pub(crate) fn of_now(self) -> Self {
        match self {
            Self::PutAsOf(key, value, _) => Self::Put(key, value),
            other => other,
        }
    }
}

/// Some partitions of a table, in an order of the store's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partitions {
    /// Each that holds a row comes once; one whose rows are all gone may come too. There may be none, and more to come.
    pub found: Vec<Vec<u8>>,
    /// What to ask for the next ones with; `None` if these are the last.
    pub next: Option<Vec<u8>>,
}

/// When a write must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the call returns.
    Now,
    /// When a later `Now` write, or a publish to the queue, by the same process returns; until then a crash may undo
    /// it, but never without undoing all that was written after it.
    Later,
}

/// The rows of every table. Calls may be repeated: a write done twice is done once, but for [`Write::Change`], which
/// a client may see twice.
#[async_trait]
pub trait MailStore: Send + Sync {
    /// The values of `keys`, in their order; `None` where there is no row. What a call that returned has written is
    /// seen.
    async fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Rows of one partition in order.
    async fn scan(&self, scan: &Scan) -> Result<Vec<Row>>;

    /// Every row of a scan, read in pages of its limit.
    async fn rows(&self, mut scan: Scan) -> Result<Vec<Row>> {
        let mut all = Vec::new();
        loop {
            let page = self.scan(&scan).await?;
            let is_last = page.len() < scan.limit;
            if let Some((last, _)) = page.last() {
                scan = if scan.descending { scan.below(last.clone()) } else { scan.above(last.clone()) };
            }
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Partitions of a table that begin with `of`, after those of the page that gave `after`; at most `limit` (at least
    /// 1). For verifying and copying only: for all pages together a store may have to go through the whole table. Not for
    /// tables whose rows stand in one partition.
    async fn partitions(
        &self,
        table: Table,
        of: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Partitions>;

    /// Carries out all writes, changes last. Where a crash cuts it short, some of them are done; the embedded backend
    /// does all or none, and of several calls a prefix.
    async fn write(&self, writes: Vec<Write>, durability: Durability) -> Result<()>;

    /// Replaces a row's value if it is still `expected` (`None` = no row), then carries out `then`; durable when it
    /// returns. False if the row holds something else, and then nothing is written. Where a crash cuts it short, what
    /// is left of `then` is carried out later, also by another process. Only for tables where
    /// [`Table::is_compared`].
    async fn replace(
        &self,
        key: RowKey,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        then: Vec<Write>,
    ) -> Result<bool>;

    /// Entries of the account's change feed after `since`, oldest first, at most `limit` (at least 1). No entry ever
    /// appears at or before a cursor that was handed out, and none that a crash could undo is shown. Entries that are
    /// too young for a cursor to stand behind them are all shown after the last that is not, beyond `limit` too, and
    /// again by the next call.
    ///
    /// # Errors
    /// [`crate::Error::CursorExpired`] if entries after `since` have been dropped.
    async fn changes(&self, account: AccountId, since: Position, limit: usize) -> Result<ChangePage>;

    /// Whether the feed has an entry after a cursor that was handed out.
    ///
    /// # Errors
    /// As [`MailStore::changes`].
    async fn has_changes(&self, account: AccountId, since: Position) -> Result<bool> {
        Ok(!self.changes(account, since, 1).await?.changes.is_empty())
    }

    /// The greatest cursor that [`MailStore::changes`] would hand out now; where all have been dropped, that of the
    /// last one dropped, so that it never is an expired cursor. 0 if there never was one.
    async fn position(&self, account: AccountId) -> Result<Position>;

    /// Drops entries of the account's change feed at and before `until`; their cursors are expired from then on.
    async fn forget_changes(&self, account: AccountId, until: Position) -> Result<()>;

    /// Deletes every row whose partition begins with the account; durable when it returns.
    async fn remove_account(&self, account: AccountId) -> Result<()>;

    /// Returns when everything written before is durable.
    async fn flush(&self) -> Result<()>;
}
