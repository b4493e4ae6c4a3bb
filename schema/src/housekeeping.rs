//! What is done once in a while, so that nothing grows for ever.

use crate::{AccountId, Counts, Durability, Instance, Millis, Position, Result, RowKey, Table, Write};

const DAY: Millis = 24 * 3_600_000;
/// For how long a cursor of the change feed can be gone on from, at least.
const FEED_KEPT: Millis = 30 * DAY;

impl Instance {
    /// Forgets, in every account, changes that every cursor of the last 30 days lies behind, and final deletes of more
    /// than 30 days ago; sessions that are over; notes of late rows that are done with; and nodes that have been dead for long.
    /// To be called at least once a day; calling it more often, or twice at once, does no more. Returns how much of each
    /// was forgotten.
    pub async fn keep_house(&self) -> Result<Counts> {
        let nodes = self.forget_dead_nodes(None).await?;
        let (mut accounts, mut feeds, mut deletions, mut sessions) = (0, 0, 0, 0);
        for account in self.accounts().await? {
            accounts += 1;
            feeds += u64::from(self.trim_changes(account).await?);
            deletions += self.drop_deletions(account).await?;
            sessions += self.drop_expired(account).await?;
            self.drop_late_notes(account).await?;
        }
        let found = [
            ("accounts", accounts),
            ("feedsTrimmed", feeds),
            ("deletionMarks", deletions),
            ("sessions", sessions),
            ("nodes", nodes),
        ];
        Ok(found.into_iter().map(|(name, count)| (name.to_owned(), count)).collect())
    }

    /// Notes where the feed stands today, and drops what came before the note of 30 days ago. Whether there was any.
    async fn trim_changes(&self, account: AccountId) -> Result<bool> {
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
        if !writes.is_empty() {
            self.backend.store.write(writes, Durability::Later).await?;
        }
        Ok(expired.is_some())
    }
}
