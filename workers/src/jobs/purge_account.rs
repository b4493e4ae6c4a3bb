//! Takes away what is left of an account whose key is destroyed.

use std::sync::Arc;

use schema::{AccountId, Instance, Result};

/// Rows, blobs and index entries are noise already; this gives their space back.
pub(crate) async fn run(instance: &Arc<Instance>, account: AccountId) -> Result<()> {
    instance.remove_account_remains(account).await
}
