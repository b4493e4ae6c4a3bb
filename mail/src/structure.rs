//! The tree of MIME parts.

use serde::{Deserialize, Serialize};

/// One node of the tree of MIME parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Structure {
    /// The part's number as in RFC 3501 §6.4.5; the outermost multipart has the empty one.
    pub part_id: String,
    /// The declared media type, lower-cased, without parameters.
    #[serde(rename = "type")]
    pub content_type: String,
    /// The file's name.
    pub name: Option<String>,
    /// Octets, decoded; of a multipart, of all of it as it stands.
    pub size: u64,
    /// `Content-Disposition:`, lower-cased, without parameters.
    pub disposition: Option<String>,
    /// `Content-ID:` without angle brackets.
    pub content_id: Option<String>,
    /// The parts of a multipart, or of the message in a message/rfc822.
    pub parts: Vec<Structure>,
}
