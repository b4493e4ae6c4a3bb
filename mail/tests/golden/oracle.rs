//! Against CPython's email package.
//!
//! Of a well-formed message (`class: clean`) everything must agree. Of another (`dirty`) it counts that it is
//! read; what the other reader makes of it is compared too, so that each difference has been looked at.

use std::{collections::BTreeMap, fs};

use mail::{Limits, Message, Structure, parse};
use serde_json::Value;

use crate::sets::{Verdict, expectations, sets_with, sha256, squeezed, text_of};

const CHECKED: [&str; 14] = [
    "subject",
    "from",
    "from_names",
    "to",
    "cc",
    "message_id",
    "in_reply_to",
    "references",
    "date",
    "attachments",
    "attachment_list",
    "leaf_types",
    "text",
    "text_body",
];

fn leaves<'a>(part: &'a Structure, out: &mut Vec<&'a Structure>) {
    if part.content_type.starts_with("multipart/") && !part.parts.is_empty() {
        part.parts.iter().for_each(|p| leaves(p, out));
    } else {
        out.push(part);
    }
}

/// What is expected to be the same, and what is found: (the name of it, expected, found).
fn comparisons(expected: &Value, message: &Message<'_>) -> Vec<(&'static str, String, String)> {
    let head = message.head();
    let mut found = Vec::new();
    let mut check = |what, expected: String, got: String| found.push((what, expected, got));
    if let Some(subject) = expected["subject"].as_str() {
        check("subject", squeezed(subject), squeezed(&head.subject));
    }
    // `<>` is what the other reader makes of a field without an address: a bare word, which is one of this host
    // here, or nothing.
    let no_address = |email: &str| email.is_empty() || !email.contains('@');
    if let Some(from) = expected["from"][0][1].as_str() {
        let got = head.from.first().map_or("", |a| a.email.as_str());
        let got = if from == "<>" && no_address(got) { "<>" } else { got };
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
    for (key, list) in [("from", &head.from), ("to", &head.to), ("cc", &head.cc)] {
        let Some(wanted) = expected[key].as_array() else { continue };
        let wanted: Vec<_> = wanted
            .iter()
            .map(|a| (squeezed(a[0].as_str().unwrap_or("")), a[1].as_str().unwrap_or("")))
            .filter(|(name, email)| !(name.is_empty() && *email == "<>"))
            .collect();
        let mut got: Vec<_> =
            list.iter().map(|a| (squeezed(a.name.as_deref().unwrap_or("")), a.email.as_str())).collect();
        for (got, wanted) in got.iter_mut().zip(&wanted) {
            // The other reader takes no name from a comment, and repeats an address as its name.
            if wanted.0.is_empty() || wanted.0 == wanted.1 {
                got.0.clone_from(&wanted.0);
            }
            if wanted.1 == "<>" && no_address(got.1) && wanted.0 == format!("{}{}", got.0, got.1) {
                *got = (wanted.0.clone(), wanted.1);
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

    let attachments = message.attachments();
    if let (Some(strict), Some(wide)) = (expected["att_strict"].as_u64(), expected["att_wide"].as_u64()) {
        let n = attachments.len() as u64;
        let wanted = format!("{strict} to {wide}");
        check(
            "attachments",
            wanted.clone(),
            if (strict..=wide).contains(&n) { wanted } else { n.to_string() },
        );
    }
    let structure = message.structure();
    let mut parts = Vec::new();
    leaves(&structure, &mut parts);
    let of = |value: &Value| squeezed(value.as_str().unwrap_or(""));
    // Of a message in a message, and what is like one, the other reader gives no octets.
    let wanted: Vec<_> = expected["attachments"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|a| (of(&a["name"]), of(&a["type"]), of(&a["disp"]), a["size"].as_u64(), of(&a["sha256"])))
        .collect();
    let mut got: Vec<_> = attachments
        .iter()
        .map(|a| {
            let part = message.part(&a.part_id).unwrap();
            let (name, disposition) = (a.name.as_deref(), a.disposition.clone());
            let name = squeezed(name.unwrap_or(""));
            let digest = sha256(&part.bytes);
            (name, a.content_type.clone(), disposition.unwrap_or_default(), Some(a.size), digest)
        })
        .collect();
    for (got, wanted) in got.iter_mut().zip(&wanted).filter(|(_, wanted)| wanted.4.is_empty()) {
        (got.3, got.4) = (None, wanted.4.clone());
    }
    check("attachment_list", format!("{wanted:?}"), format!("{got:?}"));
    let wanted: Vec<_> = expected["leaf_types"].as_array().into_iter().flatten().map(of).collect();
    let got: Vec<_> = parts.iter().map(|p| p.content_type.clone()).collect();
    check("leaf_types", format!("{wanted:?}"), format!("{got:?}"));

    let of_attachment: Vec<_> = attachments.iter().map(|a| a.part_id.as_str()).collect();
    // A text that its charset does not fit is not expected to say anything.
    let is_text_known =
        expected["why_dirty"].as_array().into_iter().flatten().all(|why| why != "body-charset");
    let texts: Vec<_> = parts
        .iter()
        .filter(|p| p.content_type == "text/plain" && !of_attachment.contains(&p.part_id.as_str()))
        .map(|p| text_of(&message.part(&p.part_id).unwrap()))
        .collect();
    let text = squeezed(&texts.join("\n"));
    let wanted = (expected["text_norm_len"].as_u64(), of(&expected["text_norm_sha256"]));
    let got = (Some(text.chars().count() as u64), sha256(text.as_bytes()));
    if is_text_known {
        check("text", format!("{wanted:?}"), format!("{got:?}"));
    }
    let is_other_text = |p: &&Structure| {
        p.content_type != "text/plain"
            && ["text/", "multipart/"].iter().any(|t| p.content_type.starts_with(t))
    };
    let is_all_text = !parts.iter().any(is_other_text);
    if is_all_text && !texts.is_empty() {
        check("text_body", text, squeezed(&message.text_body()));
    }
    found
}

#[test]
fn messages_say_what_another_reader_sees() {
    let mut verdict = Verdict::of(&CHECKED);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (name, set) in sets_with("oracle-cpython.jsonl") {
        for expected in expectations(&set) {
            let file = expected["file"].as_str().unwrap();
            let raw = fs::read(set.join(file)).unwrap();
            let message = parse(&raw, &Limits::default());
            *counts.entry((name.clone(), expected["class"].as_str().unwrap().into())).or_default() += 1;
            for (what, wanted, got) in comparisons(&expected, &message) {
                verdict.check(&name, file, what, wanted, got);
            }
        }
    }
    for ((set, class), n) in counts {
        println!("{set}: {n} {class}");
    }
    verdict.end();
}
