//! What is done once in a while, so that nothing grows for ever.

use crate::{AccountId, Durability, Instance, Millis, Position, Result, RowKey, Table, Write};

const DAY: Millis = 24 * 3_600_000;
/// For how long a cursor of the change feed can be gone on from, at least.
const FEED_KEPT: Millis = 30 * DAY;

impl Instance {
    /// Forgets, in every account, changes that every cursor of the last 30 days lies behind, and final deletes of more
    /// than 30 days ago. To be called at least once a day; calling it more often does no more.
    pub async fn keep_house(&self) -> Result<()> {
        for account in self.accounts().await? {
            self.trim_changes(account).await?;
            self.drop_deletions(account).await?;
        }
        Ok(())
    }

    /// Notes where the feed stands today, and drops what came before the note of 30 days ago.
    async fn trim_changes(&self, account: AccountId) -> Result<()> {
        let today = self.now() / DAY;
        let mark = |day: Millis| RowKey::new(Table::FeedMarks, *account.as_bytes(), day.to_be_bytes());
        let (mut expired, mut noted) = (None, false);
        let mut writes = Vec::new();
        for (day, position) in self.account_rows(Table::FeedMarks, account).await? {
            let day = day.as_slice().try_into().map_or(0, Millis::from_be_bytes);
            noted |= day == today;
            if day < today.saturating_sub(FEED_KEPT / DAY) {
                expired = Some(Position(position.as_slice().try_into().map_or(0, u64::from_be_bytes)));
                writes.push(Write::Delete(mark(day)));
            }
        }
        if !noted {
            let position = self.backend.store.position(account).await?;
            writes.push(Write::Put(mark(today), position.0.to_be_bytes().to_vec()));
        }
        if let Some(until) = expired {
            self.backend.store.forget_changes(account, until).await?;
        }
        if writes.is_empty() { Ok(()) } else { self.backend.store.write(writes, Durability::Later).await }
    }
}
