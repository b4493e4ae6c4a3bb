//! The index.

use std::collections::HashSet;

use schema::{Error, ListPosition, MessageId, Millis, Result, Scan, Table};

use super::{Check, Drift, PAGE};

impl Check<'_> {
    /// Index entries against messages that do not wait to be indexed.
    pub(super) async fn check_index(&self, known: &HashSet<MessageId>) -> Result<()> {
        let waiting = Scan::all(Table::Unindexed, *self.account.id().as_bytes(), PAGE);
        let waiting = self.instance().backend.store.rows(waiting).await?;
        self.report(|report| report.waiting += waiting.len() as u64);
        let mut lacking = known.clone();
        for (clustering, _) in &waiting {
            if let Some(at) = ListPosition::from_clustering(clustering) {
                lacking.remove(&MessageId(at.id));
            }
        }
        let mut after = None;
        loop {
            let ids = self.instance().backend.index.ids(self.account.id(), after, PAGE).await?;
            let Some(&last) = ids.last() else { break };
            after = Some(last);
            for id in ids {
                lacking.remove(&id);
                if !known.contains(&id)
                    && !self.lost().contains(&id)
                    && self.account.message(id).await?.is_none()
                {
                    self.note(Drift::StaleIndexEntry);
                    self.remove_remains(id).await?;
                }
            }
        }
        for id in lacking {
            if let Some(received_at) = self.received_at(id).await? {
                self.note(Drift::MissingIndexEntry);
                if self.repair {
                    self.account.index_again(id, received_at).await?;
                }
            }
        }
        Ok(())
    }

    async fn received_at(&self, id: MessageId) -> Result<Option<Millis>> {
        match self.account.message(id).await {
            Ok(message) => Ok(message.map(|message| message.row.received_at)),
            Err(error) if error.is_transient() => Err(error),
            // What does not open cannot be indexed; it counts as unreadable.
            Err(Error::Sealed { .. } | Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
