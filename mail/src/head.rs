//! The listing's view of a message.

use serde::{Deserialize, Serialize};

use crate::{
    Limits, address, attachment, field, markup, preview,
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

/// The charset that header octets of the message of that root are in when nothing declares one: that of the text,
/// where it says so.
pub(crate) fn charset<'a>(tree: &'a Tree<'_>, root: usize) -> Option<&'a str> {
    text::charset_of(tree, root).or_else(|| {
        let first = *tree.nodes[root].children.first()?;
        text::charset_of(tree, first)
    })
}

pub(crate) fn of(tree: &Tree<'_>, body: &Body, limits: &Limits) -> Head {
    let charset = charset(tree, 0);
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
        let addresses = |out: &mut Vec<Address>| address::addresses(value, charset, limits.addresses, out);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn head_of(raw: &str) -> Head {
        parse(raw.as_bytes(), &Limits::default()).head()
    }

    #[test]
    fn a_head_says_who_what_and_when() {
        let head = head_of(
            "From: Ada <a@example.org>\nFrom: forged@example.org\nTo: b@example.org\nTo: c@example.org\n\
             Subject: =?utf-8?Q?caf=C3=A9?=\n au lait\nMessage-ID: <1@x>\nIn-Reply-To: <0@x>\nReferences: <9@x> <0@x>\n\
             Date: Thu, 01 Jan 1970 00:00:01 +0000\nReply-To: r@example.org\nList-Id: Dev <DEV.example.org>\n\nHello",
        );
        assert_eq!(head.from.len(), 1);
        assert_eq!(head.from[0].name.as_deref(), Some("Ada"));
        assert_eq!(head.to.len(), 2);
        assert_eq!(head.subject, "café au lait");
        assert_eq!(head.message_id.as_deref(), Some("1@x"));
        assert_eq!(head.in_reply_to, ["0@x"]);
        assert_eq!(head.references, ["9@x", "0@x"]);
        assert_eq!(head.sent_at, Some(1000));
        assert_eq!(head.reply_to[0].email, "r@example.org");
        assert_eq!(head.list_id.as_deref(), Some("dev.example.org"));
        assert!(head.is_list && !head.has_attachment);
        assert_eq!(head.preview, "Hello");
    }

    #[test]
    fn octets_of_the_text_s_charset_are_read_in_headers_too() {
        let raw = b"Subject: \xf0\xd2\xc9\nContent-Type: text/plain; charset=koi8-r\n\n\xf0\xd2\xc9";
        let head = parse(raw, &Limits::default()).head();
        assert_eq!((head.subject.as_str(), head.preview.as_str()), ("При", "При"));
    }

    #[test]
    fn a_preview_of_html_leaves_out_markup_and_quotes() {
        let head = head_of(
            "Content-Type: text/html\n\n<html><head><title>t</title><style>p{}</style></head>\
             <p>Hello&nbsp;you</p><blockquote>old</blockquote>",
        );
        assert_eq!(head.preview, "Hello you");
    }

    #[test]
    fn an_attachment_is_what_a_reader_would_call_one() {
        let part = |headers: &str| {
            format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n{headers}\n\nx\n--b--\n")
        };
        let related = "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<img src=cid:i>\n\
                       --b\nContent-Type: image/png; name=logo.png\nContent-ID: <i>\n\nx\n--b--\n";
        let cases = [
            (part("Content-Type: application/pdf"), true, 1),
            (part("Content-Type: text/plain\nContent-Disposition: attachment"), true, 1),
            (part("Content-Type: text/plain; name=a.txt"), true, 1),
            (part("Content-Type: text/plain"), false, 0), // more text
            (part("Content-Type: image/png\nContent-ID: <i>\nContent-Disposition: inline"), false, 1),
            (part("Content-Type: image/png"), true, 1),
            (part("Content-Type: application/pgp-signature"), false, 1),
            (part("Content-Type: message/rfc822\n\nSubject: inner"), true, 1),
            (related.to_string(), false, 1), // an image of the HTML
            ("Content-Type: application/pdf\n\nx".to_string(), true, 1), // nothing but an attachment
        ];
        for (raw, expected, listed) in cases {
            let message = parse(raw.as_bytes(), &Limits::default());
            assert_eq!(message.head().has_attachment, expected, "{raw}");
            assert_eq!(message.attachments().len(), listed, "{raw}");
        }
    }
}
