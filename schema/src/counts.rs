//! What lists hold, counted: folded from their rows once, then counted along with each write. That is right within one
//! process; where several write, none of them sees the others' writes, and rows are folded whenever somebody asks.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::RwLockReadGuard;

use crate::entry::Entry;
use crate::{Account, AccountId, Durability, Instance, List, Result, Scan, State, Totals, Write};

/// List rows that are folded at once.
const PAGE: usize = 10_000;

/// The lists of one account that were folded.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<HashMap<List, Totals>>);

impl Counts {
    fn lists(&self) -> std::sync::MutexGuard<'_, HashMap<List, Totals>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn add(&mut self, entry: Entry) {
        self.total += 1;
        self.unread += u64::from(entry.unread);
        self.size += entry.size;
    }

    fn take_away(&mut self, entry: Entry) {
        self.total = self.total.saturating_sub(1);
        self.unread = self.unread.saturating_sub(u64::from(entry.unread));
        self.size = self.size.saturating_sub(entry.size);
    }
}

impl Instance {
    /// What a list holds.
    pub(crate) async fn totals(&self, account: AccountId, list: List) -> Result<Totals> {
        if self.backend.is_shared {
            let _turn = self.lock_counts(account).await;
            return self.fold(account, list).await;
        }
        self.totals_lately(account, list).await
    }

    /// What a list holds; where other processes write too, what it held at most half a minute ago and what this one has
    /// added since.
    pub(crate) async fn totals_lately(&self, account: AccountId, list: List) -> Result<Totals> {
        if let Some(totals) = self.known_totals(account, list) {
            return Ok(totals);
        }
        let _turn = self.lock_counts(account).await;
        match self.known_totals(account, list) {
            Some(totals) => Ok(totals),
            None => self.fold(account, list).await,
        }
    }

    /// Counts a list's rows while nobody in this process changes them.
    async fn fold(&self, account: AccountId, list: List) -> Result<Totals> {
        let (table, partition) = list.partition(account);
        let mut scan = Scan::all(table, partition, PAGE);
        let mut totals = Totals::default();
        loop {
            let rows = self.backend.store.scan(&scan).await?;
            rows.iter().for_each(|(_, entry)| totals.add(Entry::from_bytes(entry)));
            match rows.into_iter().nth(PAGE - 1) {
                Some((last, _)) => scan = scan.above(last),
                None => break,
            }
            // Whoever waits for an answer only so long is to be asked now and then.
            tokio::task::yield_now().await;
        }
        self.counts.get_with(account, Default::default).lists().insert(list, totals);
        Ok(totals)
    }

    /// Forgets a list that is not there any more.
    pub(crate) fn forget_totals(&self, account: AccountId, list: List) {
        if let Some(counts) = self.counts.get(&account) {
            counts.lists().remove(&list);
        }
    }

    fn known_totals(&self, account: AccountId, list: List) -> Option<Totals> {
        self.counts.get(&account)?.lists().get(&list).copied()
    }
}

/// Held by who writes rows that are counted, from before the write until [`Counting::note`]. Where it is dropped
/// instead, after a failure that may or may not have written, what the account holds is folded anew.
pub(crate) struct Counting<'a> {
    account: &'a Account,
    is_known: bool,
    _held: RwLockReadGuard<'a, ()>,
}

impl Account {
    /// Waits until nobody folds the account's rows. Nothing else is locked while it is held.
    pub(crate) async fn hold_counts(&self) -> Counting<'_> {
        Counting { account: self, is_known: false, _held: self.instance.hold_counts(self.id).await }
    }

    /// Mends list rows. What they hold is folded anew when somebody asks again.
    pub async fn mend_lists(&self, writes: Vec<Write>) -> Result<()> {
        let _counting = self.hold_counts().await;
        self.backend().store.write(writes, Durability::Now).await
    }

    /// Octets of all messages as received.
    pub async fn used(&self) -> Result<u64> {
        Ok(self.instance.totals(self.id, List::Account).await?.size)
    }
}

impl Counting<'_> {
    /// Counts a message of `size` octets that was in the state `old` and is in `new` now; `None`: it was, or is, not there.
    pub(crate) fn note(mut self, old: Option<&State>, new: Option<&State>, size: u64) {
        self.is_known = true;
        let Some(counts) = self.account.instance.counts.get(&self.account.id) else { return };
        let mut counted = counts.lists();
        for (state, is_new) in [(old, false), (new, true)] {
            let Some(state) = state else { continue };
            let entry = Entry::new(state, size);
            let mailboxes = state.mailboxes.iter().map(|&mailbox| List::Mailbox(mailbox));
            for list in mailboxes.chain([List::Account]) {
                match (counted.get_mut(&list), is_new) {
                    (Some(totals), true) => totals.add(entry),
                    (Some(totals), false) => totals.take_away(entry),
                    (None, _) => {}
                }
            }
        }
    }

    /// Nothing was written.
    pub(crate) fn note_nothing(mut self) {
        self.is_known = true;
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.account.instance.counts.invalidate(&self.account.id);
        }
    }
}
