//! The mark that a final delete leaves, so that the same bytes delivered again stay deleted for a while.

use crate::{
    AccountId, Durability, Instance, ListPosition, MessageId, Millis, Result, RowKey, Scan, Table, Write,
};

/// How long a final delete outlives the message.
const KEPT: Millis = 30 * 24 * 3_600_000;
/// Marks that are looked at in one step.
const PAGE: usize = 1_000;

/// Where a delete at `at` is marked: by its message, and in the order of time.
pub(crate) fn rows(account: AccountId, message: MessageId, at: Millis) -> [RowKey; 2] {
    let by_time = ListPosition::new(at, message.0).clustering();
    [
        RowKey::of_message(Table::Deletions, account, message),
        RowKey::new(Table::DeletionsByTime, *account.as_bytes(), by_time),
    ]
}

/// The marks of a delete at `at`.
pub(crate) fn marks(account: AccountId, message: MessageId, at: Millis) -> [Write; 2] {
    let [by_message, by_time] = rows(account, message, at);
    [Write::Put(by_message, at.to_be_bytes().to_vec()), Write::Put(by_time, vec![])]
}

/// When the message was deleted, in the value of its mark.
pub(crate) fn read_time(value: &[u8]) -> Millis {
    value.try_into().map_or(0, Millis::from_be_bytes)
}

/// Whether a delete at `at` says nothing any more.
pub(crate) fn is_over(at: Millis, now: Millis) -> bool {
    now >= at.saturating_add(KEPT)
}

impl Instance {
    /// Drops the marks of an account that say nothing any more.
    pub(crate) async fn drop_deletions(&self, account: AccountId) -> Result<()> {
        let Some(until) = (self.now() + 1).checked_sub(KEPT) else { return Ok(()) };
        let bound = ListPosition::new(until, [0; 16]).clustering();
        let mut scan = Scan::all(Table::DeletionsByTime, *account.as_bytes(), PAGE).below(bound);
        loop {
            let expired = self.backend.store.scan(&scan).await?;
            let mut left = Vec::new();
            for (clustering, _) in &expired {
                let Some(place) = ListPosition::from_clustering(clustering) else { continue };
                let [by_message, by_time] = rows(account, MessageId(place.id), place.at);
                let mark = Some(place.at.to_be_bytes().to_vec());
                let then = vec![Write::Delete(by_time.clone())];
                // The message may have come back, and gone again: that mark is another.
                if !self.backend.store.replace(by_message, mark, None, then).await? {
                    left.push(Write::Delete(by_time));
                }
            }
            if !left.is_empty() {
                self.backend.store.write(left, Durability::Later).await?;
            }
            match expired.into_iter().nth(PAGE - 1) {
                Some((last, _)) => scan = scan.above(last),
                None => return Ok(()),
            }
        }
    }
}
