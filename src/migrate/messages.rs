//! Opens every message on the target.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::{Account, AccountId, Error, Instance, MessageId, Result, Table};

use super::rows::partitions;
use super::{AT_ONCE, Migration, Report, patiently};

/// What a message of the source is on the target.
enum Found {
    /// The same octets.
    Same,
    /// None, as on the source: it was finally deleted.
    None,
    /// It does not open there, nor did it on the source.
    Unreadable,
    /// Not what it was.
    Wrong,
}

impl Migration {
    /// Opens every message of the source on `target`, and compares its octets by the digest that is its id.
    pub(super) async fn open_messages(&self, target: &Arc<Instance>, report: &mut Report) -> Result<()> {
        let mut after = None;
        loop {
            let (page, next) = partitions(&self.source.backend, Table::Messages, after).await?;
            let ids = page.iter().filter(|partition| self.is_copied(Table::Messages, partition));
            let ids = ids.filter_map(|partition| {
                let (account, own) = partition.split_at_checked(16)?;
                Some((AccountId::from_slice(account)?, MessageId::from_slice(own)?))
            });
            let opened = ids.map(|(account, id)| self.open(target, account, id));
            let found: Vec<Found> = stream::iter(opened).buffer_unordered(AT_ONCE).try_collect().await?;
            for found in found {
                match found {
                    Found::Same => report.messages += 1,
                    Found::None => {}
                    Found::Unreadable => report.unreadable += 1,
                    Found::Wrong => report.wrong += 1,
                }
            }
            tracing::info!(messages = report.messages, wrong = report.wrong, "messages were opened");
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    async fn open(&self, target: &Arc<Instance>, account: AccountId, id: MessageId) -> Result<Found> {
        let (Some(ours), Some(theirs)) =
            (self.source.account(account).await?, target.account(account).await?)
        else {
            return Ok(Found::Wrong);
        };
        let size = match patiently(async || theirs.message(id).await).await {
            Ok(Some(message)) => message.row.size,
            Ok(None) | Err(Error::Sealed { .. } | Error::Damaged { .. }) => 0,
            Err(error) => return Err(error),
        };
        let _held = self.hold(size).await;
        patiently(async || {
            // Of several at once each is opened by a thread that is free.
            let opened = tokio::spawn(compare(ours.clone(), theirs.clone(), id)).await;
            opened.map_err(|error| Error::permanent("a message was not compared", error))?
        })
        .await
    }
}

async fn compare(ours: Account, theirs: Account, id: MessageId) -> Result<Found> {
    let found = read(&theirs, id).await?;
    match found {
        Some(true) => Ok(Found::Same),
        _ if read(&ours, id).await? != found => Ok(Found::Wrong),
        None => Ok(Found::None),
        Some(false) => Ok(Found::Unreadable),
    }
}

/// Whether a message's octets are those that its id is the digest of; `None` if there is no such message.
async fn read(account: &Account, id: MessageId) -> Result<Option<bool>> {
    let is_there = match account.message(id).await {
        Ok(message) => message.is_some(),
        Err(Error::Sealed { .. } | Error::Damaged { .. }) => return Ok(Some(false)),
        Err(error) => return Err(error),
    };
    if !is_there {
        return Ok(None);
    }
    match account.raw(id).await {
        Ok(raw) => Ok(Some(raw.is_some_and(|raw| account.message_id(&raw) == id))),
        Err(Error::Sealed { .. } | Error::Damaged { .. }) => Ok(Some(false)),
        Err(error) => Err(error),
    }
}
