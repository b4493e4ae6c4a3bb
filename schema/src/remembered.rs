//! Messages that were read lately, where reading them again costs a way to servers.
//!
//! Whatever changes what is shown of a message has its entry in the account's change feed before it is answered for. So what
//! was read after a cursor was handed out is what a read would give now, as long as nothing stands behind that cursor: the
//! feed is asked once, not each message. While there is news the cursor does not move, for the youngest entries may be seen
//! before what they tell of; all is read anew then.

use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::opened::weight;
use crate::{Account, AccountId, Message, MessageId, Position, Result};

/// Octets that messages may take, about.
const CAPACITY: u64 = 16 << 20;
/// How long what was read counts at most: what is mended behind the feed's back is seen then.
pub(crate) const LASTS: Duration = Duration::from_secs(60);
/// How long the feed is not asked after it had news: most likely it has more.
const PAUSE: Duration = Duration::from_secs(1);
/// Accounts whose cursors are known.
const ACCOUNTS: u64 = 100_000;

/// Messages that were read lately, each under the cursor that had been handed out before.
pub(crate) struct Remembered {
    cursors: Cache<AccountId, Known>,
    messages: Cache<(AccountId, Position, MessageId), Message>,
}

/// What is known of an account's change feed.
#[derive(Clone, Copy)]
enum Known {
    /// A cursor that was handed out.
    Cursor(Position),
    /// It is not asked until then, for it had news after this cursor, or could not be asked.
    News(Instant, Option<Position>),
}

impl Remembered {
    pub(crate) fn new() -> Self {
        let weigh = |_: &_, message: &Message| {
            let keywords = message.state.keywords.iter().map(|keyword| 64 + keyword.len()).sum::<usize>();
            let state = keywords + 32 * message.state.mailboxes.len();
            u32::try_from(512 + weight(&message.row) + state).unwrap_or(u32::MAX)
        };
        let messages = Cache::builder().max_capacity(CAPACITY).weigher(weigh).time_to_live(LASTS).build();
        Self { cursors: Cache::new(ACCOUNTS), messages }
    }
}

impl Account {
    /// Messages as [`Self::messages`] gives them, those of lately without reading them again. For what shows messages: whoever
    /// changes or verifies one reads it.
    pub async fn messages_shown(&self, ids: &[MessageId]) -> Result<Vec<Option<Message>>> {
        if !self.backend().is_shared || ids.is_empty() {
            return self.messages(ids).await;
        }
        let Some(cursor) = self.cursor() else {
            let (messages, ()) = tokio::join!(self.messages(ids), self.learn_cursor());
            return messages;
        };
        let mut shown: Vec<_> = ids.iter().map(|&id| self.remembered_message(cursor, id)).collect();
        let (others, places): (Vec<_>, Vec<_>) =
            ids.iter().copied().zip(0..).filter(|(_, at)| shown[*at].is_none()).unzip();
        let (is_unchanged, read) = tokio::join!(self.is_unchanged(cursor), self.messages(&others));
        let read = read?;
        if is_unchanged {
            let remembered = &self.instance.remembered.messages;
            for message in read.iter().flatten() {
                remembered.insert((self.id, cursor, message.id), message.clone());
            }
        } else {
            let (again, places): (Vec<_>, Vec<_>) =
                ids.iter().copied().zip(0..).filter(|(_, at)| shown[*at].is_some()).unzip();
            for (at, message) in places.into_iter().zip(self.messages(&again).await?) {
                shown[at] = message;
            }
        }
        for (at, message) in places.into_iter().zip(read) {
            shown[at] = message;
        }
        Ok(shown)
    }

    /// A message that was read after the cursor was handed out.
    pub(crate) fn remembered_message(&self, cursor: Position, id: MessageId) -> Option<Message> {
        self.instance.remembered.messages.get(&(self.id, cursor, id))
    }

    /// A cursor of the change feed that was handed out; `None` if there is none yet, or where there was news lately.
    pub(crate) fn cursor(&self) -> Option<Position> {
        match self.instance.remembered.cursors.get(&self.id)? {
            Known::Cursor(position) => Some(position),
            Known::News(..) => None,
        }
    }

    /// Has the feed hand out a cursor, unless it had news just now.
    async fn learn_cursor(&self) {
        let cursors = &self.instance.remembered.cursors;
        let had_news = match cursors.get(&self.id) {
            Some(Known::Cursor(_)) => return,
            Some(Known::News(until, _)) if Instant::now() < until => return,
            Some(Known::News(_, since)) => since,
            None => None,
        };
        match self.position().await {
            // News that no cursor stands behind yet are news still.
            Ok(position) if had_news == Some(position) => self.note_news(Some(position)),
            Ok(position) => cursors.insert(self.id, Known::Cursor(position)),
            Err(_) => self.note_news(None),
        }
    }

    /// Whether nothing stands behind the cursor: then what was read since it was handed out is as it was.
    pub(crate) async fn is_unchanged(&self, cursor: Position) -> bool {
        match self.backend().store.has_changes(self.id, cursor).await {
            Ok(false) => return true,
            Ok(true) => self.note_news(Some(cursor)),
            // Who may not go on from there, or is not answered, reads anew.
            Err(_) => self.note_news(None),
        }
        false
    }

    fn note_news(&self, since: Option<Position>) {
        let news = Known::News(Instant::now() + PAUSE, since);
        self.instance.remembered.cursors.insert(self.id, news);
    }
}
