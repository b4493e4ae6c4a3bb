//! `signet import ACCOUNT PATH`: messages from files into an account.
//!
//! The same bytes are the same message, so an import may be repeated. What has come in is noted in a file under the
//! user's state directory, by hashes, so that a repetition goes on where the last one ended; the note goes when all
//! is done.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{items, print, text};
use crate::arguments::Format;
use crate::client::{Client, escape};
use crate::failure::Failure;
use crate::mailfiles::{self, MailFile};

#[derive(Default)]
struct Counts {
    imported: u64,
    already_there: u64,
    refused: u64,
}

pub(super) async fn run(
    client: &mut Client,
    account: &str,
    path: &Path,
    format: Option<Format>,
    mailbox: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let base = format!("/accounts/{}", escape(account));
    let shown = client.json(Method::GET, &base, None).await?;
    let path = path.canonicalize().map_err(|error| Failure::other(format!("{}: {error}", path.display())))?;
    let source = mailfiles::open(&path, format)
        .map_err(|error| Failure::other(format!("{}: {error}", path.display())))?;
    let mut journal = Journal::open(text(&shown, "accountId"), &path)?;
    let bar = progress(source.length());
    let mut counts = Counts::default();
    let mut mailboxes = Mailboxes::default();
    let mut errors = Vec::new();
    let mut refuse = |why: String| match json {
        true => errors.push(json!({ "message": why })),
        false => bar.suspend(|| eprintln!("signet: {why}")),
    };
    for mail in source {
        bar.inc(1);
        let mail = match mail {
            Ok(mail) => mail,
            Err(error) => {
                counts.refused += 1;
                refuse(error.to_string());
                continue;
            }
        };
        let mark = mail.mark();
        if journal.holds(mark) {
            counts.already_there += 1;
            continue;
        }
        let into = match (&mail.folder, mailbox) {
            (Some(folder), None) => Some(mailboxes.find(client, &base, folder).await?),
            (_, mailbox) => mailbox.map(str::to_owned),
        };
        match put(client, &base, into.as_deref(), &mail).await? {
            Ok(true) => counts.imported += 1,
            Ok(false) => counts.already_there += 1,
            Err(why) => {
                counts.refused += 1;
                refuse(format!("{} was not imported: {why}", mail.name));
                continue;
            }
        }
        journal.note(mark)?;
    }
    bar.finish_and_clear();
    let Counts { imported, already_there, refused } = counts;
    let shown = json!({ "imported": imported, "alreadyThere": already_there, "refused": refused });
    print(
        json,
        &shown,
        &format!("{imported} imported, {already_there} were there already, {refused} refused"),
    );
    if refused > 0 {
        let failure = Failure::other(format!("{refused} messages were not imported"));
        return Err(failure.with("errors", json!(errors)));
    }
    journal.end();
    Ok(())
}

/// Whether it is new, or why it is refused.
async fn put(
    client: &mut Client,
    base: &str,
    mailbox: Option<&str>,
    mail: &MailFile,
) -> Result<Result<bool, String>, Failure> {
    let mut query = Vec::new();
    if let Some(at) = mail.received_at {
        query.push(format!("receivedAt={}", escape(&at.to_string())));
    }
    let mailbox = if mail.is_trashed { Some("trash") } else { mailbox };
    if let Some(mailbox) = mailbox {
        query.push(format!("mailbox={}", escape(mailbox)));
    }
    if !mail.keywords.is_empty() {
        query.push(format!("keywords={}", escape(&mail.keywords.join(","))));
    }
    let path = format!("{base}/import?{}", query.join("&"));
    let raw = Bytes::from(mail.raw.clone());
    match client.call(Method::POST, path.trim_end_matches('?'), "message/rfc822", raw).await? {
        Ok(answer) => {
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
            Ok(Ok(answer["isNew"] == true))
        }
        // The fault is not the message's: another try may find it gone.
        Err(mut refusal)
            if refusal.status.is_server_error() || refusal.status == StatusCode::UNAUTHORIZED =>
        {
            refusal.why.push_str("; run the import again to go on");
            Err(refusal.into())
        }
        Err(refusal) => Ok(Err(refusal.why)),
    }
}

/// The account's mailboxes by name, made where they are missing.
#[derive(Default)]
struct Mailboxes(Option<Vec<(String, String)>>);

impl Mailboxes {
    async fn find(&mut self, client: &mut Client, base: &str, folder: &str) -> Result<String, Failure> {
        let path = format!("{base}/mailboxes");
        if self.0.is_none() {
            let listed = client.json(Method::GET, &path, None).await?;
            let named =
                |item: &serde_json::Value| (text(item, "name").to_owned(), text(item, "id").to_owned());
            self.0 = Some(items(&listed).iter().map(named).collect());
        }
        let known = self.0.get_or_insert_default();
        if let Some((_, id)) = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(folder)) {
            return Ok(id.clone());
        }
        let made = client.json(Method::POST, &path, Some(json!({ "name": folder }))).await?;
        let id = text(&made, "id").to_owned();
        known.push((folder.to_owned(), id.clone()));
        Ok(id)
    }
}

/// What came in already.
struct Journal {
    path: PathBuf,
    file: File,
    marks: HashSet<u64>,
}

impl Journal {
    fn open(account: &str, source: &Path) -> Result<Self, Failure> {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base =
            absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        let directory = base.unwrap_or_else(std::env::temp_dir).join("signet");
        std::fs::create_dir_all(&directory)?;
        let mut hasher = DefaultHasher::new();
        (account, source).hash(&mut hasher);
        let path = directory.join(format!("import-{:016x}", hasher.finish()));
        let marks = match std::fs::read_to_string(&path) {
            Ok(text) => text.lines().filter_map(|line| u64::from_str_radix(line, 16).ok()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(error.into()),
        };
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        Ok(Self { path, file, marks })
    }

    fn holds(&self, mark: u64) -> bool {
        self.marks.contains(&mark)
    }

    fn note(&mut self, mark: u64) -> Result<(), Failure> {
        writeln!(self.file, "{mark:016x}")?;
        Ok(())
    }

    /// All is done.
    fn end(self) {
        // One that stays only makes the next import of the same source quicker.
        let _ = std::fs::remove_file(self.path);
    }
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn progress(length: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} messages, {per_sec}, {eta} left");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
