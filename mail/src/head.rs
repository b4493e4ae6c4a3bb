//! The listing's view of a message.

use serde::{Deserialize, Serialize};

/// A mailbox of RFC 5322 §3.4; the members of a group stand for the group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Address {
    /// The display name, decoded; `None` when there is none.
    pub name: Option<String>,
    /// The addr-spec as written (not lower-cased). Never empty, but not checked to be deliverable.
    pub email: String,
}

/// The listing's view of a message: who, what, when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Head {
    /// `Subject:`, decoded and unfolded; empty when there is none.
    pub subject: String,
    /// `From:`.
    pub from: Vec<Address>,
    /// `To:`.
    pub to: Vec<Address>,
    /// `Cc:`.
    pub cc: Vec<Address>,
    /// `Bcc:`.
    pub bcc: Vec<Address>,
    /// `Reply-To:`.
    pub reply_to: Vec<Address>,
    /// `Message-ID:` without angle brackets.
    pub message_id: Option<String>,
    /// `In-Reply-To:`, the ids in it, without angle brackets.
    pub in_reply_to: Vec<String>,
    /// `References:`, oldest first, without angle brackets.
    pub references: Vec<String>,
    /// `Date:` in milliseconds since the epoch, UTC; `None` when it cannot be read or lies before 1970.
    pub sent_at: Option<u64>,
    /// The start of the text, at most 256 characters, without quotes, URLs and invisible padding.
    pub preview: String,
    /// Whether a reader would see an attachment (see [`crate::Message::head`]).
    pub has_attachment: bool,
    /// Whether a mailing list sent it (`List-Id`, `List-Post` or `Precedence: list`).
    pub is_list: bool,
    /// The identifier of `List-Id` (RFC 2919), lower-cased, without angle brackets.
    pub list_id: Option<String>,
}

/// A header field, in the order of the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The field's name as written.
    pub name: String,
    /// Its value, unfolded, encoded words decoded.
    pub value: String,
}
