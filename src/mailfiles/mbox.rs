//! mbox (RFC 4155), quoted as mboxrd: a line of a message that reads `From `, after any number of `>`, has one `>` more
//! in the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use jiff::Timestamp;
use jiff::fmt::strtime;

use super::{MailFile, received_at};

/// The messages of an mbox, one after the other.
pub struct Mails<R> {
    lines: R,
    name: String,
    /// The From_ line of the next message.
    next: Option<Vec<u8>>,
    count: u64,
    is_over: bool,
}

impl Mails<BufReader<File>> {
    /// Those in a file.
    ///
    /// # Errors
    /// What the operating system says, or that it is no mbox.
    pub fn open(path: &Path) -> io::Result<Self> {
        Mails::new(BufReader::with_capacity(256 * 1024, File::open(path)?), path.display().to_string())
    }
}

impl<R: BufRead> Mails<R> {
    /// Those that `lines` holds; `name` is what they are called by.
    ///
    /// # Errors
    /// What reading says, or that it is no mbox.
    pub fn new(mut lines: R, name: String) -> io::Result<Self> {
        let mut first = Vec::new();
        while first.iter().all(u8::is_ascii_whitespace) {
            first.clear();
            if lines.read_until(b'\n', &mut first)? == 0 {
                return Ok(Self { lines, name, next: None, count: 0, is_over: true });
            }
        }
        if !first.starts_with(b"From ") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not begin with a From line: no mbox",
            ));
        }
        Ok(Self { lines, name, next: Some(first), count: 0, is_over: false })
    }

    fn read(&mut self) -> io::Result<Option<MailFile>> {
        let Some(from) = self.next.take() else { return Ok(None) };
        let (mut raw, mut line) = (Vec::new(), Vec::new());
        // A From_ line stands behind an empty one; what else reads so is text of a writer that quotes nothing.
        let mut after_empty = false;
        loop {
            line.clear();
            if self.lines.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if after_empty && line.starts_with(b"From ") {
                self.next = Some(std::mem::take(&mut line));
                break;
            }
            after_empty = is_empty(&line);
            raw.extend_from_slice(unquoted(&line));
        }
        // The empty line behind a message is the file's.
        if after_empty {
            let end = if raw.ends_with(b"\r\n") { 2 } else { 1 };
            raw.truncate(raw.len() - end);
        }
        self.count += 1;
        let received_at = from_date(&from).or_else(|| received_at(&raw));
        let name = format!("message {} of {}", self.count, self.name);
        Ok(Some(MailFile { name, raw, received_at, ..MailFile::default() }))
    }
}

impl<R: BufRead> Iterator for Mails<R> {
    type Item = io::Result<MailFile>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let read = self.read().transpose();
        self.is_over = !matches!(read, Some(Ok(_)));
        read
    }
}

fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

fn is_quotable(line: &[u8]) -> bool {
    let quotes = line.iter().take_while(|&&octet| octet == b'>').count();
    line[quotes..].starts_with(b"From ")
}

fn unquoted(line: &[u8]) -> &[u8] {
    if line.starts_with(b">") && is_quotable(line) { &line[1..] } else { line }
}

/// The date of a From_ line, in UTC unless it says otherwise: `From sender Sat Nov 21 08:00:00 2026`.
fn from_date(line: &[u8]) -> Option<Timestamp> {
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split_whitespace().collect();
    let day = words
        .iter()
        .skip(1)
        .position(|word| ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(word))?;
    let date = words[day + 1..].join(" ");
    let with_zone = strtime::parse("%a %b %d %H:%M:%S %Y %z", &date).and_then(|parsed| parsed.to_timestamp());
    let in_utc = || {
        let time = strtime::parse("%a %b %d %H:%M:%S %Y", &date).ok()?.to_datetime().ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let at = with_zone.ok().or_else(in_utc)?;
    (at.as_millisecond() >= 0).then_some(at)
}

/// Writes one message; `received_at` is RFC 3339, `sender` the envelope's.
///
/// # Errors
/// What writing says.
pub fn write(file: &mut impl Write, sender: Option<&str>, received_at: &str, raw: &[u8]) -> io::Result<()> {
    let at: Timestamp = received_at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let sender = sender.filter(|sender| !sender.contains(char::is_whitespace)).unwrap_or("MAILER-DAEMON");
    writeln!(file, "From {sender} {}", at.strftime("%a %b %e %H:%M:%S %Y"))?;
    for line in raw.split_inclusive(|&octet| octet == b'\n') {
        if is_quotable(line) {
            file.write_all(b">")?;
        }
        file.write_all(line)?;
    }
    if !raw.ends_with(b"\n") {
        file.write_all(b"\n")?;
    }
    file.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<MailFile> {
        Mails::new(text, "box".into()).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_is_written_reads_back_byte_for_byte() {
        let mails: [&[u8]; 5] = [
            b"Subject: a\r\n\r\nFrom here on\r\n>From there\r\n\r\nFrom a new paragraph\r\n",
            b"Subject: b\n\n>>From\n>>From x\n",
            b"\r\n",
            b"Subject: ends in empty lines\r\n\r\n\r\n\r\n",
            b"Subject: \xff\0\r\n\r\n",
        ];
        let mut file = Vec::new();
        for raw in mails {
            write(&mut file, Some("a@example.org"), "2026-11-21T08:00:00Z", raw).unwrap();
        }
        let back = read(&file);
        assert_eq!(back.iter().map(|mail| mail.raw.as_slice()).collect::<Vec<_>>(), mails);
        assert!(back.iter().all(|mail| mail.received_at == Some("2026-11-21T08:00:00Z".parse().unwrap())));
    }

    #[test]
    fn a_from_line_says_when() {
        let cases = [
            ("From a@b Sat Nov 21 08:00:00 2026", Some("2026-11-21T08:00:00Z")),
            ("From a@b  Sun Nov  1 08:00:00 2026\n", Some("2026-11-01T08:00:00Z")),
            ("From a b Sat Nov 21 08:00:00 2026 +0100", Some("2026-11-21T07:00:00Z")),
            ("From nobody", None),
            ("From a@b Sat Nov 21 2026", None),
        ];
        for (line, wanted) in cases {
            assert_eq!(from_date(line.as_bytes()).map(|at| at.to_string()).as_deref(), wanted, "{line}");
        }
    }

    #[test]
    fn a_from_in_a_paragraph_begins_no_message() {
        let mails = read(b"From a Sat Nov 21 08:00:00 2026\nSubject: x\n\ntext\nFrom me\n\nFrom b Sat Nov 21 08:00:00 2026\n\ny");
        assert_eq!(
            mails.iter().map(|mail| mail.raw.as_slice()).collect::<Vec<_>>(),
            [b"Subject: x\n\ntext\nFrom me\n".as_slice(), b"\ny"]
        );
    }

    #[test]
    fn an_empty_file_has_no_messages_and_another_is_refused() {
        assert!(read(b"\n\n").is_empty());
        assert!(Mails::new(b"Subject: x\n".as_slice(), "box".into()).is_err());
    }
}
