//! How far the index has read: which messages it does not hold yet.
//!
//! Each has a row in a list, by the time at which it was received, until the index holds it. The first row tells how far
//! the index has read, but what was there before has left marks of deletion in the store, which a look from the start
//! would have to pass over. So each process remembers below which place there is no row. Where it is the only one, it
//! knows of each that comes. Where there are others, most rows are those of mail that has just come in; whoever has put
//! an older one there then changes a note of its own, which tells the others to look from the start again.
//!
//! A row is there before it is judged and noted, and a note is read before the rows that it tells of. So a row that a look
//! has missed is either too new to lie below what the look lets its process remember, or its note is another than the one
//! that the look has read, and the next look finds it. Who dies between row and note has not answered for the message: it
//! is brought again, and noted then.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    Account, AccountId, Durability, Instance, Job, ListPosition, MessageId, Millis, Result, Row, RowKey,
    Scan, Table, Write,
};

/// A row that is there only when its message was received longer ago is a late one. A row that is not is there so long
/// after that, however long it was under way: whether it is late is judged when it is there.
const LATE: Millis = 15_000;
const DAY: Millis = 24 * 3_600_000;

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
    /// The notes of late ones before that was looked for.
    late: Vec<Row>,
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
            (false, _) => (self.first_unindexed(floor).await?, vec![]),
        };
        let floor = match self.backend().is_shared {
            true => found.unwrap_or(BEYOND).min(ListPosition::new(self.settled(now), [0; 16])),
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

    async fn late(&self) -> Result<Vec<Row>> {
        self.instance.account_rows(Table::LateUnindexed, self.id).await
    }

    /// Of messages that were received before that, no row comes any more but late ones: by the clock of any node.
    fn settled(&self, now: Millis) -> Millis {
        let apart = Millis::try_from(self.backend().clocks_apart.as_millis()).unwrap_or(Millis::MAX);
        now.saturating_sub(LATE.saturating_add(apart))
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
        let now = self.instance.now();
        if !self.backend().is_shared || at.at.saturating_add(LATE) > now {
            return Ok(());
        }
        // Of a row that two processes write, one whose clock is behind would lose its note to an earlier one.
        let own = [&(now / DAY).to_be_bytes()[..], &self.instance.process].concat();
        let own = RowKey::new(Table::LateUnindexed, *self.id.as_bytes(), own);
        let another = uuid::Uuid::new_v4().into_bytes().to_vec();
        self.backend().store.write(vec![Write::Put(own, another)], Durability::Later).await
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

impl Instance {
    /// Drops notes of late ones that nobody changes any more: those from before yesterday. Whoever remembers them looks from
    /// the start once more.
    pub(crate) async fn drop_late_notes(&self, account: AccountId) -> Result<()> {
        let yesterday = (self.now() / DAY).saturating_sub(1).to_be_bytes();
        let rows = self.account_rows(Table::LateUnindexed, account).await?.into_iter();
        let old = rows.map(|(note, _)| note).filter(|note| note[..] < yesterday[..]);
        let drops =
            old.map(|note| Write::Delete(RowKey::new(Table::LateUnindexed, *account.as_bytes(), note)));
        let drops: Vec<_> = drops.collect();
        match drops.is_empty() {
            true => Ok(()),
            false => self.backend.store.write(drops, Durability::Later).await,
        }
    }
}
