//! The change feed: entries in the order of their positions, which are times.
//!
//! An entry's position is the time at which its write begins, and the write is given up and made anew with a new one if
//! it takes longer than [`crate::CassandraOptions::change_time`]. So nothing appears any more before that long ago, clocks
//! being no further apart than allowed; no cursor that is handed out is younger. Younger entries are shown, and again
//! until they are old enough.

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use schema::{AccountId, Change, ChangePage, Error, MailStore as _, Position, Result, RowKey, Scan, Table};

use super::bucket::Bucket;
use super::lists::ListWrite;
use super::{CassandraStore, Request};

/// Of a position so many bits, the lowest, tell entries of one millisecond apart.
const SEQUENCE_BITS: u32 = 22;
/// Entries that are too young for a cursor to stand behind them, at most, that one page has beside those it was asked
/// for.
const YOUNG: usize = 10_000;
/// Octets of a clustering before the change: milliseconds, sequence.
const PLACE: usize = 12;

/// Hands out positions that grow.
#[derive(Default)]
pub(super) struct Positions(AtomicU64);

/// Where a feed begins and ends.
struct Ends {
    /// Entries up to there were dropped.
    forgotten: Position,
    /// That of the last entry, if the feed is not split.
    newest: Position,
    /// Whether entries stand in finer buckets, too.
    is_split: bool,
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Positions {
    fn next(&self) -> Position {
        let begin = |last: u64| {
            // Random within the millisecond, so that two processes seldom choose the same.
            let here =
                now_millis() << SEQUENCE_BITS | u64::from(rand::random::<u32>() >> (33 - SEQUENCE_BITS));
            here.max(last + 1)
        };
        let mut last = self.0.load(Ordering::Relaxed);
        loop {
            let next = begin(last);
            match self.0.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Position(next),
                Err(now) => last = now,
            }
        }
    }
}

fn place(position: Position) -> Vec<u8> {
    let millis = position.0 >> SEQUENCE_BITS;
    let sequence = u32::try_from(position.0 & ((1 << SEQUENCE_BITS) - 1)).unwrap_or(u32::MAX);
    [&millis.to_be_bytes()[..], &sequence.to_be_bytes()].concat()
}

fn read(clustering: &[u8]) -> Result<(Position, Change)> {
    let damaged = || Error::Damaged { what: Table::Changes.name() };
    let (place, change) = clustering.split_at_checked(PLACE).ok_or_else(damaged)?;
    let (millis, sequence) = place.split_at(8);
    let millis = u64::from_be_bytes(millis.try_into().map_err(|_| damaged())?);
    let sequence = u32::from_be_bytes(sequence.try_into().map_err(|_| damaged())?);
    let change = Change::from_bytes(change).ok_or_else(damaged)?;
    Ok((Position(millis << SEQUENCE_BITS | u64::from(sequence)), change))
}

impl CassandraStore {
    /// The greatest position at and before which nothing will appear any more.
    fn horizon(&self) -> Position {
        let options = &self.cassandra.options;
        // Each of two clocks may be that far from the servers'.
        let behind = options.change_time + options.clock_skew * 2;
        let behind = u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
        Position(now_millis().saturating_sub(behind) << SEQUENCE_BITS)
    }

    /// Sends statements, and entries of the feed with them. All is durable when this returns, and was so in time.
    pub(super) async fn send_with_changes(
        &self,
        requests: Vec<Request>,
        changes: Vec<(AccountId, Change)>,
    ) -> Result<()> {
        if changes.is_empty() {
            return self.send(requests).await;
        }
        let time = self.cassandra.options.change_time;
        let began = Instant::now();
        loop {
            let begun = Instant::now();
            let entries = changes.iter().map(|(account, change)| self.entry(*account, *change)).collect();
            let mut all = self.lists.requests(entries).await?;
            all.extend(requests.iter().cloned());
            match tokio::time::timeout(time, self.send(all)).await {
                Ok(Ok(())) if begun.elapsed() < time => return Ok(()),
                Ok(Err(error)) => return Err(error),
                _ if began.elapsed() > time.max(self.cassandra.options.request_time) => {
                    return Err(Error::transient("writing a change", "it takes too long"));
                }
                _ => {}
            }
        }
    }

    /// The row of an entry that begins to be written now.
    fn entry(&self, account: AccountId, change: Change) -> ListWrite {
        let clustering = [&place(self.positions.next())[..], &change.to_bytes()].concat();
        ListWrite {
            key: RowKey::new(Table::Changes, *account.as_bytes(), clustering),
            value: Some(Vec::new()),
            as_of: self.cassandra.stamp(),
        }
    }

    /// Where the feed begins and ends.
    async fn ends(&self, account: AccountId) -> Result<Ends> {
        const TEXT: &str = "SELECT clustering, is_split, forgotten_until FROM changes \
             WHERE partition = ? AND bucket = 0x LIMIT 1";
        let found =
            self.cassandra.rows("reading a change feed", TEXT, (account.as_bytes().to_vec(),)).await?;
        let row = found.maybe_first_row::<(Option<Vec<u8>>, Option<bool>, Option<i64>)>();
        let row = row.map_err(|error| Error::transient("reading a change feed", error))?;
        let (newest, is_split, forgotten) = row.unwrap_or_default();
        let newest = newest.map(|clustering| read(&clustering)).transpose()?;
        let forgotten = forgotten.and_then(|until| u64::try_from(until).ok()).unwrap_or(0);
        Ok(Ends {
            forgotten: Position(forgotten),
            newest: newest.map_or(Position(0), |(position, _)| position),
            is_split: is_split == Some(true),
        })
    }

    fn feed(account: AccountId, limit: usize) -> Scan {
        Scan::all(Table::Changes, *account.as_bytes(), limit)
    }

    pub(super) async fn changes_after(
        &self,
        account: AccountId,
        since: Position,
        limit: usize,
    ) -> Result<ChangePage> {
        let horizon = self.horizon();
        // Most who ask have seen all there is.
        if self.has_changes_in_root(account, since).await? == Some(false) {
            return Ok(ChangePage { cursor: since, ..ChangePage::default() });
        }
        let (mut changes, mut is_whole) = self.entries(account, since, limit).await?;
        let is_settled =
            |changes: &[(Position, Change)]| changes.last().is_some_and(|(position, _)| *position <= horizon);
        // Those that are too young for a cursor are shown whole.
        if !is_whole && !is_settled(&changes) {
            (changes, is_whole) = self.entries(account, since, limit.saturating_add(YOUNG)).await?;
        }
        // What is dropped is so after this was noted: asked last, it tells of all that may be missing.
        if self.ends(account).await?.forgotten > since {
            return Err(Error::CursorExpired);
        }
        let settled = changes.partition_point(|(position, _)| *position <= horizon);
        let has_more = settled > limit || !is_whole;
        if settled > limit {
            // Two processes may have chosen the same position: a cursor stands behind both or none.
            let last = changes[limit - 1].0;
            changes.truncate(changes.partition_point(|(position, _)| *position <= last));
        }
        let settled = changes.partition_point(|(position, _)| *position <= horizon);
        let cursor = changes[..settled].last().map_or(since, |(position, _)| *position);
        Ok(ChangePage { changes, cursor, has_more })
    }

    /// Whether there are entries after `since`, by the root alone; `None` if the feed is split.
    async fn has_changes_in_root(&self, account: AccountId, since: Position) -> Result<Option<bool>> {
        let list = (Table::Changes, account.as_bytes().to_vec());
        if self.lists.knows_split(&list, Bucket::ROOT) {
            return Ok(None);
        }
        let ends = self.ends(account).await?;
        match ends.forgotten > since {
            true => Err(Error::CursorExpired),
            false => Ok((!ends.is_split).then_some(ends.newest > since)),
        }
    }

    pub(super) async fn has_changes_after(&self, account: AccountId, since: Position) -> Result<bool> {
        if let Some(has_changes) = self.has_changes_in_root(account, since).await? {
            return Ok(has_changes);
        }
        let mut scan = Self::feed(account, 1).descending();
        scan.lower = Bound::Included(place(Position(since.0.saturating_add(1))));
        let has_changes = !self.scan(&scan).await?.is_empty();
        match self.ends(account).await?.forgotten > since {
            true => Err(Error::CursorExpired),
            false => Ok(has_changes),
        }
    }

    /// Entries after `since`: more than `limit` of them, or all, and then true.
    async fn entries(
        &self,
        account: AccountId,
        since: Position,
        limit: usize,
    ) -> Result<(Vec<(Position, Change)>, bool)> {
        // Beside the one that tells of more some that share a position.
        let mut scan = Self::feed(account, limit.saturating_add(8));
        scan.lower = Bound::Included(place(Position(since.0.saturating_add(1))));
        let rows = self.scan(&scan).await?;
        let entries = rows.iter().map(|(clustering, _)| read(clustering)).collect::<Result<Vec<_>>>()?;
        Ok((entries, rows.len() < scan.limit))
    }

    /// The newest entry that is at or before `until`.
    async fn newest_until(&self, account: AccountId, until: Position) -> Result<Option<Position>> {
        let mut scan = Self::feed(account, 1).descending();
        scan.upper = Bound::Excluded(place(Position(until.0.saturating_add(1))));
        let row = self.scan(&scan).await?.pop();
        row.map(|(clustering, _)| read(&clustering))
            .transpose()
            .map(|found| found.map(|(position, _)| position))
    }

    pub(super) async fn newest_position(&self, account: AccountId) -> Result<Position> {
        let newest = self.newest_until(account, self.horizon());
        let (ends, newest) = tokio::try_join!(self.ends(account), newest)?;
        Ok(ends.forgotten.max(newest.unwrap_or_default()))
    }

    pub(super) async fn forget_changes_until(&self, account: AccountId, until: Position) -> Result<()> {
        let Some(until) = self.newest_until(account, until.min(self.horizon())).await? else { return Ok(()) };
        // The greatest of several that are written at once stays: it is its own time.
        const FLOOR: &str =
            "UPDATE changes USING TIMESTAMP ? SET forgotten_until = ? WHERE partition = ? AND bucket = 0x";
        let partition = account.as_bytes().to_vec();
        let floor = i64::try_from(until.0).unwrap_or(i64::MAX);
        self.cassandra.run("forgetting changes", FLOOR, (floor, floor, &partition)).await?;
        const DROP: &str = "DELETE FROM changes WHERE partition = ? AND bucket = ? AND clustering < ?";
        let below = place(Position(until.0.saturating_add(1)));
        for bucket in self.all_buckets(Table::Changes, &partition).await? {
            self.cassandra.run("forgetting changes", DROP, (&partition, bucket.to_bytes(), &below)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_grow_and_read_back() {
        let positions = Positions::default();
        let mut last = Position(0);
        let change = Change { kind: schema::ChangeKind::MailboxCreated, id: [9; 16] };
        for _ in 0..10_000 {
            let position = positions.next();
            assert!(position > last);
            assert!(place(position) > place(last));
            let clustering = [&place(position)[..], &change.to_bytes()].concat();
            assert_eq!(read(&clustering).unwrap(), (position, change));
            last = position;
        }
        assert!(last.0 >> SEQUENCE_BITS <= now_millis() + 10);
        assert!(read(&[1, 2, 3]).is_err());
    }
}
