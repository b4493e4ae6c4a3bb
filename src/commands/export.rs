//! `signet export ACCOUNT FILE`: a zip with each message as .eml, all of them as one mbox, and what is said of them as
//! JSON.
//!
//! | entry | holds |
//! | --- | --- |
//! | `messages/<id>.eml` | the bytes as received |
//! | `messages.mbox` | the same, oldest first, quoted as mboxrd |
//! | `messages.json` | `[{id, receivedAt, size, mailboxes, keywords, returnPath}]`, newest first |

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
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
    let options = SimpleFileOptions::default().large_file(true).unix_permissions(0o600);
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
        zip.start_file(format!("messages/{id}.eml"), options).map_err(broken)?;
        zip.write_all(&raw)?;
        mbox::write(&mut mbox, message["returnPath"].as_str(), text(message, "receivedAt"), &raw)?;
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
