//! The listings of threads and of discussions.

use std::collections::HashSet;

use schema::{
    DiscussionId, Durability, Error, ListFilter, ListPosition, Message, Result, RowKey, Table, ThreadId,
    Write,
};

use super::{Check, Known, rows};

impl Check<'_> {
    /// The listings of threads and of discussions: a row for each, at the time of its newest message.
    pub(super) async fn check_activity(&mut self, known: &Known) -> Result<()> {
        for (table, newest) in
            [(Table::ThreadsByActivity, &known.threads), (Table::DiscussionsByActivity, &known.discussions)]
        {
            let partition = self.account.id().as_bytes().to_vec();
            let mut listed = HashSet::new();
            for (clustering, _) in rows(self.instance(), table, partition.clone()).await? {
                let Some(at) = ListPosition::from_clustering(&clustering) else { continue };
                listed.insert(at);
                let key = RowKey::new(table, partition.clone(), clustering);
                if newest.get(&at.id) != Some(&at.at) {
                    self.drop_passed(key, table, at).await?;
                }
            }
            for (&id, &at) in newest {
                let place = ListPosition::new(at, id);
                let key = RowKey::new(table, partition.clone(), place.clustering());
                let is_missing = !listed.contains(&place) && self.is_absent(&key).await?;
                if is_missing && self.is_newest(table, place).await? {
                    self.put_missing(key, vec![]).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether the newest message of a thread or discussion was received at the time of `place`. Where one of them does
    /// not open nothing is contradicted; it counts as unreadable.
    async fn is_newest(&self, table: Table, place: ListPosition) -> Result<bool> {
        match self.newest(table, place.id).await {
            Ok(newest) => Ok(newest.is_some_and(|newest| newest.row.received_at == place.at)),
            Err(Error::Sealed { .. } | Error::Damaged { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The newest message of a thread or discussion; `None` if there is none with this id (any more).
    async fn newest(&self, table: Table, id: [u8; 16]) -> Result<Option<Message>> {
        if table == Table::ThreadsByActivity {
            let messages = self.account.thread(ThreadId(id)).await?.unwrap_or_default();
            return Ok(messages.into_iter().rfind(|message| message.thread.0 == id));
        }
        let page = self.account.discussion(DiscussionId(id), &ListFilter::default(), None, 1).await?;
        Ok(page.and_then(|page| page.items.into_iter().next()))
    }

    /// Deliveries that race in one thread or discussion leave rows of times that were the newest for a moment. Listings
    /// pass them over, so they are no drift, and go when something is repaired anyway.
    async fn drop_passed(&self, key: RowKey, table: Table, at: ListPosition) -> Result<()> {
        if !self.repair || self.is_newest(table, at).await? {
            return Ok(());
        }
        let store = &self.instance().backend.store;
        store.write(vec![Write::Delete(key.clone())], Durability::Now).await?;
        // It may have become the newest between the look and the write, by the deletion of a newer one.
        if self.is_newest(table, at).await? {
            store.write(vec![Write::Put(key, vec![])], Durability::Now).await?;
        }
        Ok(())
    }
}
