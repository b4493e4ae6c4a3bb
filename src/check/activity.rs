//! The listings of threads and of discussions.

use std::collections::HashSet;

use schema::{ListPosition, Result, RowKey, Scan, Table};

use super::{Check, Known, PAGE};

impl Check<'_> {
    /// Whether every thread and discussion is in its listing. Calls that race leave rows of other times: listings pass
    /// over them, so they are no drift, and they are put right when something is repaired anyway.
    pub(super) async fn check_activity(&self, known: &Known) -> Result<()> {
        for (table, newest) in
            [(Table::ThreadsByActivity, &known.threads), (Table::DiscussionsByActivity, &known.discussions)]
        {
            let partition = self.account.id().as_bytes().to_vec();
            let mut listed = HashSet::new();
            let rows = self.instance().backend.store.rows(Scan::all(table, partition.clone(), PAGE)).await?;
            for (clustering, _) in rows {
                let Some(at) = ListPosition::from_clustering(&clustering) else { continue };
                if newest.get(&at.id) == Some(&at.at) {
                    listed.insert(at.id);
                    continue;
                }
                listed.extend(self.account.place_in(table, at.id).await?.map(|place| place.id));
                if self.repair {
                    self.account.list_again(table, at).await?;
                }
            }
            for &id in newest.keys().filter(|id| !listed.contains(*id)) {
                let place = self.account.place_in(table, id).await?.filter(|place| place.id == id);
                let Some(place) = place else { continue };
                let key = RowKey::new(table, partition.clone(), place.clustering());
                if self.is_absent(&key).await? {
                    self.put_missing(key, vec![]).await?;
                }
            }
        }
        Ok(())
    }
}
