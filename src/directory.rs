//! A directory that one process has for itself, and by which the commands find that process.
//!
//! | file | holds |
//! | --- | --- |
//! | `signet.lock` | nothing; locked by the one process that uses the directory |
//! | `internal.token` | what opens the internal listener; new at each start |
//! | `internal.address` | where the internal listener of the running process is |
//!
//! On the cluster that is all there is in it; the embedded backend keeps its data there too.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;

/// The file that is locked.
pub const LOCK: &str = "signet.lock";
const TOKEN: &str = "internal.token";
const ADDRESS: &str = "internal.address";

/// A directory, taken by this process for as long as this lives.
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes the directory, and makes it if it is absent. Whose it is, and what it holds, is not looked at yet.
    ///
    /// # Errors
    /// If another process has it, or it cannot be made.
    pub fn take(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let cannot = |error: &dyn std::fmt::Display| {
            Failure::config(format!("the data directory {shown} cannot be used: {error}"))
        };
        make(path).map_err(|error| cannot(&error))?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join(LOCK));
        let lock = lock.map_err(|error| cannot(&error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => {
                Failure::other(format!("the data directory {shown} is in use by another Signet process"))
            }
            other => cannot(&other),
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Takes the directory of a node of a cluster, which is closed to others (mode 0700) from then on.
    ///
    /// # Errors
    /// As for [`Directory::take`], and if it holds anything that no node has put there.
    pub fn take_for_node(path: &Path) -> Result<Self, Failure> {
        let directory = Self::take(path)?;
        let cannot = |error: &dyn std::fmt::Display| {
            Failure::config(format!("the node's directory {} cannot be used: {error}", path.display()))
        };
        if !holds_only(path, &[LOCK, TOKEN, ADDRESS]).map_err(|error| cannot(&error))? {
            return Err(cannot(
                &"on the cluster `data` is a small directory of the node's own, and this one holds something else",
            ));
        }
        directory.close_to_others().map_err(|error| cannot(&error))?;
        Ok(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes from others what the mode of the directory grants them.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn close_to_others(&self) -> io::Result<()> {
        let mode = std::fs::metadata(&self.path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            std::fs::set_permissions(&self.path, PermissionsExt::from_mode(0o700))?;
            tracing::warn!(
                was = format!("{mode:04o}"),
                "the data directory was open to others: its mode is 0700 now"
            );
        }
        Ok(())
    }

    /// Writes what opens the internal listener, and where it is, for the commands.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn announce(&self, token: &str, address: std::net::SocketAddr) -> io::Result<()> {
        write_whole(&self.path, TOKEN, token)?;
        write_whole(&self.path, ADDRESS, &address.to_string())
    }

    /// Nobody answers at the address any more.
    pub fn withdraw(&self) {
        // A file that stays only misleads a command into a refused connection.
        let _ = std::fs::remove_file(self.path.join(ADDRESS));
    }
}

/// Makes a directory for its owner alone, unless it is there.
///
/// # Errors
/// What the operating system says.
pub fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether there is nothing in it but what taking it makes.
///
/// # Errors
/// What the operating system says.
pub fn is_empty(path: &Path) -> io::Result<bool> {
    holds_only(path, &[LOCK])
}

/// Whether there is nothing in it but files of these names, whole or in part.
fn holds_only(path: &Path, names: &[&str]) -> io::Result<bool> {
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !names.contains(&&*name) && !name.ends_with(".part") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What opens the internal listener of the process that uses `data`.
///
/// # Errors
/// What the operating system says.
pub fn token(data: &Path) -> io::Result<seal::Secret<String>> {
    Ok(seal::Secret::new(std::fs::read_to_string(data.join(TOKEN))?.trim().to_owned()))
}

/// Where the process that uses `data` answers.
pub fn announced_address(data: &Path) -> Option<std::net::SocketAddr> {
    std::fs::read_to_string(data.join(ADDRESS)).ok()?.trim().parse().ok()
}

/// Digits of an id.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The id that 32 hexadecimal digits are.
pub fn parse_id(text: &str) -> Option<[u8; 16]> {
    text.trim().parse::<schema::AccountId>().ok().map(|id| id.0)
}

/// Writes a file so that it is there whole, durably, or not at all; only its owner reads it.
pub fn write_whole(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let (path, part) = (directory.join(name), directory.join(format!("{name}.part")));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&part, &path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_directory_is_closed_to_others_and_taken_again_after_it_was_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node");
        for _ in 0..2 {
            let node = Directory::take_for_node(&path).unwrap();
            node.announce("token", ([127, 0, 0, 1], 1).into()).unwrap();
            assert!(Directory::take_for_node(&path).is_err_and(|error| error.to_string().contains("in use")));
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        drop(Directory::take_for_node(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_no_nodes_is_left_as_it_is() {
        for name in ["instance", "instance.new", "store", "notes.txt"] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join(name), "").unwrap();
            std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
            let refused = Directory::take_for_node(directory.path()).err().unwrap();
            assert!(refused.to_string().contains("something else"), "{name}: {refused}");
            assert_eq!(std::fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o755);
        }
    }
}
