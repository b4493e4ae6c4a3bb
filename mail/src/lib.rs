//! What a message is: pure functions on bytes, no I/O.
//!
//! [`parse`] takes the bytes of an RFC 5322 message, however broken, and never fails; the views of the
//! [`Message`] it returns (head, text, attachments, structure, terms, …) are computed when they are asked for,
//! each bounded by [`Limits`].

mod address;
mod attachment;
mod charset;
mod field;
mod head;
mod html;
mod limits;
mod markup;
mod message;
mod preview;
mod report;
mod structure;
pub mod terms;
mod text;
pub mod thread;
mod transfer;
mod walk;
mod word;

pub use attachment::{Attachment, CalendarPart, Part};
pub use head::{Address, Head, Header};
pub use html::{SafeHtml, safe_html};
pub use limits::Limits;
pub use message::{Message, parse};
pub use report::{Report, ReportedRecipient};
pub use structure::Structure;
pub use terms::Language;
