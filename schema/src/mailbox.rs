//! Mailboxes: what they are; the calls on them are in `mailboxes.rs`.

use serde::{Deserialize, Serialize};

use crate::MailboxId;

/// What a mailbox is for (RFC 8621 §2, RFC 6154).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Where mail arrives.
    Inbox,
    /// What was sent.
    Sent,
    /// What is being written.
    Drafts,
    /// What is kept.
    Archive,
    /// What is unwanted.
    Junk,
    /// What is deleted, but not finally.
    Trash,
}

impl Role {
    /// All of them, in the order of a listing.
    pub const ALL: [Role; 6] =
        [Self::Inbox, Self::Sent, Self::Drafts, Self::Archive, Self::Junk, Self::Trash];

    /// The role as JSON and parameters write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Sent => "sent",
            Self::Drafts => "drafts",
            Self::Archive => "archive",
            Self::Junk => "junk",
            Self::Trash => "trash",
        }
    }

    /// The name a new account's mailbox of this role has.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Inbox => "Inbox",
            Self::Sent => "Sent",
            Self::Drafts => "Drafts",
            Self::Archive => "Archive",
            Self::Junk => "Junk",
            Self::Trash => "Trash",
        }
    }

    /// The role that `name` writes.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A mailbox of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Which.
    pub id: MailboxId,
    /// What it is called: 1–255 characters, no control characters.
    pub name: String,
    /// What it is for; a mailbox with a role is never deleted.
    pub role: Option<Role>,
}

/// The mailbox row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailboxRow {
    pub name: String,
    pub role: Option<Role>,
}

/// How much is in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Messages.
    pub total: u64,
    /// Messages that are unread.
    pub unread: u64,
    /// Octets of the messages as received.
    pub size: u64,
}
