//! The keys of the index's rows: account (16 octets), kind (1 octet), then what the kind asks for. Numbers are big
//! endian, so that rows lie in their order.

use schema::{AccountId, MessageId};

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A bitmap of 1024 sequence numbers whose documents are gone.
    Removed = b'd',
    /// The sequence number of a message's document.
    Sequence = b'i',
    /// The account's list of segments.
    Manifest = b'm',
    /// A block of postings.
    Postings = b'p',
    /// A segment's head: its documents, its directory of blocks, and the blocks themselves where they are few.
    Segment = b's',
    /// The positions that belong to a block of postings.
    Positions = b'w',
}

/// The rows of `kind` whose keys are written once and removed at most once.
pub const WRITTEN_ONCE: [Kind; 3] = [Kind::Segment, Kind::Postings, Kind::Positions];

const HEAD: usize = 17;

pub fn kind(account: AccountId, kind: Kind) -> [u8; HEAD] {
    let mut key = [0; HEAD];
    key[..16].copy_from_slice(account.as_bytes());
    key[16] = kind as u8;
    key
}

pub fn manifest(account: AccountId) -> [u8; HEAD] {
    kind(account, Kind::Manifest)
}

pub fn sequence(account: AccountId, message: MessageId) -> [u8; HEAD + 16] {
    let mut key = [0; HEAD + 16];
    key[..HEAD].copy_from_slice(&kind(account, Kind::Sequence));
    key[HEAD..].copy_from_slice(message.as_bytes());
    key
}

/// The message of a key that [`sequence`] made.
pub fn message(key: &[u8]) -> Option<MessageId> {
    MessageId::from_slice(key.get(HEAD..)?)
}

pub fn removed(account: AccountId, chunk: u64) -> [u8; HEAD + 8] {
    numbered(account, Kind::Removed, chunk)
}

pub fn segment(account: AccountId, segment: u64) -> [u8; HEAD + 8] {
    numbered(account, Kind::Segment, segment)
}

/// What the blocks of one kind of one segment begin with.
pub fn blocks(account: AccountId, kind: Kind, segment: u64) -> [u8; HEAD + 8] {
    numbered(account, kind, segment)
}

pub fn block(account: AccountId, kind: Kind, segment: u64, block: u32) -> [u8; HEAD + 12] {
    let mut key = [0; HEAD + 12];
    key[..HEAD + 8].copy_from_slice(&numbered(account, kind, segment));
    key[HEAD + 8..].copy_from_slice(&block.to_be_bytes());
    key
}

fn numbered(account: AccountId, of: Kind, number: u64) -> [u8; HEAD + 8] {
    let mut key = [0; HEAD + 8];
    key[..HEAD].copy_from_slice(&kind(account, of));
    key[HEAD..].copy_from_slice(&number.to_be_bytes());
    key
}
