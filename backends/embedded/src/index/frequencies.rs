//! How often a token or a phrase stands in the documents of a segment.

use schema::Result;

use super::bits::Bits;
use super::damaged;
use super::segment::Chunk;

/// Documents, ascending, and how often something stands in each.
#[derive(Debug, Default)]
pub struct Frequencies {
    documents: Vec<u32>,
    frequencies: Vec<u32>,
}

impl Frequencies {
    /// Those of a token in the documents of a segment, of which there are `len`.
    pub fn read(chunks: &[Chunk], len: usize) -> Result<Self> {
        let mut read = Self::default();
        for chunk in chunks {
            let mut postings = chunk.postings();
            loop {
                let posting = postings.read().filter(|posting| (posting.document as usize) < len);
                let posting = posting.ok_or_else(damaged)?;
                read.push(posting.document, posting.frequency);
                if posting.last {
                    break;
                }
            }
        }
        Ok(read)
    }

    /// Adds a document, which comes after those that are there.
    pub fn push(&mut self, document: u32, frequency: u32) {
        self.documents.push(document);
        self.frequencies.push(frequency);
    }

    /// The documents, of `len` in all.
    pub fn bits(&self, len: usize) -> Bits {
        let mut bits = Bits::none(len);
        self.documents.iter().for_each(|&document| bits.insert(document));
        bits
    }

    /// The frequency in `document`, which is not smaller than the one asked for before with the same `cursor`.
    pub fn at(&self, document: u32, cursor: &mut usize) -> u32 {
        while self.documents.get(*cursor).is_some_and(|&at| at < document) {
            *cursor += 1;
        }
        match self.documents.get(*cursor) {
            Some(&at) if at == document => self.frequencies[*cursor],
            _ => 0,
        }
    }
}
