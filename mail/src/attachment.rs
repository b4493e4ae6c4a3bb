//! Parts that are not the text: attachments, calendars, and any part by its id.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

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
