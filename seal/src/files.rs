//! Small secret files: read only if nobody else may, replaced as a whole or not at all, overwritten before they go.

use crate::Secret;
use crate::error::{Error, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Larger than any key file, small enough to refuse a file that is none.
const LARGEST: u64 = 1 << 20;

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// The text of a file that only its owner may have access to.
pub(crate) fn read(path: &Path) -> Result<Secret<String>> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::MissingKeyFile { path: path.to_owned() },
        _ => Error::Io { path: path.to_owned(), source },
    })?;
    let metadata = file.metadata().map_err(io_error(path))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::ExposedKeyFile { path: path.to_owned(), mode });
    }
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(Error::BadKeyFile { path: path.to_owned(), reason: "it is not a small file" });
    }
    // The whole capacity at once: a buffer that grows leaves copies behind.
    let mut text = Secret::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(LARGEST).read_to_end(text.expose_mut()).map_err(io_error(path))?;
    let bytes = std::mem::take(text.expose_mut());
    String::from_utf8(bytes).map(Secret::new).map_err(|error| {
        drop(Secret::new(error.into_bytes()));
        Error::BadKeyFile { path: path.to_owned(), reason: "it is not text" }
    })
}

/// Whether something of that name is there. An answer that cannot be had is an error, never "no".
pub(crate) fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(io_error(path))
}

/// Makes the directory of a file, for its owner alone, if it is missing.
pub(crate) fn make_directory_of(path: &Path) -> Result<()> {
    step(path)?;
    let directory = directory_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io_error(directory))
}

/// Where a file's next content is written before it takes the file's place.
pub(crate) fn pending(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Replaces the file's content: after a crash at any moment the file has the old content or the new one.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    write_pending(path, text)?;
    promote_pending(path)
}

/// Writes the next content, durable, beside the file.
pub(crate) fn write_pending(path: &Path, text: &str) -> Result<()> {
    let new = pending(path);
    discard(&new)?;
    step(path)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(io_error(&new))?;
    step(path)?;
    file.write_all(text.as_bytes()).map_err(io_error(&new))?;
    step(path)?;
    file.sync_all().map_err(io_error(&new))
}

/// Puts the next content in the file's place, durable, and then overwrites the old content.
pub(crate) fn promote_pending(path: &Path) -> Result<()> {
    let new = pending(path);
    // A handle on the old content outlives its name, so that a crash never leaves a name for it.
    let old = OpenOptions::new().write(true).open(path).ok();
    step(path)?;
    fs::rename(&new, path).map_err(io_error(path))?;
    step(path)?;
    sync_directory_of(path)?;
    step(path)?;
    if let Some(old) = old {
        scrub(&old);
    }
    Ok(())
}

/// Overwrites and removes a file that may be left from a crash.
fn discard(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => {
            step(path)?;
            scrub(&file);
            step(path)?;
            fs::remove_file(path).map_err(io_error(path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(path)(error)),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_directory_of(path: &Path) -> Result<()> {
    let directory = directory_of(path);
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error(directory))
}

/// Overwrites a file's octets in place. Best effort: a file system that copies on write, a journal with data or a flash
/// drive may keep the old octets, and a failure here changes nothing about the file having lost its name.
fn scrub(file: &File) {
    use std::os::unix::fs::FileExt;
    let Ok(metadata) = file.metadata() else { return };
    let zeros = [0; 4096];
    let mut at = 0;
    while at < metadata.len() {
        let count = (metadata.len() - at).min(zeros.len() as u64);
        if file.write_all_at(&zeros[..count as usize], at).is_err() {
            return;
        }
        at += count;
    }
    let _ = file.sync_all();
}

/// A moment at which the process may die; tests make it die there.
#[cfg(not(test))]
fn step(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use tests::{crash_after, step};

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static STEPS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// From now on in this thread, `steps` steps succeed and the next one fails, once. `None`: all succeed.
    pub(crate) fn crash_after(steps: Option<u32>) {
        STEPS_LEFT.set(steps);
    }

    pub(crate) fn step(path: &Path) -> Result<()> {
        match STEPS_LEFT.get() {
            None => Ok(()),
            Some(0) => {
                STEPS_LEFT.set(None);
                Err(io_error(path)(io::Error::other("crash")))
            }
            Some(left) => {
                STEPS_LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }

    #[test]
    fn a_replaced_file_is_overwritten_before_it_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        replace(&path, "first content").unwrap();
        let old = File::open(&path).unwrap();
        replace(&path, "second").unwrap();
        let mut text = String::new();
        (&old).read_to_string(&mut text).unwrap();
        assert_eq!(text, "\0".repeat("first content".len()));
        assert_eq!(read(&path).unwrap().expose(), "second");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_leftover_from_a_crash_is_overwritten_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_pending(&path, "left over").unwrap();
        let left = File::open(pending(&path)).unwrap();
        replace(&path, "x").unwrap();
        let mut text = String::new();
        (&left).read_to_string(&mut text).unwrap();
        assert_eq!(text, "\0".repeat("left over".len()));
    }

    #[test]
    fn a_file_that_is_huge_or_not_text_or_a_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_pending(&path, "").unwrap();
        promote_pending(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(matches!(read(&path), Err(Error::BadKeyFile { .. })));
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(0).unwrap();
        (&file).write_all(b"\xff\xfe").unwrap();
        assert!(matches!(read(&path), Err(Error::BadKeyFile { .. })));
        assert!(read(directory.path()).is_err());
    }
}
