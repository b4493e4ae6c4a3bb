//! The sets of messages at hand, and the disagreements that are known.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// The folder of sets.
pub fn root() -> PathBuf {
    let Some(folder) = std::env::var_os("SIGNET_MESSAGES").map(PathBuf::from) else {
        println!("SIGNET_MESSAGES is not set: only the repository's own samples are read");
        return Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    };
    assert!(folder.is_dir(), "SIGNET_MESSAGES names no folder");
    folder
}

/// The sets that have a file of that name, by their own names; of the samples at least one.
pub fn sets_with(file: &str) -> Vec<(String, PathBuf)> {
    let root = root();
    let mut found: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .chain([root.clone()])
        .filter(|path| path.join(file).is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    found.sort();
    found
}

/// The files of an ending under the folder of sets, with the name of their set and their own name in it.
pub fn files(ending: &str) -> Vec<(String, String, PathBuf)> {
    let root = root();
    let mut pending = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.to_string_lossy().ends_with(ending) {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            if let Some((set, file)) = name.split_once('/') {
                found.push((set.to_string(), file.to_string(), path));
            }
        }
    }
    found.sort();
    found
}

pub fn expectations(set: &Path) -> Vec<Value> {
    let text = fs::read_to_string(set.join("oracle-cpython.jsonl")).unwrap();
    text.lines().filter(|l| !l.trim().is_empty()).map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// One comparison of many messages.
#[derive(Default)]
pub struct Verdict {
    known: BTreeSet<(String, String, String)>,
    met: BTreeSet<(String, String, String)>,
    /// The messages that were read, by set and file.
    read: BTreeSet<(String, String)>,
    checked: BTreeSet<&'static str>,
    open: Vec<String>,
    compared: usize,
}

impl Verdict {
    /// Of a comparison of the fields named.
    pub fn of(checked: &[&'static str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/messages/disagreements.tsv");
        let text = fs::read_to_string(path).unwrap();
        let rows = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
        let known = rows.map(|l| {
            let columns: Vec<_> = l.split('\t').collect();
            let has_reason = columns.get(3).is_some_and(|reason| !reason.trim().is_empty());
            assert!(has_reason, "a disagreement without a reason: {l}");
            (columns[0].into(), columns[1].into(), columns[2].into())
        });
        Self { known: known.collect(), checked: checked.iter().copied().collect(), ..Self::default() }
    }

    /// Compares one thing; equal ones need no word.
    pub fn check<T: PartialEq + std::fmt::Debug>(
        &mut self,
        set: &str,
        file: &str,
        what: &'static str,
        expected: T,
        found: T,
    ) {
        assert!(self.checked.contains(what), "{what} is not among what is checked");
        self.read.insert((set.into(), file.into()));
        self.compared += 1;
        if expected == found {
            return;
        }
        let entry = (set.to_string(), file.to_string(), what.to_string());
        if self.known.contains(&entry) {
            self.met.insert(entry);
        } else {
            self.open.push(format!("{set}\t{file}\t{what}\texpected {expected:?}\tfound {found:?}"));
        }
    }

    /// Fails when there are disagreements that are not listed, or listed ones that are none.
    pub fn end(self) {
        let sets: BTreeSet<_> = self.read.iter().map(|(set, _)| set).collect();
        println!("{} comparisons of {} messages in {sets:?}", self.compared, self.read.len());
        assert!(self.compared > 0, "nothing was compared");
        assert!(self.open.is_empty(), "{} disagreements:\n{}", self.open.len(), self.open.join("\n"));
        let gone: Vec<_> = self
            .known
            .difference(&self.met)
            .filter(|(set, file, what)| {
                self.read.contains(&(set.clone(), file.clone())) && self.checked.contains(what.as_str())
            })
            .collect();
        assert!(gone.is_empty(), "listed, and none any more: {gone:?}");
    }
}

/// Text as the comparisons see it: composed, with single spaces.
pub fn squeezed(text: &str) -> String {
    let composed: String = text.nfc().collect();
    let separates = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    composed.split(separates).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Text with lines ended by LF.
pub fn unix(text: &str) -> String {
    text.replace("\r\n", "\n")
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of one part: what is read of a message that is nothing but it.
pub fn text_of(part: &mail::Part<'_>) -> String {
    let charset = part.charset.as_ref().map(|c| format!("; charset=\"{c}\"")).unwrap_or_default();
    let head = format!("Content-Type: {}{charset}\nContent-Transfer-Encoding: binary\n\n", part.content_type);
    let raw = [head.as_bytes(), &part.bytes].concat();
    let message = mail::parse(&raw, &mail::Limits::default());
    if part.content_type == "text/html" {
        message.html_body().unwrap_or_default()
    } else {
        message.text_body()
    }
}
