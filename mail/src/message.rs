//! A message and its views.

use crate::{
    Attachment, CalendarPart, Head, Header, Language, Limits, Part, Report, Structure, attachment, field,
    head, report, structure::Tree, terms, text,
};

/// A message of which the parts have been found; what is in them is decoded by its views.
#[derive(Debug)]
pub struct Message<'x> {
    raw: &'x [u8],
    limits: Limits,
    tree: Tree<'x>,
    body: text::Body,
}

/// Finds the parts of a message. Never fails: bytes that are no message are a message of text.
pub fn parse<'x>(raw: &'x [u8], limits: &Limits) -> Message<'x> {
    let tree = Tree::of(raw, limits);
    let body = text::Body::of(&tree, 0);
    Message { raw, limits: *limits, tree, body }
}

impl<'x> Message<'x> {
    /// The bytes as received.
    pub fn raw(&self) -> &'x [u8] {
        self.raw
    }

    /// The listing's view: cheap enough for the delivery path, because of the text it decodes the start only.
    ///
    /// `has_attachment` is true when a part of [`Message::attachments`] is more than furniture: parts with a
    /// Content-ID that are inline or in a multipart/related (images of the HTML), signatures, and the parts
    /// of a delivery report or an encrypted message that are for programs do not count.
    pub fn head(&self) -> Head {
        head::of(&self.tree, &self.body, &self.limits)
    }

    /// All header fields of the message, decoded, in order.
    pub fn headers(&self) -> Vec<Header> {
        let charset = head::charset(&self.tree, 0);
        let node = &self.tree.nodes[0];
        let buffer = &self.tree.buffers[node.buffer];
        let decoded = node.fields.iter().map(|f| Header {
            name: String::from_utf8_lossy(&buffer[f.name.clone()]).into_owned(),
            value: field::text(&buffer[f.value.clone()], charset),
        });
        decoded.collect()
    }

    /// The text, that of the HTML when there is no other; at most [`Limits::text_bytes`].
    pub fn text_body(&self) -> String {
        text::body_text(&self.tree, &self.body, &self.limits)
    }

    /// The HTML as received: unsafe to show before [`crate::safe_html`]. At most [`Limits::html_bytes`].
    pub fn html_body(&self) -> Option<String> {
        text::body_html(&self.tree, &self.body, &self.limits)
    }

    /// The parts that a reader would be offered as files: those that say they are attachments, those with a
    /// name, and those that are not text. A message/rfc822 is one, whatever is in it.
    pub fn attachments(&self) -> Vec<Attachment> {
        attachment::list(&self.tree)
    }

    /// The tree of parts.
    pub fn structure(&self) -> Structure {
        self.tree.view()
    }

    /// One part, decoded, by its number (RFC 3501 §6.4.5), those of nested messages included.
    pub fn part(&self, part_id: &str) -> Option<Part<'_>> {
        attachment::part(&self.tree, part_id)
    }

    /// What a delivery report says; `None` when the message is none.
    pub fn report(&self) -> Option<Report> {
        report::of(&self.tree)
    }

    /// The calendar parts.
    pub fn calendar(&self) -> Vec<CalendarPart> {
        attachment::calendar(&self.tree)
    }

    /// What the message is found by; what is in messages in it is words of its body.
    pub fn terms(&self) -> terms::Terms {
        terms::of(&self.tree, &self.body, &self.limits)
    }

    /// The language of the text, when it is one that words are stemmed in.
    pub fn language(&self) -> Option<Language> {
        let subject = self.tree.field(0, "subject").map(|v| field::text(v, head::charset(&self.tree, 0)));
        Language::detect(&subject.unwrap_or_default(), &self.text_body())
    }
}
