//! Pages of lists that were read lately.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use moka::sync::Cache;

use crate::remembered::LASTS;
use crate::{Account, ListPosition, Message, MessageId, Position, Result, Row, Scan};

/// Octets that they may take, about.
const CAPACITY: u64 = 8 << 20;

/// What a page of a list had when it was last read. Where the account's change feed says that it has the same now, it is
/// shown again; else it will most likely have the same messages, so these are read together with the list's rows.
pub(crate) struct Foreseen(Cache<Scan, Arc<Page>>);

struct Page {
    /// Handed out before it was read.
    cursor: Option<Position>,
    read_at: Instant,
    rows: Vec<Row>,
    ids: Vec<MessageId>,
}

impl Foreseen {
    pub(crate) fn new() -> Self {
        let weigh = |scan: &Scan, page: &Arc<Page>| {
            let rows = page.rows.iter().map(|(clustering, value)| 96 + clustering.len() + value.len());
            u32::try_from(256 + scan.partition.len() + rows.sum::<usize>()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(CAPACITY).weigher(weigh).build())
    }
}

/// Messages as they were read; `None` where there is none.
type Messages = HashMap<MessageId, Option<Message>>;

impl Account {
    /// The rows of a list and the messages that it most likely has: those of all but the last of `limit` rows. Where the store
    /// is at hand, none: they cost as much one way as the other.
    pub(crate) async fn scan_and_foresee(&self, scan: &Scan) -> Result<(Vec<Row>, Messages)> {
        if !self.backend().is_shared {
            return Ok((self.backend().store.scan(scan).await?, Messages::new()));
        }
        let page = self.instance.foreseen.0.get(scan);
        if let Some(page) = &page
            && let Some(messages) = self.page_again(page).await
        {
            return Ok((page.rows.clone(), messages));
        }
        let ids = page.as_ref().map_or(&[][..], |page| &page.ids);
        let (cursor, read_at) = (self.cursor(), Instant::now());
        let (rows, messages) = tokio::join!(self.backend().store.scan(scan), self.messages_shown(ids));
        let rows = rows?;
        // What is wrong with one that is not in the list any more is nobody's concern; one that is, is read again.
        let messages = messages.map(|messages| ids.iter().copied().zip(messages).collect());
        let places = rows.iter().take(scan.limit - 1);
        let places = places.filter_map(|(clustering, _)| ListPosition::from_clustering(clustering));
        let ids = places.map(|place| MessageId(place.id)).collect();
        let page = Page { cursor, read_at, rows: rows.clone(), ids };
        self.instance.foreseen.0.insert(scan.clone(), Arc::new(page));
        Ok((rows, messages.unwrap_or_default()))
    }

    /// The messages of a page, if it is as it was.
    async fn page_again(&self, page: &Page) -> Option<Messages> {
        let cursor = self.cursor().filter(|cursor| page.cursor == Some(*cursor))?;
        let message = |&id| Some((id, Some(self.remembered_message(cursor, id)?)));
        let messages = page.ids.iter().map(message).collect::<Option<_>>()?;
        (page.read_at.elapsed() < LASTS && self.is_unchanged(cursor).await).then_some(messages)
    }
}
