//! Fills an index that is built beside the one which searches read.
//!
//! Whoever writes to the index that searches read has to write to this one too before the fill begins: then a message is
//! either put here by its own job, or its rows were there before and it is found here.

use std::collections::HashSet;
use std::sync::Arc;

use schema::index::SearchIndex;
use schema::{AccountId, Error, Instance, List, ListPosition, MessageId, Result, RowKey, Scan, Table};
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::jobs::index_message::{self, Target};
use crate::outcome::Outcome;

/// Rows, or ids, of a page.
const PAGE: usize = 5_000;
/// Messages that are put in before it is told how far it is.
const TOGETHER: usize = 2_000;

/// What a fill has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    /// Messages that the index lacked and now holds.
    pub put: u64,
    /// Entries that were no message's, and are gone.
    pub removed: u64,
    /// Messages that the index lacks still: they are damaged, or it does not take them.
    pub refused: u64,
}

/// Puts into `index` every message that it lacks, and takes out what is no message's. What an earlier one that was cut short
/// has put in is not put in again. What it does is added to `filled`.
///
/// # Errors
/// What the store or the index says; another fill goes on from there.
pub async fn fill(
    instance: &Arc<Instance>,
    index: Arc<dyn SearchIndex>,
    settings: &Settings,
    filled: &mut Filled,
) -> Result<()> {
    let target = Target { instance: instance.clone(), index, serves: false };
    filled.refused = 0;
    let accounts = instance.accounts().await?;
    for &account in &accounts {
        fill_account(&target, settings, account, filled).await?;
    }
    // What was put in of an account that was purged meanwhile may have come after all of it was taken out.
    let left: HashSet<AccountId> = instance.accounts().await?.into_iter().collect();
    for account in accounts.into_iter().filter(|account| !left.contains(account)) {
        target.index.remove_account(account).await?;
    }
    Ok(())
}

async fn fill_account(
    target: &Target,
    settings: &Settings,
    account: AccountId,
    filled: &mut Filled,
) -> Result<()> {
    let mut lacking = messages(&target.instance, account).await?;
    let mut strange = Vec::new();
    let mut after = None;
    loop {
        let ids = target.index.ids(account, after, PAGE).await?;
        strange.extend(ids.iter().filter(|id| !lacking.remove(id)));
        match ids.last() {
            Some(&last) if ids.len() == PAGE => after = Some(last),
            _ => break,
        }
    }
    let lacking: Vec<_> = lacking.into_iter().map(|message| (account, message)).collect();
    for some in lacking.chunks(TOGETHER) {
        for outcome in
            index_message::run(target, settings, some, &CancellationToken::new()).await.into_values()
        {
            match outcome {
                Outcome::Done => filled.put += 1,
                Outcome::Bury(reason) => {
                    filled.refused += 1;
                    tracing::warn!(%account, reason, "a message is not put into the next index");
                }
                Outcome::Retry(reason) => return Err(cut_short(reason)),
                Outcome::Release => return Err(cut_short("it is being stopped".to_owned())),
            }
        }
        tracing::info!(put = filled.put, "the next index is being filled");
    }
    remove_strange(target, account, &strange, filled).await
}

fn cut_short(reason: String) -> Error {
    Error::transient("the next index could not be filled", std::io::Error::other(reason))
}

/// The ids of an account's messages, by its list: to walk through all accounts' messages for each of them would take long.
async fn messages(instance: &Instance, account: AccountId) -> Result<HashSet<MessageId>> {
    let (table, partition) = List::Account.partition(account);
    let mut scan = Scan::all(table, partition, PAGE);
    let mut all = HashSet::new();
    loop {
        let rows = instance.backend.store.scan(&scan).await?;
        let places = rows.iter().filter_map(|(clustering, _)| ListPosition::from_clustering(clustering));
        all.extend(places.map(|at| MessageId(at.id)));
        match rows.into_iter().last() {
            Some((last, _)) => scan = scan.above(last),
            None => return Ok(all),
        }
    }
}

/// Takes out what no message has the id of: the list may lack one, or have got it since.
async fn remove_strange(
    target: &Target,
    account: AccountId,
    strange: &[MessageId],
    filled: &mut Filled,
) -> Result<()> {
    for some in strange.chunks(TOGETHER) {
        let keys: Vec<_> = some.iter().map(|&id| RowKey::of_message(Table::Messages, account, id)).collect();
        let rows = target.instance.backend.store.get(&keys).await?;
        let gone: Vec<_> =
            some.iter().zip(rows).filter_map(|(id, row)| row.is_none().then_some(*id)).collect();
        filled.removed += gone.len() as u64;
        target.index.remove(account, &gone).await?;
    }
    Ok(())
}
