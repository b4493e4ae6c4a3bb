//! A message whose row is lost, though a list names it and its bytes are there: the row is made of the bytes again.

use std::time::Duration;

use crate::deletion;
use crate::states::is_destroyed;
use crate::{
    Account, Change, ChangeKind, Envelope, Incoming, MessageId, MessageRow, Millis, Result, RowKey, Table,
    Write, value,
};

/// Bytes so young may be those of a delivery that is about to write their row.
const YOUNG: Duration = Duration::from_secs(30);

/// What is left of a message without a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Nothing of which a message could be made: it was finally deleted, or its bytes are lost too.
    Nothing,
    /// Somebody may be about to write its row, or has just done so.
    Young,
    /// Its bytes.
    Whole,
}

impl Account {
    /// Looks what is left of a message that has no row, and makes the row of its bytes if `repair`. It has its state and
    /// its thread again, and the time that a list says; who sent it to whom on the wire is lost.
    pub async fn check_row(&self, id: MessageId, received_at: Millis, repair: bool) -> Result<Remains> {
        let _turn = self.instance.lock_message(self.id, id).await;
        let message = RowKey::of_message(Table::Messages, self.id, id);
        let state = RowKey::of_message(Table::States, self.id, id);
        let [mark, _] = deletion::rows(self.id, id, 0);
        let mut found = self.backend().store.get(&[message.clone(), mark, state.clone()]).await?;
        let (before, mark, row) = (found.pop().flatten(), found.pop().flatten(), found.pop().flatten());
        if row.is_some() {
            return Ok(Remains::Young);
        }
        if mark.is_some() || is_destroyed(before.as_deref()) {
            return Ok(Remains::Nothing);
        }
        let Some(written) = self.backend().blobs.written(self.id, id).await? else {
            return Ok(Remains::Nothing);
        };
        if written.age < YOUNG {
            return Ok(Remains::Young);
        }
        let raw = match self.raw(id).await {
            Ok(Some(raw)) if self.message_id(&raw) == id => raw,
            Err(error) if error.is_transient() => return Err(error),
            _ => return Ok(Remains::Nothing),
        };
        if !repair {
            return Ok(Remains::Whole);
        }
        let incoming = Incoming::prepare(&raw, &self.instance.settings.limits);
        let (thread, _) = self.join_thread(id, &incoming, received_at).await?;
        let row = MessageRow {
            received_at,
            size: incoming.size(),
            thread,
            discussion: self.discussion_of(incoming.participants()),
            envelope: Envelope::default(),
            head: incoming.head().clone(),
        };
        let sealed = value::seal(&self.keys, &message, &row);
        // As of just before its delivery: should that write the row only now, its own is the one that stays. Where something
        // took it away since, that would be hidden, and so would be what its delivery writes.
        let before_it = deletion::as_of(received_at, self.instance.now()).saturating_sub(1);
        let as_of_then = Write::PutAsOf(message.clone(), sealed.clone(), before_it);
        for put in [as_of_then, Write::Put(message.clone(), sealed)] {
            let change = Write::Change(self.id, Change { kind: ChangeKind::MessageCreated, id: id.0 });
            let counting = self.hold_counts().await;
            // Whoever deletes it meanwhile replaces its state.
            let (state, then) = (state.clone(), vec![put, change]);
            if !self.backend().store.replace(state, before.clone(), before.clone(), then).await? {
                return Ok(Remains::Young);
            }
            drop(counting);
            if self.instance.row(&message).await?.is_some() {
                break;
            }
        }
        self.mend_list_rows(id, true).await?;
        self.keep_listed(Table::ThreadsByActivity, self.root(thread).await?.0).await?;
        self.keep_listed(Table::DiscussionsByActivity, row.discussion.0).await?;
        Ok(Remains::Whole)
    }
}
