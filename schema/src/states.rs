//! Changing what a client changes: mailboxes and keywords, and deleting.

use std::collections::HashSet;
use std::sync::Arc;

use crate::deletion::{self, Deletion};
use crate::entry::Entry;
use crate::{
    Account, Change, ChangeKind, Durability, Error, Job, List, ListPosition, Message, MessageId, MessageRow,
    Patched, Result, Role, RowKey, State, StatePatch, Table, Write, value,
};

/// What became of a delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It is in the trash now.
    Trashed(Box<Message>),
    /// It was in the trash and is gone.
    Destroyed,
    /// There is no such message.
    NotFound,
    /// The state has another version.
    Stale,
}

/// The state row of a message that was finally deleted, as long as the mark of that stays: no row would be the state of
/// one that was never touched, and a patch on another node would take it for that.
const DESTROYED: &[u8] = &[];

/// Whether a state row says that its message was finally deleted.
pub(crate) fn is_destroyed(sealed: Option<&[u8]>) -> bool {
    sealed == Some(DESTROYED)
}

/// A message with its state as it stands in the store. Who replaces `sealed`, be it by itself, knows that nobody changed
/// or deleted the message since.
pub(crate) struct Current {
    pub(crate) row: MessageRow,
    pub(crate) state: State,
    pub(crate) key: RowKey,
    pub(crate) sealed: Option<Vec<u8>>,
}

impl Account {
    pub(crate) async fn current(&self, id: MessageId) -> Result<Option<Current>> {
        let message = RowKey::of_message(Table::Messages, self.id, id);
        let key = RowKey::of_message(Table::States, self.id, id);
        let mut found = self.backend().store.get(&[message.clone(), key.clone()]).await?;
        let (sealed, row) = (found.pop().flatten(), found.pop().flatten());
        let Some(row) = row else { return Ok(None) };
        let row = value::open(&self.keys, &message, &row)?;
        let Some(state) = self.open_state(&key, sealed.as_deref())? else { return Ok(None) };
        Ok(Some(Current { row, state, key, sealed }))
    }

    /// Changes a message's mailboxes and keywords. A patch that changes nothing is done and leaves the version.
    pub async fn patch(&self, id: MessageId, patch: &StatePatch) -> Result<Patched> {
        let _turn = self.instance.lock_message(self.id, id).await;
        self.patch_in_turn(id, patch).await
    }

    async fn patch_in_turn(&self, id: MessageId, patch: &StatePatch) -> Result<Patched> {
        loop {
            let Some(current) = self.current(id).await? else { return Ok(Patched::NotFound) };
            if patch.if_version.is_some_and(|version| version != current.state.version) {
                return Ok(Patched::Stale);
            }
            let mut state = current.state.clone();
            if let Some(only) = &patch.only_mailboxes {
                state.mailboxes.clone_from(only);
            }
            for &(mailbox, is_in) in &patch.mailboxes {
                if is_in {
                    state.mailboxes.insert(mailbox)
                } else {
                    state.mailboxes.remove(&mailbox)
                };
            }
            for (keyword, has) in &patch.keywords {
                if *has {
                    state.keywords.insert(keyword.clone())
                } else {
                    state.keywords.remove(keyword)
                };
            }
            if state.mailboxes.is_empty() {
                return Ok(Patched::NoMailboxLeft);
            }
            if state.keywords.len() > crate::KEYWORDS.max(current.state.keywords.len()) {
                return Ok(Patched::TooManyKeywords);
            }
            let entered: Vec<_> = state.mailboxes.difference(&current.state.mailboxes).copied().collect();
            let _held = match entered.iter().all(|&mailbox| self.has_role(mailbox)) {
                true => None,
                false => Some(self.instance.hold_mailboxes(self.id).await),
            };
            for mailbox in entered {
                if self.mailbox_row(mailbox).await?.is_none() {
                    return Ok(Patched::NoSuchMailbox(mailbox));
                }
            }
            if state == current.state {
                // Whoever set it may have died before its lists and the feed told of it: on servers that is finished first.
                if self.backend().is_shared
                    && let Some(sealed) = &current.sealed
                {
                    let change = Change { kind: ChangeKind::MessageUpdated, id: id.0 };
                    let (then, sealed) = (vec![Write::Change(self.id, change)], Some(sealed.clone()));
                    let replaced = self.backend().store.replace(current.key, sealed.clone(), sealed, then);
                    if !replaced.await? {
                        continue;
                    }
                }
                return Ok(Patched::Done(Box::new(self.as_message(id, current.row, state).await?)));
            }
            state.version += 1;
            let then = self.state_writes(id, &current, &state);
            let new = value::seal(&self.keys, &current.key, &state);
            let counting = self.hold_counts().await;
            if self.backend().store.replace(current.key.clone(), current.sealed, Some(new), then).await? {
                counting.note(Some(&current.state), Some(&state), current.row.size);
                self.tell(ChangeKind::MessageUpdated, id.0);
                return Ok(Patched::Done(Box::new(self.as_message(id, current.row, state).await?)));
            }
            counting.note_nothing();
        }
    }

    async fn as_message(&self, id: MessageId, row: MessageRow, state: State) -> Result<Message> {
        Ok(Message { id, thread: self.root(row.thread).await?, row: Arc::new(row), state })
    }

    /// The list rows that differ between the state as it stands and the one to come.
    fn state_writes(&self, id: MessageId, current: &Current, state: &State) -> Vec<Write> {
        let at = ListPosition::new(current.row.received_at, id.0);
        let entry = |state: &State| Entry::new(state, current.row.size);
        let old: HashSet<List> = self.lists(&current.row, &current.state).into_iter().collect();
        let new: HashSet<List> = self.lists(&current.row, state).into_iter().collect();
        let is_same_entry = entry(&current.state) == entry(state);
        let gone = old.difference(&new).map(|list| Write::Delete(list.row(self.id, at)));
        let there = new
            .iter()
            .filter(|list| !is_same_entry || !old.contains(list))
            .map(|list| Write::Put(list.row(self.id, at), entry(state).to_bytes()));
        let change = Change { kind: ChangeKind::MessageUpdated, id: id.0 };
        gone.chain(there).chain([Write::Change(self.id, change)]).collect()
    }

    /// Deletes a message: into the trash, or finally if it is there.
    pub async fn delete(&self, id: MessageId, if_version: Option<u64>) -> Result<Deleted> {
        let trash = self.role_mailbox(Role::Trash);
        let _turn = self.instance.lock_message(self.id, id).await;
        loop {
            let Some(current) = self.current(id).await? else {
                self.tell_deleted_again(id).await?;
                return Ok(Deleted::NotFound);
            };
            let version = current.state.version;
            if if_version.is_some_and(|wanted| wanted != version) {
                return Ok(Deleted::Stale);
            }
            if !current.state.mailboxes.contains(&trash) {
                let patch = StatePatch {
                    if_version: Some(version),
                    only_mailboxes: Some([trash].into()),
                    ..StatePatch::default()
                };
                match self.patch_in_turn(id, &patch).await? {
                    Patched::Done(message) => return Ok(Deleted::Trashed(message)),
                    Patched::NotFound => return Ok(Deleted::NotFound),
                    // Another node was faster: look again.
                    Patched::Stale => continue,
                    Patched::NoSuchMailbox(_) | Patched::NoMailboxLeft | Patched::TooManyKeywords => {
                        return Err(Error::Damaged { what: Table::Mailboxes.name() });
                    }
                }
            }
            let written = self.backend().blobs.written(self.id, id).await?.map_or(0, |written| written.at);
            let then = self.destroying_writes(id, &current, written).await?;
            // First the job, which waits for this turn: what a crash leaves between the two is a job that finds the
            // message there, not bytes that nobody takes away.
            let job = Job::RemoveMessage { account: self.id, message: id };
            self.backend().queue.publish(vec![job]).await?;
            let counting = self.hold_counts().await;
            let destroyed = Some(DESTROYED.to_vec());
            if self.backend().store.replace(current.key, current.sealed, destroyed, then).await? {
                counting.note(Some(&current.state), None, current.row.size);
                // Another process's worker does not wait: it may have found the message there.
                if self.backend().is_shared {
                    self.backend().queue.publish(vec![job]).await?;
                }
                // One that came or went meanwhile may have counted on this one.
                self.keep_listed(Table::ThreadsByActivity, current.row.thread.0).await?;
                self.keep_listed(Table::DiscussionsByActivity, current.row.discussion.0).await?;
                self.tell(ChangeKind::MessageDestroyed, id.0);
                return Ok(Deleted::Destroyed);
            }
            counting.note_nothing();
        }
    }

    /// Whoever deleted a message finally may have died before its lists and the feed told of it: on servers that is finished
    /// before it is answered for.
    async fn tell_deleted_again(&self, id: MessageId) -> Result<()> {
        let key = RowKey::of_message(Table::States, self.id, id);
        let sealed = match self.backend().is_shared {
            true => self.backend().store.get(std::slice::from_ref(&key)).await?.pop().flatten(),
            false => None,
        };
        if is_destroyed(sealed.as_deref()) {
            let change = Write::Change(self.id, Change { kind: ChangeKind::MessageDestroyed, id: id.0 });
            self.backend().store.replace(key, sealed.clone(), sealed, vec![change]).await?;
        }
        Ok(())
    }

    async fn destroying_writes(&self, id: MessageId, current: &Current, written: i64) -> Result<Vec<Write>> {
        let at = ListPosition::new(current.row.received_at, id.0);
        let mut writes = self.activity_without(&current.row, at).await?;
        writes.extend(deletion::marks(self.id, id, Deletion { at: self.instance.now(), written }));
        writes.push(Write::Delete(RowKey::of_message(Table::Messages, self.id, id)));
        let lists = self.lists(&current.row, &current.state);
        writes.extend(lists.iter().map(|list| Write::Delete(list.row(self.id, at))));
        writes.push(Write::Delete(self.unindexed_row(at)));
        writes.push(Write::Change(self.id, Change { kind: ChangeKind::MessageDestroyed, id: id.0 }));
        Ok(writes)
    }

    /// Looks at a message's list rows while nobody changes it, and writes them anew if `repair`. Returns how many are
    /// missing, and how many say something else of the message than its state does.
    pub async fn check_list_rows(&self, id: MessageId, repair: bool) -> Result<(u64, u64)> {
        let _turn = self.instance.lock_message(self.id, id).await;
        self.mend_list_rows(id, repair).await
    }

    /// The same, for who has the message's turn.
    pub(crate) async fn mend_list_rows(&self, id: MessageId, repair: bool) -> Result<(u64, u64)> {
        loop {
            let Some(current) = self.current(id).await? else { return Ok((0, 0)) };
            let at = ListPosition::new(current.row.received_at, id.0);
            let entry = Entry::new(&current.state, current.row.size).to_bytes();
            let lists = self.lists(&current.row, &current.state);
            let keys: Vec<_> = lists.iter().map(|list| list.row(self.id, at)).collect();
            let (mut missing, mut wrong, mut writes) = (0, 0, Vec::new());
            for (key, found) in keys.iter().zip(self.backend().store.get(&keys).await?) {
                match found {
                    Some(found) if found == entry => continue,
                    Some(_) => wrong += 1,
                    None => missing += 1,
                }
                writes.push(Write::Put(key.clone(), entry.clone()));
            }
            if !repair || writes.is_empty() || self.mend_lists_of(id, current, writes).await? {
                return Ok((missing, wrong));
            }
        }
    }

    /// Mends list rows of a message, unless another node has changed or deleted it since: false. Who has seen the lists
    /// without them learns of it by the feed.
    async fn mend_lists_of(&self, id: MessageId, current: Current, mut writes: Vec<Write>) -> Result<bool> {
        writes.push(Write::Change(self.id, Change { kind: ChangeKind::MessageUpdated, id: id.0 }));
        let _counting = self.hold_counts().await;
        let sealed = current.sealed.clone();
        let is_mended = self.backend().store.replace(current.key, current.sealed, sealed, writes).await?;
        if is_mended {
            self.tell(ChangeKind::MessageUpdated, id.0);
        }
        Ok(is_mended)
    }

    /// Whether there is such a message when what is being done with it now is done.
    pub async fn is_kept(&self, id: MessageId) -> Result<bool> {
        let _turn = self.instance.lock_message(self.id, id).await;
        Ok(self.message_row(id).await?.is_some())
    }

    /// Takes away what is left of a message that was finally deleted: its index entry and its bytes. One that came
    /// back meanwhile stays, and so do bytes that another node may have written for a message whose row is to come.
    pub async fn remove_message_remains(&self, id: MessageId) -> Result<()> {
        let _turn = self.instance.lock_message(self.id, id).await;
        // First the bytes, then the row: whoever writes both does so in this order.
        let written = self.backend().blobs.written(self.id, id).await?;
        if self.message_row(id).await?.is_some() {
            return Ok(());
        }
        self.backend().index.remove(self.id, &[id]).await?;
        // It may have come back, and been indexed, between the two.
        if let Some(row) = self.message_row(id).await? {
            return self.index_again(id, row.received_at).await;
        }
        let until = match written {
            None => return Ok(()),
            Some(written) if written.age >= deletion::BYTES_WAIT * 2 => written.at,
            // So young, they may be those of a message that is just coming back: those of before can go.
            Some(_) => match self.deletion(id).await? {
                Some(deletion) => deletion.written,
                None => return Ok(()),
            },
        };
        self.backend().blobs.remove(self.id, id, until, Durability::Later).await
    }
}
