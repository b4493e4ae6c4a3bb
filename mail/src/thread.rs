//! What connects messages: ids, subjects and people.

use serde::{Deserialize, Serialize};

use crate::Head;

/// What a message is connected to others by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ThreadKeys {
    /// Its own id, then those it refers to, newest first, each once, at most 200.
    pub ids: Vec<String>,
    /// The base subject (RFC 5256 §2.1), folded.
    pub base_subject: String,
    /// Whether the subject says that it is a reply or a forward.
    pub is_reply: bool,
    /// Whether In-Reply-To or References are there.
    pub has_links: bool,
}

/// The thread keys of a message.
pub fn thread_keys(head: &Head) -> ThreadKeys {
    let _ = head;
    ThreadKeys::default()
}

/// The addresses of From, To and Cc: lower-cased, sorted, each once.
pub fn participants(head: &Head) -> Vec<String> {
    let _ = head;
    Vec::new()
}
