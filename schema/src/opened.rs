//! Message rows that were opened lately.

use std::sync::Arc;

use moka::sync::Cache;

use crate::{Account, AccountId, MessageId, MessageRow, Result, RowKey, ThreadId, value};

/// Octets that they may take, about.
const CAPACITY: u64 = 16 << 20;

/// Message rows that were opened lately, so that a list read again is not opened and decoded again. The store is asked
/// for the sealed row all the same: what is kept here counts only where it is what that row would give.
pub(crate) struct Opened(Cache<(AccountId, MessageId), Arc<Pair>>);

/// A sealed row, whole, so that one changed in any octet is another; and what it holds.
struct Pair {
    sealed: Box<[u8]>,
    row: Arc<MessageRow>,
}

impl Opened {
    pub(crate) fn new() -> Self {
        let weigh = |_: &_, pair: &Arc<Pair>| {
            u32::try_from(pair.sealed.len() + weight(&pair.row)).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(CAPACITY).weigher(weigh).build())
    }
}

/// About what a row takes in memory, in octets.
pub(crate) fn weight(row: &MessageRow) -> usize {
    const STRING: usize = 40;
    let head = &row.head;
    let addresses = [&head.from, &head.to, &head.cc, &head.bcc, &head.reply_to].into_iter().flatten();
    let addresses =
        addresses.map(|address| 64 + address.email.len() + address.name.as_ref().map_or(0, String::len));
    let ids =
        head.message_id.iter().chain(&head.in_reply_to).chain(&head.references).map(|id| STRING + id.len());
    512 + head.subject.len() + head.preview.len() + addresses.sum::<usize>() + ids.sum::<usize>()
}

impl Account {
    /// Opens the row of a message, or takes it from those opened lately.
    pub(crate) fn open_row(&self, id: MessageId, key: &RowKey, sealed: &[u8]) -> Result<Arc<MessageRow>> {
        let opened = &self.instance.opened.0;
        if let Some(pair) = opened.get(&(self.id, id)).filter(|pair| *pair.sealed == *sealed) {
            return Ok(Arc::clone(&pair.row));
        }
        let row = Arc::new(value::open(&self.keys, key, sealed)?);
        let pair = Pair { sealed: sealed.into(), row: Arc::clone(&row) };
        opened.insert((self.id, id), Arc::new(pair));
        Ok(row)
    }

    /// The thread in the row of a message that was opened lately: its row may say another now.
    pub(crate) fn opened_thread(&self, id: MessageId) -> Option<ThreadId> {
        self.instance.opened.0.get(&(self.id, id)).map(|pair| pair.row.thread)
    }
}
