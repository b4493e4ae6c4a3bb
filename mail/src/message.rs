//! A message and its views.

use crate::{
    Attachment, CalendarPart, Head, Header, Language, Limits, Part, Report, Structure, terms::Terms,
};

/// A message of which the parts have been found; what is in them is decoded by its views.
#[derive(Debug)]
pub struct Message<'x> {
    raw: &'x [u8],
    limits: Limits,
}

/// Finds the parts of a message. Never fails: bytes that are no message are a message of text.
pub fn parse<'x>(raw: &'x [u8], limits: &Limits) -> Message<'x> {
    Message { raw, limits: *limits }
}

impl<'x> Message<'x> {
    /// The bytes as received.
    pub fn raw(&self) -> &'x [u8] {
        self.raw
    }
    /// The listing's view.
    pub fn head(&self) -> Head {
        let _ = self.limits;
        Head::default()
    }
    /// All header fields of the message, decoded, in order.
    pub fn headers(&self) -> Vec<Header> {
        Vec::new()
    }
    /// The text, that of the HTML when there is no other.
    pub fn text_body(&self) -> String {
        String::new()
    }
    /// The HTML as received: unsafe to show before [`crate::safe_html`].
    pub fn html_body(&self) -> Option<String> {
        None
    }
    /// The parts that a reader would be offered as files.
    pub fn attachments(&self) -> Vec<Attachment> {
        Vec::new()
    }
    /// The tree of parts.
    pub fn structure(&self) -> Structure {
        Structure {
            part_id: String::new(),
            content_type: String::new(),
            name: None,
            size: 0,
            disposition: None,
            content_id: None,
            parts: Vec::new(),
        }
    }
    /// One part, decoded, by its number.
    pub fn part(&self, part_id: &str) -> Option<Part<'_>> {
        let _ = part_id;
        None
    }
    /// What a delivery report says; `None` when the message is none.
    pub fn report(&self) -> Option<Report> {
        None
    }
    /// The calendar parts.
    pub fn calendar(&self) -> Vec<CalendarPart> {
        Vec::new()
    }
    /// What the message is found by.
    pub fn terms(&self) -> Terms {
        Terms::default()
    }
    /// The language of the text, when it is one that words are stemmed in.
    pub fn language(&self) -> Option<Language> {
        None
    }
}
