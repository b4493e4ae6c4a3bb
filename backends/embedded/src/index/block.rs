//! A block: tokens in ascending order and, for each, the documents it stands in. Positions lie in a row of their own,
//! so that only phrases read them.
//!
//! ```text
//! postings row   tokens: varint · gap width in bits: octet · gaps between tokens, packed · for each 32nd token but
//!                the first, where its postings (u16) and positions (u32) begin · postings
//! posting        varint: documents skipped << 3 | last of the token << 2 | kind; then, for
//!                kind 0: stands once, no position kept      kind 1: stands once, one position
//!                kind 2: varint frequency − 2, as many positions
//!                kind 3: varint frequency, varint number of positions
//! positions row  for each posting the first position and the steps to the next ones, varints
//! ```
//!
//! The block's first token stands in the segment's directory. A token whose postings fill a block goes on in the next
//! one, with its document numbers counted from 0 again.

use super::coding::{Reader, pack, packed_len, put_varint, unpack};

const GROUP: usize = 32;
const SKIP_BYTES: usize = 6;
/// A block is full when its tokens and postings take so many octets, or its positions [`POSITIONS_LIMIT`].
const POSTINGS_LIMIT: usize = 8 * 1024;
const POSITIONS_LIMIT: usize = 32 * 1024;

/// One document of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    pub document: u32,
    pub frequency: u32,
    /// How many positions are kept.
    pub positions: u32,
    /// Whether it is the token's last one in this block.
    pub last: bool,
}

impl Posting {
    fn kind(&self) -> u64 {
        match (self.frequency, self.positions) {
            (1, 0) => 0,
            (1, 1) => 1,
            (frequency, positions) if frequency >= 2 && frequency == positions => 2,
            _ => 3,
        }
    }
}

/// A block as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub first_token: u64,
    pub postings: Vec<u8>,
    pub positions: Vec<u8>,
}

/// Collects tokens and postings, in ascending order, until the block is full.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    tokens: Vec<u64>,
    skips: Vec<u8>,
    postings: Vec<u8>,
    positions: Vec<u8>,
    /// The token's posting that is not written yet, because only the next call tells whether it is the last.
    pending: Option<Posting>,
    next_document: u32,
}

impl BlockBuilder {
    pub fn is_full(&self) -> bool {
        self.postings.len() + self.tokens.len() * 5 >= POSTINGS_LIMIT
            || self.positions.len() >= POSITIONS_LIMIT
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Starts a token that is greater than all before it.
    pub fn begin(&mut self, token: u64) {
        if !self.tokens.is_empty() && self.tokens.len().is_multiple_of(GROUP) {
            self.skips.extend_from_slice(&(self.postings.len() as u16).to_le_bytes());
            self.skips.extend_from_slice(&(self.positions.len() as u32).to_le_bytes());
        }
        self.tokens.push(token);
        self.next_document = 0;
    }

    /// Adds a document to the token, and gives the place to append as many varints as it has positions.
    pub fn add(&mut self, document: u32, frequency: u32, positions: u32) -> &mut Vec<u8> {
        if let Some(pending) = self.pending.replace(Posting { document, frequency, positions, last: false }) {
            self.write(pending);
        }
        &mut self.positions
    }

    /// Ends the token.
    pub fn end(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.write(Posting { last: true, ..pending });
        }
    }

    /// The block so far; the builder starts anew.
    pub fn finish(&mut self) -> Block {
        let gaps = || self.tokens.windows(2).map(|pair| pair[1] - pair[0]);
        let width = gaps().max().map_or(0, |gap| 64 - gap.leading_zeros());
        let mut row = Vec::with_capacity(
            self.postings.len() + self.skips.len() + self.tokens.len() * width as usize / 8 + 16,
        );
        put_varint(&mut row, self.tokens.len() as u64);
        row.push(width as u8);
        pack(&mut row, gaps(), width);
        row.extend_from_slice(&self.skips);
        row.extend_from_slice(&self.postings);
        let block = Block {
            first_token: self.tokens.first().copied().unwrap_or(0),
            postings: row,
            positions: std::mem::take(&mut self.positions),
        };
        self.tokens.clear();
        self.skips.clear();
        self.postings.clear();
        block
    }

    fn write(&mut self, posting: Posting) {
        let kind = posting.kind();
        let skipped = u64::from(posting.document - self.next_document);
        put_varint(&mut self.postings, skipped << 3 | u64::from(posting.last) << 2 | kind);
        match kind {
            2 => put_varint(&mut self.postings, u64::from(posting.frequency - 2)),
            3 => {
                put_varint(&mut self.postings, u64::from(posting.frequency));
                put_varint(&mut self.postings, u64::from(posting.positions));
            }
            _ => {}
        }
        self.next_document = posting.document + 1;
    }
}

/// Reads the postings of one token.
#[derive(Debug, Clone, Copy)]
pub struct Postings<'a> {
    reader: Reader<'a>,
    next_document: u64,
}

impl<'a> Postings<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader::new(bytes), next_document: 0 }
    }

    /// The next posting, until one that says it is the last. `None` if the bytes are damaged.
    #[inline]
    pub fn read(&mut self) -> Option<Posting> {
        let code = self.reader.varint()?;
        let document = u32::try_from(self.next_document.checked_add(code >> 3)?).ok()?;
        self.next_document = u64::from(document) + 1;
        let (frequency, positions) = match code & 3 {
            0 => (1, 0),
            1 => (1, 1),
            2 => {
                let frequency = self.reader.varint32()?.checked_add(2)?;
                (frequency, frequency)
            }
            _ => (self.reader.varint32()?, self.reader.varint32()?),
        };
        Some(Posting { document, frequency, positions, last: code & 4 != 0 })
    }

    /// What follows the postings read so far.
    pub fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }
}

/// Where the parts of a postings row lie.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub tokens: usize,
    width: u32,
    gaps: usize,
    skips: usize,
    /// Where the first token's postings begin.
    pub postings: usize,
}

/// Where one token's postings and positions begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Octets into the postings row.
    pub postings: usize,
    /// Octets into the positions row, from where `skip` varints are to be passed over.
    pub positions: usize,
    pub skip: u32,
}

impl Layout {
    pub fn of(row: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(row);
        let tokens = reader.count(1)?;
        let width = u32::from(reader.octet()?);
        if tokens == 0 || width > 64 {
            return None;
        }
        let gaps = row.len() - reader.rest().len();
        let skips = gaps + packed_len(tokens - 1, width)?;
        let postings = skips + (tokens - 1) / GROUP * SKIP_BYTES;
        (postings <= row.len()).then_some(Self { tokens, width, gaps, skips, postings })
    }

    /// What the token `index + 1` is greater by than the token `index`.
    #[inline]
    pub fn gap(&self, row: &[u8], index: usize) -> Option<u64> {
        unpack(&row[self.gaps..], index, self.width)
    }

    /// Where `token` lies; `Some(None)` if it is not in the block, `None` if the row is damaged.
    pub fn find(&self, row: &[u8], first_token: u64, token: u64) -> Option<Option<Place>> {
        let mut current = first_token;
        let mut index = 0;
        while current < token && index + 1 < self.tokens {
            current = current.checked_add(self.gap(row, index)?)?;
            index += 1;
        }
        if current != token {
            return Some(None);
        }
        let (mut start, positions) = match (index / GROUP).checked_sub(1) {
            None => (0, 0),
            Some(group) => {
                let at = self.skips + group * SKIP_BYTES;
                let postings = u16::from_le_bytes(row.get(at..at + 2)?.try_into().ok()?);
                let positions = u32::from_le_bytes(row.get(at + 2..at + SKIP_BYTES)?.try_into().ok()?);
                (usize::from(postings), positions as usize)
            }
        };
        start += self.postings;
        let mut skip = 0u32;
        for _ in 0..index % GROUP {
            let mut postings = Postings::new(row.get(start..)?);
            loop {
                let posting = postings.read()?;
                skip = skip.checked_add(posting.positions)?;
                if posting.last {
                    break;
                }
            }
            start = row.len() - postings.rest().len();
        }
        Some(Some(Place { postings: start, positions, skip }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Model = Vec<(u64, Vec<(u32, u32, Vec<u32>)>)>;

    fn build(model: &Model) -> Block {
        let mut builder = BlockBuilder::default();
        for (token, postings) in model {
            builder.begin(*token);
            for (document, frequency, positions) in postings {
                let out = builder.add(*document, *frequency, positions.len() as u32);
                positions.iter().for_each(|&position| put_varint(out, u64::from(position)));
            }
            builder.end();
        }
        builder.finish()
    }

    fn model() -> impl Strategy<Value = Model> {
        let posting = (1..5u32, prop::collection::vec(any::<u32>(), 0..4));
        let postings = prop::collection::btree_map(0..100_000u32, posting, 1..20);
        prop::collection::btree_map(any::<u64>(), postings, 1..120).prop_map(|tokens| {
            tokens
                .into_iter()
                .map(|(token, postings)| {
                    (token, postings.into_iter().map(|(document, (f, p))| (document, f, p)).collect())
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_token_is_found_with_its_postings_and_positions(model in model()) {
            let block = build(&model);
            let layout = Layout::of(&block.postings).unwrap();
            prop_assert_eq!(layout.tokens, model.len());
            for (token, expected) in &model {
                let place = layout.find(&block.postings, block.first_token, *token).unwrap().unwrap();
                let mut postings = Postings::new(&block.postings[place.postings..]);
                let mut positions = Reader::new(&block.positions[place.positions..]);
                positions.take_varints(place.skip).unwrap();
                for (index, (document, frequency, at)) in expected.iter().enumerate() {
                    let posting = postings.read().unwrap();
                    prop_assert_eq!((posting.document, posting.frequency), (*document, *frequency));
                    prop_assert_eq!(posting.positions as usize, at.len());
                    prop_assert_eq!(posting.last, index + 1 == expected.len());
                    for &position in at {
                        prop_assert_eq!(positions.varint32(), Some(position));
                    }
                }
                let absent = token.wrapping_add(1);
                if model.iter().all(|(token, _)| *token != absent) {
                    prop_assert_eq!(layout.find(&block.postings, block.first_token, absent), Some(None));
                }
            }
        }

        #[test]
        fn a_damaged_row_is_read_without_a_panic(model in model(), at in any::<prop::sample::Index>(), octet in any::<u8>(), token in any::<u64>()) {
            let mut block = build(&model);
            let index = at.index(block.postings.len());
            block.postings[index] = octet;
            if let Some(layout) = Layout::of(&block.postings)
                && let Some(Some(place)) = layout.find(&block.postings, block.first_token, token.min(model[model.len() - 1].0))
            {
                let mut postings = Postings::new(&block.postings[place.postings..]);
                while postings.read().is_some_and(|posting| !posting.last) {}
            }
        }
    }
}
