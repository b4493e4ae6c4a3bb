//! Moves the messages of a thread that became part of another.

use std::sync::Arc;

use schema::{AccountId, Instance, Result, ThreadId};

/// A purged account has no threads any more.
pub(crate) async fn run(instance: &Arc<Instance>, account: AccountId, thread: ThreadId) -> Result<()> {
    match instance.account(account).await? {
        Some(account) => account.compress_thread(thread).await,
        None => Ok(()),
    }
}
