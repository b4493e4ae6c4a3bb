//! How far the index has read: which messages it does not hold yet.
//!
//! Each has a row in a list, by the time at which it was received, until the index holds it. The first row tells how far
//! the index has read, but what was there before has left marks of deletion in the store, which a look from the start
//! would have to pass over. So each process remembers below which place there is no row. Where it is the only one, it
//! knows of each that comes. Where there are others, most rows are those of mail that has just come in; whoever has put
//! an older one there then changes a row of its own, which tells the others to look from the start again.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use crate::deletion::BYTES_WAIT;
use crate::{Account, Durability, Job, ListPosition, MessageId, Millis, Result, RowKey, Scan, Table, Write};

/// The row of a message that was received longer ago is a late one.
const LATE: Millis = 60_000;
/// A row that is not late is there so long after its message was received, or never: the clocks of two nodes may differ, and
/// the row may be some time under way.
const SETTLED: Millis = 2 * LATE + BYTES_WAIT.as_millis() as Millis;

/// How far the index has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Everything received up to then is found.
    pub indexed_through: Millis,
    /// Whether everything is found.
    pub complete: bool,
}

/// What a process remembers of an account.
#[derive(Debug, Default)]
pub(crate) struct Unindexed {
    /// Counts the rows that this process has put there, so that a look that one of them overtook is not believed.
    additions: u64,
    /// There is no row before it, but for late ones.
    floor: Option<ListPosition>,
    /// What the row of late ones said before that was looked for.
    late: Option<Vec<u8>>,
}

/// After every place.
const BEYOND: ListPosition = ListPosition { at: Millis::MAX, id: [u8::MAX; 16] };

impl Account {
    /// Notes that the index holds these messages. It is durable with the next durable write.
    pub async fn note_indexed(&self, messages: &[(Millis, MessageId)]) -> Result<()> {
        let rows = messages.iter().map(|&(received_at, id)| {
            Write::Delete(self.unindexed_row(ListPosition::new(received_at, id.0)))
        });
        self.backend().store.write(rows.collect(), Durability::Later).await
    }

    /// How far the index has read.
    pub async fn index_progress(&self) -> Result<Progress> {
        let known = self.unindexed();
        let (additions, floor, late) = {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            (known.additions, known.floor, known.late.clone())
        };
        let now = self.instance.now();
        let (found, late) = match (self.backend().is_shared, floor) {
            (true, Some(_)) => {
                let (found, late_now) = tokio::try_join!(self.first_unindexed(floor), self.late())?;
                let found = if late_now == late { found } else { self.first_unindexed(None).await? };
                (found, late_now)
            }
            // First what tells of late ones: one that comes meanwhile is looked for the next time.
            (true, None) => {
                let late_now = self.late().await?;
                (self.first_unindexed(None).await?, late_now)
            }
            (false, _) => (self.first_unindexed(floor).await?, None),
        };
        let floor = match self.backend().is_shared {
            true => found.unwrap_or(BEYOND).min(ListPosition::new(now.saturating_sub(SETTLED), [0; 16])),
            false => found.unwrap_or(BEYOND),
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.additions == additions {
            (known.floor, known.late) = (Some(floor), late);
        }
        Ok(match found {
            Some(at) => Progress { indexed_through: at.at.saturating_sub(1), complete: false },
            None => Progress { indexed_through: self.instance.now(), complete: true },
        })
    }

    async fn first_unindexed(&self, floor: Option<ListPosition>) -> Result<Option<ListPosition>> {
        let mut scan = Scan::all(Table::Unindexed, *self.id.as_bytes(), 1);
        if let Some(floor) = floor {
            scan.lower = Bound::Included(floor.clustering());
        }
        let row = self.backend().store.scan(&scan).await?.pop();
        Ok(row.and_then(|(clustering, _)| ListPosition::from_clustering(&clustering)))
    }

    fn late_row(&self) -> RowKey {
        RowKey::new(Table::LateUnindexed, *self.id.as_bytes(), [])
    }

    async fn late(&self) -> Result<Option<Vec<u8>>> {
        self.instance.row(&self.late_row()).await
    }

    fn unindexed(&self) -> Arc<Mutex<Unindexed>> {
        self.instance.unindexed.get_with(self.id, Arc::default)
    }

    pub(crate) fn unindexed_row(&self, at: ListPosition) -> RowKey {
        RowKey::new(Table::Unindexed, *self.id.as_bytes(), at.clustering())
    }

    /// Notes that the row of a message that waits to be indexed has been written, and tells other processes if it is late.
    pub(crate) async fn note_unindexed(&self, at: ListPosition) -> Result<()> {
        {
            let known = self.unindexed();
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.additions += 1;
            known.floor = known.floor.map(|floor| floor.min(at));
        }
        if !self.backend().is_shared || at.at.saturating_add(LATE) > self.instance.now() {
            return Ok(());
        }
        let another = uuid::Uuid::new_v4().into_bytes().to_vec();
        self.backend().store.write(vec![Write::Put(self.late_row(), another)], Durability::Later).await
    }

    /// Has a message put into the index once more, which waits for it until then.
    pub async fn index_again(&self, id: MessageId, received_at: Millis) -> Result<()> {
        let at = ListPosition::new(received_at, id.0);
        let waits = Write::Put(self.unindexed_row(at), vec![]);
        self.backend().store.write(vec![waits], Durability::Later).await?;
        self.note_unindexed(at).await?;
        self.backend().queue.publish(vec![Job::IndexMessage { account: self.id, message: id }]).await
    }
}
