//! Texts of messages in which a search looked for its words lately.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use schema::{AccountId, MessageId};

/// Octets that they may take, about.
const CAPACITY: u64 = 16 << 20;
/// How long one is kept.
const LASTS: Duration = Duration::from_secs(60);

/// Texts of messages, where fetching and opening their bytes again costs a way to servers: who searches looks at much the same
/// messages again for the next page or word. A message has the same text as long as it is there, for its id is made of its
/// bytes; whether it is there is asked each time.
pub(crate) struct Texts(Option<Cache<(AccountId, MessageId), Arc<str>>>);

impl Texts {
    /// Keeps none where the backend is at hand.
    pub(crate) fn new(is_shared: bool) -> Self {
        let weigh = |_: &_, text: &Arc<str>| u32::try_from(128 + text.len()).unwrap_or(u32::MAX);
        let texts = || Cache::builder().max_capacity(CAPACITY).weigher(weigh).time_to_live(LASTS).build();
        Self(is_shared.then(texts))
    }

    pub(crate) fn get(&self, account: AccountId, id: MessageId) -> Option<Arc<str>> {
        self.0.as_ref()?.get(&(account, id))
    }

    pub(crate) fn keep(&self, account: AccountId, id: MessageId, text: &str) {
        if let Some(texts) = &self.0 {
            texts.insert((account, id), text.into());
        }
    }
}
