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
//! One process writes them at a time. Nothing here locks: those that share them ([`KeyFile::share`]) take turns.

mod text;

use self::text::{epochs_of_text, epochs_text, key_of_text, key_text};
use crate::error::{Error, Result};
use crate::random::random_key;
use crate::{MasterKey, Secret, files};
use std::fmt;
use std::path::{Path, PathBuf};

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
    /// Other processes change the files too.
    is_shared: bool,
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
            is_shared: false,
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
        let opened = KeyFile::with_master(key_of_text(path, &text)?, &epochs_path(path), instance);
        // Another process may have replaced both after the first was read.
        if matches!(opened, Err(Error::WrongMasterKey { .. })) && files::read(path)?.expose() != text.expose()
        {
            return KeyFile::open(path, instance);
        }
        let mut key_file = opened?;
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
            is_shared: false,
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
            is_shared: false,
        };
        key_file.write(&key_file.epochs)?;
        Ok(key_file)
    }

    /// Makes the epochs file, with epoch 1, beside a master key that somebody has put into the file `path`.
    ///
    /// # Errors
    /// [`Error::KeyFileExists`] if there is an epochs file already; else as for [`KeyFile::open`], for the key's file.
    pub fn claim(path: &Path, instance: &[u8; 16]) -> Result<KeyFile> {
        let master = key_of_text(path, &files::read(path)?)?;
        let mut key_file = KeyFile::create_with_master(master, &epochs_path(path), instance)?;
        key_file.key_path = Some(path.to_owned());
        Ok(key_file)
    }

    /// Says that other processes change the files too, or others' are copied here: what is at hand may be out of date.
    pub fn share(&mut self) {
        self.is_shared = true;
    }

    /// Whether other processes change the files too.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Reads the files again. What is at hand stays where they cannot be read, or lack the newest epoch that is at hand: a
    /// copy from before must not make this process forget a key.
    ///
    /// # Errors
    /// As for [`KeyFile::open`]; [`Error::BadKeyFile`] if they are from before what is at hand, or from elsewhere.
    pub fn reload(&mut self) -> Result<()> {
        let read = match &self.key_path {
            Some(path) => KeyFile::open(path, &self.instance)?,
            None => KeyFile::with_master(self.master.clone(), &self.epochs_path, &self.instance)?,
        };
        let bad = |reason| Err(Error::BadKeyFile { path: self.epochs_path.clone(), reason });
        if read.newest().id < self.newest().id {
            return bad("it is from before the newest epoch, which this process has begun or seen");
        }
        let is_other =
            |epoch: &EpochKey| self.epoch(epoch.id).is_some_and(|known| known.key() != epoch.key());
        if read.epochs.iter().any(is_other) {
            return bad("it has another key for an epoch than this process");
        }
        (self.master, self.epochs) = (read.master, read.epochs);
        Ok(())
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
    let epochs_path = epochs_path(path);
    let pending = files::pending(path);
    if !files::exists(&epochs_path)? || !files::exists(&pending)? {
        return Ok(None);
    }
    let Ok(master) = key_of_text(&pending, &files::read(&pending)?) else { return Ok(None) };
    let mut key_file = match KeyFile::with_master(master, &epochs_path, instance) {
        Err(Error::WrongMasterKey { .. }) => return Ok(None),
        other => other?,
    };
    files::promote_pending(path)?;
    key_file.key_path = Some(path.to_owned());
    Ok(Some(key_file))
}

#[cfg(test)]
mod tests {
    use super::text::lines;
    use super::*;
    use crate::AccountKeys;
    use crate::files::crash_after;
    use crate::master::{read_hex_vec, write_hex};
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    const INSTANCE: [u8; 16] = [5; 16];
    const ACCOUNT: [u8; 16] = [9; 16];

    struct Pair {
        directory: tempfile::TempDir,
    }

    impl Pair {
        fn new() -> Pair {
            Pair { directory: tempfile::tempdir().unwrap() }
        }

        fn key(&self) -> PathBuf {
            self.directory.path().join("signet/0505.key")
        }

        fn epochs(&self) -> PathBuf {
            self.directory.path().join("signet/0505.epochs")
        }

        fn create(&self) -> KeyFile {
            KeyFile::create(&self.key(), &INSTANCE).unwrap()
        }

        fn open(&self) -> Result<KeyFile> {
            KeyFile::open(&self.key(), &INSTANCE)
        }

        fn master(&self) -> MasterKey {
            key_of_text(&self.key(), &files::read(&self.key()).unwrap()).unwrap()
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn ids(key_file: &KeyFile) -> Vec<u32> {
        key_file.epochs().collect()
    }

    #[test]
    fn what_was_created_opens_again_and_only_its_owner_may_read_it() {
        let pair = Pair::new();
        let created = pair.create();
        assert_eq!(created.newest().id(), 1);
        assert_eq!([mode(&pair.key()), mode(&pair.epochs())], [0o600; 2]);
        assert_eq!(mode(pair.key().parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(pair.key().parent().unwrap()).unwrap().count(), 2, "nothing is left over");
        let opened = pair.open().unwrap();
        assert_eq!(opened.newest().key(), created.newest().key());
        assert_eq!(opened.key_path(), Some(pair.key().as_path()));
        assert_eq!(opened.epochs_path(), pair.epochs());
    }

    #[test]
    fn neither_file_is_ever_overwritten_by_a_new_one() {
        let pair = Pair::new();
        pair.create();
        let key = fs::read(pair.key()).unwrap();
        let again = KeyFile::create(&pair.key(), &INSTANCE);
        assert!(matches!(again, Err(Error::KeyFileExists { path }) if path == pair.key()));
        assert_eq!(fs::read(pair.key()).unwrap(), key);

        fs::remove_file(pair.key()).unwrap();
        let epochs = fs::read(pair.epochs()).unwrap();
        let again = KeyFile::create(&pair.key(), &INSTANCE);
        assert!(matches!(again, Err(Error::KeyFileExists { path }) if path == pair.epochs()));
        let again = KeyFile::create_with_master(MasterKey::generate(), &pair.epochs(), &INSTANCE);
        assert!(matches!(again, Err(Error::KeyFileExists { path }) if path == pair.epochs()));
        assert_eq!(fs::read(pair.epochs()).unwrap(), epochs);
    }

    #[test]
    fn each_way_to_be_unusable_has_its_own_error() {
        let pair = Pair::new();
        assert!(matches!(pair.open(), Err(Error::MissingKeyFile { path }) if path == pair.key()));
        pair.create();

        for path in [pair.key(), pair.epochs()] {
            for bad in [0o640, 0o604, 0o620, 0o610, 0o601] {
                set_mode(&path, bad);
                let opened = pair.open();
                assert!(
                    matches!(opened, Err(Error::ExposedKeyFile { path: p, mode }) if p == path && mode == bad)
                );
            }
            set_mode(&path, 0o400);
            assert!(pair.open().is_ok(), "stricter than asked is fine");
            set_mode(&path, 0o600);
        }

        let other = MasterKey::generate();
        let right = fs::read_to_string(pair.key()).unwrap();
        fs::write(pair.key(), other.to_hex().expose()).unwrap();
        assert!(matches!(pair.open(), Err(Error::WrongMasterKey { path }) if path == pair.epochs()));
        fs::write(pair.key(), &right).unwrap();
        let elsewhere = KeyFile::open(&pair.key(), &[6; 16]);
        assert!(matches!(elsewhere, Err(Error::WrongMasterKey { .. })), "the files are of another instance");

        fs::remove_file(pair.epochs()).unwrap();
        assert!(matches!(pair.open(), Err(Error::MissingKeyFile { path }) if path == pair.epochs()));
    }

    #[test]
    fn a_key_file_may_have_comments_and_blank_lines_and_only_one_key() {
        let pair = Pair::new();
        pair.create();
        let digits = pair.master().to_hex().expose().clone();
        let cases = [
            (format!("{digits}\n"), true),
            (digits.clone(), true),
            (format!("# kept in the safe\r\n\r\n  {}  \r\n# end", digits.to_uppercase()), true),
            (String::new(), false),
            (format!("# {digits}\n"), false),
            (format!("{digits}\n{digits}\n"), false),
            (format!("{}\n", &digits[1..]), false),
            (format!("{}g\n", &digits[1..]), false),
            (format!("{}é\n", &digits[2..]), false),
        ];
        for (text, good) in cases {
            fs::write(pair.key(), &text).unwrap();
            match pair.open() {
                Ok(_) => assert!(good),
                Err(Error::BadKeyFile { path, .. }) => assert!(!good && path == pair.key()),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_damaged_epochs_file_is_refused_however_it_is_damaged() {
        let pair = Pair::new();
        pair.create().add_epoch().unwrap();
        let good = fs::read_to_string(pair.epochs()).unwrap();
        let keys: Vec<&str> = lines(&good).filter(|line| *line != "end").collect();
        let swapped = format!("1 {}\n2 {}\nend\n", &keys[1][2..], &keys[0][2..]);
        let flipped = {
            let mut text = keys[1].to_owned();
            let last = if text.ends_with('0') { "1" } else { "0" };
            text.replace_range(text.len() - 1.., last);
            format!("{}\n{text}\nend\n", keys[0])
        };
        let cases = [
            String::new(),
            "end\n".to_owned(),
            good.replace("end\n", ""),
            format!("{good}{}\n", keys[0]),
            format!("{}\n", keys[0]),
            format!("{}\n{}\nend", keys[0], &keys[1][..keys[1].len() - 2]),
            format!("{}\n{}\nend", keys[0], &keys[1][..keys[1].len() - 1]),
            format!("{}\nx{}\nend", keys[0], keys[1]),
            format!("{}\n2\nend", keys[0]),
            format!("{}\n2 \nend", keys[0]),
            swapped,
            flipped,
        ];
        for text in cases {
            fs::write(pair.epochs(), &text).unwrap();
            assert!(
                matches!(pair.open(), Err(Error::BadKeyFile { path, .. }) if path == pair.epochs()),
                "{text}"
            );
        }
        // A whole line that is gone cannot be told from an epoch destroyed: what it wrapped says so when it is unwrapped.
        fs::write(pair.epochs(), format!("{}\nend\n", keys[1])).unwrap();
        assert_eq!(ids(&pair.open().unwrap()), [2]);
    }

    #[test]
    fn an_epoch_that_was_destroyed_unwraps_nothing_and_its_octets_are_overwritten() {
        let pair = Pair::new();
        let mut key_file = pair.create();
        let keys = AccountKeys::generate(ACCOUNT);
        let purged = keys.wrap(key_file.newest());
        assert_eq!(key_file.add_epoch().unwrap(), 2);
        let kept = keys.wrap(key_file.newest());
        assert_eq!([crate::wrapped_epoch(&purged), crate::wrapped_epoch(&kept)], [Some(1), Some(2)]);
        assert!(AccountKeys::unwrap(ACCOUNT, &purged, &key_file).is_ok());

        let mut old = fs::File::open(pair.epochs()).unwrap();
        key_file.destroy_epochs_before(2).unwrap();
        for key_file in [key_file, pair.open().unwrap()] {
            assert_eq!(ids(&key_file), [2]);
            let opened = AccountKeys::unwrap(ACCOUNT, &purged, &key_file);
            assert!(matches!(opened, Err(Error::UnknownEpoch { id: 1 })));
            assert!(AccountKeys::unwrap(ACCOUNT, &kept, &key_file).is_ok());
        }
        let mut octets = Vec::new();
        old.read_to_end(&mut octets).unwrap();
        assert!(octets.len() > 200 && octets.iter().all(|octet| *octet == 0));
    }

    #[test]
    fn the_newest_epoch_is_never_destroyed_and_numbers_are_never_used_again() {
        let pair = Pair::new();
        let mut key_file = pair.create();
        assert!(matches!(key_file.destroy_epochs_before(2), Err(Error::UnknownEpoch { id: 2 })));
        key_file.destroy_epochs_before(1).unwrap();
        key_file.destroy_epochs_before(0).unwrap();
        assert_eq!(ids(&key_file), [1]);
        key_file.add_epoch().unwrap();
        key_file.add_epoch().unwrap();
        key_file.destroy_epochs_before(3).unwrap();
        let mut key_file = pair.open().unwrap();
        assert_eq!(key_file.add_epoch().unwrap(), 4);
        assert_eq!(ids(&pair.open().unwrap()), [3, 4]);
    }

    #[test]
    fn replacing_the_master_key_ends_the_old_one_and_keeps_every_epoch_key() {
        let pair = Pair::new();
        let mut key_file = pair.create();
        key_file.add_epoch().unwrap();
        let epoch_keys: Vec<[u8; 32]> = key_file.epochs.iter().map(|epoch| *epoch.key()).collect();
        let wrapped = AccountKeys::generate(ACCOUNT).wrap(key_file.newest());
        let old_master = pair.master();
        let mut old = fs::File::open(pair.key()).unwrap();

        key_file.rotate_master().unwrap();
        for key_file in [key_file, pair.open().unwrap()] {
            assert_eq!(key_file.epochs.iter().map(|epoch| *epoch.key()).collect::<Vec<_>>(), epoch_keys);
            assert!(AccountKeys::unwrap(ACCOUNT, &wrapped, &key_file).is_ok());
        }
        assert_eq!(mode(&pair.key()), 0o600);
        let with_old = KeyFile::with_master(old_master, &pair.epochs(), &INSTANCE);
        assert!(matches!(with_old, Err(Error::WrongMasterKey { .. })));
        let mut octets = Vec::new();
        old.read_to_end(&mut octets).unwrap();
        assert!(octets.iter().all(|octet| *octet == 0), "the old key was overwritten");
    }

    #[test]
    fn a_master_key_kept_elsewhere_is_replaced_in_two_steps() {
        let pair = Pair::new();
        let [first, next] = [MasterKey::generate(), MasterKey::generate()];
        let mut key_file = KeyFile::create_with_master(first.clone(), &pair.epochs(), &INSTANCE).unwrap();
        assert!(key_file.key_path().is_none());
        assert!(matches!(key_file.rotate_master(), Err(Error::MasterKeptElsewhere)));
        let with = |master: &MasterKey| KeyFile::with_master(master.clone(), &pair.epochs(), &INSTANCE);

        key_file.admit_master(&next).unwrap();
        key_file.admit_master(&next).unwrap();
        key_file.add_epoch().unwrap();
        assert_eq!(ids(&with(&first).unwrap()), [1, 2]);
        let mut key_file = with(&next).unwrap();
        assert_eq!(ids(&key_file), [1, 2], "an epoch added meanwhile opens with both");
        key_file.retire_other_masters().unwrap();
        assert!(matches!(with(&first), Err(Error::WrongMasterKey { .. })));
        assert_eq!(ids(&with(&next).unwrap()), [1, 2]);
    }

    /// Runs `change` on a fresh pair with epochs 1 and 2, dies at its first step, then on another at its second, and so
    /// on; after each `check` sees what is on disk. Then the change is made again, by a process started anew and by the one
    /// in which it failed.
    fn die_at_every_step(change: impl Fn(&mut KeyFile) -> Result<()>, check: impl Fn(&KeyFile, &[u8])) {
        let mut deaths = 0;
        for restart in [true, false] {
            for steps in 0.. {
                let pair = Pair::new();
                let mut key_file = pair.create();
                key_file.add_epoch().unwrap();
                let wrapped = AccountKeys::generate(ACCOUNT).wrap(key_file.newest());
                crash_after(Some(steps));
                let changed = change(&mut key_file);
                crash_after(None);
                let opened = pair.open().unwrap();
                check(&opened, &wrapped);
                if changed.is_ok() {
                    break;
                }
                deaths += 1;
                if restart {
                    key_file = opened;
                }
                change(&mut key_file).unwrap();
                check(&pair.open().unwrap(), &wrapped);
                let left = fs::read_dir(pair.key().parent().unwrap()).unwrap().count();
                assert_eq!(left, 2, "a crash leaves nothing behind after the next change");
            }
        }
        assert!(deaths >= 10, "{deaths}");
    }

    #[test]
    fn a_crash_at_any_step_of_a_change_leaves_a_pair_that_opens() {
        let unwraps = |key_file: &KeyFile, wrapped: &[u8]| {
            AccountKeys::unwrap(ACCOUNT, wrapped, key_file).unwrap();
        };
        die_at_every_step(KeyFile::rotate_master, unwraps);
        die_at_every_step(|key_file| key_file.add_epoch().map(drop), unwraps);
        die_at_every_step(
            |key_file| key_file.destroy_epochs_before(2),
            |key_file, wrapped| {
                unwraps(key_file, wrapped);
                assert!([vec![1, 2], vec![2]].contains(&ids(key_file)));
            },
        );
        die_at_every_step(|key_file| key_file.admit_master(&MasterKey::generate()), unwraps);
    }

    #[test]
    fn a_crash_at_any_step_of_creation_is_completed_by_the_next_start() {
        for next in [KeyFile::open, KeyFile::create] {
            for steps in 0.. {
                let pair = Pair::new();
                crash_after(Some(steps));
                let created = KeyFile::create(&pair.key(), &INSTANCE);
                crash_after(None);
                if created.is_ok() {
                    assert!(steps > 10, "{steps}");
                    break;
                }
                // Whichever the next start tries first, what it says is true, and what it gives stays.
                let first = match next(&pair.key(), &INSTANCE) {
                    Err(Error::MissingKeyFile { .. }) => pair.create(),
                    Err(Error::KeyFileExists { .. }) => pair.open().unwrap(),
                    other => other.unwrap(),
                };
                assert_eq!(first.key_path(), Some(pair.key().as_path()));
                assert_eq!(pair.open().unwrap().newest().key(), first.newest().key());
                assert!(matches!(KeyFile::create(&pair.key(), &INSTANCE), Err(Error::KeyFileExists { .. })));
            }
        }
    }

    #[test]
    fn a_key_that_somebody_put_there_is_claimed_once() {
        let pair = Pair::new();
        let refused = KeyFile::claim(&pair.key(), &INSTANCE);
        assert!(matches!(refused, Err(Error::MissingKeyFile { path }) if path == pair.key()));
        files::make_directory_of(&pair.key()).unwrap();
        fs::write(pair.key(), format!("{}\n", "a5".repeat(32))).unwrap();
        set_mode(&pair.key(), 0o644);
        assert!(matches!(KeyFile::claim(&pair.key(), &INSTANCE), Err(Error::ExposedKeyFile { .. })));
        set_mode(&pair.key(), 0o600);
        let claimed = KeyFile::claim(&pair.key(), &INSTANCE).unwrap();
        assert_eq!(claimed.key_path(), Some(pair.key().as_path()));
        assert_eq!(pair.open().unwrap().newest().key(), claimed.newest().key());
        assert_eq!(pair.master().to_hex().expose(), &"a5".repeat(32));
        for instance in [INSTANCE, [6; 16]] {
            assert!(matches!(KeyFile::claim(&pair.key(), &instance), Err(Error::KeyFileExists { .. })));
        }
    }

    #[test]
    fn what_another_process_changed_is_seen_when_the_files_are_read_again() {
        let pair = Pair::new();
        let mut writer = pair.create();
        let mut reader = pair.open().unwrap();
        let wrapped = |key_file: &KeyFile| AccountKeys::generate(ACCOUNT).wrap(key_file.newest());
        let change: [fn(&mut KeyFile) -> Result<()>; 4] = [
            |_| Ok(()),
            |writer| writer.add_epoch().map(drop),
            KeyFile::rotate_master,
            |writer| writer.destroy_epochs_before(2),
        ];
        for change in change {
            change(&mut writer).unwrap();
            reader.reload().unwrap();
            assert_eq!(ids(&reader), ids(&writer));
            AccountKeys::unwrap(ACCOUNT, &wrapped(&writer), &reader).unwrap();
        }
        // What it writes then opens with the master key of now.
        reader.add_epoch().unwrap();
        assert_eq!(ids(&pair.open().unwrap()), [2, 3]);
    }

    #[test]
    fn a_copy_from_before_or_from_elsewhere_takes_no_key_away() {
        let pair = Pair::new();
        let mut key_file = pair.create();
        let old = fs::read(pair.epochs()).unwrap();
        let put = |text: &[u8]| fs::write(pair.epochs(), text).unwrap();
        // Another process of the same day begins an epoch with the same number.
        let mut other = pair.open().unwrap();
        other.add_epoch().unwrap();
        let others = fs::read(pair.epochs()).unwrap();
        put(&old);
        key_file.add_epoch().unwrap();
        let ours = fs::read(pair.epochs()).unwrap();
        let key = *key_file.newest().key();
        for text in [&*old, &*others, b"", b"nonsense\n"] {
            put(text);
            assert!(matches!(key_file.reload(), Err(Error::BadKeyFile { .. })));
            assert_eq!((ids(&key_file), *key_file.newest().key()), (vec![1, 2], key));
        }
        fs::remove_file(pair.epochs()).unwrap();
        assert!(matches!(key_file.reload(), Err(Error::MissingKeyFile { .. })));
        put(&ours);
        set_mode(&pair.epochs(), 0o600);
        key_file.reload().unwrap();
    }

    #[test]
    fn files_of_the_first_format_open_for_ever() {
        let pair = Pair::new();
        let write = |path: &Path, text: &str| {
            files::make_directory_of(path).unwrap();
            files::replace(path, text).unwrap();
        };
        write(&pair.key(), FROZEN_KEY);
        write(&pair.epochs(), FROZEN_EPOCHS);
        let key_file = pair.open().unwrap();
        assert_eq!(ids(&key_file), [1, 2]);
        assert_eq!(write_hex(key_file.newest().key()), FROZEN_EPOCH_2);
        let keys = AccountKeys::unwrap(ACCOUNT, &read_hex_vec(FROZEN_WRAPPED).unwrap(), &key_file).unwrap();
        assert_eq!(keys.token(1, 1, "frozen"), FROZEN_TOKEN);
    }

    const FROZEN_KEY: &str = "\
# Signet master key of instance 05050505050505050505050505050505.
# Without it and the epochs file beside it nobody can read the mail.
443d860195c4fbe25a5f139b1367be3755e1f023842271b9095e8b68b797e8a4
";
    const FROZEN_EPOCHS: &str = "\
# Signet epoch keys of instance 05050505050505050505050505050505, wrapped by the master key.
# Without the newest version of this file nobody can read the mail. Back it up apart from the data.
1 0101c98b84f60b83a5fe447f6f8efa5ff6e83ec4f9d8154a4aa902916c71e13f5e79f32614fe8d4cc553e5654da5af290b675d8b9bc30ab0fec0dd3a564b
2 0102aaa3a11170e81c4c330d02a88d2ff94ddb7a83a0b99c88faf1b0b453d6149f167706eb1e5eede926c59d85bc64b93808fcf0f3041ae6001d9cf5c623
end
";
    const FROZEN_EPOCH_2: &str = "41238120b1368f19babdcca98ee3e51a3eaec92a52a49e40e684634588f89fe2";
    const FROZEN_WRAPPED: &str = "0100000002010130cea2a485e7145161adc62753838d3f80c2b751540db5635e2e3f0aaf7be81d2f878c1b8e75924f50f1b2470ad497b85f164ed04906548689483b11";
    const FROZEN_TOKEN: u64 = 61_372_815_528_342_763;

    #[test]
    fn printing_shows_no_key() {
        let pair = Pair::new();
        let key_file = pair.create();
        let shown = format!("{key_file:?} {:?} {:?}", key_file.newest(), key_file.master);
        for key in [key_file.newest().key(), key_file.master.to_bytes().expose()] {
            assert!(!shown.contains(&write_hex(key)));
            assert!(!shown.contains(&format!("{}, {}", key[0], key[1])));
        }
    }
}
