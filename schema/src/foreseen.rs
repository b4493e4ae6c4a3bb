//! Pages of lists that were read lately.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;

use crate::{Account, Message, MessageId, Result, Row, Scan};

/// Octets that they may take, about.
const CAPACITY: u64 = 8 << 20;

/// Which messages a page of a list had when it was last read. It will most likely have the same ones again, so their rows
/// are read together with the list's, not after them. What is shown is what both of them say now.
pub(crate) struct Foreseen(Cache<Scan, Arc<[MessageId]>>);

impl Foreseen {
    pub(crate) fn new() -> Self {
        let weigh = |scan: &Scan, ids: &Arc<[MessageId]>| {
            u32::try_from(256 + scan.partition.len() + 16 * ids.len()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(CAPACITY).weigher(weigh).build())
    }
}

/// Messages as they were read; `None` where there is none.
type Messages = HashMap<MessageId, Option<Message>>;

impl Account {
    /// The rows of a list, and the messages that it most likely has. Where the store is at hand, none: they cost as much one
    /// way as the other.
    pub(crate) async fn scan_and_foresee(&self, scan: &Scan) -> Result<(Vec<Row>, Messages)> {
        let foreseen = match self.backend().is_shared {
            true => self.instance.foreseen.0.get(scan),
            false => None,
        };
        let Some(ids) = foreseen else {
            return Ok((self.backend().store.scan(scan).await?, Messages::new()));
        };
        let (rows, messages) = tokio::join!(self.backend().store.scan(scan), self.messages(&ids));
        // What is wrong with one that is not in the list any more is nobody's concern; one that is, is read again.
        let messages = messages.map(|messages| ids.iter().copied().zip(messages).collect());
        Ok((rows?, messages.unwrap_or_default()))
    }

    /// Remembers which messages the list has.
    pub(crate) fn foresee(&self, scan: &Scan, ids: &[MessageId]) {
        if self.backend().is_shared {
            self.instance.foreseen.0.insert(scan.clone(), ids.into());
        }
    }
}
