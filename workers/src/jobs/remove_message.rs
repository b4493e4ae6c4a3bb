//! Takes a message that was finally deleted out of the search index and the blobs.

use std::sync::Arc;

use schema::{AccountId, Instance, MessageId, Result};

/// A purged account has nothing left that this job could take away.
pub(crate) async fn run(instance: &Arc<Instance>, account: AccountId, message: MessageId) -> Result<()> {
    match instance.account(account).await? {
        Some(account) => account.remove_message_remains(message).await,
        None => Ok(()),
    }
}
