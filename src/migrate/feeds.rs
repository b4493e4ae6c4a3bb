//! Change feeds, which begin anew: positions are counts on one backend and times on the other, so every cursor of before
//! has to be expired, neither leave a gap nor say that there is nothing new.
//!
//! An entry is written to each feed of the target and forgotten again. That expires what lies before it, and all
//! cursors of the source do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::{AccountId, Change, ChangeKind, Durability, Error, Instance, Position, Result, Write};

use super::{Migration, PAGE, patiently};

/// A cursor may stand behind an entry that is so old, whatever the configuration says.
const LONGEST: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(200);

/// The greatest position in any change feed, also of entries that no cursor may stand behind yet. Nobody writes to them
/// any more.
///
/// # Errors
/// What the backend says.
pub async fn greatest_position(instance: &Arc<Instance>) -> Result<Position> {
    let store = &instance.backend.store;
    let mut greatest = Position(0);
    for account in instance.accounts().await? {
        loop {
            let position = store.position(account).await?;
            let page = store.changes(account, position, PAGE).await?;
            let last = page.changes.last().map_or(position, |(last, _)| *last);
            greatest = greatest.max(last);
            if !page.has_more {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(greatest)
}

impl Migration {
    /// Writes the entries.
    pub(super) async fn begin_feeds(&self) -> Result<()> {
        let entry = Change { kind: ChangeKind::MessageUpdated, id: [0; 16] };
        let writes: Vec<_> = self.accounts.iter().map(|&account| Write::Change(account, entry)).collect();
        for writes in writes.chunks(PAGE) {
            patiently(async || self.target.store.write(writes.to_vec(), Durability::Now).await).await?;
        }
        Ok(())
    }

    /// Forgets them, as soon as a cursor may stand behind them.
    pub(super) async fn end_feeds(&self) -> Result<()> {
        let began = Instant::now();
        for &account in &self.accounts {
            while !self.end_feed(account).await? {
                if began.elapsed() > LONGEST {
                    let why = "positions of before are not behind those of now";
                    return Err(Error::transient("a change feed was not begun anew", why));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Whether every cursor of before is expired now.
    async fn end_feed(&self, account: AccountId) -> Result<bool> {
        let before = patiently(async || self.source.backend.store.position(account).await).await?;
        let now = patiently(async || self.target.store.position(account).await).await?;
        if now <= before {
            return Ok(false);
        }
        patiently(async || self.target.store.forget_changes(account, now).await).await?;
        match self.target.store.changes(account, before, 1).await {
            Err(Error::CursorExpired) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
