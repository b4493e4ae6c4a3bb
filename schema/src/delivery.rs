//! Keeping a message: bytes, rows and the index job, in this order, each step safe to repeat.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use crate::deletion::{self, as_of};
use crate::entry::Entry;
use crate::states::is_destroyed;
use crate::{
    Account, Change, ChangeKind, DiscussionId, Durability, Envelope, Error, Job, List, ListPosition,
    MailboxId, MessageId, MessageRow, Millis, Result, Role, RowKey, State, Table, ThreadId, Write,
    compression, step, uuid_v8, value,
};

/// A message that has come in, parsed and compressed once for all of its recipients.
pub struct Incoming<'a> {
    raw: &'a [u8],
    packed: Vec<u8>,
    head: mail::Head,
    thread_keys: mail::thread::ThreadKeys,
    participants: Vec<String>,
}

impl<'a> Incoming<'a> {
    /// Reads and compresses a message. It takes CPU time in proportion to the size: above some hundred KiB, call it
    /// where blocking is allowed.
    pub fn prepare(raw: &'a [u8], limits: &mail::Limits) -> Self {
        let (head, thread_keys, participants) = at_any_rate(|| {
            let head = mail::parse(raw, limits).head();
            let (keys, participants) = (mail::thread::thread_keys(&head), mail::thread::participants(&head));
            (head, keys, participants)
        });
        Self { raw, packed: compression::compress(raw), thread_keys, participants, head }
    }

    /// Octets as received.
    pub fn size(&self) -> u64 {
        self.raw.len() as u64
    }
}

/// Nothing at all in place of what could not be read for a fault of ours: a message is kept whatever it is, and its bytes
/// are there when the fault is mended.
fn at_any_rate<T: Default>(read: impl FnOnce() -> T) -> T {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_default()
}

/// How a message came to one account.
#[derive(Debug, Clone, Default)]
pub struct Arrival {
    /// Who sent it to whom, on the wire.
    pub envelope: Envelope,
    /// When; `None` = now.
    pub received_at: Option<Millis>,
    /// Where it is put; `None` = the inbox.
    pub mailbox: Option<MailboxId>,
    /// What is said of it from the start.
    pub keywords: BTreeSet<String>,
    /// Whether it comes back if it was finally deleted before, as an import wants.
    pub revive: bool,
}

/// What became of a message that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: MessageId,
    /// False if the same bytes were here already, or were finally deleted.
    pub is_new: bool,
}

impl Account {
    /// The id that a message with these bytes has in this account.
    pub fn message_id(&self, raw: &[u8]) -> MessageId {
        MessageId(uuid_v8(&self.keys.digest_bytes(raw)))
    }

    /// Keeps a message. When it returns, bytes, rows and the index job are durable. The same bytes again are the same
    /// message, with the time of the first.
    ///
    /// # Errors
    /// [`Error::Limit`] if the account may not hold it too, unless it comes as an import does; [`Error::Conflict`] if the
    /// mailbox that it is for is gone.
    pub async fn keep(&self, incoming: &Incoming<'_>, arrival: Arrival) -> Result<Kept> {
        let id = self.message_id(incoming.raw);
        self.instance.note_keeping();
        // Two sessions that bring the same bytes at once: the second finds what the first has written.
        let _turn = self.instance.lock_message(self.id, id).await;

        let message = RowKey::of_message(Table::Messages, self.id, id);
        let state_row = RowKey::of_message(Table::States, self.id, id);
        let mut found = self.backend().store.get(&[message.clone(), state_row.clone()]).await?;
        let (before, row) = (found.pop().flatten(), found.pop().flatten());
        let is_destroyed = is_destroyed(before.as_deref());
        if let (Some(sealed), false) = (&row, is_destroyed) {
            let row: MessageRow = value::open(&self.keys, &message, sealed)?;
            self.finish_earlier(id, &row).await?;
            return Ok(Kept { id, is_new: false });
        }
        let deletion = if is_destroyed { self.deletion(id).await? } else { None };
        // Without a mark yet, it is being deleted right now.
        let stays_deleted =
            is_destroyed && deletion.is_none_or(|deletion| !deletion.is_over(self.instance.now()));
        if stays_deleted && !arrival.revive {
            self.wait_until_durable().await?;
            return Ok(Kept { id, is_new: false });
        }

        if !arrival.revive && !self.instance.has_room(self.id, incoming.size()).await? {
            return Err(Error::Limit { what: "the account's quota" });
        }

        let began = Instant::now();
        let chunks = self.keys.seal_blob(id.as_bytes(), &incoming.packed);
        let received_at = arrival.received_at.unwrap_or_else(|| self.instance.now());
        let put = async {
            self.backend().blobs.put(self.id, id, chunks, Durability::Later).await?;
            step!("delivery.blob");
            Ok(())
        };
        // Links that lead to no message do no harm, so they need not wait for the bytes.
        let ((), (thread, connects)) = tokio::try_join!(put, self.join_thread(id, incoming, received_at))?;
        step!("delivery.links");

        let _held = match arrival.mailbox {
            Some(mailbox) if !self.has_role(mailbox) => Some(self.hold_mailbox(mailbox).await?),
            _ => None,
        };
        let state = State {
            version: 0,
            mailboxes: [arrival.mailbox.unwrap_or(self.role_mailbox(Role::Inbox))].into(),
            keywords: arrival.keywords,
        };
        let row = MessageRow {
            received_at,
            size: incoming.size(),
            thread,
            discussion: self.discussion_of(&incoming.participants),
            envelope: arrival.envelope,
            head: incoming.head.clone(),
        };
        let mut writes = self.rows(id, incoming, &row, &state).await?;
        if let Some(deletion) = deletion {
            writes.extend(deletion::rows(self.id, id, deletion.at).map(Write::Delete));
        }
        if began.elapsed() > deletion::BYTES_WAIT {
            return Err(Error::transient(
                "keeping a message",
                "its bytes have waited too long for their row",
            ));
        }
        // A message older than the newest relies on its row, which may go while this one comes.
        let mut relies = [Table::ThreadsByActivity, Table::DiscussionsByActivity]
            .map(|table| !writes.iter().any(|write| write.puts().is_some_and(|key| key.table == table)));
        let counting = self.hold_counts().await;
        if before.is_some() || deletion.is_some() {
            // What was taken away comes back now, not as of a time before that, and unless it comes back elsewhere too.
            let state = Some(value::seal(&self.keys, &state_row, &state));
            writes.retain(|write| write.puts() != Some(&state_row));
            let writes = writes.into_iter().map(Write::of_now).collect();
            if !self.backend().store.replace(state_row, before, state, writes).await? {
                return Err(Error::transient(
                    "keeping a message",
                    "another node changes it at the same time",
                ));
            }
        } else {
            self.backend().store.write(writes, Durability::Later).await?;
        }
        counting.note(None, Some(&state), incoming.size());
        if self.may_have_gone(received_at) {
            let activity = [
                self.thread_activity(thread, received_at),
                self.discussion_activity(row.discussion, received_at),
            ];
            let found = self.backend().store.get(&activity).await?;
            relies.iter_mut().zip(found).for_each(|(relies, found)| *relies |= found.is_none());
        }
        if relies[0] {
            self.keep_listed(Table::ThreadsByActivity, thread.0).await?;
        }
        if relies[1] {
            self.keep_listed(Table::DiscussionsByActivity, row.discussion.0).await?;
        }
        self.note_unindexed(ListPosition::new(received_at, id.0)).await?;
        step!("delivery.rows");

        let mut jobs = vec![Job::IndexMessage { account: self.id, message: id }];
        // A message that is a thread by itself, and made none a part of it, need not look for parts.
        let is_alone = thread.0 == id.0 && !connects;
        let split = if is_alone { vec![] } else { self.split_parts(thread).await? };
        jobs.extend(split.into_iter().map(|thread| Job::CompressThread { account: self.id, thread }));
        self.backend().queue.publish(jobs).await?;
        step!("delivery.job");
        self.tell(ChangeKind::MessageCreated, id.0);
        Ok(Kept { id, is_new: true })
    }

    /// A delivery that was cut short may lack some of its rows, its change, or its job; whoever brings the bytes again
    /// completes it.
    async fn finish_earlier(&self, id: MessageId, row: &MessageRow) -> Result<()> {
        let at = ListPosition::new(row.received_at, id.0);
        let unindexed = self.unindexed_row(at);
        let missing = self.mend_list_rows(id, true).await?.0;
        // Where rows and change are one step, who finds the rows finds the change, and whether the job was done. On servers
        // any of them may have got lost by itself.
        if !self.backend().is_shared && missing == 0 && self.instance.row(&unindexed).await?.is_none() {
            return self.wait_until_durable().await;
        }
        let writes = vec![
            Write::Change(self.id, Change { kind: ChangeKind::MessageCreated, id: id.0 }),
            // As of then: where it was there and has gone since, it stays away.
            Write::PutAsOf(unindexed, vec![], as_of(row.received_at, self.instance.now())),
        ];
        self.backend().store.write(writes, Durability::Later).await?;
        self.keep_listed(Table::ThreadsByActivity, self.root(row.thread).await?.0).await?;
        self.keep_listed(Table::DiscussionsByActivity, row.discussion.0).await?;
        self.note_unindexed(at).await?;
        self.backend().queue.publish(vec![Job::IndexMessage { account: self.id, message: id }]).await?;
        self.tell(ChangeKind::MessageCreated, id.0);
        Ok(())
    }

    /// Returns when all that this process wrote before is durable.
    async fn wait_until_durable(&self) -> Result<()> {
        self.backend().store.write(vec![], Durability::Now).await
    }

    async fn hold_mailbox(&self, mailbox: MailboxId) -> Result<tokio::sync::RwLockReadGuard<'_, ()>> {
        let held = self.instance.hold_mailboxes(self.id).await;
        match self.mailbox_row(mailbox).await? {
            Some(_) => Ok(held),
            None => Err(Error::Conflict { what: "the mailbox is not there (any more)" }),
        }
    }

    /// The id of the discussion among these people.
    pub(crate) fn discussion_of(&self, participants: &[String]) -> DiscussionId {
        let parts: Vec<&[u8]> = participants.iter().map(|address| address.as_bytes()).collect();
        DiscussionId(uuid_v8(&self.keys.digest("discussion", &parts)))
    }

    async fn rows(
        &self,
        id: MessageId,
        incoming: &Incoming<'_>,
        row: &MessageRow,
        state: &State,
    ) -> Result<Vec<Write>> {
        let at = ListPosition::new(row.received_at, id.0);
        let entry = Entry::new(state, row.size).to_bytes();

        let as_of = as_of(row.received_at, self.instance.now());
        let put = |key, value| Write::PutAsOf(key, value, as_of);
        let mut writes = self.activity_writes(row.thread, row.discussion, at).await?;
        let key = RowKey::of_message(Table::Messages, self.id, id);
        writes.push(put(key.clone(), value::seal(&self.keys, &key, row)));
        if *state != State::initial(self.role_mailbox(Role::Inbox)) {
            let key = RowKey::of_message(Table::States, self.id, id);
            writes.push(put(key.clone(), value::seal(&self.keys, &key, state)));
        }
        for list in self.lists(row, state) {
            writes.push(put(list.row(self.id, at), entry.clone()));
        }
        writes.extend(self.subject_row(incoming, row.received_at, row.thread));
        writes.push(put(self.unindexed_row(at), vec![]));
        writes.push(Write::Change(self.id, Change { kind: ChangeKind::MessageCreated, id: id.0 }));
        Ok(writes)
    }

    /// Every list that a message stands in.
    pub(crate) fn lists(&self, row: &MessageRow, state: &State) -> Vec<List> {
        let mut lists = vec![List::Account, List::Thread(row.thread), List::Discussion(row.discussion)];
        lists.extend(state.mailboxes.iter().map(|&mailbox| List::Mailbox(mailbox)));
        lists.extend(state.keywords.iter().map(|keyword| self.keyword_list(keyword)));
        lists
    }

    fn subject_row(&self, incoming: &Incoming<'_>, received_at: Millis, thread: ThreadId) -> Option<Write> {
        let subject = &incoming.thread_keys.base_subject;
        if subject.is_empty() {
            return None;
        }
        let at = ListPosition::new(incoming.head.sent_at.unwrap_or(received_at), thread.0);
        let key = RowKey::new(Table::ThreadsBySubject, self.subject_partition(subject), at.clustering());
        let people = self.participant_hashes(incoming).into_iter().flatten().collect();
        Some(Write::PutAsOf(key, people, as_of(received_at, self.instance.now())))
    }

    pub(crate) fn subject_partition(&self, base_subject: &str) -> Vec<u8> {
        crate::pair(self.id, &self.hash16("base subject", &[base_subject.as_bytes()]))
    }

    /// Keyed hashes of the people a message is among, 8 octets each.
    pub(crate) fn participant_hashes(&self, incoming: &Incoming<'_>) -> HashSet<[u8; 8]> {
        let people = incoming.participants.iter().take(PARTICIPANTS);
        people
            .map(|address| {
                *self.hash16("participant", &[address.as_bytes()]).first_chunk().expect("16 octets hold 8")
            })
            .collect()
    }
}

/// People of a message that count for joining a thread by its subject.
const PARTICIPANTS: usize = 50;

impl Incoming<'_> {
    pub(crate) fn head(&self) -> &mail::Head {
        &self.head
    }

    pub(crate) fn participants(&self) -> &[String] {
        &self.participants
    }

    pub(crate) fn thread_keys(&self) -> &mail::thread::ThreadKeys {
        &self.thread_keys
    }
}

#[cfg(test)]
mod tests {
    use super::at_any_rate;

    #[test]
    fn a_reader_that_panics_has_read_nothing() {
        assert_eq!(at_any_rate(|| 7), 7);
        assert_eq!(at_any_rate(|| -> i32 { panic!("on purpose") }), 0);
    }
}
