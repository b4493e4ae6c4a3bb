//! The change feed: what a client replays to end with the server's state.

use serde::{Deserialize, Serialize};

/// A place in an account's change feed. Positions grow; what they count is the store's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position(pub u64);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ChangeKind {
    /// A message is new.
    MessageCreated = 1,
    /// A message's mailboxes, keywords or thread are others now.
    MessageUpdated = 2,
    /// A message is gone.
    MessageDestroyed = 3,
    /// A mailbox is new.
    MailboxCreated = 4,
    /// A mailbox's name or place is another now.
    MailboxUpdated = 5,
    /// A mailbox is gone.
    MailboxDestroyed = 6,
    /// A thread has become part of another: its id is an alias from now on.
    ThreadDestroyed = 7,
}

/// One entry: what happened to which id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To what: a message, mailbox or thread id.
    pub id: [u8; 16],
}

impl Change {
    /// The entry as it is stored: 17 octets, kind first.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[0] = self.kind as u8;
        bytes[1..].copy_from_slice(&self.id);
        bytes
    }

    /// The entry in `bytes`, or `None` if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        let kind = match kind {
            1 => ChangeKind::MessageCreated,
            2 => ChangeKind::MessageUpdated,
            3 => ChangeKind::MessageDestroyed,
            4 => ChangeKind::MailboxCreated,
            5 => ChangeKind::MailboxUpdated,
            6 => ChangeKind::MailboxDestroyed,
            7 => ChangeKind::ThreadDestroyed,
            _ => return None,
        };
        Some(Self { kind, id: id.try_into().ok()? })
    }
}

/// A stretch of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangePage {
    /// The entries with their positions, oldest first.
    pub changes: Vec<(Position, Change)>,
    /// Where to go on: the position of the last entry behind which none will appear, or the one asked with if there is
    /// none. Entries after it are shown again.
    pub cursor: Position,
    /// Whether more entries stand after these now.
    pub has_more: bool,
}
