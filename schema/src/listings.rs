//! Threads and discussions as clients list them: newest activity first, never from the index.

use crate::messages::scan_times;
use crate::{
    Account, DiscussionId, List, ListFilter, ListPosition, Message, MessageId, MessagePage, Result, Scan,
    Table, ThreadId,
};

/// Messages of one thread or discussion that a listing reads, at most: the newest.
const MESSAGES: usize = 1_000;
/// The newest messages of a discussion of which one is there: the rows of the others are on their way, or were lost.
const NEWEST: usize = 3;
/// Activity rows that one page looks at, at most, as a multiple of its length.
const PATIENCE: usize = 10;
/// Messages that one page looks at, at most; past that the page is short.
const MESSAGES_OF_PAGE: usize = 20_000;

/// A thread in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Which.
    pub id: ThreadId,
    /// Its messages, oldest first, at most 1,000 (the newest).
    pub messages: Vec<MessageId>,
    /// Whether it has more than those.
    pub is_cut: bool,
    /// The newest of them.
    pub newest: Message,
    /// How many of them are unread.
    pub unread: u64,
}

/// A discussion in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discussion {
    /// Which.
    pub id: DiscussionId,
    /// Its newest message; its people are those of every message in it.
    pub newest: Message,
}

/// A page of threads or discussions, newest activity first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityPage<T> {
    /// The threads or discussions.
    pub items: Vec<T>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<ListPosition>,
}

/// What a row of activity comes to.
enum Activity<T> {
    /// It is shown.
    Shown(T),
    /// The listing leaves it out.
    LeftOut,
    /// The newest message is of another time.
    OutOfDate,
}

/// What is listed by its newest message.
trait Listed: Sync {
    const TABLE: Table;
    type Item: Send;

    /// Reads what stands at `place`; adds to `looked_at` how many messages that took.
    fn read(
        &self,
        account: &Account,
        place: ListPosition,
        looked_at: &mut usize,
    ) -> impl Future<Output = Result<Activity<Self::Item>>> + Send;
}

struct Threads<'a>(&'a ListFilter);

impl Listed for Threads<'_> {
    const TABLE: Table = Table::ThreadsByActivity;
    type Item = Thread;

    async fn read(
        &self,
        account: &Account,
        place: ListPosition,
        looked_at: &mut usize,
    ) -> Result<Activity<Thread>> {
        let id = ThreadId(place.id);
        let mut places = match account.root(id).await? {
            root if root == id => account.newest_of_thread(id, MESSAGES + 1).await?,
            _ => vec![],
        };
        if places.first().is_none_or(|newest| newest.at != place.at) {
            return Ok(Activity::OutOfDate);
        }
        let is_cut = places.len() > MESSAGES;
        places.truncate(MESSAGES);
        places.reverse();
        *looked_at += places.len();
        let messages = account.messages_at(&places).await?;
        let Some(newest) = messages.last().cloned() else { return Ok(Activity::LeftOut) };
        if !messages.iter().any(|message| self.0.admits(&message.state)) {
            return Ok(Activity::LeftOut);
        }
        Ok(Activity::Shown(Thread {
            id,
            messages: messages.iter().map(|message| message.id).collect(),
            is_cut,
            unread: messages.iter().filter(|message| message.state.is_unread()).count() as u64,
            newest,
        }))
    }
}

struct Discussions<'a>(&'a ListFilter);

impl Discussions<'_> {
    /// Whether one of the messages passes the filter.
    async fn admits(&self, account: &Account, places: &[ListPosition]) -> Result<bool> {
        if !self.0.is_about_state() {
            return Ok(true);
        }
        let ids: Vec<_> = places.iter().map(|place| MessageId(place.id)).collect();
        Ok(account.states(&ids).await?.iter().flatten().any(|state| self.0.admits(state)))
    }
}

impl Listed for Discussions<'_> {
    const TABLE: Table = Table::DiscussionsByActivity;
    type Item = Discussion;

    async fn read(
        &self,
        account: &Account,
        place: ListPosition,
        looked_at: &mut usize,
    ) -> Result<Activity<Discussion>> {
        let id = DiscussionId(place.id);
        let limit = if self.0.is_about_state() { MESSAGES } else { NEWEST };
        let places = account.newest(List::Discussion(id), limit).await?;
        if places.first().is_none_or(|newest| newest.at != place.at) {
            return Ok(Activity::OutOfDate);
        }
        *looked_at += places.len();
        let mut newest = None;
        for place in places.iter().take(NEWEST) {
            newest = account.messages_at(&[*place]).await?.pop();
            if newest.is_some() {
                break;
            }
        }
        let Some(newest) = newest else { return Ok(Activity::LeftOut) };
        match self.admits(account, &places).await? {
            true => Ok(Activity::Shown(Discussion { id, newest })),
            false => Ok(Activity::LeftOut),
        }
    }
}

impl Account {
    /// A page of threads whose newest message lies within the filter's times and that have a message, among their
    /// newest 1,000, which passes the rest of it.
    pub async fn threads(
        &self,
        filter: &ListFilter,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ActivityPage<Thread>> {
        self.activity_page(&Threads(filter), filter, from, limit).await
    }

    /// A page of what is listed. It may be short where the listing leaves out many.
    async fn activity_page<L: Listed>(
        &self,
        listed: &L,
        filter: &ListFilter,
        mut from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ActivityPage<L::Item>> {
        let (mut items, mut rows_looked_at, mut looked_at, mut breath) = (Vec::new(), 0, 0, 0);
        loop {
            let partition = (L::TABLE, self.id.as_bytes().to_vec());
            let rows = self.backend().store.scan(&scan_times(partition, filter, from, limit + 1)).await?;
            let is_last = rows.len() <= limit;
            let mut is_moved = false;
            for place in rows.iter().filter_map(|(clustering, _)| ListPosition::from_clustering(clustering)) {
                let is_enough =
                    rows_looked_at >= limit.saturating_mul(PATIENCE) || looked_at >= MESSAGES_OF_PAGE;
                if items.len() == limit || is_enough {
                    return Ok(ActivityPage { items, next: from });
                }
                // Others are to be heard now and then, and whoever waits for a page only so long.
                if looked_at - breath >= MESSAGES {
                    breath = looked_at;
                    tokio::task::yield_now().await;
                }
                tokio::task::consume_budget().await;
                rows_looked_at += 1;
                from = Some(place);
                let mut activity = listed.read(self, place, &mut looked_at).await?;
                // Between the two looks the message may have come into sight.
                if matches!(activity, Activity::OutOfDate) && self.list_again(L::TABLE, place).await? {
                    activity = listed.read(self, place, &mut looked_at).await?;
                }
                match activity {
                    Activity::Shown(item) => items.push(item),
                    Activity::LeftOut => {}
                    Activity::OutOfDate => {
                        is_moved = true;
                        break;
                    }
                }
            }
            // What was moved may stand further on now.
            if is_last && !is_moved {
                return Ok(ActivityPage { items, next: None });
            }
        }
    }

    async fn messages_at(&self, places: &[ListPosition]) -> Result<Vec<Message>> {
        let ids: Vec<_> = places.iter().map(|place| MessageId(place.id)).collect();
        Ok(self.messages_shown(&ids).await?.into_iter().flatten().collect())
    }

    /// What the thread is now, and a page of its messages above `from`, oldest first, also under an id that has become
    /// part of another; `None` if there is no such thread.
    pub async fn thread(
        &self,
        id: ThreadId,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<Option<(ThreadId, MessagePage)>> {
        let mut root = self.root(id).await?;
        let mut places = loop {
            let places = self.oldest_of_thread(root, from, limit + 1).await?;
            // It may have become part of another meanwhile, and its messages with it.
            match self.root(root).await? {
                same if same == root => break places,
                other => root = other,
            }
        };
        let has_more = places.len() > limit;
        places.truncate(limit);
        let next = places.last().copied().filter(|_| has_more);
        let items = self.messages_at(&places).await?;
        if items.is_empty() && from.is_none() && next.is_none() {
            return Ok(None);
        }
        Ok(Some((root, MessagePage { items, next })))
    }

    /// A page of discussions whose newest message lies within the filter's times and that have a message, among their
    /// newest 1,000, which passes the rest of it.
    pub async fn discussions(
        &self,
        filter: &ListFilter,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ActivityPage<Discussion>> {
        self.activity_page(&Discussions(filter), filter, from, limit).await
    }

    /// A page of a discussion's messages, newest first; `None` if there is no such discussion.
    pub async fn discussion(
        &self,
        id: DiscussionId,
        filter: &ListFilter,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<Option<MessagePage>> {
        let (table, partition) = List::Discussion(id).partition(self.id);
        if self.backend().store.scan(&Scan::all(table, partition, 1)).await?.is_empty() {
            return Ok(None);
        }
        self.list(List::Discussion(id), filter, from, limit).await.map(Some)
    }
}
