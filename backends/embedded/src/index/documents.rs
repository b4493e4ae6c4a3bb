//! What a segment knows of each of its messages besides the tokens.

use schema::{MessageId, Millis};

use super::bits::Bits;
use super::coding::{Reader, put_varint, unzigzag, zigzag};

/// One message of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document {
    /// Its place in the order of the account's puts.
    pub sequence: u64,
    pub id: MessageId,
    pub received_at: Millis,
    pub size: u64,
    pub has_attachment: bool,
    pub words: u32,
}

/// A segment's messages by document number, in the order of their sequence numbers, a column for each property.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Documents {
    pub sequences: Vec<u64>,
    pub ids: Vec<MessageId>,
    pub received_at: Vec<Millis>,
    pub sizes: Vec<u64>,
    pub words: Vec<u32>,
    pub attachments: Vec<bool>,
}

/// What a document takes in memory, in octets.
pub const DOCUMENT_BYTES: usize = 45;
const LEAST_ENCODED: usize = 20;

impl Documents {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn push(&mut self, document: Document) {
        self.sequences.push(document.sequence);
        self.ids.push(document.id);
        self.received_at.push(document.received_at);
        self.sizes.push(document.size);
        self.words.push(document.words);
        self.attachments.push(document.has_attachment);
    }

    pub fn get(&self, index: usize) -> Document {
        Document {
            sequence: self.sequences[index],
            id: self.ids[index],
            received_at: self.received_at[index],
            size: self.sizes[index],
            has_attachment: self.attachments[index],
            words: self.words[index],
        }
    }

    /// How many words the members of `live` have together.
    pub fn words_of(&self, live: Option<&Bits>) -> u64 {
        match live {
            None => self.words.iter().map(|&words| u64::from(words)).sum(),
            Some(live) => live.iter().map(|index| u64::from(self.words[index as usize])).sum(),
        }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        let (mut sequence, mut received_at) = (0, 0);
        for index in 0..self.len() {
            let document = self.get(index);
            put_varint(out, (document.sequence - sequence) << 1 | u64::from(document.has_attachment));
            out.extend_from_slice(document.id.as_bytes());
            put_varint(out, zigzag(document.received_at.wrapping_sub(received_at) as i64));
            put_varint(out, document.size);
            put_varint(out, u64::from(document.words));
            (sequence, received_at) = (document.sequence, document.received_at);
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let count = reader.count(LEAST_ENCODED)?;
        let mut documents = Self {
            sequences: Vec::with_capacity(count),
            ids: Vec::with_capacity(count),
            received_at: Vec::with_capacity(count),
            sizes: Vec::with_capacity(count),
            words: Vec::with_capacity(count),
            attachments: Vec::with_capacity(count),
        };
        let (mut sequence, mut received_at) = (0u64, 0u64);
        for _ in 0..count {
            let step = reader.varint()?;
            sequence = sequence.checked_add(step >> 1)?;
            let id = MessageId::from_slice(reader.take(16)?)?;
            received_at = received_at.wrapping_add(unzigzag(reader.varint()?) as u64);
            documents.push(Document {
                sequence,
                id,
                received_at,
                size: reader.varint()?,
                has_attachment: step & 1 == 1,
                words: reader.varint32()?,
            });
        }
        Some(documents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_read_back_as_written_also_at_the_ends_of_their_ranges() {
        let mut documents = Documents::default();
        for (index, received_at) in [0, u64::MAX, 1_700_000_000_000, 1, u64::MAX / 2].into_iter().enumerate()
        {
            documents.push(Document {
                sequence: index as u64 * 1_000_000,
                id: MessageId([index as u8; 16]),
                received_at,
                size: u64::MAX - index as u64,
                has_attachment: index % 2 == 0,
                words: u32::MAX,
            });
        }
        let mut bytes = Vec::new();
        documents.encode(&mut bytes);
        assert_eq!(Documents::decode(&mut Reader::new(&bytes)), Some(documents));
        assert_eq!(Documents::decode(&mut Reader::new(&bytes[..bytes.len() - 1])), None);
    }
}
