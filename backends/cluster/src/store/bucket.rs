//! Buckets: how a partition that would become large is split.
//!
//! A list by time stands in one bucket, its root, until that has many rows. From then on its rows go to finer buckets, a
//! stretch of time each, and those that become full are split in turn. Nothing is moved, so a row may stand in any of
//! the buckets that its time lies in.

use std::ops::Bound;

use schema::{Millis, RowKey};

/// Milliseconds of a bucket of each level, as a power of two: all time, 50 days, 9 hours, 4 minutes, 2 seconds.
const LEVELS: [u32; 5] = [64, 32, 25, 18, 11];

/// The shards of a partition of the whole instance are told apart by so many leading bits of the clustering.
const SHARD_BITS: u32 = 4;
/// How many there are.
pub(super) const SHARDS: u8 = 1 << SHARD_BITS;

/// A stretch of time that holds rows of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bucket {
    level: u8,
    start: Millis,
}

/// The time that a clustering begins with; a shorter one is that of its octets followed by zeros.
pub(super) fn time(clustering: &[u8]) -> Millis {
    let mut octets = [0; 8];
    let length = clustering.len().min(8);
    octets[..length].copy_from_slice(&clustering[..length]);
    Millis::from_be_bytes(octets)
}

impl Bucket {
    /// The bucket of all time.
    pub(super) const ROOT: Self = Self { level: 0, start: 0 };

    /// The bucket of the next level that `time` lies in; `None` if there is no finer one.
    pub(super) fn child(self, time: Millis) -> Option<Self> {
        let bits = LEVELS.get(usize::from(self.level) + 1)?;
        Some(Self { level: self.level + 1, start: time >> bits << bits })
    }

    /// The first and the last bucket of the next level within it; `None` if there is no finer one.
    pub(super) fn children(self) -> Option<[Self; 2]> {
        Some([self.child(self.first())?, self.child(self.last())?])
    }

    /// As it is stored: nothing for the root, else the level and the start.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self.level {
            0 => Vec::new(),
            level => [&[level][..], &self.start.to_be_bytes()].concat(),
        }
    }

    /// The bucket in stored octets.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] => Some(Self::ROOT),
            [level, start @ ..] if usize::from(*level) < LEVELS.len() => {
                Some(Self { level: *level, start: Millis::from_be_bytes(start.try_into().ok()?) })
            }
            _ => None,
        }
    }

    /// The first millisecond.
    pub(super) fn first(self) -> Millis {
        self.start
    }

    /// The last millisecond.
    pub(super) fn last(self) -> Millis {
        match LEVELS.get(usize::from(self.level)) {
            Some(&bits) if bits < 64 => self.start | ((1 << bits) - 1),
            _ => Millis::MAX,
        }
    }

    /// Whether a row within the bounds could stand in it.
    pub(super) fn overlaps(self, lower: &Bound<Vec<u8>>, upper: &Bound<Vec<u8>>) -> bool {
        let of = |bound: &Bound<Vec<u8>>| match bound {
            Bound::Included(clustering) | Bound::Excluded(clustering) => Some(time(clustering)),
            Bound::Unbounded => None,
        };
        of(lower).is_none_or(|lower| self.last() >= lower)
            && of(upper).is_none_or(|upper| self.first() <= upper)
    }
}

/// The bucket of a row that is not in a list by time.
pub(super) fn of_row(key: &RowKey) -> Vec<u8> {
    match (key.partition.is_empty(), key.clustering.first()) {
        (true, first) => vec![shard(first.copied().unwrap_or(0))],
        (false, _) => Vec::new(),
    }
}

fn shard(first: u8) -> u8 {
    first >> (8 - SHARD_BITS)
}

/// The shards that rows within the bounds could stand in, in order.
pub(super) fn shards(lower: &Bound<Vec<u8>>, upper: &Bound<Vec<u8>>) -> std::ops::RangeInclusive<u8> {
    let of = |bound: &Bound<Vec<u8>>, unbounded: u8| match bound {
        Bound::Included(clustering) | Bound::Excluded(clustering) => {
            shard(clustering.first().copied().unwrap_or(0))
        }
        Bound::Unbounded => unbounded,
    };
    of(lower, 0)..=of(upper, SHARDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Millis = 1_767_225_600_123;

    #[test]
    fn each_level_divides_the_one_above() {
        let (mut bucket, mut levels) = (Bucket::ROOT, 1);
        while let Some(child) = bucket.child(TIME) {
            assert!(child.first() >= bucket.first() && child.last() <= bucket.last());
            assert!((child.first()..=child.last()).contains(&TIME));
            assert_eq!(bucket.child(child.last()), Some(child));
            assert_ne!(bucket.child(child.last() + 1), Some(child));
            let [first, last] = bucket.children().unwrap().map(Bucket::to_bytes);
            assert!((first..=last).contains(&child.to_bytes()));
            (bucket, levels) = (child, levels + 1);
        }
        assert_eq!(levels, LEVELS.len());
        assert_eq!(bucket.children(), None);
    }

    #[test]
    fn a_bucket_reads_back_as_it_was_written() {
        let mut bucket = Some(Bucket::ROOT);
        while let Some(here) = bucket {
            assert_eq!(Bucket::from_bytes(&here.to_bytes()), Some(here));
            bucket = here.child(TIME);
        }
        for bytes in [&[9][..], &[1, 2, 3], &[5, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Bucket::from_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_bucket_overlaps_bounds_that_its_time_touches() {
        let bucket = Bucket::ROOT.child(TIME).unwrap();
        let at = |time: Millis| Bound::Included(time.to_be_bytes().to_vec());
        assert!(bucket.overlaps(&Bound::Unbounded, &Bound::Unbounded));
        assert!(bucket.overlaps(&at(bucket.last()), &Bound::Unbounded));
        assert!(!bucket.overlaps(&at(bucket.last() + 1), &Bound::Unbounded));
        assert!(bucket.overlaps(&Bound::Unbounded, &at(bucket.first())));
        assert!(!bucket.overlaps(&Bound::Unbounded, &at(bucket.first() - 1)));
    }

    #[test]
    fn shards_keep_the_order_of_their_rows() {
        let of = |first: u8| of_row(&RowKey::new(schema::Table::Accounts, [], [first; 16]));
        assert!((0..=u8::MAX).map(of).is_sorted());
        assert_eq!(of_row(&RowKey::new(schema::Table::Instance, [], [])), [0]);
        assert_eq!(of_row(&RowKey::new(schema::Table::Messages, [1; 32], [])), [0; 0]);
        assert_eq!(shards(&Bound::Unbounded, &Bound::Unbounded), 0..=SHARDS - 1);
        assert_eq!(shards(&Bound::Excluded(vec![0x3F]), &Bound::Included(vec![0x40, 1])), 3..=4);
    }
}
