//! Verifies, account by account, that rows, bytes and index entries agree, while everything runs.
//!
//! Mail comes and goes meanwhile, so what looks wrong is looked at once more before it counts.

mod activity;
mod report;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schema::{
    Account, DiscussionId, Durability, Entry, Error, Instance, Job, List, ListPosition, MailboxId, Message,
    MessageId, Millis, Result, Row, RowKey, Scan, Table, ThreadId, Write,
};

pub use report::{Drift, Report};

const PAGE: usize = 500;

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
            Check { account, repair, report: &mut report }.run().await?;
        }
    }
    if repair && report.waiting > 0 {
        workers::requeue_forgotten(instance).await?;
    }
    Ok(report)
}

async fn rows(instance: &Instance, table: Table, partition: Vec<u8>) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    let mut scan = Scan::all(table, partition, PAGE);
    loop {
        let page = instance.backend.store.scan(&scan).await?;
        let is_last = page.len() < PAGE;
        if let Some((clustering, _)) = page.last() {
            scan = scan.above(clustering.clone());
        }
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
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

struct Check<'a> {
    account: Account,
    repair: bool,
    report: &'a mut Report,
}

impl Check<'_> {
    async fn run(&mut self) -> Result<()> {
        let known = self.check_messages().await?;
        self.check_lists().await?;
        self.check_activity(&known).await?;
        self.check_bytes(&known.messages).await?;
        self.check_index(&known.messages).await
    }

    fn note(&mut self, drift: Drift) {
        self.report.note(drift, self.repair);
    }

    fn instance(&self) -> &Arc<Instance> {
        self.account.instance()
    }

    /// Every message of the account: its row, its bytes, and the lists it must stand in.
    async fn check_messages(&mut self) -> Result<Known> {
        let mut known = Known::default();
        let id = self.account.id();
        let mut after = None;
        loop {
            let ids = self.instance().backend.store.partitions(Table::Messages, id, after, PAGE).await?;
            let Some(&last) = ids.last() else { return Ok(known) };
            after = Some(last);
            for id in ids {
                self.check_message(MessageId(id), &mut known).await?;
            }
        }
    }

    async fn check_message(&mut self, id: MessageId, known: &mut Known) -> Result<()> {
        let message = match self.account.message(id).await {
            Ok(Some(message)) => message,
            // It was finally deleted between the two.
            Ok(None) => return Ok(()),
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => {
                known.messages.insert(id);
                self.note(Drift::UnreadableMessage);
                return Ok(());
            }
        };
        self.report.messages += 1;
        known.add(&message);
        let readable = match self.account.raw(id).await {
            Ok(raw) => raw.is_some_and(|raw| self.account.message_id(&raw) == id),
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => false,
        };
        // It may have been finally deleted between the two.
        if !readable && self.account.message(id).await?.is_some() {
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
        Ok(())
    }

    async fn put_missing(&mut self, key: RowKey, value: Vec<u8>) -> Result<()> {
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
    async fn check_lists(&mut self) -> Result<()> {
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
                let partitions = self.instance().backend.store.partitions(table, id, after, PAGE).await?;
                let Some(&last) = partitions.last() else { break };
                after = Some(last);
                for of in partitions {
                    self.check_list(list(of)).await?;
                }
            }
        }
        Ok(())
    }

    async fn check_list(&mut self, list: List) -> Result<()> {
        let (table, partition) = list.partition(self.account.id());
        for page in rows(self.instance(), table, partition).await?.chunks(PAGE) {
            let places: Vec<ListPosition> =
                page.iter().filter_map(|(clustering, _)| ListPosition::from_clustering(clustering)).collect();
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
        }
        Ok(())
    }

    /// Whether the message row and the state say that the message stands there.
    fn stands(&self, list: List, at: ListPosition, message: Option<&Message>) -> bool {
        message
            .is_some_and(|message| message.row.received_at == at.at && self.account.is_listed(list, message))
    }

    async fn drop_list_row(&mut self, list: List, at: ListPosition) -> Result<()> {
        let id = MessageId(at.id);
        match self.account.message(id).await {
            Ok(message) if self.stands(list, at, message.as_ref()) => return Ok(()),
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
    async fn check_bytes(&mut self, known: &HashSet<MessageId>) -> Result<()> {
        let mut after = None;
        loop {
            let ids = self.instance().backend.blobs.ids(self.account.id(), after, PAGE).await?;
            let Some(&last) = ids.last() else { return Ok(()) };
            after = Some(last);
            for id in ids {
                if !known.contains(&id) && !self.account.is_kept(id).await? {
                    self.note(Drift::OrphanBytes);
                    // On a backend that others share they may be those of a message that is just coming in.
                    if !self.instance().backend.is_shared {
                        self.remove_remains(id).await?;
                    }
                }
            }
        }
    }

    /// Index entries against messages that do not wait to be indexed.
    async fn check_index(&mut self, known: &HashSet<MessageId>) -> Result<()> {
        let waiting = rows(self.instance(), Table::Unindexed, self.account.id().as_bytes().to_vec()).await?;
        self.report.waiting += waiting.len() as u64;
        let mut lacking = known.clone();
        for (clustering, _) in &waiting {
            if let Some(at) = ListPosition::from_clustering(clustering) {
                lacking.remove(&MessageId(at.id));
            }
        }
        let mut after = None;
        loop {
            let ids = self.instance().backend.index.ids(self.account.id(), after, PAGE).await?;
            let Some(&last) = ids.last() else { break };
            after = Some(last);
            for id in ids {
                lacking.remove(&id);
                if !known.contains(&id) && self.account.message(id).await?.is_none() {
                    self.note(Drift::StaleIndexEntry);
                    self.remove_remains(id).await?;
                }
            }
        }
        for id in lacking {
            if let Some(received_at) = self.received_at(id).await? {
                self.note(Drift::MissingIndexEntry);
                if self.repair {
                    self.index_again(id, received_at).await?;
                }
            }
        }
        Ok(())
    }

    async fn received_at(&self, id: MessageId) -> Result<Option<Millis>> {
        match self.account.message(id).await {
            Ok(message) => Ok(message.map(|message| message.row.received_at)),
            Err(error) if error.is_transient() => Err(error),
            // What does not open cannot be indexed; it counts as unreadable.
            Err(Error::Sealed { .. } | Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn index_again(&self, id: MessageId, received_at: Millis) -> Result<()> {
        let at = ListPosition::new(received_at, id.0);
        let row = RowKey::new(Table::Unindexed, *self.account.id().as_bytes(), at.clustering());
        let backend = &self.instance().backend;
        backend.store.write(vec![Write::Put(row, vec![])], Durability::Later).await?;
        backend.queue.publish(vec![Job::IndexMessage { account: self.account.id(), message: id }]).await
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
