//! Makes one segment of several, without the documents that are gone.

use schema::Result;

use super::bits::Bits;
use super::block::{Layout, Postings};
use super::coding::Reader;
use super::damaged;
use super::documents::Documents;
use super::segment::{Encoded, Rows, Segment, SegmentWriter, Span};

/// One segment that goes into another.
pub struct Input {
    pub segment: Segment,
    /// Its documents that are not gone; `None` if none is.
    pub live: Option<Bits>,
}

/// Makes one segment of `inputs`, which stand in the order of their sequence numbers; `None` if all is gone.
pub fn merge(rows: &Rows<'_>, inputs: &[Input]) -> Result<Option<Encoded>> {
    let mut documents = Documents::default();
    let mut cursors = Vec::with_capacity(inputs.len());
    for input in inputs {
        let numbers = renumber(input, &mut documents);
        cursors.extend(Cursor::first(rows, &input.segment, numbers)?);
    }
    if documents.len() == 0 {
        return Ok(None);
    }
    let mut writer = SegmentWriter::default();
    while let Some(token) = cursors.iter().map(|cursor| cursor.token).min() {
        let mut index = 0;
        while index < cursors.len() {
            let mut more = true;
            while more && cursors[index].token == token {
                cursors[index].copy(&mut writer).ok_or_else(damaged)?;
                more = cursors[index].advance(rows)?;
            }
            // Not swap_remove: the order of the cursors is the order of the documents.
            if more {
                index += 1;
            } else {
                cursors.remove(index);
            }
        }
    }
    writer.finish(&documents).map(Some)
}

const GONE: u32 = u32::MAX;

/// Adds the input's live documents to `documents` and gives, for each old number, the new one.
fn renumber(input: &Input, documents: &mut Documents) -> Vec<u32> {
    (0..input.segment.documents.len())
        .map(|index| {
            if input.live.as_ref().is_some_and(|live| !live.contains(index as u32)) {
                return GONE;
            }
            documents.push(input.segment.documents.get(index));
            documents.len() as u32 - 1
        })
        .collect()
}

/// Goes through the tokens of a segment.
struct Cursor<'a> {
    segment: &'a Segment,
    numbers: Vec<u32>,
    block: usize,
    postings: Span,
    positions: Span,
    layout: Layout,
    index: usize,
    token: u64,
    postings_at: usize,
    positions_at: usize,
    /// The token and number copied last: a number that does not grow within its token is damage.
    copied: Option<(u64, u32)>,
}

impl<'a> Cursor<'a> {
    fn first(rows: &Rows<'_>, segment: &'a Segment, numbers: Vec<u32>) -> Result<Option<Self>> {
        if segment.blocks() == 0 {
            return Ok(None);
        }
        let postings = segment.postings(rows, 0)?;
        let layout = Layout::of(&postings).ok_or_else(damaged)?;
        Ok(Some(Self {
            token: segment.first_token(0),
            positions: segment.positions(rows, 0)?,
            postings_at: layout.postings,
            positions_at: 0,
            segment,
            numbers,
            block: 0,
            postings,
            layout,
            index: 0,
            copied: None,
        }))
    }

    /// Copies the current token's postings; to be called once for each token.
    fn copy(&mut self, writer: &mut SegmentWriter) -> Option<()> {
        let mut postings = Postings::new(self.postings.get(self.postings_at..)?);
        let mut positions = Reader::new(self.positions.get(self.positions_at..)?);
        loop {
            let posting = postings.read()?;
            let kept = positions.take_varints(posting.positions)?;
            let number = *self.numbers.get(posting.document as usize)?;
            if number != GONE {
                if self.copied.is_some_and(|copied| copied >= (self.token, number)) {
                    return None;
                }
                self.copied = Some((self.token, number));
                writer.add(self.token, number, posting.frequency, posting.positions).extend_from_slice(kept);
            }
            if posting.last {
                break;
            }
        }
        self.postings_at = self.postings.len() - postings.rest().len();
        self.positions_at = self.positions.len() - positions.rest().len();
        Some(())
    }

    /// Goes to the next token; false at the end.
    fn advance(&mut self, rows: &Rows<'_>) -> Result<bool> {
        if self.index + 1 < self.layout.tokens {
            let gap = self.layout.gap(&self.postings, self.index).filter(|&gap| gap > 0);
            self.token = gap.and_then(|gap| self.token.checked_add(gap)).ok_or_else(damaged)?;
            self.index += 1;
            return Ok(true);
        }
        self.block += 1;
        if self.block == self.segment.blocks() {
            return Ok(false);
        }
        let token = self.segment.first_token(self.block);
        if token < self.token {
            return Err(damaged());
        }
        self.token = token;
        self.postings = self.segment.postings(rows, self.block)?;
        self.positions = self.segment.positions(rows, self.block)?;
        self.layout = Layout::of(&self.postings).ok_or_else(damaged)?;
        self.index = 0;
        self.postings_at = self.layout.postings;
        self.positions_at = 0;
        Ok(true)
    }
}
