//! Verifies, account by account, that rows, bytes and index entries agree, while everything runs.
//!
//! Mail comes and goes meanwhile, so what looks wrong is looked at once more before it counts.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use schema::{
    Account, DiscussionId, Durability, Entry, Error, Instance, Job, List, ListPosition, MailboxId, Message,
    MessageId, Millis, Result, Row, Scan, Table, ThreadId, Write,
};
use serde_json::{Value, json};

const PAGE: usize = 500;

/// What can disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// A list names a message that is not there, or not in it.
    StaleListRow,
    /// A message is missing in a list that it belongs to.
    MissingListRow,
    /// A message's row does not open.
    UnreadableMessage,
    /// A message has no bytes, or they do not open, or are others.
    UnreadableBytes,
    /// Bytes of no message.
    OrphanBytes,
    /// The index holds a message that is not there.
    StaleIndexEntry,
    /// The index lacks a message that it should hold.
    MissingIndexEntry,
}

impl Drift {
    fn name(self) -> &'static str {
        match self {
            Self::StaleListRow => "staleListRows",
            Self::MissingListRow => "missingListRows",
            Self::UnreadableMessage => "unreadableMessages",
            Self::UnreadableBytes => "unreadableBytes",
            Self::OrphanBytes => "orphanBytes",
            Self::StaleIndexEntry => "staleIndexEntries",
            Self::MissingIndexEntry => "missingIndexEntries",
        }
    }

    fn can_be_repaired(self) -> bool {
        !matches!(self, Self::UnreadableMessage | Self::UnreadableBytes)
    }
}

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    accounts: u64,
    messages: u64,
    waiting: u64,
    drift: BTreeMap<Drift, u64>,
    repaired: u64,
}

impl Report {
    fn note(&mut self, drift: Drift, repair: bool) {
        *self.drift.entry(drift).or_default() += 1;
        tracing::warn!(kind = drift.name(), "a check found drift");
        if repair && drift.can_be_repaired() {
            self.repaired += 1;
        }
    }

    /// `{ok, accounts, messages, waitingForIndex, drift: {kind: count}, repaired}`; `ok` where nothing disagrees (any more).
    pub fn to_json(&self) -> Value {
        let found: u64 = self.drift.values().sum();
        let drift: serde_json::Map<String, Value> =
            self.drift.iter().map(|(kind, count)| (kind.name().to_owned(), json!(count))).collect();
        json!({
            "ok": found == self.repaired,
            "accounts": self.accounts,
            "messages": self.messages,
            "waitingForIndex": self.waiting,
            "drift": drift,
            "repaired": self.repaired,
        })
    }
}

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

struct Check<'a> {
    account: Account,
    repair: bool,
    report: &'a mut Report,
}

impl Check<'_> {
    async fn run(&mut self) -> Result<()> {
        let known = self.check_messages().await?;
        self.check_lists().await?;
        self.check_bytes(&known).await?;
        self.check_index(&known).await
    }

    fn note(&mut self, drift: Drift) {
        self.report.note(drift, self.repair);
    }

    fn instance(&self) -> &Arc<Instance> {
        self.account.instance()
    }

    /// Every message of the account: its row, its bytes, and the lists it must stand in.
    async fn check_messages(&mut self) -> Result<HashSet<MessageId>> {
        let mut known = HashSet::new();
        let partition = self.account.id().as_bytes().to_vec();
        let mut scan = Scan::all(Table::MessagesByAccount, partition, PAGE);
        loop {
            let page = self.instance().backend.store.scan(&scan).await?;
            let is_last = page.len() < PAGE;
            if let Some((clustering, _)) = page.last() {
                scan = scan.above(clustering.clone());
            }
            for (clustering, _) in page {
                if let Some(at) = ListPosition::from_clustering(&clustering) {
                    self.check_message(at, &mut known).await?;
                }
            }
            if is_last {
                return Ok(known);
            }
        }
    }

    async fn check_message(&mut self, at: ListPosition, known: &mut HashSet<MessageId>) -> Result<()> {
        let id = MessageId(at.id);
        let message = match self.account.message(id).await {
            Ok(Some(message)) if message.row.received_at == at.at => message,
            Ok(_) => return self.drop_list_row(List::Account, at).await,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => {
                known.insert(id);
                self.note(Drift::UnreadableMessage);
                return Ok(());
            }
        };
        self.report.messages += 1;
        known.insert(id);
        let readable = match self.account.raw(id).await {
            Ok(raw) => raw.is_some_and(|raw| self.account.message_id(&raw) == id),
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => false,
        };
        // It may have been finally deleted between the two.
        if !readable && self.account.message(id).await?.is_some() {
            self.note(Drift::UnreadableBytes);
        }
        let mut lists = vec![List::Thread(message.row.thread), List::Discussion(message.row.discussion)];
        lists.extend(message.state.mailboxes.iter().map(|&mailbox| List::Mailbox(mailbox)));
        lists.extend(message.state.keywords.iter().map(|keyword| self.account.keyword_list(keyword)));
        let keys: Vec<_> = lists.iter().map(|list| list.row(self.account.id(), at)).collect();
        let found = self.instance().backend.store.get(&keys).await?;
        for (key, found) in keys.into_iter().zip(found) {
            // It may have been moved between the two.
            if found.is_none() && self.account.message(id).await?.as_ref() == Some(&message) {
                self.note(Drift::MissingListRow);
                if self.repair {
                    let put = Write::Put(key, Entry::new(&message.state, message.row.size).to_bytes());
                    self.instance().backend.store.write(vec![put], Durability::Now).await?;
                }
            }
        }
        Ok(())
    }

    /// Every row of every list but the account's own, which is read with the messages.
    async fn check_lists(&mut self) -> Result<()> {
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
        let instance = self.instance().clone();
        let store = &instance.backend.store;
        // It went, unless it is there still: rows of a message that is being moved right now are written together.
        if store.get(std::slice::from_ref(&key)).await?.pop().flatten().is_none() {
            return Ok(());
        }
        self.note(Drift::StaleListRow);
        if self.repair {
            store.write(vec![Write::Delete(key.clone())], Durability::Now).await?;
            // It may have been moved there between the look and the write.
            if let Some(message) = self.account.message(id).await?
                && self.stands(list, at, Some(&message))
            {
                let put = Write::Put(key, Entry::new(&message.state, message.row.size).to_bytes());
                store.write(vec![put], Durability::Now).await?;
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
                if !known.contains(&id) && self.account.message(id).await?.is_none() {
                    self.note(Drift::OrphanBytes);
                    self.remove_remains(id).await?;
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
        let row = schema::RowKey::new(Table::Unindexed, *self.account.id().as_bytes(), at.clustering());
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
