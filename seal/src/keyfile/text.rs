//! The text of both files.

use super::EpochKey;
use crate::associated::{Associated, Kind};
use crate::cipher;
use crate::error::{Error, Result};
use crate::master::{read_hex_vec, write_hex};
use crate::{MasterKey, Secret};
use std::fmt::Write;
use std::path::Path;
use zeroize::Zeroize;

pub(super) fn key_text(instance: &[u8; 16], master: &MasterKey) -> Secret<String> {
    let head = format!(
        "# Signet master key of instance {}.\n# Without it and the epochs file beside it nobody can read the mail.\n",
        write_hex(instance)
    );
    let digits = master.to_hex();
    let mut text = String::with_capacity(head.len() + digits.expose().len() + 1);
    text.push_str(&head);
    text.push_str(digits.expose());
    text.push('\n');
    Secret::new(text)
}

/// The lines that count: neither blank nor a comment.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

pub(super) fn key_of_text(path: &Path, text: &Secret<String>) -> Result<MasterKey> {
    let bad = |reason| Error::BadKeyFile { path: path.to_owned(), reason };
    let mut lines = lines(text.expose());
    match (lines.next(), lines.next()) {
        (None, _) => Err(bad("it has no key")),
        (Some(_), Some(_)) => Err(bad("it has more than one line that counts")),
        (Some(line), None) => MasterKey::parse(line).map_err(|_| bad("its key is not 64 hexadecimal digits")),
    }
}

fn epoch_associated(instance: &[u8; 16], id: u32) -> Associated {
    Associated::new(Kind::EpochKey, instance, id)
}

pub(super) fn epochs_text<'a>(
    instance: &[u8; 16],
    masters: impl Iterator<Item = &'a MasterKey>,
    epochs: &[EpochKey],
) -> String {
    let mut text = format!(
        "# Signet epoch keys of instance {}, wrapped by the master key.\n\
         # Without the newest version of this file nobody can read the mail. Back it up apart from the data.\n",
        write_hex(instance)
    );
    for master in masters {
        let cipher = master.cipher();
        for epoch in epochs {
            let associated = epoch_associated(instance, epoch.id);
            let sealed = cipher.seal(epoch.id, associated.bytes(), epoch.key());
            writeln!(text, "{} {}", epoch.id, write_hex(&sealed)).expect("a string takes what is written");
        }
    }
    text.push_str("end\n");
    text
}

pub(super) fn epochs_of_text(
    path: &Path,
    text: &Secret<String>,
    master: &MasterKey,
    instance: &[u8; 16],
) -> Result<Vec<EpochKey>> {
    let bad = |reason| Error::BadKeyFile { path: path.to_owned(), reason };
    let cipher = master.cipher();
    let mut epochs: Vec<EpochKey> = Vec::new();
    let mut foreign = Vec::new();
    let mut lines = lines(text.expose());
    loop {
        let line = lines.next().ok_or_else(|| bad("its end is missing"))?;
        if line == "end" {
            break;
        }
        let (id, sealed) = line.split_once(' ').ok_or_else(|| bad("a line is not a number and a key"))?;
        let id: u32 = id.parse().map_err(|_| bad("a line does not begin with a number"))?;
        let sealed = read_hex_vec(sealed.trim()).ok_or_else(|| bad("a wrapped key is not hexadecimal"))?;
        let (named, body) = cipher::split(&sealed).map_err(|_| bad("a wrapped key has no head"))?;
        if named != id {
            return Err(bad("a wrapped key is not of the epoch of its line"));
        }
        let Ok(opened) = cipher.open(epoch_associated(instance, id).bytes(), body) else {
            foreign.push(id);
            continue;
        };
        let opened = Secret::new(opened);
        let mut key: [u8; 32] =
            opened.expose().as_slice().try_into().map_err(|_| bad("an epoch key is not 32 octets"))?;
        let epoch = EpochKey { id, key: Secret::new(key) };
        key.zeroize();
        match epochs.iter().find(|known| known.id == id) {
            None => epochs.push(epoch),
            // The same master key admitted twice.
            Some(known) if known.key() == epoch.key() => (),
            Some(_) => return Err(bad("an epoch has two keys")),
        }
    }
    if lines.next().is_some() {
        return Err(bad("it goes on after its end"));
    }
    if epochs.is_empty() {
        return Err(match foreign.is_empty() {
            true => bad("it has no epoch"),
            false => Error::WrongMasterKey { path: path.to_owned() },
        });
    }
    if foreign.iter().any(|id| epochs.iter().all(|epoch| epoch.id != *id)) {
        return Err(bad("an epoch does not open"));
    }
    epochs.sort_by_key(|epoch| epoch.id);
    Ok(epochs)
}
