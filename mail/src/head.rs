//! The listing's view of a message.

use serde::{Deserialize, Serialize};

use crate::{
    Limits, attachment, field, markup, preview,
    structure::Tree,
    text::{self, Body},
};

/// Octets of a text part that its preview is made from.
const PREVIEW_TEXT: usize = 8 << 10;
/// Octets of HTML that a preview is made from, where there is no text part.
const PREVIEW_HTML: usize = 64 << 10;

/// A mailbox of RFC 5322 §3.4; the members of a group stand for the group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Address {
    /// The display name, decoded; `None` when there is none.
    pub name: Option<String>,
    /// The addr-spec as written (not lower-cased, not checked to be deliverable); empty when the field has
    /// only a name.
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

/// The charset that header octets are in when nothing declares one: that of the text, where it says so.
pub(crate) fn charset<'a>(tree: &'a Tree<'_>) -> Option<&'a str> {
    text::charset_of(tree, 0).or_else(|| {
        let first = *tree.nodes[0].children.first()?;
        text::charset_of(tree, first)
    })
}

pub(crate) fn of(tree: &Tree<'_>, body: &Body, limits: &Limits) -> Head {
    let charset = charset(tree);
    let mut head = Head {
        preview: preview_of(tree, body),
        has_attachment: attachment::has_any(tree),
        ..Head::default()
    };
    let (mut subject, mut message_id, mut date, mut from, mut reply_to) = (None, None, None, None, None);
    let node = &tree.nodes[0];
    let buffer = &tree.buffers[node.buffer];
    for f in &node.fields {
        let name = &buffer[f.name.clone()];
        let value = &buffer[f.value.clone()];
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        let addresses = |out: &mut Vec<Address>| field::addresses(value, charset, limits.addresses, out);
        match name.len() {
            2 if is("to") => addresses(&mut head.to),
            2 if is("cc") => addresses(&mut head.cc),
            3 if is("bcc") => addresses(&mut head.bcc),
            // Of a field that may stand once, the first counts.
            4 if is("from") && from.is_none() => addresses(from.get_or_insert_default()),
            4 if is("date") && date.is_none() => date = Some(field::date(value)),
            7 if is("subject") && subject.is_none() => subject = Some(field::text(value, charset)),
            7 if is("list-id") && head.list_id.is_none() => {
                head.list_id = list_id(&field::text(value, charset))
            }
            8 if is("reply-to") && reply_to.is_none() => addresses(reply_to.get_or_insert_default()),
            9 if is("list-post") => head.is_list = true,
            10 if is("message-id") && message_id.is_none() => message_id = field::message_id(value),
            10 if is("references") => head.references.append(&mut field::ids(value)),
            10 if is("precedence") && value.trim_ascii().eq_ignore_ascii_case(b"list") => head.is_list = true,
            11 if is("in-reply-to") => head.in_reply_to.append(&mut field::ids(value)),
            _ => {}
        }
    }
    head.from = from.unwrap_or_default();
    head.reply_to = reply_to.unwrap_or_default();
    head.subject = subject.unwrap_or_default();
    head.message_id = message_id;
    head.sent_at = date.flatten();
    head.is_list |= head.list_id.is_some();
    head
}

fn list_id(value: &str) -> Option<String> {
    let id = match value.rsplit_once('<') {
        Some((_, id)) => id.split('>').next().unwrap_or(id),
        None => value,
    };
    let id = id.trim().to_lowercase();
    (!id.is_empty()).then_some(id)
}

fn preview_of(tree: &Tree<'_>, body: &Body) -> String {
    for &id in &body.text {
        let found = if tree.nodes[id].media.essence == "text/html" {
            preview::of(&markup::text_of(&text::decoded(tree, id, PREVIEW_HTML), 4 << 10, true))
        } else {
            preview::of(&text::decoded(tree, id, PREVIEW_TEXT))
        };
        if !found.is_empty() {
            return found;
        }
    }
    String::new()
}
