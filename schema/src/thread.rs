//! Threads: how a message finds its own, and how two become one.
//!
//! A thread is a set in a union–find whose parents are alias rows: the greater id points to the smaller. A message first
//! writes a link row for each id it names, then reads them all back: of two that race, one sees both.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use crate::deletion::as_of;
use crate::delivery::Incoming;
use crate::entry::Entry;
use crate::{
    Account, Change, ChangeKind, DiscussionId, Durability, Error, List, ListPosition, MessageId, Millis,
    Result, RowKey, Scan, Table, ThreadId, Write, pair,
};

/// Threads that one id is looked up in; more only while merges are under way.
const THREADS_PER_LINK: usize = 32;
/// Ids that are looked up at once.
const LINKS_AT_ONCE: usize = 16;
/// Threads that have become part of one, followed at most.
const ALIASES: usize = 1_000;
/// Threads of one base subject that are looked at.
const SUBJECT_CANDIDATES: usize = 200;
/// How far two messages of one subject may be apart.
const SUBJECT_SPAN: Millis = 30 * 24 * 3_600_000;

impl Account {
    pub(crate) fn alias_row(&self, thread: ThreadId) -> RowKey {
        RowKey::new(Table::ThreadAliases, pair(self.id, thread.as_bytes()), [])
    }

    /// What the thread is part of now: itself, if it was never merged.
    pub(crate) async fn root(&self, mut thread: ThreadId) -> Result<ThreadId> {
        // Each step leads to a smaller id, so this ends.
        while let Some(parent) = self.backend().store.get(&[self.alias_row(thread)]).await?.pop().flatten() {
            match ThreadId::from_slice(&parent) {
                Some(parent) if parent < thread => thread = parent,
                _ => break,
            }
        }
        Ok(thread)
    }

    /// The roots of many threads, in their order.
    pub(crate) async fn roots(&self, threads: &[ThreadId]) -> Result<Vec<ThreadId>> {
        let rows: Vec<_> = threads.iter().map(|&thread| self.alias_row(thread)).collect();
        let mut roots = threads.to_vec();
        for (root, alias) in roots.iter_mut().zip(self.backend().store.get(&rows).await?) {
            if alias.is_some() {
                *root = self.root(*root).await?;
            }
        }
        Ok(roots)
    }

    /// A thread and all that became part of it.
    pub(crate) async fn thread_parts(&self, root: ThreadId) -> Result<Vec<ThreadId>> {
        let mut parts = vec![root];
        let mut next = 0;
        while next < parts.len() && parts.len() < ALIASES {
            let scan = Scan::all(Table::AliasesByThread, pair(self.id, parts[next].as_bytes()), ALIASES);
            let aliases = self.backend().store.scan(&scan).await?;
            parts.extend(aliases.iter().filter_map(|(alias, _)| ThreadId::from_slice(alias)));
            next += 1;
        }
        Ok(parts)
    }

    /// Parts of a thread whose messages do not stand under it yet.
    pub(crate) async fn split_parts(&self, root: ThreadId) -> Result<Vec<ThreadId>> {
        let mut split = Vec::new();
        for part in self.thread_parts(root).await? {
            if part != root && !self.newest(List::Thread(part), 1).await?.is_empty() {
                split.push(part);
            }
        }
        Ok(split)
    }

    /// The threads that the ids of a message lead to, as their link rows say it.
    async fn linked_threads(&self, links: &[Vec<u8>]) -> Result<Vec<ThreadId>> {
        let of = |link: &Vec<u8>| Scan::all(Table::Links, link.clone(), THREADS_PER_LINK);
        let scans: Vec<_> = links.iter().map(of).collect();
        let mut threads = BTreeSet::new();
        for scans in scans.chunks(LINKS_AT_ONCE) {
            let mut found = Vec::new();
            for scan in scans {
                found.push(self.backend().store.scan(scan));
            }
            let found = try_join_all(found).await?;
            threads.extend(found.iter().flatten().filter_map(|(thread, _)| ThreadId::from_slice(thread)));
        }
        Ok(threads.into_iter().collect())
    }

    /// The thread of a message, where it connects some made one, and whether it did.
    pub(crate) async fn join_thread(
        &self,
        id: MessageId,
        incoming: &Incoming<'_>,
        received_at: Millis,
    ) -> Result<(ThreadId, bool)> {
        let keys = incoming.thread_keys();
        let link = |id: &String| pair(self.id, &self.hash16("link", &[id.as_bytes()]));
        let links: Vec<_> = keys.ids.iter().map(link).collect();
        // Whoever names nobody else begins a thread. If somebody has named it before it came, that is seen below.
        let is_first = !keys.has_links && !keys.is_reply;
        let known = if is_first { vec![] } else { self.linked_threads(&links).await? };
        let candidate = match self.roots(&known).await?.into_iter().min() {
            Some(thread) => thread,
            None if keys.is_reply && !keys.has_links => {
                self.thread_of_subject(incoming, received_at).await?.unwrap_or(ThreadId(id.0))
            }
            None => ThreadId(id.0),
        };
        if links.is_empty() {
            return Ok((candidate, false));
        }
        let rows = links
            .iter()
            .map(|link| Write::Put(RowKey::new(Table::Links, link.clone(), *candidate.as_bytes()), vec![]));
        self.backend().store.write(rows.collect(), Durability::Later).await?;

        let (mut root, mut connects) = (candidate, false);
        let found = self.linked_threads(&links).await?;
        // A thread that begins here is part of no other, unless somebody has linked to it, too.
        if known.is_empty() && found == [candidate] {
            return Ok((candidate, false));
        }
        let roots: BTreeSet<_> = self.roots(&found).await?.into_iter().collect();
        for thread in roots {
            if thread != root {
                root = self.merge(root, thread).await?;
                connects = true;
            }
        }
        Ok((root, connects))
    }

    /// Makes two threads one, and returns its root.
    async fn merge(&self, a: ThreadId, b: ThreadId) -> Result<ThreadId> {
        loop {
            let (a, b) = (self.root(a).await?, self.root(b).await?);
            if a == b {
                return Ok(a);
            }
            let (root, lost) = (a.min(b), a.max(b));
            let listed =
                RowKey::new(Table::AliasesByThread, pair(self.id, root.as_bytes()), *lost.as_bytes());
            let mut then = vec![
                Write::Put(listed, vec![]),
                Write::Change(self.id, Change { kind: ChangeKind::ThreadDestroyed, id: lost.0 }),
            ];
            then.extend(self.merged_activity(root, lost).await?);
            let alias = Some(root.as_bytes().to_vec());
            if self.backend().store.replace(self.alias_row(lost), None, alias, then).await? {
                self.tell(ChangeKind::ThreadDestroyed, lost.0);
                return Ok(root);
            }
        }
    }

    async fn thread_of_subject(
        &self,
        incoming: &Incoming<'_>,
        received_at: Millis,
    ) -> Result<Option<ThreadId>> {
        let subject = &incoming.thread_keys().base_subject;
        if subject.is_empty() {
            return Ok(None);
        }
        let sent_at = incoming.head().sent_at.unwrap_or(received_at);
        let least = ListPosition::new(sent_at.saturating_sub(SUBJECT_SPAN), [0; 16]).clustering();
        let beyond = ListPosition::new(sent_at.saturating_add(SUBJECT_SPAN + 1), [0; 16]).clustering();
        let mut scan =
            Scan::all(Table::ThreadsBySubject, self.subject_partition(subject), SUBJECT_CANDIDATES)
                .descending();
        scan.lower = std::ops::Bound::Included(least);
        let people = self.participant_hashes(incoming);
        for (clustering, theirs) in self.backend().store.scan(&scan.below(beyond)).await? {
            let shares = theirs.chunks_exact(8).any(|hash| people.iter().any(|own| own == hash));
            if let (true, Some(at)) = (shares, ListPosition::from_clustering(&clustering)) {
                return self.root(ThreadId(at.id)).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Moves the messages of a thread that became part of another to its rows.
    pub async fn compress_thread(&self, thread: ThreadId) -> Result<()> {
        let root = self.root(thread).await?;
        if root == thread {
            return Ok(());
        }
        loop {
            let (table, partition) = List::Thread(thread).partition(self.id);
            let rows = self.backend().store.scan(&Scan::all(table, partition, 100)).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (clustering, _) in rows {
                match ListPosition::from_clustering(&clustering) {
                    Some(at) => self.move_to_thread(at, thread, root).await?,
                    None => return Err(Error::Damaged { what: table.name() }),
                }
            }
            self.backend().store.write(vec![], Durability::Now).await?;
        }
    }

    async fn move_to_thread(&self, at: ListPosition, thread: ThreadId, root: ThreadId) -> Result<()> {
        let id = MessageId(at.id);
        let _turn = self.instance.lock_message(self.id, id).await;
        loop {
            let mut writes = vec![Write::Delete(List::Thread(thread).row(self.id, at))];
            let Some(mut current) = self.current(id).await? else {
                return self.backend().store.write(writes, Durability::Later).await;
            };
            current.row.thread = root;
            let entry = Entry::new(&current.state, current.row.size).to_bytes();
            let key = RowKey::of_message(Table::Messages, self.id, id);
            writes.push(Write::Put(key.clone(), crate::value::seal(&self.keys, &key, &current.row)));
            writes.push(Write::Put(List::Thread(root).row(self.id, at), entry));
            writes.push(Write::Change(self.id, Change { kind: ChangeKind::MessageUpdated, id: id.0 }));
            // Unless another node deletes it meanwhile: it must not come back.
            let sealed = current.sealed.clone();
            if self.backend().store.replace(current.key, current.sealed, sealed, writes).await? {
                self.tell(ChangeKind::MessageUpdated, id.0);
                return Ok(());
            }
        }
    }
}

/// Where threads and discussions stand in their listings: at the time of their newest message. Who writes such a row has
/// read the newest without waiting for others, so a row may say something else; readers pass it over and put it where it
/// belongs. What must not happen is that there is no row at all: whoever took one away without putting another looks
/// again after its write, and so does whoever counted on another's.
impl Account {
    pub(crate) fn thread_activity(&self, thread: ThreadId, at: Millis) -> RowKey {
        let clustering = ListPosition::new(at, thread.0).clustering();
        RowKey::new(Table::ThreadsByActivity, *self.id.as_bytes(), clustering)
    }

    pub(crate) fn discussion_activity(&self, discussion: DiscussionId, at: Millis) -> RowKey {
        let clustering = ListPosition::new(at, discussion.0).clustering();
        RowKey::new(Table::DiscussionsByActivity, *self.id.as_bytes(), clustering)
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
        let Some(place) = self.place_in(table, id).await? else { return Ok(()) };
        let row = RowKey::new(table, *self.id.as_bytes(), place.clustering());
        match self.instance.row(&row).await? {
            Some(_) => Ok(()),
            None => self.backend().store.write(vec![Write::Put(row, vec![])], Durability::Later).await,
        }
    }

    /// Moves a row of the listing `table` to where its thread or discussion belongs.
    pub async fn list_again(&self, table: Table, place: ListPosition) -> Result<()> {
        let row = |place: ListPosition| RowKey::new(table, *self.id.as_bytes(), place.clustering());
        let right = self.place_in(table, place.id).await?;
        if right == Some(place) {
            return Ok(());
        }
        metrics::counter!("signet_drift_repaired_total", "kind" => table.name()).increment(1);
        let mut writes: Vec<_> = right.map(|right| Write::Put(row(right), vec![])).into_iter().collect();
        writes.push(Write::Delete(row(place)));
        self.backend().store.write(writes, Durability::Later).await
    }

    /// What a new message at `at` changes in the listings of threads and discussions.
    pub(crate) async fn activity_writes(
        &self,
        thread: ThreadId,
        discussion: DiscussionId,
        at: ListPosition,
    ) -> Result<Vec<Write>> {
        let mut writes = Vec::new();
        // What is written as of a time to come could not be taken away before that.
        let as_of = as_of(at.at, self.instance.now());
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
            writes.push(Write::PutAsOf(self.thread_activity(thread, at.at), vec![], as_of));
        }
        let newest = of_discussion.pop().map(|newest| newest.at);
        if newest.is_none_or(|newest| newest < at.at) {
            writes.extend(newest.map(|newest| Write::Delete(self.discussion_activity(discussion, newest))));
            writes.push(Write::PutAsOf(self.discussion_activity(discussion, at.at), vec![], as_of));
        }
        Ok(writes)
    }

    async fn merged_activity(&self, root: ThreadId, lost: ThreadId) -> Result<Vec<Write>> {
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
