//! `signet export ACCOUNT FILE`: a zip with each message as .eml, all of them as one mbox, and what is said of them as
//! JSON.
//!
//! | entry | holds |
//! | --- | --- |
//! | `messages/<id>.eml` | the bytes as received; its time is receivedAt in UTC, to the two seconds that zip knows |
//! | `messages.mbox` | the same, oldest first, quoted as mboxrd |
//! | `messages.json` | `[{id, receivedAt, size, mailboxes, keywords, returnPath}]`, newest first |

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use zip::DateTime;
use zip::write::SimpleFileOptions;

use super::import::progress;
use super::{items, print, text};
use crate::client::{Client, escape};
use crate::failure::Failure;
use crate::mailfiles::mbox;

pub(super) async fn run(client: &mut Client, account: &str, file: &Path, json: bool) -> Result<(), Failure> {
    let base = format!("/accounts/{}", escape(account));
    let mailboxes = client.json(Method::GET, &format!("{base}/mailboxes"), None).await?;
    let messages = list(client, &base).await?;
    let part = file.with_extension("zip.part");
    let written = write(client, &base, &messages, &mailboxes, &part).await;
    if let Err(failure) = written {
        // It is of no use to anybody.
        let _ = std::fs::remove_file(&part);
        return Err(failure);
    }
    std::fs::rename(&part, file)?;
    let shown = json!({ "messages": messages.len(), "file": file });
    print(json, &shown, &format!("{} messages are in {}", messages.len(), file.display()));
    Ok(())
}

async fn list(client: &mut Client, base: &str) -> Result<Vec<Value>, Failure> {
    let mut messages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.json(Method::GET, &format!("{base}/messages?limit=1000{cursor}"), None).await?;
        messages.extend_from_slice(items(&page));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", escape(next)),
            None => return Ok(messages),
        }
    }
}

async fn write(
    client: &mut Client,
    base: &str,
    messages: &[Value],
    mailboxes: &Value,
    path: &Path,
) -> Result<(), Failure> {
    let broken = |error: zip::result::ZipError| Failure::of("the zip file", &error);
    // Whoever exports is to be the only one who reads it.
    let file = {
        use std::os::unix::fs::OpenOptionsExt as _;
        File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?
    };
    let mut zip = zip::ZipWriter::new(file);
    let options = SimpleFileOptions::default()
        .large_file(true)
        .unix_permissions(0o600)
        .last_modified_time(time_of(Timestamp::now()));
    let bar = progress(messages.len() as u64);
    let mut mbox = tempfile(path)?;
    let mut described = Vec::new();
    for message in messages.iter().rev() {
        let id = text(message, "id");
        let raw = client.call(Method::GET, &format!("{base}/messages/{id}/raw"), "", Bytes::new()).await?;
        bar.inc(1);
        let raw = match raw {
            Ok(raw) => raw,
            // It was finally deleted meanwhile.
            Err(refusal) if refusal.status == http::StatusCode::NOT_FOUND => continue,
            Err(refusal) => return Err(refusal.into()),
        };
        let received_at = text(message, "receivedAt");
        let dated = received_at.parse().map_or(options, |at| options.last_modified_time(time_of(at)));
        zip.start_file(format!("messages/{id}.eml"), dated).map_err(broken)?;
        zip.write_all(&raw)?;
        mbox::write(&mut mbox, message["returnPath"].as_str(), received_at, &raw)?;
        described.push(describe(message, mailboxes));
    }
    described.reverse();
    zip.start_file("messages.mbox", options).map_err(broken)?;
    mbox.rewind()?;
    std::io::copy(&mut mbox, &mut zip)?;
    zip.start_file("messages.json", options).map_err(broken)?;
    serde_json::to_writer_pretty(&mut zip, &described)
        .map_err(|error| Failure::of("the zip file", &error))?;
    zip.finish().map_err(broken)?.sync_all()?;
    bar.finish_and_clear();
    Ok(())
}

/// The time as a zip file has it, in UTC. What is before 1980, or after 2107, is the start of 1980.
fn time_of(at: Timestamp) -> DateTime {
    let at = at.to_zoned(TimeZone::UTC);
    let year = u16::try_from(at.year()).unwrap_or_default();
    let [month, day, hour, minute, second] =
        [at.month(), at.day(), at.hour(), at.minute(), at.second()].map(i8::unsigned_abs);
    DateTime::from_date_and_time(year, month, day, hour, minute, second).unwrap_or_default()
}

/// A file beside `path` that nobody finds by a name.
fn tempfile(path: &Path) -> Result<File, Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = path.with_extension("mbox.part");
    let file = File::options().create(true).truncate(true).read(true).write(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Names of mailboxes say more to whoever reads it than their ids.
fn describe(message: &Value, mailboxes: &Value) -> Value {
    let ids = message["mailboxIds"].as_object().into_iter().flatten().map(|(id, _)| id);
    let name = |id: &String| items(mailboxes).iter().find(|mailbox| text(mailbox, "id") == id).cloned();
    let names: Vec<Value> = ids.filter_map(name).map(|mailbox| mailbox["name"].clone()).collect();
    json!({
        "id": message["id"],
        "receivedAt": message["receivedAt"],
        "size": message["size"],
        "mailboxes": names,
        "keywords": message["keywords"],
        "returnPath": message["returnPath"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zip_file_has_the_time_in_utc_as_far_as_it_can_say_it() {
        for (at, wanted) in [
            ("2026-11-21T08:09:10Z", "2026-11-21 08:09:10"),
            ("2026-11-21T00:30:00+02:00", "2026-11-20 22:30:00"),
            // Two seconds are one.
            ("2024-02-29T23:59:59.999Z", "2024-02-29 23:59:58"),
            ("1980-01-01T00:00:00Z", "1980-01-01 00:00:00"),
            ("2107-12-31T23:59:58Z", "2107-12-31 23:59:58"),
            // Beyond what it can.
            ("1979-12-31T23:59:59Z", "1980-01-01 00:00:00"),
            ("2108-01-01T00:00:00Z", "1980-01-01 00:00:00"),
            ("-000044-03-15T12:00:00Z", "1980-01-01 00:00:00"),
        ] {
            assert_eq!(time_of(at.parse().unwrap()).to_string(), wanted, "{at}");
        }
    }
}
