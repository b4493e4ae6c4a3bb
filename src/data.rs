//! The data directory of the embedded backend: whose it is, and what the program keeps in it beside the backend's files and
//! those of every [`Directory`].
//!
//! | file | holds |
//! | --- | --- |
//! | `instance` | the instance id, from the end of the first start on |
//! | `instance.new` | the same while the first start is not at its end |
//! | `instance.restored` | the same while a restore is not at its end: nothing is served from it yet |
//! | `instance.migrating` | the same while a migration from servers is not at its end: nothing is served from it yet |
//! | `instance.migrated` | the same once the data were migrated to servers: nothing is served from it any more |
//! | `welcome.pending` | when the welcome message was written, until it is delivered |

use std::fs::File;
use std::io;
use std::path::Path;

use crate::directory::{self, Directory, hex, parse_id, write_whole};
use crate::failure::Failure;

const INSTANCE: &str = "instance";
const UNFINISHED: &str = "instance.new";
const UNRESTORED: &str = "instance.restored";
const MIGRATING: &str = "instance.migrating";
const MIGRATED: &str = "instance.migrated";
const WELCOME: &str = "welcome.pending";

/// A data directory, taken by this process for as long as this lives.
pub struct DataDirectory {
    directory: Directory,
    instance: [u8; 16],
    is_new: bool,
    /// The file that names the instance while `is_new`.
    unfinished: &'static str,
}

impl DataDirectory {
    /// Takes the directory, which is closed to others (mode 0700) from then on. One that is absent or empty becomes a new
    /// one with an id of its own; a first start that was cut short goes on where it was.
    ///
    /// # Errors
    /// If another process has it, if it holds something else or a restore that was cut short, or if it cannot be closed
    /// to others.
    pub fn take(path: &Path) -> Result<Self, Failure> {
        Self::take_as(path, UNFINISHED)
    }

    fn take_as(path: &Path, unfinished: &'static str) -> Result<Self, Failure> {
        let cannot = |error: &dyn std::fmt::Display| {
            Failure::config(format!("the data directory {} cannot be used: {error}", path.display()))
        };
        let directory = Directory::take(path)?;
        let (instance, is_new) = match (read_id(path, INSTANCE)?, read_id(path, unfinished)?) {
            (Some(instance), _) => (instance, false),
            (None, Some(instance)) => (instance, true),
            (None, None) if directory::is_empty(path).map_err(|error| cannot(&error))? => {
                let instance = uuid();
                write_whole(path, UNFINISHED, &hex(&instance)).map_err(|error| cannot(&error))?;
                (instance, true)
            }
            (None, None) if path.join(UNRESTORED).exists() => {
                return Err(cannot(&"a restore into it was cut short: run `signet restore` again"));
            }
            (None, None) if path.join(MIGRATING).exists() => {
                return Err(cannot(&"a migration into it was cut short: run `signet migrate` again"));
            }
            (None, None) if path.join(MIGRATED).exists() => {
                return Err(cannot(
                    &"its data were migrated to a cluster, which has what came since; to serve what was there before, \
                      rename `instance.migrated` to `instance`",
                ));
            }
            (None, None) => {
                let why =
                    "it is not empty, and has no file `instance`: it is no data of Signet, or not all of it";
                return Err(cannot(&why));
            }
        };
        directory.close_to_others().map_err(|error| cannot(&error))?;
        Ok(Self { directory, instance, is_new, unfinished })
    }

    /// Makes a directory for what a backup of `instance` holds.
    ///
    /// # Errors
    /// If it is not absent or empty, but for a restore of the same instance that was cut short.
    pub fn take_for_restore(path: &Path, instance: [u8; 16]) -> Result<Self, Failure> {
        let (directory, is_begun) = Self::take_for(path, instance, UNRESTORED)?;
        if is_begun {
            // Whatever was restored may be of another backup, or half of what is to be taken away.
            directory.clear()?;
        }
        Ok(directory)
    }

    /// Makes a directory for what servers hold of `instance`; one that a migration was cut short in is taken as it is.
    ///
    /// # Errors
    /// If it is not absent or empty, but for a migration of the same instance that was cut short.
    pub fn take_for_migration(path: &Path, instance: [u8; 16]) -> Result<Self, Failure> {
        Self::take_for(path, instance, MIGRATING).map(|(directory, _)| directory)
    }

    /// A directory for what comes from elsewhere, and whether something of it has come already.
    fn take_for(path: &Path, instance: [u8; 16], unfinished: &'static str) -> Result<(Self, bool), Failure> {
        directory::make(path)?;
        let is_begun = !directory::is_empty(path)?;
        if !is_begun {
            write_whole(path, unfinished, &hex(&instance))?;
        }
        let directory = Self::take_as(path, unfinished)?;
        if !directory.is_new || directory.instance != instance {
            return Err(Failure::config(format!("the directory {} is not empty", path.display())));
        }
        Ok((directory, is_begun))
    }

    /// Takes a directory whose data are to go elsewhere, or have gone.
    ///
    /// # Errors
    /// As for [`DataDirectory::take`], and if it holds no data, or not all of them.
    pub fn take_to_leave(path: &Path) -> Result<Self, Failure> {
        if ![INSTANCE, MIGRATED].iter().any(|name| path.join(name).exists()) {
            return Err(Failure::config(format!("the directory {} holds no data of Signet", path.display())));
        }
        Self::take_as(path, MIGRATED)
    }

    /// The data have gone: nothing is served from the directory any more.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn leave(&self) -> io::Result<()> {
        if !self.is_new {
            std::fs::rename(self.path().join(INSTANCE), self.path().join(MIGRATED))?;
        }
        File::open(self.path())?.sync_all()
    }

    /// Removes everything that a restore has put there.
    fn clear(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.path())? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Some(directory::LOCK | UNRESTORED) => {}
                _ if entry.file_type()?.is_dir() => std::fs::remove_dir_all(entry.path())?,
                _ => std::fs::remove_file(entry.path())?,
            }
        }
        File::open(self.path())?.sync_all()
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// How the commands find the running process.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The id of the instance.
    pub fn instance(&self) -> [u8; 16] {
        self.instance
    }

    /// Whether the first start, or the restore, has not come to its end yet.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The first start, or the restore, has come to its end: from now on the key must be there.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(&mut self) -> io::Result<()> {
        std::fs::rename(self.path().join(self.unfinished), self.path().join(INSTANCE))?;
        File::open(self.path())?.sync_all()?;
        self.is_new = false;
        Ok(())
    }

    /// Notes that the welcome message of this time is still to be delivered.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn note_welcome(&self, written_at: &str) -> io::Result<()> {
        write_whole(self.path(), WELCOME, written_at)
    }

    /// When the welcome message was written, if it is still to be delivered.
    pub fn pending_welcome(&self) -> Option<String> {
        std::fs::read_to_string(self.path().join(WELCOME)).ok().map(|text| text.trim().to_owned())
    }

    /// The welcome message is delivered.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn forget_welcome(&self) -> io::Result<()> {
        std::fs::remove_file(self.path().join(WELCOME))
    }
}

fn uuid() -> [u8; 16] {
    schema::AccountId::random().0
}

fn read_id(path: &Path, name: &str) -> Result<Option<[u8; 16]>, Failure> {
    let file = path.join(name);
    match std::fs::read_to_string(&file) {
        Ok(text) => match parse_id(&text) {
            Some(id) => Ok(Some(id)),
            None => Err(Failure::config(format!("{} is damaged: it holds no instance id", file.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::config(format!("{} cannot be read: {error}", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_directory_gets_an_id_and_keeps_it_through_an_unfinished_first_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let first = DataDirectory::take(&path).unwrap();
        let id = first.instance();
        assert!(first.is_new());
        drop(first);
        let mut again = DataDirectory::take(&path).unwrap();
        assert!(again.is_new() && again.instance() == id);
        again.finish().unwrap();
        drop(again);
        let later = DataDirectory::take(&path).unwrap();
        assert!(!later.is_new() && later.instance() == id);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_with_something_else_in_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        assert!(DataDirectory::take(directory.path()).is_err());
    }

    #[test]
    fn a_restore_that_was_cut_short_is_not_served_and_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        drop(DataDirectory::take_for_restore(&path, [7; 16]).unwrap());
        let refused = DataDirectory::take(&path).err().unwrap();
        assert!(refused.to_string().contains("signet restore"), "{refused}");
        assert!(DataDirectory::take_for_restore(&path, [8; 16]).is_err());
        // It begins anew: what is there may be of another backup.
        std::fs::create_dir_all(path.join("store/0")).unwrap();
        std::fs::write(path.join("store/0/1"), "rows").unwrap();
        let mut again = DataDirectory::take_for_restore(&path, [7; 16]).unwrap();
        assert!(!path.join("store").exists());
        again.finish().unwrap();
        drop(again);
        let restored = DataDirectory::take(&path).unwrap();
        assert!(!restored.is_new() && restored.instance() == [7; 16]);
        drop(restored);
        assert!(DataDirectory::take_for_restore(&path, [7; 16]).is_err());
    }

    #[test]
    fn a_migration_that_was_cut_short_is_not_served_and_goes_on_with_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        assert!(DataDirectory::take_to_leave(&path).is_err(), "there is nothing to go");
        drop(DataDirectory::take_for_migration(&path, [7; 16]).unwrap());
        for refused in [DataDirectory::take(&path), DataDirectory::take_to_leave(&path)] {
            refused.err().unwrap();
        }
        assert!(DataDirectory::take_for_migration(&path, [8; 16]).is_err());
        std::fs::write(path.join("rows"), "rows").unwrap();
        let mut again = DataDirectory::take_for_migration(&path, [7; 16]).unwrap();
        assert!(path.join("rows").exists());
        again.finish().unwrap();
        drop(again);
        assert!(DataDirectory::take_for_migration(&path, [7; 16]).is_err(), "it is served from");
        drop(DataDirectory::take(&path).unwrap());
    }

    #[test]
    fn data_that_have_gone_are_not_served_unless_somebody_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut data = DataDirectory::take(path).unwrap();
        data.finish().unwrap();
        let id = data.instance();
        drop(data);
        // What was cut short after it may be done again.
        for _ in 0..2 {
            let data = DataDirectory::take_to_leave(path).unwrap();
            assert_eq!(data.instance(), id);
            data.leave().unwrap();
            drop(data);
            let refused = DataDirectory::take(path).err().unwrap();
            assert!(refused.to_string().contains("instance.migrated"), "{refused}");
        }
        std::fs::rename(path.join(MIGRATED), path.join(INSTANCE)).unwrap();
        assert_eq!(DataDirectory::take(path).unwrap().instance(), id);
    }

    #[test]
    fn a_directory_open_to_others_is_closed_if_it_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mode = || std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let open = |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        for wide in [0o755, 0o770, 0o701] {
            open(wide);
            drop(DataDirectory::take(path).unwrap());
            assert_eq!(mode(), 0o700, "{wide:o}");
        }
        // What is not ours is left as it is.
        std::fs::remove_file(path.join(UNFINISHED)).unwrap();
        std::fs::write(path.join("notes.txt"), "mine").unwrap();
        open(0o755);
        assert!(DataDirectory::take(path).is_err());
        assert_eq!(mode(), 0o755);
    }

    #[test]
    fn a_second_owner_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDirectory::take(directory.path()).unwrap();
        let refused = DataDirectory::take(directory.path()).err().unwrap();
        assert!(refused.to_string().contains("in use"), "{refused}");
        drop(first);
        assert!(DataDirectory::take(directory.path()).is_ok());
    }
}
