//! A folder of .eml files, with the folders in it.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{MailFile, received_at};

/// The .eml files at and under `path`, by name.
///
/// # Errors
/// What the operating system says.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // Links are not followed: they may lead round in a circle.
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else if entry.path().extension().is_some_and(|end| end.eq_ignore_ascii_case("eml")) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The message in a file, dated by its own header, else by the file.
///
/// # Errors
/// What the operating system says.
pub fn read(path: &Path) -> io::Result<MailFile> {
    let raw = std::fs::read(path)?;
    let received_at = received_at(&raw).or_else(|| modified(path));
    Ok(MailFile { name: path.display().to_string(), raw, received_at, ..MailFile::default() })
}

/// When a file was written last.
pub fn modified(path: &Path) -> Option<Timestamp> {
    Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok()
}
