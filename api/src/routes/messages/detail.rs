//! All that is in one message.

use std::collections::HashMap;

use schema::{Message, MessageRow};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Address, Head};

/// A header field.
#[derive(Serialize, ToSchema)]
pub(crate) struct Header {
    /// Its name as written.
    name: String,
    /// Its value, unfolded and decoded.
    value: String,
}

/// A part that a reader is offered as a file.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attachment {
    /// Its number, for `/v1/messages/{id}/parts/{partId}`.
    part_id: String,
    /// The file's name.
    name: Option<String>,
    /// The declared media type.
    #[serde(rename = "type")]
    kind: String,
    /// The media type that its first octets show, where they are known.
    sniffed_type: Option<String>,
    /// Octets, decoded.
    size: u64,
    /// Its `Content-ID` without angle brackets.
    content_id: Option<String>,
    /// `attachment`, `inline` or another.
    disposition: Option<String>,
}

/// A node of the tree of MIME parts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(no_recursion)]
pub(crate) struct Structure {
    /// Its number; empty for the outermost multipart.
    part_id: String,
    /// The declared media type.
    #[serde(rename = "type")]
    kind: String,
    /// The file's name.
    name: Option<String>,
    /// Octets, decoded.
    size: u64,
    /// `attachment`, `inline` or another.
    disposition: Option<String>,
    /// Its `Content-ID` without angle brackets.
    content_id: Option<String>,
    /// What it is made of.
    parts: Vec<Structure>,
}

impl Structure {
    fn new(node: mail::Structure) -> Self {
        Self {
            part_id: node.part_id,
            kind: node.content_type,
            name: node.name,
            size: node.size,
            disposition: node.disposition,
            content_id: node.content_id,
            parts: node.parts.into_iter().map(Self::new).collect(),
        }
    }

    /// Notes which part has which content id; the first one counts.
    fn content_ids<'a>(&'a self, found: &mut HashMap<&'a str, &'a str>) {
        if let Some(id) = &self.content_id {
            found.entry(id).or_insert(&self.part_id);
        }
        self.parts.iter().for_each(|part| part.content_ids(found));
    }
}

/// What a delivery report says of one recipient.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReportedRecipient {
    /// Whose mail it was.
    recipient: String,
    /// `failed`, `delayed`, `delivered`, `relayed` or `expanded`.
    action: Option<String>,
    /// The status code (RFC 3463), such as `5.1.1`.
    status: Option<String>,
    /// What the other server said.
    diagnostic: Option<String>,
}

/// A delivery report (RFC 3464).
#[derive(Serialize, ToSchema)]
pub(crate) struct Report {
    /// The recipients it reports on.
    recipients: Vec<ReportedRecipient>,
}

/// An invitation or what belongs to one (RFC 6047).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Calendar {
    /// The number of its part.
    part_id: String,
    /// `REQUEST`, `REPLY`, `CANCEL`, …
    method: Option<String>,
}

/// A message: its head and all that is in it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageDetail {
    #[serde(flatten)]
    head: Head,
    /// `Bcc`.
    bcc: Vec<Address>,
    /// `Reply-To`.
    reply_to: Vec<Address>,
    /// `Message-ID`: one id or none, without angle brackets.
    message_id: Vec<String>,
    /// The ids in `In-Reply-To`.
    in_reply_to: Vec<String>,
    /// The ids in `References`, oldest first.
    references: Vec<String>,
    /// The identifier in `List-Id`.
    list_id: Option<String>,
    /// All header fields in order.
    headers: Vec<Header>,
    /// The text, made from the HTML when there is no other.
    text_body: String,
    /// The HTML, safe to show: it runs, submits and loads nothing; `cid:` images point at their parts. Null when there
    /// is none.
    html_body: Option<String>,
    /// The remote images that the HTML would have loaded.
    remote_images: Vec<String>,
    /// Parts that a reader is offered as files.
    attachments: Vec<Attachment>,
    /// The tree of MIME parts.
    structure: Structure,
    /// The envelope's sender; null for the null sender and for imported messages.
    return_path: Option<String>,
    /// The envelope's recipient as it was accepted; null for imported messages.
    delivered_to: Option<String>,
    /// What a delivery report says; null when it is none.
    report: Option<Report>,
    /// Calendar parts.
    calendar: Vec<Calendar>,
}

impl MessageDetail {
    /// All of a message, read from its octets.
    pub(crate) fn new(message: Message, raw: &[u8], limits: &mail::Limits) -> Self {
        let parsed = mail::parse(raw, limits);
        let structure = Structure::new(parsed.structure());
        let id = crate::json::Id(message.id.0).text();
        let safe = parsed.html_body().map(|html| {
            let mut parts = HashMap::new();
            structure.content_ids(&mut parts);
            mail::safe_html(&html, &|cid| {
                parts.get(cid).map(|part| format!("/v1/messages/{id}/parts/{part}"))
            })
        });
        let (html_body, remote_images) =
            safe.map_or((None, Vec::new()), |safe| (Some(safe.html), safe.remote_images));
        let MessageRow { envelope, head, .. } = MessageRow::clone(&message.row);
        let attachments = parsed.attachments().into_iter().map(|part| Attachment {
            part_id: part.part_id,
            name: part.name,
            kind: part.content_type,
            sniffed_type: part.sniffed_type,
            size: part.size,
            content_id: part.content_id,
            disposition: part.disposition,
        });
        let report = parsed.report().map(|report| Report {
            recipients: report
                .recipients
                .into_iter()
                .map(|each| ReportedRecipient {
                    recipient: each.recipient,
                    action: each.action,
                    status: each.status,
                    diagnostic: each.diagnostic,
                })
                .collect(),
        });
        let calendar = parsed.calendar().into_iter();
        let headers = parsed.headers().into_iter();
        Self {
            bcc: head.bcc.into_iter().map(Address::from).collect(),
            reply_to: head.reply_to.into_iter().map(Address::from).collect(),
            message_id: head.message_id.into_iter().collect(),
            in_reply_to: head.in_reply_to,
            references: head.references,
            list_id: head.list_id,
            headers: headers.map(|field| Header { name: field.name, value: field.value }).collect(),
            text_body: parsed.text_body(),
            html_body,
            remote_images,
            attachments: attachments.collect(),
            structure,
            return_path: envelope.sender,
            delivered_to: envelope.recipient,
            report,
            calendar: calendar.map(|part| Calendar { part_id: part.part_id, method: part.method }).collect(),
            head: Head::new(message),
        }
    }
}
