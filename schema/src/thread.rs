//! Threads: how a message finds its own, and how two become one.
//!
//! A thread is a set in a union–find whose parents are alias rows: the greater id points to the smaller. A message first
//! writes a link row for each id it names, then reads them all back: of two that race, one sees both.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use crate::delivery::Incoming;
use crate::entry::Entry;
use crate::{
    Account, Change, ChangeKind, Durability, Error, List, ListPosition, MessageId, Millis, Result, RowKey,
    Scan, Table, ThreadId, Write, pair,
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
            let gone = vec![Write::Delete(List::Thread(thread).row(self.id, at))];
            let Some(mut current) = self.current(id).await? else {
                return self.backend().store.write(gone, Durability::Later).await;
            };
            current.row.thread = root;
            let entry = Entry::new(&current.state, current.row.size).to_bytes();
            let key = RowKey::of_message(Table::Messages, self.id, id);
            let writes = vec![
                Write::Put(key.clone(), crate::value::seal(&self.keys, &key, &current.row)),
                Write::Put(List::Thread(root).row(self.id, at), entry),
                Write::Change(self.id, Change { kind: ChangeKind::MessageUpdated, id: id.0 }),
            ];
            // Unless another node deletes it meanwhile: it must not come back.
            let sealed = current.sealed.clone();
            if self.backend().store.replace(current.key, current.sealed, sealed, writes).await? {
                // Only now: at no moment is it in neither.
                self.backend().store.write(gone, Durability::Later).await?;
                self.tell(ChangeKind::MessageUpdated, id.0);
                return Ok(());
            }
        }
    }
}
