//! What becomes of each table.

use schema::{AccountId, Job, ListPosition, MessageId, Row, Table, ThreadId};

use super::Migration;

/// The table of the source that a table of the target is made from; `None` where nothing is copied.
pub(super) fn source_of(table: Table) -> Option<Table> {
    match table {
        // What processes tell of themselves, and which turn is whose; the instance's key is copied by itself.
        Table::Instance | Table::Nodes | Table::PeriodicJobs => None,
        // Positions mean something where they were given out.
        Table::Changes | Table::FeedMarks => None,
        // They are counted as messages are put into the index.
        Table::Languages => None,
        // Nobody remembers anything of the target yet.
        Table::LateUnindexed => None,
        // The index of the target lacks every message.
        Table::Unindexed => Some(Table::MessagesByAccount),
        table => Some(table),
    }
}

/// The work that waits where a row is new.
pub(super) fn job(table: Table, partition: &[u8], clustering: &[u8]) -> Option<Job> {
    let (account, own) = partition.split_at_checked(16)?;
    let account = AccountId::from_slice(account)?;
    match table {
        Table::Unindexed => {
            let message = MessageId(ListPosition::from_clustering(clustering)?.id);
            Some(Job::IndexMessage { account, message })
        }
        // Its messages may not all have been moved yet.
        Table::ThreadAliases => Some(Job::CompressThread { account, thread: ThreadId::from_slice(own)? }),
        _ => None,
    }
}

impl Migration {
    /// Whether a partition is copied: of accounts that have no key there are only remains.
    pub(super) fn is_copied(&self, table: Table, partition: &[u8]) -> bool {
        !table.is_of_account() || partition.get(..16).is_some_and(|owner| self.has_key(owner))
    }

    fn has_key(&self, id: &[u8]) -> bool {
        AccountId::from_slice(id).is_some_and(|id| self.accounts.contains(&id))
    }

    /// Rows of the source as they are to be in `table`.
    pub(super) fn as_in(&self, table: Table, mut rows: Vec<Row>) -> Vec<Row> {
        match table {
            Table::Unindexed => rows.iter_mut().for_each(|(_, value)| value.clear()),
            Table::Accounts => rows.retain(|(id, _)| self.has_key(id)),
            Table::Addresses => rows.retain(|(_, id)| self.has_key(id)),
            _ => {}
        }
        rows
    }
}
