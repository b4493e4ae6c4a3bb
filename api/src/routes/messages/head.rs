//! The listing's view of a message.

use schema::Message;
use serde::Serialize;
use utoipa::ToSchema;

use crate::json::{Id, Keywords, MailboxIds, Time};

/// A mailbox of RFC 5322.
#[derive(Serialize, ToSchema)]
pub(crate) struct Address {
    /// The display name; null when there is none.
    name: Option<String>,
    /// The address as written.
    email: String,
}

impl Address {
    pub(crate) fn all(addresses: Vec<mail::Address>) -> Vec<Self> {
        addresses.into_iter().map(|address| Self { name: address.name, email: address.email }).collect()
    }
}

/// The listing's view of a message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    /// Which message.
    pub id: Id,
    /// The thread it is in. It changes when a late message joins two threads.
    pub thread_id: Id,
    /// The mailboxes it is in.
    pub mailbox_ids: MailboxIds,
    /// Its keywords.
    pub keywords: Keywords,
    /// Who wrote it.
    pub from: Vec<Address>,
    /// To whom.
    pub to: Vec<Address>,
    /// And to whom else.
    pub cc: Vec<Address>,
    /// The subject, decoded; empty when there is none.
    pub subject: String,
    /// The start of the text, at most 256 characters.
    pub preview: String,
    /// When it was received here.
    pub received_at: Time,
    /// When its `Date` says that it was sent; null when that cannot be read.
    pub sent_at: Option<Time>,
    /// Octets as received.
    pub size: u64,
    /// Whether a reader would see an attachment.
    pub has_attachment: bool,
    /// Whether a mailing list sent it.
    pub is_list: bool,
}

impl Head {
    pub(crate) fn new(message: Message) -> Self {
        let head = message.row.head;
        Self {
            id: Id(message.id.0),
            thread_id: Id(message.thread.0),
            mailbox_ids: MailboxIds(message.state.mailboxes),
            keywords: Keywords(message.state.keywords),
            from: Address::all(head.from),
            to: Address::all(head.to),
            cc: Address::all(head.cc),
            subject: head.subject,
            preview: head.preview,
            received_at: Time(message.row.received_at),
            sent_at: head.sent_at.map(Time),
            size: message.row.size,
            has_attachment: head.has_attachment,
            is_list: head.is_list,
        }
    }
}
