//! The tree of MIME parts (RFC 2045–2046).

use std::{borrow::Cow, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    Limits,
    field::{self, Disposition, Field, MediaType},
    transfer::{self, Transfer},
    walk::Walk,
};

/// Encoded messages inside messages that are opened.
const ENCODED_MESSAGES: usize = 8;

/// One node of the tree of MIME parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Structure {
    /// The part's number as in RFC 3501 §6.4.5; a multipart that is a message's body has none (empty).
    pub part_id: String,
    /// The declared media type, lower-cased, without parameters.
    #[serde(rename = "type")]
    pub content_type: String,
    /// The file's name.
    pub name: Option<String>,
    /// Octets, decoded; of a multipart or message, of all of it as it stands.
    pub size: u64,
    /// `Content-Disposition:`, lower-cased, without parameters.
    pub disposition: Option<String>,
    /// `Content-ID:` without angle brackets.
    pub content_id: Option<String>,
    /// The parts of a multipart, or the one message of a message/rfc822.
    pub parts: Vec<Structure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Leaf,
    Multipart,
    /// message/rfc822, its one child the message in it.
    Message,
}

#[derive(Debug)]
pub(crate) struct Node {
    /// Which of the tree's buffers the ranges are in.
    pub(crate) buffer: usize,
    pub(crate) parent: Option<usize>,
    pub(crate) depth: u16,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Range<usize>,
    pub(crate) media: MediaType,
    pub(crate) disposition: Option<Disposition>,
    pub(crate) transfer: Transfer,
    pub(crate) kind: Kind,
    pub(crate) children: Vec<usize>,
}

impl Node {
    pub(crate) fn name(&self) -> Option<&String> {
        self.disposition.as_ref().and_then(|d| d.name.as_ref()).or(self.media.name.as_ref())
    }
    pub(crate) fn is_attached(&self) -> bool {
        self.disposition.as_ref().is_some_and(|d| d.kind == "attachment")
    }
    /// The first half of the media type.
    pub(crate) fn main_type(&self) -> &str {
        self.media.essence.split('/').next().unwrap_or("")
    }
}

/// The parts of a message, the first one its root.
#[derive(Debug)]
pub(crate) struct Tree<'x> {
    pub(crate) buffers: Vec<Cow<'x, [u8]>>,
    pub(crate) nodes: Vec<Node>,
}

impl<'x> Tree<'x> {
    /// Finds the parts.
    pub(crate) fn of(raw: &'x [u8], limits: &Limits) -> Self {
        let mut nodes = Vec::with_capacity(4);
        let mut walk = Walk::new(raw, 0, limits, &mut nodes);
        walk.root(None, 0);
        let mut encoded = std::mem::take(&mut walk.encoded);
        let mut buffers = vec![Cow::Borrowed(raw)];
        while let Some(id) = encoded.pop() {
            if buffers.len() > ENCODED_MESSAGES {
                break;
            }
            let node = &nodes[id];
            let content =
                transfer::decode(node.transfer, &buffers[node.buffer][node.body.clone()], usize::MAX);
            let content = content.into_owned();
            let depth = node.depth + 1;
            let mut walk = Walk::new(&content, buffers.len(), limits, &mut nodes);
            walk.root(Some(id), depth);
            encoded.append(&mut walk.encoded);
            nodes[id].kind = Kind::Message;
            buffers.push(Cow::Owned(content));
        }
        Self { buffers, nodes }
    }

    pub(crate) fn body(&self, id: usize) -> &[u8] {
        let node = &self.nodes[id];
        &self.buffers[node.buffer][node.body.clone()]
    }

    /// The content of a part, its transfer encoding undone, at most `max` octets of it.
    pub(crate) fn content(&self, id: usize, max: usize) -> Cow<'_, [u8]> {
        let body = self.body(id);
        match self.nodes[id].kind {
            Kind::Multipart => Cow::Borrowed(&body[..body.len().min(max)]),
            _ => transfer::decode(self.nodes[id].transfer, body, max),
        }
    }

    pub(crate) fn size(&self, id: usize) -> u64 {
        match self.nodes[id].kind {
            Kind::Multipart => self.body(id).len() as u64,
            _ => transfer::decoded_len(self.nodes[id].transfer, self.body(id)),
        }
    }

    /// The value of a part's first field of a name (lower-cased).
    pub(crate) fn field(&self, id: usize, name: &str) -> Option<&[u8]> {
        let node = &self.nodes[id];
        let buffer = &self.buffers[node.buffer];
        let field =
            node.fields.iter().find(|f| buffer[f.name.clone()].eq_ignore_ascii_case(name.as_bytes()))?;
        Some(&buffer[field.value.clone()])
    }

    pub(crate) fn content_id(&self, id: usize) -> Option<String> {
        self.field(id, "content-id").and_then(field::content_id)
    }

    /// The number of each part; empty for a multipart that is a message's body.
    pub(crate) fn numbers(&self) -> Vec<String> {
        let mut numbers = vec![String::new(); self.nodes.len()];
        let mut pending = vec![(0, String::new(), 1)];
        while let Some((id, prefix, index)) = pending.pop() {
            let node = &self.nodes[id];
            let heads_message = node.parent.is_none_or(|p| self.nodes[p].kind == Kind::Message);
            let number = if heads_message && node.kind == Kind::Multipart {
                prefix
            } else {
                let number = if prefix.is_empty() { index.to_string() } else { format!("{prefix}.{index}") };
                numbers[id] = number.clone();
                number
            };
            for (i, child) in node.children.iter().enumerate() {
                pending.push((*child, number.clone(), i + 1));
            }
        }
        numbers
    }

    /// The messages in the message, at every depth, by their root.
    pub(crate) fn messages(&self) -> impl Iterator<Item = usize> {
        self.nodes
            .iter()
            .filter(|node| node.kind == Kind::Message)
            .filter_map(|node| node.children.first().copied())
    }

    /// The leaves of the message of that root, in order: a message/rfc822 in it is one.
    pub(crate) fn leaves(&self, root: usize) -> Vec<usize> {
        let mut leaves = Vec::new();
        let mut pending = vec![root];
        while let Some(id) = pending.pop() {
            if self.nodes[id].kind == Kind::Multipart {
                pending.extend(self.nodes[id].children.iter().rev());
            } else {
                leaves.push(id);
            }
        }
        leaves
    }

    pub(crate) fn view(&self) -> Structure {
        self.view_of(0, &self.numbers())
    }

    fn view_of(&self, id: usize, numbers: &[String]) -> Structure {
        let node = &self.nodes[id];
        Structure {
            part_id: numbers[id].clone(),
            content_type: node.media.essence.clone(),
            name: node.name().cloned(),
            size: self.size(id),
            disposition: node.disposition.as_ref().map(|d| d.kind.clone()).filter(|k| !k.is_empty()),
            content_id: self.content_id(id),
            parts: node.children.iter().map(|c| self.view_of(*c, numbers)).collect(),
        }
    }
}
