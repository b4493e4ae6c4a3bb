//! Parts that are not the text: attachments, calendars, and any part by its id.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::structure::Tree;

/// Octets that a type is recognised by.
const SNIFFED: usize = 8 << 10;

/// A part that a reader would be offered as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The part's number as in RFC 3501 §6.4.5: `1`, `2.1`, …
    pub part_id: String,
    /// The file's name, decoded (RFC 2231, RFC 2047), without path and control characters.
    pub name: Option<String>,
    /// The declared media type, lower-cased, without parameters.
    pub content_type: String,
    /// The media type that the first octets show, where they are known.
    pub sniffed_type: Option<String>,
    /// Octets, decoded.
    pub size: u64,
    /// `Content-ID:` without angle brackets.
    pub content_id: Option<String>,
    /// `Content-Disposition:`, lower-cased, without parameters.
    pub disposition: Option<String>,
}

/// One part, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// The declared media type, lower-cased, without parameters.
    pub content_type: String,
    /// The declared charset of a text part, as written.
    pub charset: Option<String>,
    /// The file's name, as in [`Attachment::name`].
    pub name: Option<String>,
    /// The content, its transfer encoding undone; text keeps its charset.
    pub bytes: Cow<'a, [u8]>,
}

/// A text/calendar part (RFC 5545, RFC 6047).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarPart {
    /// The part's number.
    pub part_id: String,
    /// The `method` parameter, upper-cased (REQUEST, REPLY, CANCEL, …).
    pub method: Option<String>,
}

fn is_attachment(tree: &Tree<'_>, id: usize) -> bool {
    let node = &tree.nodes[id];
    node.is_attached() || node.name().is_some() || !matches!(node.main_type(), "text" | "multipart")
}

/// The leaves of the message of that root that are attachments.
pub(crate) fn ids(tree: &Tree<'_>, root: usize) -> impl Iterator<Item = usize> {
    tree.leaves(root).into_iter().filter(|id| is_attachment(tree, *id))
}

pub(crate) fn list(tree: &Tree<'_>) -> Vec<Attachment> {
    let numbers = tree.numbers();
    let list = ids(tree, 0).map(|id| {
        let node = &tree.nodes[id];
        Attachment {
            part_id: numbers[id].clone(),
            name: node.name().cloned(),
            content_type: node.media.essence.clone(),
            sniffed_type: infer::get(&tree.content(id, SNIFFED)).map(|t| t.mime_type().to_string()),
            size: tree.size(id),
            content_id: tree.content_id(id),
            disposition: node.disposition.as_ref().map(|d| d.kind.clone()).filter(|k| !k.is_empty()),
        }
    });
    list.collect()
}

/// Whether an attachment is more than the message's furniture.
pub(crate) fn has_any(tree: &Tree<'_>) -> bool {
    ids(tree, 0).any(|id| {
        let node = &tree.nodes[id];
        let essence = node.media.essence.as_str();
        let parent = node.parent.map_or("", |p| tree.nodes[p].media.essence.as_str());
        let is_signature = matches!(
            essence,
            "application/pgp-signature" | "application/pkcs7-signature" | "application/x-pkcs7-signature"
        );
        let is_report = matches!(parent, "multipart/report" | "multipart/encrypted");
        let is_embedded = !node.is_attached()
            && tree.field(id, "content-id").is_some()
            && (parent == "multipart/related" || node.main_type() == "image");
        !(is_signature || is_report || is_embedded)
    })
}

pub(crate) fn part<'a>(tree: &'a Tree<'_>, part_id: &str) -> Option<Part<'a>> {
    if part_id.is_empty() {
        return None;
    }
    let id = tree.numbers().iter().position(|n| n == part_id)?;
    let node = &tree.nodes[id];
    Some(Part {
        content_type: node.media.essence.clone(),
        charset: node.media.charset.clone(),
        name: node.name().cloned(),
        bytes: tree.content(id, usize::MAX),
    })
}

pub(crate) fn calendar(tree: &Tree<'_>) -> Vec<CalendarPart> {
    let numbers = tree.numbers();
    let leaves = tree.leaves(0).into_iter().filter(|id| tree.nodes[*id].media.essence == "text/calendar");
    let parts = leaves.map(|id| CalendarPart {
        part_id: numbers[id].clone(),
        method: tree.nodes[id]
            .media
            .method
            .clone()
            .or_else(|| method_in(&tree.content(id, SNIFFED)))
            .map(|m| m.trim().to_ascii_uppercase()),
    });
    parts.collect()
}

/// The METHOD property, when the content type does not repeat it.
fn method_in(calendar: &[u8]) -> Option<String> {
    calendar.split(|b| *b == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(7)?;
        name.eq_ignore_ascii_case(b"METHOD:")
            .then(|| String::from_utf8_lossy(value.trim_ascii()).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use crate::{Limits, parse};

    #[test]
    fn an_attachment_has_its_name_types_size_and_id() {
        let raw = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: Application/Octet-Stream; name=other.bin\n\
                   Content-Disposition: ATTACHMENT; filename=\"a b.png\"\nContent-ID: <i@x>\n\
                   Content-Transfer-Encoding: base64\n\niVBORw0KGgoAAAANSUhEUg==\n--b--\n";
        let message = parse(raw.as_bytes(), &Limits::default());
        let found = &message.attachments()[0];
        assert_eq!(found.part_id, "1");
        assert_eq!(found.name.as_deref(), Some("a b.png"));
        assert_eq!(found.content_type, "application/octet-stream");
        assert_eq!(found.sniffed_type.as_deref(), Some("image/png"));
        assert_eq!(found.size, 16);
        assert_eq!(found.content_id.as_deref(), Some("i@x"));
        assert_eq!(found.disposition.as_deref(), Some("attachment"));
        let structure = serde_json::to_value(message.structure()).unwrap();
        assert_eq!(structure["parts"][0]["partId"], "1");
        assert_eq!(structure["parts"][0]["contentId"], "i@x");
        assert_eq!(structure["type"], "multipart/mixed");
    }

    #[test]
    fn calendars_say_what_they_ask() {
        let cases = [
            ("text/calendar; method=request", "BEGIN:VCALENDAR", Some("REQUEST")),
            ("text/calendar", "BEGIN:VCALENDAR\r\nMETHOD:CANCEL\r\n", Some("CANCEL")), // in the content only
            ("text/calendar", "BEGIN:VCALENDAR", None),
        ];
        for (kind, body, method) in cases {
            let raw = format!(
                "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--b\nContent-Type: {kind}\n\n{body}\n--b--"
            );
            let message = parse(raw.as_bytes(), &Limits::default());
            let parts = message.calendar();
            assert_eq!(parts[0].part_id, "2");
            assert_eq!(parts[0].method.as_deref(), method, "{kind} {body}");
            assert_eq!(message.text_body().trim(), "x");
        }
    }
}
