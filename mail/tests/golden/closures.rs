//! Sets as a whole: which messages are one thread, and which a word finds.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
};

use mail::{
    Limits, parse,
    terms::{Field, Form, query_phrase},
    thread::thread_keys,
};

use crate::sets::{expectations, sets_with};

/// Union-find over ids.
#[derive(Default)]
pub struct Components {
    parents: HashMap<String, String>,
}

impl Components {
    pub fn root(&mut self, id: &str) -> String {
        let parent = self.parents.entry(id.into()).or_insert_with(|| id.into()).clone();
        if parent == id {
            return parent;
        }
        let root = self.root(&parent);
        self.parents.insert(id.into(), root.clone());
        root
    }
    pub fn join(&mut self, a: &str, b: &str) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents.insert(a, b);
    }
}

#[test]
fn thread_keys_connect_what_belongs_together() {
    for (name, set) in sets_with("threads-closure.json") {
        let text = fs::read_to_string(set.join("threads-closure.json")).unwrap();
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
    for (name, set) in sets_with("search-terms.tsv") {
        let text = fs::read_to_string(set.join("search-terms.tsv")).unwrap();
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
