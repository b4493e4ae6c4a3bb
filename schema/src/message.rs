//! What is kept of a message beside its bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{DiscussionId, MailboxId, MessageId, Millis, ThreadId};

/// RFC 5321's envelope as far as one recipient sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Envelope {
    /// MAIL FROM; `None` is the null sender `<>`.
    pub sender: Option<String>,
    /// RCPT TO as it was accepted; `None` for imported messages.
    pub recipient: Option<String>,
}

/// The message row: everything that never changes, but for the thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    /// When it was received.
    pub received_at: Millis,
    /// Octets as received.
    pub size: u64,
    /// The thread it joined at arrival; readers resolve aliases.
    pub thread: ThreadId,
    /// The people it is among.
    pub discussion: DiscussionId,
    /// Who sent it to whom, on the wire.
    pub envelope: Envelope,
    /// What a listing shows.
    pub head: mail::Head,
}

/// Where a message is and what is said of it: all of a message that a client changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Grows with every change, from 0 for a message that was never touched.
    pub version: u64,
    /// At least one mailbox.
    pub mailboxes: BTreeSet<MailboxId>,
    /// Keywords, lower-cased, as in RFC 8621 §4.1.1.
    pub keywords: BTreeSet<String>,
}

impl State {
    /// The state of a message without a state row.
    pub fn initial(inbox: MailboxId) -> Self {
        Self { version: 0, mailboxes: [inbox].into(), keywords: BTreeSet::new() }
    }

    /// Whether it counts as unread: no `$seen`, and not a draft (RFC 8621 §2).
    pub fn is_unread(&self) -> bool {
        !self.keywords.contains("$seen") && !self.keywords.contains("$draft")
    }
}

/// A message as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// The thread it belongs to now.
    pub thread: ThreadId,
    /// What never changes.
    pub row: Arc<MessageRow>,
    /// What a client changes.
    pub state: State,
}

/// What a client wants of a message's state, merged as RFC 7396 says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatePatch {
    /// Only if the state still has this version.
    pub if_version: Option<u64>,
    /// Mailboxes to be in (true) or not (false).
    pub mailboxes: Vec<(MailboxId, bool)>,
    /// If set, exactly these mailboxes, before `mailboxes` is merged.
    pub only_mailboxes: Option<BTreeSet<MailboxId>>,
    /// Keywords to have (true) or not (false), lower-cased and valid (see [`is_keyword`]).
    pub keywords: Vec<(String, bool)>,
}

/// What became of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// The message as it is now.
    Done(Box<Message>),
    /// There is no such message.
    NotFound,
    /// `if_version` is not the state's version any more.
    Stale,
    /// One of the mailboxes is not there.
    NoSuchMailbox(MailboxId),
    /// It would be in no mailbox.
    NoMailboxLeft,
    /// It would have too many keywords.
    TooManyKeywords,
}

/// The most keywords a message has.
pub const KEYWORDS: usize = 100;

/// Whether `text` is a keyword: 1–255 printable ASCII characters, none of `( ) { ] % * " \`, no upper case
/// (RFC 8621 §4.1.1).
pub fn is_keyword(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|octet| {
            octet.is_ascii_graphic() && !octet.is_ascii_uppercase() && !b"(){]%*\"\\".contains(&octet)
        })
}
