//! Maildir, and its folders as Maildir++ has them (`.Name` beside `cur` and `new`).

use std::io;
use std::path::{Path, PathBuf};

use super::MailFile;
use super::eml::modified;

/// One message's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    path: PathBuf,
    folder: Option<String>,
}

/// The messages of a Maildir and its folders, by name; those that are still being written (`tmp`) are left out.
///
/// # Errors
/// What the operating system says.
pub fn files(path: &Path) -> io::Result<Vec<File>> {
    let mut found = of_folder(path, None)?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(folder) = name.strip_prefix('.').filter(|folder| !folder.is_empty()) else { continue };
        if entry.path().join("cur").is_dir() || entry.path().join("new").is_dir() {
            found.extend(of_folder(&entry.path(), Some(folder.replace('.', "/")))?);
        }
    }
    found.sort();
    Ok(found)
}

fn of_folder(path: &Path, folder: Option<String>) -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    for part in ["cur", "new"] {
        let directory = path.join(part);
        if !directory.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !is_hidden && entry.file_type()?.is_file() {
                found.push(File { path: entry.path(), folder: folder.clone() });
            }
        }
    }
    Ok(found)
}

impl File {
    /// The message, dated by the file, with what its name says of it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(&self) -> io::Result<MailFile> {
        let flags = flags(&self.path);
        let keyword = |flag| match flag {
            'S' => Some("$seen"),
            'R' => Some("$answered"),
            'F' => Some("$flagged"),
            'D' => Some("$draft"),
            'P' => Some("$forwarded"),
            _ => None,
        };
        Ok(MailFile {
            name: self.path.display().to_string(),
            raw: std::fs::read(&self.path)?,
            received_at: modified(&self.path),
            keywords: flags.chars().filter_map(keyword).map(str::to_owned).collect(),
            folder: self.folder.clone(),
            is_trashed: flags.contains('T'),
        })
    }
}

/// The flags in a file's name: what stands behind `:2,`.
fn flags(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.rsplit_once(":2,").map(|(_, flags)| flags.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_dates_and_folders_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for folder in ["cur", "new", "tmp", ".Sent/cur", ".Old.2019/new", ".notes"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let names =
            ["cur/1.a:2,FS", "new/2.b", "tmp/3.c", ".Sent/cur/4.d:2,RT", ".Old.2019/new/5.e", "cur/.hidden"];
        for name in names {
            std::fs::write(root.join(name), name).unwrap();
        }
        let written = std::fs::File::options().write(true).open(root.join("new/2.b")).unwrap();
        written.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).unwrap();

        let mut mails: Vec<MailFile> = files(root).unwrap().iter().map(|file| file.read().unwrap()).collect();
        mails.sort_by(|a, b| a.raw.cmp(&b.raw));
        let seen: Vec<_> = mails
            .iter()
            .map(|mail| {
                let keywords = mail.keywords.join(" ");
                (
                    String::from_utf8_lossy(&mail.raw).into_owned(),
                    keywords,
                    mail.folder.clone(),
                    mail.is_trashed,
                )
            })
            .collect();
        let folder = |name: &str| Some(name.to_owned());
        assert_eq!(
            seen,
            [
                (".Old.2019/new/5.e".into(), "".into(), folder("Old/2019"), false),
                (".Sent/cur/4.d:2,RT".into(), "$answered".into(), folder("Sent"), true),
                ("cur/1.a:2,FS".into(), "$flagged $seen".into(), None, false),
                ("new/2.b".into(), "".into(), None, false),
            ]
        );
        assert_eq!(mails[3].received_at.unwrap().as_second(), 1_000_000);
    }
}
