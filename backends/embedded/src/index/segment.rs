//! A segment: some messages of one account and the blocks of their tokens, never changed once written.
//!
//! ```text
//! head row   format: octet · blocks inside: octet · blocks: varint
//!            for each block: first token − the one before: varint, octets of postings, of positions: varints
//!            documents · if inside: each block's postings, then its positions
//! ```

use std::ops::Deref;

use fjall::{Keyspace, Readable, Slice, Snapshot};
use schema::{AccountId, Error, Millis, Result};

use super::block::{Block, BlockBuilder, Layout, Place, Postings};
use super::coding::{Reader, put_varint};
use super::documents::{DOCUMENT_BYTES, Documents};
use super::manifest::Manifest;
use super::rows::{self, Kind};
use super::{damaged, failed};

const FORMAT: u8 = 1;
/// Blocks of so many octets together stand in the head row itself.
const INSIDE_LIMIT: usize = 16 * 1024;

/// The rows of one account at one moment.
pub struct Rows<'a> {
    pub snapshot: Snapshot,
    pub keyspace: &'a Keyspace,
    pub account: AccountId,
}

impl Rows<'_> {
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.snapshot.get(self.keyspace, key).map_err(failed)
    }

    /// Reads the account's manifest.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        let row = self.get(rows::manifest(self.account))?;
        row.map(|row| Manifest::decode(&row).ok_or_else(damaged)).transpose()
    }

    /// Reads a segment's head row.
    pub fn segment(&self, id: u64) -> Result<Segment> {
        let row = self.get(rows::segment(self.account, id))?.ok_or_else(damaged)?;
        Segment::decode(id, &row).ok_or_else(damaged)
    }
}

/// Part of a row, sharing its memory.
#[derive(Debug, Clone)]
pub struct Span {
    row: Slice,
    start: usize,
    end: usize,
}

impl Deref for Span {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.row[self.start..self.end]
    }
}

#[derive(Debug, Clone, Copy)]
struct BlockEntry {
    first_token: u64,
    /// Where the block begins inside the head row's blocks.
    start: usize,
    postings: usize,
    positions: usize,
}

/// A segment's head, decoded.
#[derive(Debug)]
pub struct Segment {
    id: u64,
    pub documents: Documents,
    directory: Vec<BlockEntry>,
    inside: Option<Slice>,
}

/// Where a token stands in one block of a segment.
#[derive(Debug, Clone)]
pub struct Chunk {
    block: usize,
    row: Span,
    place: Place,
}

impl Chunk {
    pub fn postings(&self) -> Postings<'_> {
        Postings::new(&self.row[self.place.postings..])
    }

    /// The row of this chunk's positions, and how many octets of it come before them.
    pub fn positions(&self, rows: &Rows<'_>, segment: &Segment) -> Result<(Span, usize)> {
        let row = segment.positions(rows, self.block)?;
        let mut reader = Reader::new(row.get(self.place.positions..).ok_or_else(damaged)?);
        reader.take_varints(self.place.skip).ok_or_else(damaged)?;
        let start = row.len() - reader.rest().len();
        Ok((row, start))
    }
}

impl Segment {
    fn decode(id: u64, row: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(row);
        if reader.octet()? != FORMAT {
            return None;
        }
        let inside = reader.octet()? == 1;
        let count = reader.count(3)?;
        let mut directory = Vec::with_capacity(count);
        let (mut first_token, mut start) = (0u64, 0usize);
        for _ in 0..count {
            first_token = first_token.checked_add(reader.varint()?)?;
            let entry = BlockEntry {
                first_token,
                start,
                postings: reader.varint32()? as usize,
                positions: reader.varint32()? as usize,
            };
            start = start.checked_add(entry.postings)?.checked_add(entry.positions)?;
            directory.push(entry);
        }
        let documents = Documents::decode(&mut reader)?;
        let blocks = reader.rest();
        if blocks.len() != if inside { start } else { 0 } {
            return None;
        }
        // A copy, so that what is cached does not keep a whole block of the store alive.
        let inside = inside.then(|| Slice::new(blocks));
        Some(Self { id, documents, directory, inside })
    }

    /// About what it takes in memory, in octets.
    pub fn weight(&self) -> usize {
        let inside = self.inside.as_ref().map_or(0, |inside| inside.len());
        256 + self.documents.len() * DOCUMENT_BYTES + self.directory.len() * size_of::<BlockEntry>() + inside
    }

    pub fn blocks(&self) -> usize {
        self.directory.len()
    }

    pub fn blocks_are_inside(&self) -> bool {
        self.inside.is_some()
    }

    pub fn has_positions(&self, block: usize) -> bool {
        self.directory[block].positions > 0
    }

    pub fn first_token(&self, block: usize) -> u64 {
        self.directory[block].first_token
    }

    pub fn postings(&self, rows: &Rows<'_>, block: usize) -> Result<Span> {
        let entry = self.directory[block];
        self.part(rows, Kind::Postings, block, entry.start, entry.postings)
    }

    pub fn positions(&self, rows: &Rows<'_>, block: usize) -> Result<Span> {
        let entry = self.directory[block];
        self.part(rows, Kind::Positions, block, entry.start + entry.postings, entry.positions)
    }

    fn part(&self, rows: &Rows<'_>, kind: Kind, block: usize, start: usize, len: usize) -> Result<Span> {
        if let Some(inside) = &self.inside {
            return Ok(Span { row: inside.clone(), start, end: start + len });
        }
        if len == 0 {
            return Ok(Span { row: Slice::new(&[]), start: 0, end: 0 });
        }
        let row = rows.get(rows::block(rows.account, kind, self.id, block as u32))?;
        let row = row.filter(|row| row.len() == len).ok_or_else(damaged)?;
        Ok(Span { row, start: 0, end: len })
    }

    /// Where `token` stands: nowhere, in one block, or in several that follow each other.
    pub fn find(&self, rows: &Rows<'_>, token: u64, found: &mut Vec<Chunk>) -> Result<()> {
        let after = self.directory.partition_point(|entry| entry.first_token < token);
        for block in after.saturating_sub(1)..self.directory.len() {
            let first_token = self.directory[block].first_token;
            if first_token > token {
                break;
            }
            let row = self.postings(rows, block)?;
            let place = Layout::of(&row).and_then(|layout| layout.find(&row, first_token, token));
            if let Some(place) = place.ok_or_else(damaged)? {
                found.push(Chunk { block, row, place });
            }
        }
        Ok(())
    }
}

/// A segment ready to be stored.
#[derive(Debug)]
pub struct Encoded {
    pub head: Vec<u8>,
    /// The blocks that do not stand in the head.
    pub blocks: Vec<Block>,
    pub documents: u32,
    pub newest: Millis,
}

impl Encoded {
    /// What its rows take, in octets.
    pub fn bytes(&self) -> u64 {
        let blocks = self.blocks.iter().map(|block| block.postings.len() + block.positions.len());
        (self.head.len() + blocks.sum::<usize>()) as u64
    }
}

/// Makes a segment from tokens in ascending order.
#[derive(Debug, Default)]
pub struct SegmentWriter {
    builder: BlockBuilder,
    blocks: Vec<Block>,
    token: Option<u64>,
}

impl SegmentWriter {
    /// Adds a document, greater than the one before it, to a token, not smaller than the one before it; gives the
    /// place to append as many varints as it has positions.
    pub fn add(&mut self, token: u64, document: u32, frequency: u32, positions: u32) -> &mut Vec<u8> {
        if self.token != Some(token) || self.builder.is_full() {
            self.builder.end();
            if self.builder.is_full() {
                self.blocks.push(self.builder.finish());
            }
            self.builder.begin(token);
            self.token = Some(token);
        }
        self.builder.add(document, frequency, positions)
    }

    pub fn finish(mut self, documents: &Documents) -> Result<Encoded> {
        self.builder.end();
        if !self.builder.is_empty() {
            self.blocks.push(self.builder.finish());
        }
        let total: usize = self.blocks.iter().map(|block| block.postings.len() + block.positions.len()).sum();
        let inside = total <= INSIDE_LIMIT;
        let mut head = Vec::with_capacity(documents.len() * 32 + 32 + if inside { total } else { 0 });
        head.extend_from_slice(&[FORMAT, u8::from(inside)]);
        put_varint(&mut head, self.blocks.len() as u64);
        let mut token = 0;
        for block in &self.blocks {
            put_varint(&mut head, block.first_token - token);
            token = block.first_token;
            for part in [&block.postings, &block.positions] {
                let len =
                    u32::try_from(part.len()).map_err(|_| Error::Limit { what: "a message's positions" })?;
                put_varint(&mut head, u64::from(len));
            }
        }
        documents.encode(&mut head);
        if inside {
            for block in self.blocks.drain(..) {
                head.extend_from_slice(&block.postings);
                head.extend_from_slice(&block.positions);
            }
        }
        Ok(Encoded {
            head,
            blocks: self.blocks,
            documents: documents.len() as u32,
            newest: documents.received_at.iter().copied().max().unwrap_or(0),
        })
    }
}
