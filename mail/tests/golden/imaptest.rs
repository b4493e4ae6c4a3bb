//! Against scripts for IMAP servers: what these must reply about the messages of an mbox.
//!
//! `NAME` is a script, `NAME.mbox` its messages. Lines that begin with `ok` are commands, those with `*` the
//! replies to the one before; `{{{` … `}}}` encloses a literal. What follows a change of the mailbox is left.

use std::{collections::BTreeSet, fs, path::Path};

use mail::{Address, Head, Limits, parse, thread::thread_keys};

use crate::{
    closures::Components,
    sets::{Verdict, files, unix},
};

const CHECKED: [&str; 6] = ["envelope", "bodystructure", "body", "search", "sort", "thread"];

/// A parenthesised list, quoted string or atom; NIL is an empty list.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    List(Vec<Value>),
}

impl Value {
    /// All values of a text.
    fn all(text: &str) -> Vec<Self> {
        let mut rest = text;
        let mut open: Vec<Vec<Value>> = vec![Vec::new()];
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            let value = match first {
                '(' => {
                    open.push(Vec::new());
                    continue;
                }
                ')' => Self::List(open.pop().unwrap()),
                '"' => {
                    let (text, after) = rest.split_once('"').unwrap();
                    rest = after;
                    Self::Text(text.into())
                }
                c if c.is_whitespace() => continue,
                c => {
                    let end = rest.find([' ', '(', ')', '"', '\n']).unwrap_or(rest.len());
                    let atom = format!("{c}{}", &rest[..end]);
                    rest = &rest[end..];
                    if atom == "NIL" { Self::List(Vec::new()) } else { Self::Text(atom) }
                }
            };
            open.last_mut().unwrap().push(value);
        }
        open.pop().unwrap()
    }

    fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            Self::Text(_) => &[],
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) => None,
        }
    }
}

/// The commands of a script that come before any change, each with its replies.
fn commands(script: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        if let Some(command) = line.strip_prefix("ok ") {
            if ["store", "append", "expunge"].iter().any(|c| command.starts_with(c)) {
                break;
            }
            found.push((command.to_string(), Vec::new()));
        } else if let (Some(reply), Some((_, replies))) = (line.strip_prefix("* "), found.last_mut()) {
            let mut reply = reply.to_string();
            if reply.ends_with("{{{") {
                for line in lines.by_ref().take_while(|line| *line != "}}})") {
                    reply += "\n";
                    reply += line;
                }
            }
            replies.push(reply);
        }
    }
    found
}

/// The messages of an mbox, each with the time that the line before it gives, where that has a zone.
fn messages(mbox: &[u8]) -> Vec<(Vec<u8>, Option<u64>)> {
    let text = String::from_utf8_lossy(mbox).into_owned();
    let mut found: Vec<(Vec<u8>, Option<u64>)> = Vec::new();
    let mut is_start = true;
    for line in text.split_inclusive('\n') {
        if is_start && line.starts_with("From ") {
            // The empty line before it is the mbox's.
            if let Some((last, _)) = found.last_mut() {
                last.pop();
            }
            let date = line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
            let time = jiff::Timestamp::strptime("%a %b %d %H:%M:%S %Y %z", &date).ok();
            found.push((Vec::new(), time.map(|time| time.as_millisecond() as u64)));
        } else if let Some((last, _)) = found.last_mut() {
            last.extend_from_slice(line.as_bytes());
        }
        is_start = line == "\n";
    }
    found
}

/// Name and address of the members: a group's name and its end have no host.
fn addresses(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.text().unwrap_or("").to_string();
    let of = |address: &Value| {
        let [name, _route, local, host] = address.list() else { panic!("no address: {address:?}") };
        host.text().map(|host| (text(name), format!("{}@{host}", text(local))))
    };
    value.list().iter().filter_map(of).collect()
}

fn pairs(list: &[Address]) -> Vec<(String, String)> {
    list.iter().map(|a| (a.name.clone().unwrap_or_default(), a.email.clone())).collect()
}

fn numbers(reply: &str) -> Vec<usize> {
    reply.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

/// The messages that a search by an address field finds.
fn search(heads: &[Head], command: &str) -> Option<Vec<usize>> {
    let words: Vec<_> = command.split_whitespace().collect();
    let (field, wanted) = match words[..] {
        ["search", "header", field, wanted] | ["search", field, wanted] => (field, wanted),
        _ => return None,
    };
    let wanted = wanted.trim_matches('"').to_lowercase();
    let list = |head: &Head| match field {
        "from" => Some(head.from.clone()),
        "to" => Some(head.to.clone()),
        "cc" => Some(head.cc.clone()),
        "bcc" => Some(head.bcc.clone()),
        _ => None,
    };
    list(heads.first()?)?;
    let has = |head: &Head| {
        list(head).into_iter().flatten().any(|a| {
            let name = a.name.unwrap_or_default().to_lowercase();
            name.contains(&wanted) || a.email.to_lowercase().contains(&wanted)
        })
    };
    Some((1..=heads.len()).filter(|n| has(&heads[n - 1])).collect())
}

/// The order of a sort by one key, which may be reversed.
fn sort(heads: &[Head], command: &str) -> Option<Vec<usize>> {
    let key = command.strip_prefix("sort (")?.split_once(')')?.0;
    let (is_reverse, key) = match key.strip_prefix("reverse ") {
        Some(key) => (true, key),
        None => (false, key),
    };
    let of = |head: &Head| -> Option<(u64, String)> {
        Some(match key {
            "date" => (head.sent_at.unwrap_or(0), String::new()),
            // RFC 5051 compares in title case.
            "subject" => (0, thread_keys(head).base_subject.to_uppercase()),
            "displayfrom" => {
                let from = head.from.first().cloned().unwrap_or_default();
                (0, from.name.unwrap_or(from.email).to_lowercase())
            }
            _ => return None,
        })
    };
    of(heads.first()?)?;
    let mut order: Vec<usize> = (1..=heads.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (of(&heads[a - 1]), of(&heads[b - 1]));
        if is_reverse { b.cmp(&a) } else { a.cmp(&b) }
    });
    Some(order)
}

/// The threads, as what References and the like connect.
fn threads(heads: &[Head]) -> BTreeSet<BTreeSet<usize>> {
    let mut components = Components::default();
    let own = |n: usize| format!("message {n}");
    for (n, head) in heads.iter().enumerate() {
        for id in thread_keys(head).ids {
            components.join(&own(n), &id);
        }
    }
    let mut found: std::collections::BTreeMap<String, BTreeSet<usize>> = Default::default();
    for n in 0..heads.len() {
        found.entry(components.root(&own(n))).or_default().insert(n + 1);
    }
    found.into_values().collect()
}

fn compare(verdict: &mut Verdict, set: &str, file: &str, path: &Path) {
    let messages = messages(&fs::read(path).unwrap());
    let parsed: Vec<_> = messages.iter().map(|(raw, _)| parse(raw, &Limits::default())).collect();
    let mut heads: Vec<_> = parsed.iter().map(|message| message.head()).collect();
    let script = fs::read_to_string(path.with_extension("")).unwrap();
    for (command, replies) in commands(&script) {
        if command.starts_with("sort") {
            // RFC 5256: for lack of a Date, the time of arrival.
            for (head, (_, time)) in heads.iter_mut().zip(&messages) {
                head.sent_at = head.sent_at.or(*time);
            }
        }
        for reply in &replies {
            let values = Value::all(reply.split("{{{").next().unwrap());
            let number = values[0].text().and_then(|n| n.parse::<usize>().ok());
            let fetched = values.get(2).map(Value::list).unwrap_or_default();
            if let (Some(n), Some(Value::List(envelope))) = (number, fetched.get(1))
                && fetched[0] == Value::Text("ENVELOPE".into())
            {
                let head = &heads[n - 1];
                let wanted: Vec<_> = [2, 4, 5, 6, 7].map(|i| addresses(&envelope[i])).into();
                let reply_to = if head.reply_to.is_empty() { &head.from } else { &head.reply_to };
                let found: Vec<_> =
                    [&head.from, reply_to, &head.to, &head.cc, &head.bcc].map(|list| pairs(list)).into();
                verdict.check(set, file, "envelope", wanted, found);
                let text = |i: usize| envelope[i].text().unwrap_or("").trim_matches(['<', '>']).to_string();
                let wanted = [text(1), text(8), text(9)];
                let found = [
                    head.subject.clone(),
                    head.in_reply_to.join(" "),
                    head.message_id.clone().unwrap_or_default(),
                ];
                verdict.check(set, file, "envelope", wanted, found);
                let date = jiff::fmt::rfc2822::parse(&text(0)).unwrap().timestamp().as_millisecond();
                verdict.check(set, file, "envelope", Some(date as u64), head.sent_at);
            } else if let (Some(n), Some(Value::List(body))) = (number, fetched.get(1))
                && fetched[0] == Value::Text("BODY".into())
            {
                let structure = parsed[n - 1].structure();
                let subtype = body.last().unwrap().text().unwrap_or("").to_ascii_lowercase();
                let part = body[0].list();
                let text = |i: usize| part[i].text().unwrap_or("").to_ascii_lowercase();
                let wanted = (
                    format!("multipart/{subtype}"),
                    format!("{}/{}", text(0), text(1)),
                    text(6),
                    body.len() - 1,
                );
                let first = &structure.parts[0];
                // The size is of lines ended by CRLF; there is one.
                let size = (first.size + 1).to_string();
                let found =
                    (structure.content_type.clone(), first.content_type.clone(), size, structure.parts.len());
                verdict.check(set, file, "bodystructure", wanted, found);
            } else if command.starts_with("fetch 1 (body.peek[")
                && let Some((_, literal)) = reply.split_once("{{{\n")
            {
                let section = command["fetch 1 (body.peek[".len()..].trim_end_matches("])");
                if !section.is_empty() && section.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                    let part = parsed[0].part(section).unwrap();
                    // The reply ends with a line break of the script's.
                    let found = format!("{}\n", unix(&String::from_utf8_lossy(&part.bytes)));
                    verdict.check(set, file, "body", format!("{literal}\n"), found);
                }
            } else if let Some(found) = search(&heads, &command) {
                verdict.check(set, file, "search", numbers(reply), found);
            } else if let Some(found) = sort(&heads, &command) {
                verdict.check(set, file, "sort", numbers(reply), found);
            } else if command.starts_with("thread references") {
                let text = reply.split_once(' ').unwrap().1;
                let wanted = Value::all(text)
                    .iter()
                    .map(|thread| numbers(&format!("{thread:?}")).into_iter().collect())
                    .collect();
                verdict.check(set, file, "thread", wanted, threads(&heads));
            }
        }
    }
}

#[test]
fn messages_answer_what_an_imap_server_would() {
    let mut verdict = Verdict::of(&CHECKED);
    for (set, file, path) in files(".mbox") {
        if path.with_extension("").is_file() {
            compare(&mut verdict, &set, file.trim_end_matches(".mbox"), &path);
        }
    }
    verdict.end();
}
