//! Verifies, account by account, that rows, bytes and index entries agree, while everything runs.
//!
//! Mail comes and goes meanwhile, so what looks wrong is looked at once more before it counts.

mod activity;
mod index;
mod report;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{
    Account, DiscussionId, Durability, Entry, Instance, Job, List, ListPosition, MailboxId, Message,
    MessageId, Millis, Remains, Result, Row, RowKey, Scan, Table, ThreadId, Write,
};
use tokio::sync::Semaphore;

pub use report::{Drift, Report};

const PAGE: usize = 500;
/// Ids of a page where a store may go through a whole table for each.
const WALKED: usize = 50_000;
/// Messages, or lists, that are looked at together.
const AT_ONCE: usize = 8;
/// KiB of messages that are opened at once; a larger one is opened alone.
const OPENED_KIB: u32 = 64 * 1024;

/// Checks every account.
///
/// # Errors
/// What the backend says.
pub async fn run(instance: &Arc<Instance>, repair: bool) -> Result<Report> {
    let mut report = Report::default();
    for id in instance.accounts().await? {
        // One may be purged meanwhile.
        if let Some(account) = instance.account(id).await? {
            report.accounts += 1;
            Check::new(account, repair, &mut report).run().await?;
        }
    }
    if repair && report.waiting > 0 {
        workers::requeue_forgotten(instance).await?;
    }
    Ok(report)
}

/// The messages that an account has.
#[derive(Default)]
struct Known {
    messages: HashSet<MessageId>,
    /// When the newest message of each thread was received.
    threads: HashMap<[u8; 16], Millis>,
    /// The same of each discussion.
    discussions: HashMap<[u8; 16], Millis>,
}

impl Known {
    fn add(&mut self, message: &Message) {
        self.messages.insert(message.id);
        let at = message.row.received_at;
        for newest in [
            self.threads.entry(message.thread.0).or_default(),
            self.discussions.entry(message.row.discussion.0).or_default(),
        ] {
            *newest = at.max(*newest);
        }
    }
}

/// What became of a message that was looked at.
enum Look {
    /// Its row opens.
    Whole(Box<Message>),
    /// Its row does not.
    Unreadable(MessageId),
    /// It is not there any more.
    Gone,
}

struct Check<'a> {
    account: Account,
    repair: bool,
    report: Mutex<&'a mut Report>,
    /// KiB of messages that may be opened now.
    room: Semaphore,
    /// Messages whose rows were lost: what else there is of them is not to go.
    lost: Mutex<HashSet<MessageId>>,
}

impl<'a> Check<'a> {
    fn new(account: Account, repair: bool, report: &'a mut Report) -> Self {
        let (room, lost) = (Semaphore::new(OPENED_KIB as usize), Mutex::default());
        Self { account, repair, report: Mutex::new(report), room, lost }
    }

    async fn run(&self) -> Result<()> {
        let known = self.check_messages().await?;
        self.check_lists().await?;
        self.check_activity(&known).await?;
        self.check_bytes(&known.messages).await?;
        self.check_index(&known.messages).await
    }

    fn report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn note(&self, drift: Drift) {
        self.report(|report| report.note(drift, self.repair));
    }

    fn lost(&self) -> MutexGuard<'_, HashSet<MessageId>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance(&self) -> &Arc<Instance> {
        self.account.instance()
    }

    /// Every message of the account: its row, its bytes, and the lists it must stand in.
    async fn check_messages(&self) -> Result<Known> {
        let mut known = Known::default();
        let mut after = None;
        loop {
            let (ids, next) = self.partitions(Table::Messages, after).await?;
            let mut looks =
                stream::iter(ids).map(|id| self.check_message(MessageId(id))).buffer_unordered(AT_ONCE);
            while let Some(look) = looks.try_next().await? {
                match look {
                    Look::Whole(message) => known.add(&message),
                    Look::Unreadable(id) => drop(known.messages.insert(id)),
                    Look::Gone => {}
                }
            }
            if next.is_none() {
                return Ok(known);
            }
            after = next;
        }
    }

    /// What partitions of the account are of beside it, and what gives the next ones.
    async fn partitions(
        &self,
        table: Table,
        after: Option<Vec<u8>>,
    ) -> Result<(Vec<[u8; 16]>, Option<Vec<u8>>)> {
        let id = self.account.id();
        let page = self.instance().backend.store.partitions(table, id.as_bytes(), after, WALKED).await?;
        let own = page.found.iter().filter_map(|partition| partition.get(16..)?.try_into().ok());
        Ok((own.collect(), page.next))
    }

    async fn check_message(&self, id: MessageId) -> Result<Look> {
        let message = match self.account.message(id).await {
            Ok(Some(message)) => message,
            // It was finally deleted between the two.
            Ok(None) => return Ok(Look::Gone),
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => {
                self.note(Drift::UnreadableMessage);
                return Ok(Look::Unreadable(id));
            }
        };
        self.report(|report| report.messages += 1);
        // It may have been finally deleted between the two.
        if !self.has_bytes(&message).await? && self.account.message(id).await?.is_some() {
            self.note(Drift::UnreadableBytes);
        }
        let at = ListPosition::new(message.row.received_at, id.0);
        let row = &message.row;
        let mut lists = vec![List::Account, List::Thread(row.thread), List::Discussion(row.discussion)];
        lists.extend(message.state.mailboxes.iter().map(|&mailbox| List::Mailbox(mailbox)));
        lists.extend(message.state.keywords.iter().map(|keyword| self.account.keyword_list(keyword)));
        let keys: Vec<_> = lists.iter().map(|list| list.row(self.account.id(), at)).collect();
        let found = self.instance().backend.store.get(&keys).await?;
        let entry = Entry::new(&message.state, message.row.size).to_bytes();
        if found.iter().any(|found| found.as_ref() != Some(&entry)) {
            // It may have been changed between the two.
            let (missing, wrong) = self.account.check_list_rows(id, self.repair).await?;
            (0..missing).for_each(|_| self.note(Drift::MissingListRow));
            (0..wrong).for_each(|_| self.note(Drift::WrongListRow));
        }
        Ok(Look::Whole(Box::new(message)))
    }

    /// Whether the bytes of a message are there and its own.
    async fn has_bytes(&self, message: &Message) -> Result<bool> {
        let kib = u32::try_from(message.row.size / 1024 + 1).unwrap_or(OPENED_KIB).min(OPENED_KIB);
        let _room = self.room.acquire_many(kib).await;
        match self.account.raw(message.id).await {
            Ok(raw) => Ok(raw.is_some_and(|raw| self.account.message_id(&raw) == message.id)),
            Err(error) if error.is_transient() => Err(error),
            Err(_) => Ok(false),
        }
    }

    async fn put_missing(&self, key: RowKey, value: Vec<u8>) -> Result<()> {
        self.note(Drift::MissingListRow);
        if self.repair {
            let put = Write::Put(key, value);
            self.instance().backend.store.write(vec![put], Durability::Now).await?;
        }
        Ok(())
    }

    async fn is_absent(&self, key: &RowKey) -> Result<bool> {
        let found = self.instance().backend.store.get(std::slice::from_ref(key)).await?;
        Ok(found.into_iter().all(|value| value.is_none()))
    }

    /// Every row of every list.
    async fn check_lists(&self) -> Result<()> {
        self.check_list(List::Account).await?;
        let kinds: [fn([u8; 16]) -> List; 4] = [
            |id| List::Mailbox(MailboxId(id)),
            List::Keyword,
            |id| List::Thread(ThreadId(id)),
            |id| List::Discussion(DiscussionId(id)),
        ];
        let id = self.account.id();
        for list in kinds {
            let (table, _) = list([0; 16]).partition(id);
            let mut after = None;
            loop {
                let (partitions, next) = self.partitions(table, after).await?;
                let checks = stream::iter(partitions.into_iter().map(Ok));
                checks.try_for_each_concurrent(AT_ONCE, |of| self.check_list(list(of))).await?;
                if next.is_none() {
                    break;
                }
                after = next;
            }
        }
        Ok(())
    }

    async fn check_list(&self, list: List) -> Result<()> {
        let (table, partition) = list.partition(self.account.id());
        let mut scan = Scan::all(table, partition, PAGE);
        loop {
            let page = self.instance().backend.store.scan(&scan).await?;
            self.check_places(list, &page).await?;
            let is_last = page.len() < PAGE;
            match page.into_iter().last() {
                Some((last, _)) if !is_last => scan = scan.above(last),
                _ => return Ok(()),
            }
        }
    }

    async fn check_places(&self, list: List, rows: &[Row]) -> Result<()> {
        let places: Vec<ListPosition> =
            rows.iter().filter_map(|(clustering, _)| ListPosition::from_clustering(clustering)).collect();
        let ids: Vec<MessageId> = places.iter().map(|at| MessageId(at.id)).collect();
        let doubtful: Vec<ListPosition> = match self.account.messages(&ids).await {
            Ok(messages) => {
                let found = places.into_iter().zip(&messages);
                let wrong = found.filter(|(at, message)| !self.stands(list, *at, message.as_ref()));
                wrong.map(|(at, _)| at).collect()
            }
            Err(error) if error.is_transient() => return Err(error),
            // One of them does not open: each by itself.
            Err(_) => places,
        };
        for at in doubtful {
            self.drop_list_row(list, at).await?;
        }
        Ok(())
    }

    /// Whether the message row and the state say that the message stands there.
    fn stands(&self, list: List, at: ListPosition, message: Option<&Message>) -> bool {
        message
            .is_some_and(|message| message.row.received_at == at.at && self.account.is_listed(list, message))
    }

    /// Whether of a message without a row, that came at `at`, all the rest is there, so that the row can be made again.
    async fn is_lost(&self, id: MessageId, at: Millis) -> Result<bool> {
        if self.lost().contains(&id) {
            return Ok(true);
        }
        match self.account.check_row(id, at, self.repair).await? {
            Remains::Nothing => return Ok(false),
            Remains::Young => {}
            Remains::Whole => self.note(Drift::MissingMessageRow),
        }
        self.lost().insert(id);
        Ok(true)
    }

    async fn drop_list_row(&self, list: List, at: ListPosition) -> Result<()> {
        let id = MessageId(at.id);
        match self.account.message(id).await {
            Ok(message) if self.stands(list, at, message.as_ref()) => return Ok(()),
            Ok(None) if self.is_lost(id, at.at).await? => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_transient() => return Err(error),
            // What does not open contradicts nothing; it counts as unreadable.
            Err(_) => return Ok(()),
        }
        let key = list.row(self.account.id(), at);
        // It went, unless it is there still: rows of a message that is being moved right now are written together.
        if self.is_absent(&key).await? {
            return Ok(());
        }
        self.note(Drift::StaleListRow);
        if self.repair {
            self.account.mend_lists(vec![Write::Delete(key.clone())]).await?;
            // It may have been moved there between the look and the write.
            if let Some(message) = self.account.message(id).await?
                && self.stands(list, at, Some(&message))
            {
                let put = Write::Put(key, Entry::new(&message.state, message.row.size).to_bytes());
                self.account.mend_lists(vec![put]).await?;
            }
        }
        Ok(())
    }

    /// Bytes that belong to no message.
    async fn check_bytes(&self, known: &HashSet<MessageId>) -> Result<()> {
        let mut after = None;
        loop {
            let ids = self.instance().backend.blobs.ids(self.account.id(), after, WALKED).await?;
            for &id in &ids {
                if !known.contains(&id) && !self.lost().contains(&id) && !self.account.is_kept(id).await? {
                    self.note(Drift::OrphanBytes);
                    self.remove_remains(id).await?;
                }
            }
            match ids.last() {
                Some(&last) if ids.len() == WALKED => after = Some(last),
                _ => return Ok(()),
            }
        }
    }

    /// By a job, which looks again under the lock of a delivery of the same message.
    async fn remove_remains(&self, id: MessageId) -> Result<()> {
        if self.repair {
            let job = Job::RemoveMessage { account: self.account.id(), message: id };
            self.instance().backend.queue.publish(vec![job]).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
