//! The mark that a final delete leaves, so that the same bytes delivered again stay deleted for a while.

use std::time::Duration;

use crate::states::is_destroyed;
use crate::{
    Account, AccountId, Durability, Error, Instance, ListPosition, MessageId, Millis, Result, RowKey, Scan,
    Table, Write,
};

/// How long a final delete outlives the message.
const KEPT: Millis = 30 * 24 * 3_600_000;
/// A message's row is written so soon after its bytes, or not at all.
pub(crate) const BYTES_WAIT: Duration = Duration::from_secs(300);
/// Marks that are looked at in one step.
const PAGE: usize = 1_000;

/// What the mark of a delete says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deletion {
    /// When it was.
    pub at: Millis,
    /// When the bytes that it found were written, as the blob store counts it.
    pub written: i64,
}

impl Deletion {
    fn to_bytes(self) -> Vec<u8> {
        [self.at.to_be_bytes(), self.written.to_be_bytes()].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::Damaged { what: Table::Deletions.name() };
        let (at, written) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let written = written.try_into().map_err(|_| damaged())?;
        Ok(Self { at: Millis::from_be_bytes(*at), written: i64::from_be_bytes(written) })
    }

    /// Whether it says nothing any more.
    pub(crate) fn is_over(self, now: Millis) -> bool {
        now >= self.at.saturating_add(KEPT)
    }
}

/// As of when the rows of a message that comes in are written: as of when it was received, so that a delivery which is
/// repeated, or slow, undoes nothing that was done with it since. What was received so long ago that the mark of a
/// delete may be gone comes in as of now: what that delete took away is away as of then, for who knows how long.
pub(crate) fn as_of(received_at: Millis, now: Millis) -> Millis {
    if received_at.saturating_add(KEPT) <= now { now } else { received_at.min(now) }
}

/// Where a delete at `at` is marked: by its message, and in the order of time.
pub(crate) fn rows(account: AccountId, message: MessageId, at: Millis) -> [RowKey; 2] {
    let by_time = ListPosition::new(at, message.0).clustering();
    [
        RowKey::of_message(Table::Deletions, account, message),
        RowKey::new(Table::DeletionsByTime, *account.as_bytes(), by_time),
    ]
}

/// The marks of a delete.
pub(crate) fn marks(account: AccountId, message: MessageId, deletion: Deletion) -> [Write; 2] {
    let [by_message, by_time] = rows(account, message, deletion.at);
    [Write::Put(by_message, deletion.to_bytes()), Write::Put(by_time, vec![])]
}

impl Account {
    /// The mark of the message's final delete, if there is one.
    pub(crate) async fn deletion(&self, id: MessageId) -> Result<Option<Deletion>> {
        let [mark, _] = rows(self.id, id, 0);
        let mark = self.instance.row(&mark).await?;
        mark.map(|mark| Deletion::from_bytes(&mark)).transpose()
    }
}

impl Instance {
    /// Drops the marks of an account that say nothing any more. Returns how many.
    pub(crate) async fn drop_deletions(&self, account: AccountId) -> Result<u64> {
        let Some(until) = (self.now() + 1).checked_sub(KEPT) else { return Ok(0) };
        let mut dropped = 0;
        let bound = ListPosition::new(until, [0; 16]).clustering();
        let mut scan = Scan::all(Table::DeletionsByTime, *account.as_bytes(), PAGE).below(bound);
        loop {
            let expired = self.backend.store.scan(&scan).await?;
            dropped += expired.len() as u64;
            let mut left = Vec::new();
            for (clustering, _) in &expired {
                let Some(place) = ListPosition::from_clustering(clustering) else { continue };
                let id = MessageId(place.id);
                let [by_message, by_time] = rows(account, id, place.at);
                let state = RowKey::of_message(Table::States, account, id);
                let found = self.backend.store.get(&[by_message.clone(), state.clone()]).await?;
                let mark = found[0].as_deref().map(Deletion::from_bytes).transpose()?;
                // The message may have come back, and gone again: that mark is another.
                if mark.is_none_or(|mark| mark.at != place.at) {
                    left.push(Write::Delete(by_time));
                    continue;
                }
                // First the state: with the mark alone gone it would keep the message away for ever.
                if is_destroyed(found[1].as_deref()) {
                    self.backend.store.replace(state, found[1].clone(), None, vec![]).await?;
                }
                let then = vec![Write::Delete(by_time)];
                self.backend.store.replace(by_message, found[0].clone(), None, then).await?;
            }
            if !left.is_empty() {
                self.backend.store.write(left, Durability::Later).await?;
            }
            match expired.into_iter().nth(PAGE - 1) {
                Some((last, _)) => scan = scan.above(last),
                None => return Ok(dropped),
            }
        }
    }
}
