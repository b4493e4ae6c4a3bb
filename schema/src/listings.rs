//! Threads and discussions as clients list them: newest activity first, never from the index.

use crate::messages::scan_times;
use crate::{
    Account, DiscussionId, List, ListFilter, ListPosition, MailboxId, Message, MessageId, MessagePage,
    Result, Scan, Table, ThreadId,
};

/// Messages of one thread that are read, at most.
const THREAD_MESSAGES: usize = 1_000;
/// Activity rows that one page looks at, at most, as a multiple of its length.
const PATIENCE: usize = 10;

/// A thread in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Which.
    pub id: ThreadId,
    /// Its messages, oldest first, at most 1,000 (the newest).
    pub messages: Vec<MessageId>,
    /// The newest of them.
    pub newest: Message,
    /// How many are unread.
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
    /// The newest message is not there any more.
    OutOfDate,
}

/// What is listed by its newest message.
trait Listed: Sync {
    const TABLE: Table;
    type Item: Send;

    fn read(
        &self,
        account: &Account,
        place: ListPosition,
    ) -> impl Future<Output = Result<Activity<Self::Item>>> + Send;
}

struct Threads<'a> {
    filter: &'a ListFilter,
    mailbox: Option<MailboxId>,
}

impl Threads<'_> {
    fn is_wanted(&self, message: &Message) -> bool {
        let (filter, state) = (self.filter, &message.state);
        self.mailbox.is_none_or(|mailbox| state.mailboxes.contains(&mailbox))
            && filter.keyword.as_ref().is_none_or(|keyword| state.keywords.contains(keyword))
            && filter.not_keyword.as_ref().is_none_or(|keyword| !state.keywords.contains(keyword))
    }
}

impl Listed for Threads<'_> {
    const TABLE: Table = Table::ThreadsByActivity;
    type Item = Thread;

    async fn read(&self, account: &Account, place: ListPosition) -> Result<Activity<Thread>> {
        let id = ThreadId(place.id);
        let messages = match account.root(id).await? {
            root if root == id => account.messages_of_thread(id).await?,
            _ => vec![],
        };
        let newest = messages.last().filter(|newest| newest.row.received_at == place.at).cloned();
        let Some(newest) = newest else { return Ok(Activity::OutOfDate) };
        if !messages.iter().any(|message| self.is_wanted(message)) {
            return Ok(Activity::LeftOut);
        }
        Ok(Activity::Shown(Thread {
            id,
            messages: messages.iter().map(|message| message.id).collect(),
            unread: messages.iter().filter(|message| message.state.is_unread()).count() as u64,
            newest,
        }))
    }
}

struct Discussions;

impl Listed for Discussions {
    const TABLE: Table = Table::DiscussionsByActivity;
    type Item = Discussion;

    async fn read(&self, account: &Account, place: ListPosition) -> Result<Activity<Discussion>> {
        let id = DiscussionId(place.id);
        let newest = match account.newest(List::Discussion(id), 1).await?.pop() {
            Some(newest) if newest.at == place.at => account.message(MessageId(newest.id)).await?,
            _ => None,
        };
        Ok(newest.map_or(Activity::OutOfDate, |newest| Activity::Shown(Discussion { id, newest })))
    }
}

impl Account {
    /// A page of threads whose newest message lies within the filter's times and, if `mailbox` is given, that have a
    /// message in it. A keyword filter is about any of a thread's messages.
    pub async fn threads(
        &self,
        filter: &ListFilter,
        mailbox: Option<MailboxId>,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ActivityPage<Thread>> {
        self.activity_page(&Threads { filter, mailbox }, filter, from, limit).await
    }

    /// A page of what is listed. It may be short where the listing leaves out many.
    async fn activity_page<L: Listed>(
        &self,
        listed: &L,
        filter: &ListFilter,
        mut from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ActivityPage<L::Item>> {
        let (mut items, mut looked_at) = (Vec::new(), 0);
        loop {
            let partition = (L::TABLE, self.id.as_bytes().to_vec());
            let rows = self.backend().store.scan(&scan_times(partition, filter, from, limit + 1)).await?;
            let is_last = rows.len() <= limit;
            let mut is_moved = false;
            for place in rows.iter().filter_map(|(clustering, _)| ListPosition::from_clustering(clustering)) {
                if items.len() == limit || looked_at >= limit.saturating_mul(PATIENCE) {
                    return Ok(ActivityPage { items, next: from });
                }
                looked_at += 1;
                from = Some(place);
                match listed.read(self, place).await? {
                    Activity::Shown(item) => items.push(item),
                    Activity::LeftOut => {}
                    Activity::OutOfDate => {
                        self.list_again(L::TABLE, place).await?;
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

    async fn messages_of_thread(&self, root: ThreadId) -> Result<Vec<Message>> {
        let mut places = self.newest_of_thread(root, THREAD_MESSAGES).await?;
        places.reverse();
        let ids: Vec<_> = places.iter().map(|place| MessageId(place.id)).collect();
        Ok(self.messages(&ids).await?.into_iter().flatten().collect())
    }

    /// A thread's messages, oldest first, also under an id that has become part of another; `None` if there is none.
    pub async fn thread(&self, id: ThreadId) -> Result<Option<Vec<Message>>> {
        let messages = self.messages_of_thread(self.root(id).await?).await?;
        Ok((!messages.is_empty()).then_some(messages))
    }

    /// A page of discussions.
    pub async fn discussions(
        &self,
        filter: &ListFilter,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ActivityPage<Discussion>> {
        self.activity_page(&Discussions, filter, from, limit).await
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
