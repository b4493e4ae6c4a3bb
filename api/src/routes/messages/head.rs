//! The listing's view of a message.

use schema::Message;
use serde::{Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::json::{Id, Keywords, MailboxIds, Time};

/// A mailbox of RFC 5322.
#[derive(Serialize, ToSchema)]
pub(crate) struct Address {
    /// The display name; null when there is none.
    name: Option<String>,
    /// The address as written.
    email: String,
}

impl From<mail::Address> for Address {
    fn from(address: mail::Address) -> Self {
        Self { name: address.name, email: address.email }
    }
}

/// An [`Address`] that lies elsewhere.
#[derive(Serialize)]
struct AddressFields<'a> {
    name: Option<&'a str>,
    email: &'a str,
}

/// A list of addresses that lies elsewhere.
struct Addresses<'a>(&'a [mail::Address]);

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter()
                .map(|address| AddressFields { name: address.name.as_deref(), email: &address.email }),
        )
    }
}

/// The listing's view of a message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HeadFields<'a> {
    /// Which message.
    id: Id,
    /// The thread it is in. It changes when a late message joins two threads.
    thread_id: Id,
    /// The mailboxes it is in.
    mailbox_ids: MailboxIds<'a>,
    /// Its keywords.
    keywords: Keywords<'a>,
    /// Who wrote it.
    #[schema(value_type = Vec<Address>)]
    from: Addresses<'a>,
    /// To whom.
    #[schema(value_type = Vec<Address>)]
    to: Addresses<'a>,
    /// And to whom else.
    #[schema(value_type = Vec<Address>)]
    cc: Addresses<'a>,
    /// The subject, decoded; empty when there is none.
    subject: &'a str,
    /// The start of the text, at most 256 characters.
    preview: &'a str,
    /// When it was received here.
    received_at: Time,
    /// When its `Date` says that it was sent; null when that cannot be read.
    sent_at: Option<Time>,
    /// Octets as received.
    size: u64,
    /// Whether a reader would see an attachment.
    has_attachment: bool,
    /// Whether a mailing list sent it.
    is_list: bool,
}

/// The listing's view of a message. It is written from the row as it lies in memory, without a copy.
pub(crate) struct Head(Message);

impl Head {
    pub(crate) fn new(message: Message) -> Self {
        Self(message)
    }
}

impl Serialize for Head {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Message { id, thread, row, state } = &self.0;
        let head = &row.head;
        let fields = HeadFields {
            id: Id(id.0),
            thread_id: Id(thread.0),
            mailbox_ids: MailboxIds(&state.mailboxes),
            keywords: Keywords(&state.keywords),
            from: Addresses(&head.from),
            to: Addresses(&head.to),
            cc: Addresses(&head.cc),
            subject: &head.subject,
            preview: &head.preview,
            received_at: Time(row.received_at),
            sent_at: head.sent_at.map(Time),
            size: row.size,
            has_attachment: head.has_attachment,
            is_list: head.is_list,
        };
        fields.serialize(serializer)
    }
}

impl PartialSchema for Head {
    fn schema() -> RefOr<Schema> {
        HeadFields::schema()
    }
}

impl ToSchema for Head {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        HeadFields::schemas(schemas);
    }
}
