//! An account's list of segments, and which of them are to become one.

use std::ops::Range;

use schema::Millis;

use super::coding::{Reader, put_varint};

const FORMAT: u8 = 1;
/// A segment of the lowest tier is smaller than this, in octets; each next tier holds eight times as much.
const LOWEST: u64 = 8 * 1024;
const TIERS: u32 = 4;
/// So many segments of one tier become one.
const FAN: usize = 8;
/// What one merge reads at most, in octets: it bounds a merge's memory and time.
const MERGE_LIMIT: u64 = 8 * 1024 * 1024;
/// How much larger than all newer ones together a segment may be to be merged with them when it is quiet.
const WORTH: u64 = 4;
/// With more segments below the full size than this, neighbours merge whatever their tiers.
const CROWD: usize = 48;

/// One segment as the manifest knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    /// Its documents' sequence numbers are at least this, and below the next entry's.
    pub first_sequence: u64,
    /// How many documents it holds, those that are gone included.
    pub documents: u32,
    /// How many of them are gone.
    pub removed: u32,
    /// What its rows take, in octets.
    pub bytes: u64,
    /// The latest time of receipt in it.
    pub newest: Millis,
}

/// An account's segments, in the order of their sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The sequence number of the next document. None is ever used twice.
    pub next_sequence: u64,
    /// The id of the next segment.
    pub next_segment: u64,
    /// A segment whose blocks are being written in several batches: if nobody is at it, they are refuse.
    pub unfinished: Option<u64>,
    pub entries: Vec<Entry>,
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.entries.len() * 20);
        out.push(FORMAT);
        put_varint(&mut out, self.next_sequence);
        put_varint(&mut out, self.next_segment);
        put_varint(&mut out, self.unfinished.map_or(0, |segment| segment + 1));
        put_varint(&mut out, self.entries.len() as u64);
        let mut sequence = 0;
        for entry in &self.entries {
            put_varint(&mut out, entry.id);
            put_varint(&mut out, entry.first_sequence - sequence);
            put_varint(&mut out, u64::from(entry.documents));
            put_varint(&mut out, u64::from(entry.removed));
            put_varint(&mut out, entry.bytes);
            put_varint(&mut out, entry.newest);
            sequence = entry.first_sequence;
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.octet()? != FORMAT {
            return None;
        }
        let next_sequence = reader.varint()?;
        let next_segment = reader.varint()?;
        let unfinished = reader.varint()?.checked_sub(1);
        let count = reader.count(6)?;
        let mut entries = Vec::with_capacity(count);
        let mut sequence = 0u64;
        for _ in 0..count {
            let id = reader.varint()?;
            sequence = sequence.checked_add(reader.varint()?)?;
            let entry = Entry {
                id,
                first_sequence: sequence,
                documents: reader.varint32()?,
                removed: reader.varint32()?,
                bytes: reader.varint()?,
                newest: reader.varint()?,
            };
            if entry.removed > entry.documents || entry.first_sequence >= next_sequence {
                return None;
            }
            entries.push(entry);
        }
        reader.is_empty().then_some(Self { next_sequence, next_segment, unfinished, entries })
    }

    /// A new segment's id.
    pub fn take_segment(&mut self) -> u64 {
        self.next_segment += 1;
        self.next_segment - 1
    }

    /// Which segment holds the document of a sequence number.
    pub fn holder(&mut self, sequence: u64) -> Option<&mut Entry> {
        let after = self.entries.partition_point(|entry| entry.first_sequence <= sequence);
        self.entries.get_mut(after.checked_sub(1)?)
    }

    /// How many documents are there and not gone.
    pub fn live(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.documents - entry.removed)).sum()
    }

    /// The neighbours that are to become one segment now; a single one is to be written without what is gone.
    pub fn due(&self) -> Option<Range<usize>> {
        if let Some(index) = self.entries.iter().position(|entry| entry.removed * 2 >= entry.documents) {
            return Some(index..index + 1);
        }
        (0..TIERS).find_map(|tier| self.full_tier(tier)).or_else(|| self.crowd())
    }

    /// Everything in as few segments as the limit of one merge allows: the first step of it, if there is one.
    pub fn compaction(&self) -> Option<Range<usize>> {
        self.due().or_else(|| {
            let start = (0..self.entries.len()).find(|&index| {
                self.entries[index].removed > 0 || self.fitting(index, self.entries.len()) >= index + 2
            })?;
            Some(start..self.fitting(start, self.entries.len()).max(start + 1))
        })
    }

    /// The newest segments that are worth becoming one when nothing else is to be done: each no more than [`WORTH`] times
    /// as large as all that are newer, so that what comes in between two such merges bounds what they write.
    pub fn settling(&self) -> Option<Range<usize>> {
        self.due().or_else(|| {
            let end = self.entries.len();
            let (mut start, mut bytes) = (end, 0);
            while let Some(entry) = start.checked_sub(1).and_then(|before| self.entries.get(before)) {
                if bytes + entry.bytes > MERGE_LIMIT || (start < end && entry.bytes > WORTH * bytes) {
                    break;
                }
                bytes += entry.bytes;
                start -= 1;
            }
            (end - start >= 2).then_some(start..end)
        })
    }

    fn full_tier(&self, tier: u32) -> Option<Range<usize>> {
        let mut members = 0;
        let mut start = 0;
        for (index, entry) in self.entries.iter().enumerate() {
            match tier_of(entry.bytes).cmp(&tier) {
                std::cmp::Ordering::Greater => members = 0,
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => {
                    if members == 0 {
                        start = index;
                    }
                    members += 1;
                    if members == FAN {
                        return Some(start..self.fitting(start, index + 1).max(start + 2));
                    }
                }
            }
        }
        None
    }

    fn crowd(&self) -> Option<Range<usize>> {
        const WINDOW: usize = 4;
        if self.entries.iter().filter(|entry| tier_of(entry.bytes) < TIERS).count() <= CROWD {
            return None;
        }
        let bytes = |window: &[Entry]| window.iter().map(|entry| entry.bytes).sum::<u64>();
        let (start, window) =
            self.entries.windows(WINDOW).enumerate().min_by_key(|(_, window)| bytes(window))?;
        (bytes(window) <= MERGE_LIMIT).then_some(start..start + WINDOW)
    }

    /// The end of the neighbours from `start`, before `end`, that one merge may read.
    fn fitting(&self, start: usize, end: usize) -> usize {
        let mut bytes = 0;
        start
            + self.entries[start..end]
                .iter()
                .take_while(|entry| {
                    bytes += entry.bytes;
                    bytes <= MERGE_LIMIT
                })
                .count()
    }
}

fn tier_of(bytes: u64) -> u32 {
    (0..TIERS).find(|&tier| bytes < LOWEST << (3 * tier)).unwrap_or(TIERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(sizes: &[u64]) -> Manifest {
        let entries = sizes
            .iter()
            .enumerate()
            .map(|(index, &bytes)| Entry {
                id: index as u64,
                first_sequence: index as u64 * 10,
                documents: 10,
                removed: 0,
                bytes,
                newest: 1_700_000_000_000 + index as u64,
            })
            .collect();
        Manifest {
            next_sequence: sizes.len() as u64 * 10,
            next_segment: sizes.len() as u64,
            unfinished: None,
            entries,
        }
    }

    #[test]
    fn a_manifest_reads_back_as_written_and_a_cut_one_does_not() {
        let mut manifest = manifest(&[1, 200, 30_000]);
        manifest.unfinished = Some(3);
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Some(manifest));
        for end in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..end]), None);
        }
    }

    #[test]
    fn eight_of_a_tier_are_due_with_the_smaller_ones_between_them() {
        assert_eq!(manifest(&[3_000; 7]).due(), None);
        assert_eq!(manifest(&[3_000; 8]).due(), Some(0..8));
        let mut sizes = vec![5_000_000, 3_000];
        sizes.extend([20_000; 4]);
        sizes.push(3_000);
        sizes.extend([20_000; 4]);
        assert_eq!(manifest(&sizes).due(), Some(2..11));
    }

    #[test]
    fn a_segment_half_of_which_is_gone_is_due_alone() {
        let mut manifest = manifest(&[3_000; 3]);
        manifest.entries[1].removed = 5;
        assert_eq!(manifest.due(), Some(1..2));
    }

    #[test]
    fn when_it_is_quiet_the_newest_merge_as_far_as_they_are_worth_it() {
        assert_eq!(manifest(&[]).settling(), None);
        assert_eq!(manifest(&[3_000]).settling(), None);
        assert_eq!(manifest(&[3_000, 3_000]).settling(), Some(0..2));
        // The first is more than four times the rest.
        assert_eq!(manifest(&[40_000, 6_000, 3_000]).settling(), Some(1..3));
        assert_eq!(manifest(&[30_000, 6_000, 3_000]).settling(), Some(0..3));
        assert_eq!(manifest(&[900_000, 3_000]).settling(), None);
        assert_eq!(manifest(&[5_000_000, 4_000_000]).settling(), None);
    }

    #[test]
    fn a_merge_reads_no_more_than_its_limit() {
        let due = manifest(&[4_000_000; 8]).due();
        assert_eq!(due, Some(0..2));
    }

    #[test]
    fn a_hundred_thousand_puts_leave_few_segments_and_write_each_message_few_times() {
        let mut state = Manifest::default();
        let (mut written, mut most) = (0u64, 0);
        for put in 0..100_000u64 {
            let bytes = 2_000 + put * 7919 % 20_000;
            written += bytes;
            state.entries.push(Entry {
                id: 0,
                first_sequence: put,
                documents: 1,
                removed: 0,
                bytes,
                newest: put,
            });
            state.next_sequence = put + 1;
            while let Some(due) = state.due() {
                let merged = &state.entries[due.clone()];
                let entry = Entry {
                    documents: merged.iter().map(|entry| entry.documents).sum(),
                    bytes: merged.iter().map(|entry| entry.bytes).sum(),
                    ..merged[0]
                };
                assert!(entry.bytes <= MERGE_LIMIT);
                written += entry.bytes;
                state.entries.splice(due, [entry]);
            }
            most = most.max(state.entries.iter().filter(|entry| tier_of(entry.bytes) < TIERS).count());
        }
        assert!(most <= CROWD, "{most}");
        let total: u64 = state.entries.iter().map(|entry| entry.bytes).sum();
        assert!(written <= total * 6, "{} times", written / total);
    }
}
