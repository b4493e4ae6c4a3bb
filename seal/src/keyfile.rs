//! The master key's file and the epochs file beside it.
//!
//! `<instance id>.key` holds the master key: 64 hexadecimal digits on a line; blank lines and lines that begin with `#` do
//! not count. `<instance id>.epochs` holds the epoch keys, each wrapped by the master key and bound to the instance and
//! to its number: a line `<number> <hexadecimal digits>` each, and a last line `end`, by which a file cut short is known.
//! While a master key is being replaced an epoch stands there once under each of the two; whichever key is at hand opens.
//!
//! Both are 0600, replaced as a whole (written beside, flushed, renamed, the directory flushed), and their old content is
//! overwritten. That last is best effort: see `docs/privacy.md`.
//!
//! One process writes them. Nothing here locks.

use crate::associated::{Associated, Kind};
use crate::cipher;
use crate::error::{Error, Result};
use crate::master::{read_hex_vec, write_hex};
use crate::random::random_key;
use crate::{MasterKey, Secret, files};
use std::fmt;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use zeroize::Zeroize;

/// A key that wraps account keys for as long as no account is purged.
///
/// It lives beside the master key and in no store, so that destroying it destroys what it wraps in every copy of every
/// store.
pub struct EpochKey {
    id: u32,
    key: Secret<[u8; 32]>,
}

impl EpochKey {
    fn generate(id: u32) -> EpochKey {
        EpochKey { id, key: random_key() }
    }

    /// The epoch's number, from 1.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        self.key.expose()
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The master key and the epoch keys of one instance, opened.
pub struct KeyFile {
    instance: [u8; 16],
    /// `None` if the master key is kept elsewhere.
    key_path: Option<PathBuf>,
    epochs_path: PathBuf,
    master: MasterKey,
    /// Other master keys under which the epochs file is written too, until one of them has taken over.
    admitted: Vec<MasterKey>,
    /// By rising number; never empty.
    epochs: Vec<EpochKey>,
}

impl KeyFile {
    /// Makes a new master key in the file `path`, and beside it the epochs file with epoch 1; directories that are missing
    /// are made for their owner alone. A creation that a crash cut short is completed.
    ///
    /// # Errors
    /// [`Error::KeyFileExists`] if either file exists: a key that mail may be sealed under is never overwritten.
    pub fn create(path: &Path, instance: &[u8; 16]) -> Result<KeyFile> {
        let epochs_path = epochs_path(path);
        if files::exists(path)? {
            return Err(Error::KeyFileExists { path: path.to_owned() });
        }
        if files::exists(&epochs_path)? {
            return match finish_creation(path, instance)? {
                Some(key_file) => Ok(key_file),
                None => Err(Error::KeyFileExists { path: epochs_path }),
            };
        }
        files::make_directory_of(path)?;
        let key_file = KeyFile {
            instance: *instance,
            key_path: Some(path.to_owned()),
            epochs_path,
            master: MasterKey::generate(),
            admitted: Vec::new(),
            epochs: vec![EpochKey::generate(1)],
        };
        // The key is durable, under another name, before the epochs file says that the pair exists.
        files::write_pending(path, key_text(instance, &key_file.master).expose())?;
        key_file.write(&key_file.epochs)?;
        files::promote_pending(path)?;
        Ok(key_file)
    }

    /// Opens the master key in the file `path` and the epochs file beside it.
    ///
    /// # Errors
    /// [`Error::MissingKeyFile`], [`Error::ExposedKeyFile`], [`Error::BadKeyFile`], [`Error::WrongMasterKey`], each naming
    /// the file.
    pub fn open(path: &Path, instance: &[u8; 16]) -> Result<KeyFile> {
        let text = match files::read(path) {
            Err(error @ Error::MissingKeyFile { .. }) => {
                return finish_creation(path, instance)?.ok_or(error);
            }
            other => other?,
        };
        let mut key_file = KeyFile::with_master(key_of_text(path, &text)?, &epochs_path(path), instance)?;
        key_file.key_path = Some(path.to_owned());
        Ok(key_file)
    }

    /// Opens the epochs file with a master key that a variable or a command gave.
    ///
    /// # Errors
    /// As for [`KeyFile::open`], for the epochs file.
    pub fn with_master(master: MasterKey, epochs_path: &Path, instance: &[u8; 16]) -> Result<KeyFile> {
        let text = files::read(epochs_path)?;
        let epochs = epochs_of_text(epochs_path, &text, &master, instance)?;
        Ok(KeyFile {
            instance: *instance,
            key_path: None,
            epochs_path: epochs_path.to_owned(),
            master,
            admitted: Vec::new(),
            epochs,
        })
    }

    /// Makes the epochs file, with epoch 1, under a master key that a variable or a command gave.
    ///
    /// # Errors
    /// [`Error::KeyFileExists`] if the file exists.
    pub fn create_with_master(master: MasterKey, epochs_path: &Path, instance: &[u8; 16]) -> Result<KeyFile> {
        if files::exists(epochs_path)? {
            return Err(Error::KeyFileExists { path: epochs_path.to_owned() });
        }
        files::make_directory_of(epochs_path)?;
        let key_file = KeyFile {
            instance: *instance,
            key_path: None,
            epochs_path: epochs_path.to_owned(),
            master,
            admitted: Vec::new(),
            epochs: vec![EpochKey::generate(1)],
        };
        key_file.write(&key_file.epochs)?;
        Ok(key_file)
    }

    /// The epoch to wrap under.
    pub fn newest(&self) -> &EpochKey {
        self.epochs.last().expect("there is always an epoch")
    }

    /// The epoch of that number, unless it was destroyed.
    pub fn epoch(&self, id: u32) -> Option<&EpochKey> {
        self.epochs.iter().find(|epoch| epoch.id == id)
    }

    /// The numbers of all epochs, rising.
    pub fn epochs(&self) -> impl Iterator<Item = u32> + '_ {
        self.epochs.iter().map(EpochKey::id)
    }

    /// The master key's file; `None` if the master key is kept elsewhere.
    pub fn key_path(&self) -> Option<&Path> {
        self.key_path.as_deref()
    }

    /// The epochs file.
    pub fn epochs_path(&self) -> &Path {
        &self.epochs_path
    }

    /// Begins a new epoch, durable when this returns, and gives its number. Until it returns nothing is wrapped under it.
    ///
    /// # Errors
    /// [`Error::Io`]; the epochs at hand are then what they were.
    pub fn add_epoch(&mut self) -> Result<u32> {
        let id = self.newest().id.checked_add(1).ok_or(Error::BadKeyFile {
            path: self.epochs_path.clone(),
            reason: "its numbers have run out",
        })?;
        self.epochs.push(EpochKey::generate(id));
        if let Err(error) = self.write(&self.epochs) {
            self.epochs.pop();
            return Err(error);
        }
        Ok(id)
    }

    /// Destroys every epoch with a number below `id`, and with them all keys that only they wrap. Everything that is to
    /// live must be wrapped anew, and be durable, before.
    ///
    /// The file's old content is overwritten with zeros before its space is given back: best effort, see `docs/privacy.md`.
    ///
    /// # Errors
    /// [`Error::UnknownEpoch`] if `id` is above the newest epoch, which is never destroyed; [`Error::Io`], after which the
    /// epochs are at hand still and the call can be repeated.
    pub fn destroy_epochs_before(&mut self, id: u32) -> Result<()> {
        if id > self.newest().id {
            return Err(Error::UnknownEpoch { id });
        }
        let first_kept = self.epochs.partition_point(|epoch| epoch.id < id);
        if first_kept > 0 {
            self.write(&self.epochs[first_kept..])?;
            self.epochs.drain(..first_kept);
        }
        Ok(())
    }

    /// Replaces the master key in its file and wraps the epoch keys anew; nothing below them changes. A crash at any moment
    /// leaves two files that open together.
    ///
    /// # Errors
    /// [`Error::MasterKeptElsewhere`] if the key came from a variable or a command: see [`KeyFile::admit_master`].
    /// [`Error::Io`], after which the call can be repeated.
    pub fn rotate_master(&mut self) -> Result<()> {
        let key_path = self.key_path.clone().ok_or(Error::MasterKeptElsewhere)?;
        let master = MasterKey::generate();
        self.admit_master(&master)?;
        files::replace(&key_path, key_text(&self.instance, &master).expose())?;
        self.master = master;
        self.admitted.clear();
        self.write(&self.epochs)
    }

    /// Wraps the epoch keys under `next` as well, so that its keeper can hand out `next` instead of the master key in use.
    /// Once the process was started with it, [`KeyFile::retire_other_masters`] ends the old one. If the process is started
    /// with the old key once more and writes, `next` is no longer admitted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn admit_master(&mut self, next: &MasterKey) -> Result<()> {
        self.admitted.push(next.clone());
        self.write(&self.epochs)
    }

    /// Wraps the epoch keys under the master key in use and under no other.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn retire_other_masters(&mut self) -> Result<()> {
        self.admitted.clear();
        self.write(&self.epochs)
    }

    fn write(&self, epochs: &[EpochKey]) -> Result<()> {
        let masters = std::iter::once(&self.master).chain(&self.admitted);
        files::replace(&self.epochs_path, &epochs_text(&self.instance, masters, epochs))
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("key_path", &self.key_path)
            .field("epochs_path", &self.epochs_path)
            .field("newest", &self.newest().id)
            .finish_non_exhaustive()
    }
}

fn epochs_path(key_path: &Path) -> PathBuf {
    key_path.with_extension("epochs")
}

/// The pair that a crash in [`KeyFile::create`] left one rename short, if that is what is there.
fn finish_creation(path: &Path, instance: &[u8; 16]) -> Result<Option<KeyFile>> {
    let text = match files::read(&files::pending(path)) {
        Err(Error::MissingKeyFile { .. }) => return Ok(None),
        other => other?,
    };
    let master = key_of_text(path, &text)?;
    let mut key_file = match KeyFile::with_master(master, &epochs_path(path), instance) {
        Err(Error::MissingKeyFile { .. } | Error::WrongMasterKey { .. }) => return Ok(None),
        other => other?,
    };
    files::promote_pending(path)?;
    key_file.key_path = Some(path.to_owned());
    Ok(Some(key_file))
}

fn key_text(instance: &[u8; 16], master: &MasterKey) -> Secret<String> {
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
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn key_of_text(path: &Path, text: &Secret<String>) -> Result<MasterKey> {
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

fn epochs_text<'a>(
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

fn epochs_of_text(
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
        if epochs.iter().any(|epoch| epoch.id == id) {
            return Err(bad("an epoch is there twice"));
        }
        epochs.push(EpochKey { id, key: Secret::new(key) });
        key.zeroize();
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
