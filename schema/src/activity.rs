//! Where threads and discussions stand in their listings: at the time of their newest message.
//!
//! Who writes such a row has read the newest without waiting for others, so a row may say something else; readers pass it
//! over and put another where it belongs. What must not happen is that there is no row at all: whoever took one away without
//! putting another looks again after its write, and so does whoever counted on another's.

use std::time::{Duration, Instant};

use crate::{
    Account, DiscussionId, Durability, Error, List, ListPosition, Millis, Result, RowKey, Scan, Table,
    ThreadId, Write,
};

/// Milliseconds for which a row stays although there is no message yet.
const YOUNG: Millis = 60_000;
/// Between two looks at a row whose write another node's clock has hidden.
const HIDDEN: Duration = Duration::from_millis(100);

impl Account {
    pub(crate) fn thread_activity(&self, thread: ThreadId, at: Millis) -> RowKey {
        self.activity_row(Table::ThreadsByActivity, ListPosition::new(at, thread.0))
    }

    pub(crate) fn discussion_activity(&self, discussion: DiscussionId, at: Millis) -> RowKey {
        self.activity_row(Table::DiscussionsByActivity, ListPosition::new(at, discussion.0))
    }

    /// The newest messages of a list, at most `limit`.
    pub(crate) async fn newest(&self, list: List, limit: usize) -> Result<Vec<ListPosition>> {
        let (table, partition) = list.partition(self.id);
        let rows = self.backend().store.scan(&Scan::all(table, partition, limit).descending()).await?;
        Ok(rows.iter().filter_map(|(clustering, _)| ListPosition::from_clustering(clustering)).collect())
    }

    /// The newest message of a thread with all its parts.
    pub(crate) async fn newest_of_thread(&self, root: ThreadId, limit: usize) -> Result<Vec<ListPosition>> {
        let mut newest = Vec::new();
        // The root last: what is being moved there from a part is then seen in one of them at least.
        for part in self.thread_parts(root).await?.into_iter().rev() {
            newest.extend(self.newest(List::Thread(part), limit).await?);
        }
        newest.sort_by(|a, b| b.cmp(a));
        // One that is being moved from part to root.
        newest.dedup();
        newest.truncate(limit);
        Ok(newest)
    }

    /// The oldest messages of a thread with all its parts, above `from`.
    pub(crate) async fn oldest_of_thread(
        &self,
        root: ThreadId,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<Vec<ListPosition>> {
        let mut oldest = Vec::new();
        for part in self.thread_parts(root).await?.into_iter().rev() {
            let (table, partition) = List::Thread(part).partition(self.id);
            let mut scan = Scan::all(table, partition, limit);
            if let Some(from) = from {
                scan = scan.above(from.clustering());
            }
            let rows = self.backend().store.scan(&scan).await?;
            oldest
                .extend(rows.iter().filter_map(|(clustering, _)| ListPosition::from_clustering(clustering)));
        }
        oldest.sort();
        oldest.dedup();
        oldest.truncate(limit);
        Ok(oldest)
    }

    /// Where a thread (or what it became part of) or discussion belongs in the listing `table`, by its messages' list
    /// rows; `None` if it holds nothing.
    pub async fn place_in(&self, table: Table, id: [u8; 16]) -> Result<Option<ListPosition>> {
        if table == Table::ThreadsByActivity {
            let root = self.root(ThreadId(id)).await?;
            let newest = self.newest_of_thread(root, 1).await?.pop();
            return Ok(newest.map(|newest| ListPosition::new(newest.at, root.0)));
        }
        let newest = self.newest(List::Discussion(DiscussionId(id)), 1).await?.pop();
        Ok(newest.map(|newest| ListPosition::new(newest.at, id)))
    }

    /// Puts a thread or discussion into the listing `table` where it belongs, unless it stands there.
    pub(crate) async fn keep_listed(&self, table: Table, id: [u8; 16]) -> Result<()> {
        let deadline = Instant::now() + self.backend().clocks_apart;
        while let Some(place) = self.place_in(table, id).await? {
            let row = self.activity_row(table, place);
            if self.instance.row(&row).await?.is_some() {
                break;
            }
            self.backend().store.write(vec![Write::Put(row.clone(), vec![])], Durability::Later).await?;
            // A node whose clock is ahead may have taken it away as of a time to come.
            if self.instance.row(&row).await?.is_some() || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(HIDDEN).await;
        }
        Ok(())
    }

    /// Puts what a row of the listing `table` stands for where it belongs, and takes the row away if that is elsewhere. A young
    /// one that is ahead of every message stays: on servers the rows of a message come into sight one by one, and it may be
    /// the first of them. Returns whether the row is right.
    pub async fn list_again(&self, table: Table, place: ListPosition) -> Result<bool> {
        let right = self.place_in(table, place.id).await?;
        if right == Some(place) {
            return Ok(true);
        }
        let is_ahead = right.is_none_or(|right| right.at < place.at);
        if is_ahead && !self.may_go(place.at) {
            self.keep_listed(table, place.id).await?;
            return Ok(false);
        }
        metrics::counter!("signet_drift_repaired_total", "kind" => table.name()).increment(1);
        let account = self.clone();
        let moved = async move {
            account.keep_listed(table, place.id).await?;
            let gone = vec![Write::Delete(account.activity_row(table, place))];
            account.backend().store.write(gone, Durability::Later).await?;
            // Whoever changed it since may have counted on the row that went.
            account.keep_listed(table, place.id).await
        };
        // Whoever asked may go; that look may not be left out.
        let moved = tokio::spawn(moved).await;
        moved.map_err(|error| Error::transient("moving a row of a listing", error))??;
        Ok(false)
    }

    /// Whether a row of the listings for a message that came at `at` may be taken away although the message may be about to
    /// come into sight: whoever writes such a row looks again whether it is there still.
    fn may_go(&self, at: Millis) -> bool {
        let apart = Millis::try_from(self.backend().clocks_apart.as_millis()).unwrap_or(Millis::MAX);
        at.saturating_add(YOUNG).saturating_add(apart) <= self.instance.now()
    }

    /// Whether another node may have done so.
    pub(crate) fn may_have_gone(&self, at: Millis) -> bool {
        self.backend().is_shared && at.saturating_add(YOUNG) <= self.instance.now()
    }

    fn activity_row(&self, table: Table, place: ListPosition) -> RowKey {
        RowKey::new(table, *self.id.as_bytes(), place.clustering())
    }

    /// What a new message at `at` changes in the listings of threads and discussions. As of now, unlike its other rows: what
    /// stood in the same place and has gone must not hide it, and a row too many does no harm.
    pub(crate) async fn activity_writes(
        &self,
        thread: ThreadId,
        discussion: DiscussionId,
        at: ListPosition,
    ) -> Result<Vec<Write>> {
        let mut writes = Vec::new();
        let newest_of_thread = async {
            // The message that a thread is named after is its first: there is nothing older to look for.
            match thread.0 == at.id {
                true => Ok(vec![]),
                false => self.newest_of_thread(thread, 1).await,
            }
        };
        let (mut of_thread, mut of_discussion) =
            tokio::try_join!(newest_of_thread, self.newest(List::Discussion(discussion), 1))?;
        let newest = of_thread.pop().map(|newest| newest.at);
        if newest.is_none_or(|newest| newest < at.at) {
            writes.extend(newest.map(|newest| Write::Delete(self.thread_activity(thread, newest))));
            writes.push(Write::Put(self.thread_activity(thread, at.at), vec![]));
        }
        let newest = of_discussion.pop().map(|newest| newest.at);
        if newest.is_none_or(|newest| newest < at.at) {
            writes.extend(newest.map(|newest| Write::Delete(self.discussion_activity(discussion, newest))));
            writes.push(Write::Put(self.discussion_activity(discussion, at.at), vec![]));
        }
        Ok(writes)
    }

    pub(crate) async fn merged_activity(&self, root: ThreadId, lost: ThreadId) -> Result<Vec<Write>> {
        let of_root = self.newest_of_thread(root, 1).await?.pop().map(|newest| newest.at);
        let of_lost = self.newest_of_thread(lost, 1).await?.pop().map(|newest| newest.at);
        let mut writes = Vec::new();
        writes.extend(of_lost.map(|at| Write::Delete(self.thread_activity(lost, at))));
        writes.extend(of_root.map(|at| Write::Delete(self.thread_activity(root, at))));
        writes.extend(of_root.max(of_lost).map(|at| Write::Put(self.thread_activity(root, at), vec![])));
        Ok(writes)
    }

    /// What taking a message away changes in the listings of threads and discussions.
    pub(crate) async fn activity_without(
        &self,
        row: &crate::MessageRow,
        at: ListPosition,
    ) -> Result<Vec<Write>> {
        let mut writes = Vec::new();
        let root = self.root(row.thread).await?;
        let threads = self.newest_of_thread(root, 2).await?;
        if threads.first() == Some(&at) {
            writes.push(Write::Delete(self.thread_activity(root, at.at)));
            writes.extend(threads.get(1).map(|next| Write::Put(self.thread_activity(root, next.at), vec![])));
        }
        let discussions = self.newest(List::Discussion(row.discussion), 2).await?;
        if discussions.first() == Some(&at) {
            let row = row.discussion;
            writes.push(Write::Delete(self.discussion_activity(row, at.at)));
            writes.extend(
                discussions.get(1).map(|next| Write::Put(self.discussion_activity(row, next.at), vec![])),
            );
        }
        Ok(writes)
    }
}
