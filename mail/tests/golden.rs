//! Real messages against what another reader sees in them.
//!
//! `SIGNET_MESSAGES=DIR` points the tests at a folder of message sets (`<set>/oracle-cpython.jsonl`, and where a
//! set has them `threads-closure.json` and `search-terms.tsv`); without it they run over the samples beside
//! them, and say so.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use mail::{
    Limits, Message, parse,
    terms::{Field, Form, query_phrase},
    thread::thread_keys,
};
use serde_json::Value;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples")
}

fn messages() -> Option<PathBuf> {
    let folder = std::env::var_os("SIGNET_MESSAGES").map(PathBuf::from)?;
    assert!(folder.is_dir(), "SIGNET_MESSAGES names no folder");
    Some(folder)
}

/// The sets at hand: folders with an oracle.
fn sets() -> Vec<(String, PathBuf)> {
    let Some(folder) = messages() else {
        println!("SIGNET_MESSAGES is not set: only the repository's own samples are read");
        return vec![("samples".into(), samples())];
    };
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("oracle-cpython.jsonl").is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    found.sort();
    found
}

fn expectations(set: &Path) -> Vec<Value> {
    let text = fs::read_to_string(set.join("oracle-cpython.jsonl")).unwrap();
    text.lines().filter(|l| !l.trim().is_empty()).map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Disagreements that are accepted: set, file and what differs.
fn accepted() -> BTreeSet<(String, String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/messages/disagreements.tsv");
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|l| !l.starts_with('#') && !l.trim().is_empty())
        .map(|l| {
            let columns: Vec<_> = l.split('\t').collect();
            assert!(
                columns.len() >= 4 && !columns[3].trim().is_empty(),
                "a disagreement without a reason: {l}"
            );
            (columns[0].into(), columns[1].into(), columns[2].into())
        })
        .collect()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What differs: the name of it, the expected and the found value.
fn differences(expected: &Value, message: &Message<'_>) -> Vec<(&'static str, String, String)> {
    let head = message.head();
    let mut found = Vec::new();
    let mut check = |what, expected: String, got: String| {
        if expected != got {
            found.push((what, expected, got));
        }
    };
    if let Some(subject) = expected["subject"].as_str() {
        check("subject", squeezed(subject), squeezed(&head.subject));
    }
    if let Some(from) = expected["from"][0][1].as_str() {
        let got = head.from.first().map_or("", |a| a.email.as_str());
        check("from", from.to_lowercase(), got.to_lowercase());
    }
    if let Some(id) = expected["message_id"].as_str() {
        check("message_id", id.into(), head.message_id.clone().unwrap_or_default());
    }
    if let Some(date) = expected["date_utc"].as_str() {
        let expected: jiff::Timestamp = date.parse().unwrap();
        let got = head.sent_at.map_or(String::new(), |ms| (ms / 1000).to_string());
        check("date", expected.as_second().to_string(), got);
    }
    if let (Some(strict), Some(wide)) = (expected["att_strict"].as_u64(), expected["att_wide"].as_u64()) {
        let n = message.attachments().len() as u64;
        if !(strict..=wide).contains(&n) {
            check("attachments", format!("{strict}..={wide}"), n.to_string());
        }
    }
    if let Some(names) = expected["attachments"].as_array() {
        let mut wanted: Vec<_> =
            names.iter().filter_map(|a| a["sha256"].as_str().and(a["size"].as_u64())).collect();
        let mut got: Vec<_> = message
            .attachments()
            .iter()
            .filter(|a| !a.content_type.starts_with("message/"))
            .map(|a| a.size)
            .collect();
        wanted.sort_unstable();
        got.sort_unstable();
        check("attachment_sizes", format!("{wanted:?}"), format!("{got:?}"));
    }
    for (key, list) in [("from", &head.from), ("to", &head.to), ("cc", &head.cc)] {
        let Some(wanted) = expected[key].as_array() else { continue };
        let wanted: Vec<_> = wanted
            .iter()
            .map(|a| (squeezed(a[0].as_str().unwrap_or("")), a[1].as_str().unwrap_or("")))
            .collect();
        let mut got: Vec<_> =
            list.iter().map(|a| (squeezed(a.name.as_deref().unwrap_or("")), a.email.as_str())).collect();
        for (got, wanted) in got.iter_mut().zip(&wanted) {
            // The other reader takes no name from a comment, and repeats an address as its name.
            if wanted.0.is_empty() || wanted.0 == wanted.1 {
                got.0.clone_from(&wanted.0);
            }
        }
        let what = match key {
            "from" => "from_names",
            "to" => "to",
            _ => "cc",
        };
        check(what, format!("{wanted:?}"), format!("{got:?}"));
    }
    let ids = |key: &str| -> Vec<String> {
        expected[key].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(String::from)).collect()
    };
    check("in_reply_to", format!("{:?}", ids("in_reply_to")), format!("{:?}", head.in_reply_to));
    check("references", format!("{:?}", ids("references")), format!("{:?}", head.references));
    found
}

#[test]
fn clean_messages_say_what_another_reader_sees() {
    let accepted = accepted();
    let mut open = Vec::new();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (name, set) in sets() {
        for expected in expectations(&set) {
            let file = expected["file"].as_str().unwrap();
            let class = expected["class"].as_str().unwrap();
            let raw = fs::read(set.join(file)).unwrap();
            let message = parse(&raw, &Limits::default());
            let differences = differences(&expected, &message);
            *counts.entry((name.clone(), class.into())).or_default() += 1;
            for (what, wanted, got) in differences {
                let known = accepted.contains(&(name.clone(), file.to_string(), what.to_string()));
                if class == "clean" && !known {
                    open.push(format!("{name}\t{file}\t{what}\texpected {wanted}\tfound {got}"));
                } else if std::env::var_os("SIGNET_SHOW_DIRTY").is_some() {
                    println!("{class}\t{name}\t{file}\t{what}\texpected {wanted}\tfound {got}");
                }
            }
        }
    }
    for ((set, class), n) in counts {
        println!("{set}: {n} {class}");
    }
    assert!(open.is_empty(), "{} disagreements:\n{}", open.len(), open.join("\n"));
}

#[test]
fn every_message_of_every_set_has_all_views() {
    let mut pending = vec![messages().unwrap_or_else(samples)];
    let mut read = 0;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        let kinds = ["eml", "msg", "raw", "txt", "mbox"];
        if path.extension().is_some_and(|e| kinds.iter().any(|k| e == *k)) {
            let raw = fs::read(&path).unwrap();
            let message = parse(&raw, &Limits::default());
            message.head();
            message.headers();
            message.text_body();
            message.report();
            message.calendar();
            message.terms();
            if let Some(html) = message.html_body() {
                mail::safe_html(&html, &|_| None);
            }
            let mut parts = vec![message.structure()];
            while let Some(part) = parts.pop() {
                if !part.part_id.is_empty() {
                    assert_eq!(
                        message.part(&part.part_id).unwrap().bytes.len() as u64,
                        part.size,
                        "{}",
                        path.display()
                    );
                }
                parts.extend(part.parts);
            }
            read += 1;
        }
    }
    println!("{read} messages read");
    assert!(read > 0);
}

/// Union-find over ids.
#[derive(Default)]
struct Components {
    parents: HashMap<String, String>,
}

impl Components {
    fn root(&mut self, id: &str) -> String {
        let parent = self.parents.entry(id.into()).or_insert_with(|| id.into()).clone();
        if parent == id {
            return parent;
        }
        let root = self.root(&parent);
        self.parents.insert(id.into(), root.clone());
        root
    }
    fn join(&mut self, a: &str, b: &str) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents.insert(a, b);
    }
}

#[test]
fn thread_keys_connect_what_belongs_together() {
    for (name, set) in sets() {
        let Ok(text) = fs::read_to_string(set.join("threads-closure.json")) else { continue };
        let expected: Vec<Vec<String>> = serde_json::from_str(&text).unwrap();
        let mut components = Components::default();
        let mut own = HashMap::new();
        for file in expected.iter().flatten() {
            let raw = fs::read(set.join(file)).unwrap();
            let keys = thread_keys(&parse(&raw, &Limits::default()).head());
            let first = keys.ids.first().cloned().unwrap_or_else(|| format!("file:{file}"));
            for id in &keys.ids {
                components.join(&first, id);
            }
            own.insert(file.clone(), first);
        }
        let mut found: HashMap<String, BTreeSet<String>> = HashMap::new();
        for (file, id) in own {
            found.entry(components.root(&id)).or_default().insert(file);
        }
        let found: BTreeSet<BTreeSet<String>> = found.into_values().collect();
        let expected: BTreeSet<BTreeSet<String>> =
            expected.into_iter().map(|t| t.into_iter().collect()).collect();
        let wrong: Vec<_> = expected.symmetric_difference(&found).take(5).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        println!("{name}: {} threads", found.len());
    }
}

#[test]
fn a_word_finds_exactly_the_messages_it_stands_in() {
    for (name, set) in sets() {
        let Ok(text) = fs::read_to_string(set.join("search-terms.tsv")) else { continue };
        let mut wanted: Vec<(String, Field, BTreeSet<String>)> = Vec::new();
        for line in text.lines().skip(1) {
            let columns: Vec<_> = line.split('\t').collect();
            let field = match columns[1] {
                "subject" => Field::Subject,
                "from" => Field::From,
                "to" => Field::To,
                "body" => Field::Body,
                other => panic!("a field that this test does not know: {other}"),
            };
            wanted.push((columns[0].into(), field, columns[3].split(',').map(String::from).collect()));
        }
        let mut found: Vec<BTreeSet<String>> = vec![BTreeSet::new(); wanted.len()];
        let phrases: Vec<_> = wanted.iter().map(|(term, _, _)| query_phrase(term)).collect();
        for expected in expectations(&set) {
            let file = expected["file"].as_str().unwrap();
            let raw = fs::read(set.join(file)).unwrap();
            let terms = parse(&raw, &Limits::default()).terms();
            let words: std::collections::HashSet<_> = terms
                .iter()
                .filter(|t| t.form == Form::Word)
                .map(|t| (t.field, t.text, t.position))
                .collect();
            let mut starts: HashMap<(Field, &str), Vec<u32>> = HashMap::new();
            for (field, text, position) in &words {
                starts.entry((*field, *text)).or_default().push(*position);
            }
            for (i, (_, field, _)) in wanted.iter().enumerate() {
                let phrase = &phrases[i];
                let empty = Vec::new();
                let firsts = starts.get(&(*field, phrase[0].as_str())).unwrap_or(&empty);
                let stands = |first: &u32| {
                    phrase
                        .iter()
                        .enumerate()
                        .all(|(k, w)| words.contains(&(*field, w.as_str(), first + k as u32)))
                };
                if firsts.iter().any(stands) {
                    found[i].insert(file.to_string());
                }
            }
        }
        let wrong: Vec<_> = wanted
            .iter()
            .zip(&found)
            .filter(|((_, _, wanted), found)| wanted != *found)
            .map(|((term, _, wanted), found)| format!("{term}: wanted {wanted:?} found {found:?}"))
            .collect();
        assert!(wrong.is_empty(), "{name}: {} of {}\n{}", wrong.len(), wanted.len(), wrong.join("\n"));
        println!("{name}: {} terms", wanted.len());
    }
}
