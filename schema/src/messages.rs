//! Reading messages: by id, and in lists.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::states::is_destroyed;
use crate::{
    Account, ChangePage, Chunks, Error, List, ListPosition, MailboxId, Message, MessageId, MessageRow,
    Millis, Position, Result, Role, RowKey, Scan, State, Table, compression, value,
};

/// Rows that one page of a listing looks at, at most, as a multiple of its length; past that the page is short.
const PATIENCE: usize = 10;

/// What a listing leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListFilter {
    /// Only what was received at this time or later.
    pub after: Option<Millis>,
    /// Only what was received before this time.
    pub before: Option<Millis>,
    /// Only messages in this mailbox.
    pub mailbox: Option<MailboxId>,
    /// Only messages with this keyword.
    pub keyword: Option<String>,
    /// Only messages without this keyword.
    pub not_keyword: Option<String>,
}

impl ListFilter {
    /// Whether it leaves out messages by their state.
    pub(crate) fn is_about_state(&self) -> bool {
        self.mailbox.is_some() || self.keyword.is_some() || self.not_keyword.is_some()
    }

    pub(crate) fn admits(&self, state: &State) -> bool {
        self.mailbox.is_none_or(|mailbox| state.mailboxes.contains(&mailbox))
            && self.keyword.as_ref().is_none_or(|keyword| state.keywords.contains(keyword))
            && self.not_keyword.as_ref().is_none_or(|keyword| !state.keywords.contains(keyword))
    }
}

/// A page of a listing, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessagePage {
    /// The messages.
    pub items: Vec<Message>,
    /// Where the next page goes on; `None` at the end of the list.
    pub next: Option<ListPosition>,
}

/// The scan of a list ordered by time that starts below `from` and keeps to the times of `filter`.
pub(crate) fn scan_times(
    (table, partition): (Table, Vec<u8>),
    filter: &ListFilter,
    from: Option<ListPosition>,
    limit: usize,
) -> Scan {
    let mut scan = Scan::all(table, partition, limit).descending();
    if let Some(after) = filter.after {
        scan.lower = Bound::Included(ListPosition::new(after, [0; 16]).clustering());
    }
    let before = filter.before.map(|before| ListPosition::new(before, [0; 16]));
    match (before, from) {
        (Some(before), Some(from)) => scan.below(before.min(from).clustering()),
        (Some(bound), None) | (None, Some(bound)) => scan.below(bound.clustering()),
        (None, None) => scan,
    }
}

/// What is said of a message that has a row alone.
pub(crate) const NO_BYTES: Error = Error::Damaged { what: "a message without its bytes" };

impl Account {
    /// The list of the messages with a keyword.
    pub fn keyword_list(&self, keyword: &str) -> List {
        List::Keyword(self.hash16("keyword", &[keyword.as_bytes()]))
    }

    /// A page of a list, newest first, below `from`. It may be short where the filter passes over many messages.
    pub async fn list(
        &self,
        list: List,
        filter: &ListFilter,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<MessagePage> {
        let mut items = Vec::with_capacity(limit);
        let mut from = from;
        let mut looked_at = 0;
        loop {
            // Whoever waits for a page only so long is to be asked now and then.
            tokio::task::consume_budget().await;
            let wanted = limit - items.len();
            // One row more than wanted tells whether there is a next page.
            let scan = scan_times(list.partition(self.id), filter, from, wanted + 1);
            let (rows, mut foreseen) = self.scan_and_foresee(&scan).await?;
            let has_more = rows.len() > wanted;
            let places: Vec<_> = rows
                .iter()
                .take(wanted)
                .filter_map(|(clustering, _)| ListPosition::from_clustering(clustering))
                .collect();
            looked_at += places.len();
            from = places.last().copied().or(from);
            let ids: Vec<_> = places.iter().map(|place| MessageId(place.id)).collect();
            let others: Vec<_> = ids.iter().copied().filter(|id| !foreseen.contains_key(id)).collect();
            let found = self.messages_shown(&others).await?;
            foreseen.extend(others.into_iter().zip(found));
            for (place, id) in places.iter().zip(&ids) {
                let stands = |message: &Message| {
                    message.row.received_at == place.at
                        && self.is_listed(list, message)
                        && filter.admits(&message.state)
                };
                // A row at a wrong time takes nothing from the one at the right time.
                if foreseen.get(id).and_then(Option::as_ref).is_some_and(stands) {
                    items.extend(foreseen.remove(id).flatten());
                }
            }
            if !has_more {
                return Ok(MessagePage { items, next: None });
            }
            if items.len() == limit || looked_at >= limit.saturating_mul(PATIENCE) {
                return Ok(MessagePage { items, next: from });
            }
        }
    }

    /// Whether the message row and the state agree that the message stands in the list.
    pub fn is_listed(&self, list: List, message: &Message) -> bool {
        match list {
            List::Account => true,
            List::Mailbox(id) => message.state.mailboxes.contains(&id),
            List::Keyword(_) => {
                message.state.keywords.iter().any(|keyword| self.keyword_list(keyword) == list)
            }
            List::Thread(id) => message.row.thread == id,
            List::Discussion(id) => message.row.discussion == id,
        }
    }

    /// A message; `None` if there is none with this id.
    pub async fn message(&self, id: MessageId) -> Result<Option<Message>> {
        Ok(self.messages(&[id]).await?.pop().flatten())
    }

    /// Messages in the order of their ids; `None` where there is none.
    pub async fn messages(&self, ids: &[MessageId]) -> Result<Vec<Option<Message>>> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let rows = ids.iter().map(|&id| RowKey::of_message(Table::Messages, self.id, id));
        let states = ids.iter().map(|&id| RowKey::of_message(Table::States, self.id, id));
        // Whose threads are known from before are spared a way to the store.
        let foreseen: BTreeSet<_> = ids.iter().filter_map(|&id| self.opened_thread(id)).collect();
        let aliases = foreseen.iter().map(|&thread| self.alias_row(thread));
        let keys: Vec<_> = rows.chain(states).chain(aliases).collect();
        let mut values = self.backend().store.get(&keys).await?;
        let aliases = values.split_off(2 * ids.len());
        let states = values.split_off(ids.len());
        let untouched = State::initial(self.role_mailbox(Role::Inbox));
        let mut messages = Vec::with_capacity(ids.len());
        for (index, (row, state)) in values.into_iter().zip(states).enumerate() {
            let Some(row) = row else {
                messages.push(None);
                continue;
            };
            let row = self.open_row(ids[index], &keys[index], &row)?;
            let state = match state.as_deref() {
                None => untouched.clone(),
                state => match self.open_state(&keys[ids.len() + index], state)? {
                    Some(state) => state,
                    None => {
                        messages.push(None);
                        continue;
                    }
                },
            };
            messages.push(Some(Message { id: ids[index], thread: row.thread, row, state }));
        }
        let unmerged: BTreeSet<_> = foreseen
            .into_iter()
            .zip(aliases)
            .filter_map(|(thread, alias)| alias.is_none().then_some(thread))
            .collect();
        let mut others: Vec<_> = messages
            .iter_mut()
            .flatten()
            .filter(|message| !unmerged.contains(&message.thread))
            .map(|message| &mut message.thread)
            .collect();
        let threads: Vec<_> = others.iter().map(|thread| **thread).collect();
        for (thread, root) in others.iter_mut().zip(self.roots(&threads).await?) {
            **thread = root;
        }
        Ok(messages)
    }

    /// For what looks at a message once.
    pub(crate) async fn message_row(&self, id: MessageId) -> Result<Option<MessageRow>> {
        let key = RowKey::of_message(Table::Messages, self.id, id);
        let sealed = self.backend().store.get(std::slice::from_ref(&key)).await?.pop().flatten();
        sealed.map(|sealed| value::open(&self.keys, &key, &sealed)).transpose()
    }

    /// The state in a state row; `None` if the message was finally deleted.
    pub(crate) fn open_state(&self, key: &RowKey, sealed: Option<&[u8]>) -> Result<Option<State>> {
        match sealed {
            sealed if is_destroyed(sealed) => Ok(None),
            Some(sealed) => value::open(&self.keys, key, sealed).map(Some),
            None => Ok(Some(State::initial(self.role_mailbox(Role::Inbox)))),
        }
    }

    /// The states of messages in the order of their ids; `None` where there is no message.
    pub async fn states(&self, ids: &[MessageId]) -> Result<Vec<Option<State>>> {
        let rows = ids.iter().map(|&id| RowKey::of_message(Table::Messages, self.id, id));
        let states = ids.iter().map(|&id| RowKey::of_message(Table::States, self.id, id));
        let keys: Vec<_> = rows.chain(states).collect();
        let mut values = self.backend().store.get(&keys).await?;
        let states = values.split_off(ids.len());
        values
            .into_iter()
            .zip(states)
            .enumerate()
            .map(|(index, (row, state))| match row {
                Some(_) => self.open_state(&keys[ids.len() + index], state.as_deref()),
                None => Ok(None),
            })
            .collect()
    }

    /// The bytes of a message as received; `None` if there is none with this id.
    ///
    /// # Errors
    /// [`Error::Damaged`] if there is one and its bytes are not there.
    pub async fn raw(&self, id: MessageId) -> Result<Option<Vec<u8>>> {
        let Some(chunks) = self.backend().blobs.get(self.id, id).await? else {
            return match self.message_row(id).await? {
                Some(_) => Err(NO_BYTES),
                None => Ok(None),
            };
        };
        self.unpack(id, chunks).map(Some)
    }

    /// The bytes of several messages, each as [`Self::raw`] gives them, in the order of their ids; `None` also where there is
    /// a message and its bytes are not there. All are held at once.
    ///
    /// # Errors
    /// What keeps any of them from being read; what is wrong with one of them is said in its place.
    pub async fn raws(&self, ids: &[MessageId]) -> Result<Vec<Result<Option<Vec<u8>>>>> {
        let blobs = self.backend().blobs.get_all(self.id, ids).await?;
        let unpack = |(&id, chunks): (&MessageId, Result<Chunks>)| {
            chunks?.map(|chunks| self.unpack(id, chunks)).transpose()
        };
        Ok(ids.iter().zip(blobs).map(unpack).collect())
    }

    /// The bytes in the chunks of a message.
    pub(crate) fn unpack(&self, id: MessageId, chunks: Vec<Vec<u8>>) -> Result<Vec<u8>> {
        let packed =
            self.keys.open_blob(id.as_bytes(), &chunks).map_err(|_| Error::Sealed { what: "a blob" })?;
        // Of a message that does not compress, each is as large as the message.
        drop(chunks);
        compression::decompress(&packed)
    }

    /// The change feed after `since`.
    pub async fn changes(&self, since: Position, limit: usize) -> Result<ChangePage> {
        self.backend().store.changes(self.id, since, limit).await
    }

    /// The newest position of the change feed.
    pub async fn position(&self) -> Result<Position> {
        self.backend().store.position(self.id).await
    }
}
