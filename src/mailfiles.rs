//! Messages in files: mbox, Maildir, folders of .eml.

pub mod eml;
pub mod maildir;
pub mod mbox;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::arguments::Format;

/// One message as a file holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailFile {
    /// Where it stands, for the one who imports it.
    pub name: String,
    /// Its bytes.
    pub raw: Vec<u8>,
    /// When it was received, as far as the file says.
    pub received_at: Option<Timestamp>,
    /// What is said of it.
    pub keywords: Vec<String>,
    /// The folder it is in, if it is not the inbox.
    pub folder: Option<String>,
    /// Whether it is marked as deleted.
    pub is_trashed: bool,
}

impl MailFile {
    /// By what it is known again, as far as one import goes.
    pub fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.raw, &self.folder, &self.keywords, self.is_trashed).hash(&mut hasher);
        hasher.finish()
    }
}

/// The messages of a source, one after the other.
pub struct Source {
    length: u64,
    mails: Box<dyn Iterator<Item = io::Result<MailFile>>>,
}

impl Source {
    /// How many there are.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Iterator for Source {
    type Item = io::Result<MailFile>;

    fn next(&mut self) -> Option<Self::Item> {
        self.mails.next()
    }
}

/// The messages at `path`; what it is shows in its form if `format` does not say.
///
/// # Errors
/// If it cannot be read, or is none of the three.
pub fn open(path: &Path, format: Option<Format>) -> io::Result<Source> {
    let found = match format {
        Some(format) => format,
        None if path.is_file() && path.extension().is_some_and(|end| end == "eml") => Format::Eml,
        None if path.is_file() => Format::Mbox,
        None if path.join("cur").is_dir() || path.join("new").is_dir() => Format::Maildir,
        None => Format::Eml,
    };
    match found {
        Format::Mbox => {
            let count = mbox::Mails::open(path)?.count() as u64;
            Ok(Source { length: count, mails: Box::new(mbox::Mails::open(path)?) })
        }
        Format::Maildir => Ok(list(maildir::files(path)?, |file: maildir::File| file.read())),
        Format::Eml => Ok(list(eml::files(path)?, |path: std::path::PathBuf| eml::read(&path))),
    }
}

fn list<T: 'static>(files: Vec<T>, read: impl Fn(T) -> io::Result<MailFile> + 'static) -> Source {
    Source { length: files.len() as u64, mails: Box::new(files.into_iter().map(read)) }
}

/// When a message was received by its own header: the date of the topmost Received, else of Date.
pub fn received_at(raw: &[u8]) -> Option<Timestamp> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in raw.split(|&octet| octet == b'\n').take(2_000) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            break;
        }
        match fields.last_mut() {
            Some((_, value)) if line.starts_with([' ', '\t']) => value.push_str(line),
            _ => {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                fields.push((name.trim().to_ascii_lowercase(), value.to_owned()));
            }
        }
    }
    let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let received = value("received").and_then(|value| value.rsplit(';').next()).and_then(date);
    received.or_else(|| value("date").and_then(date))
}

fn date(text: &str) -> Option<Timestamp> {
    // A comment in parentheses is usual after the zone.
    let text = text.split('(').next().unwrap_or_default().trim();
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    (at.as_millisecond() >= 0).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_received_says_when_and_date_where_there_is_none() {
        let raw = b"Received: from a by b;\r\n\tSat, 21 Nov 2026 08:00:00 +0100 (CET)\r\nReceived: x; Fri, 20 Nov 2026 08:00:00 +0000\r\nDate: Thu, 19 Nov 2026 08:00:00 +0000\r\n\r\nDate: none\r\n";
        assert_eq!(received_at(raw), Some("2026-11-21T07:00:00Z".parse().unwrap()));
        let raw = b"Subject: x\nDate: Thu, 19 Nov 2026 08:00:00 +0000\n\n";
        assert_eq!(received_at(raw), Some("2026-11-19T08:00:00Z".parse().unwrap()));
        assert_eq!(received_at(b"Subject: x\n\nDate: Thu, 19 Nov 2026 08:00:00 +0000\n"), None);
    }
}
