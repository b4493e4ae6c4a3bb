//! Against mail-parser's own reading of its test messages.

use std::fs;

use mail::{Limits, Message, Structure, parse};
use serde_json::Value;

use crate::sets::{Verdict, files, sha256, squeezed, text_of, unix};

const CHECKED: [&str; 13] = [
    "fields",
    "subject",
    "addresses",
    "ids",
    "date",
    "values",
    "parts",
    "names",
    "dispositions",
    "contents",
    "texts",
    "text_body",
    "attachments",
];

/// The first field of a name, by the kind of its value.
fn field<'a>(headers: &'a Value, name: &str, kind: &str) -> Option<&'a Value> {
    headers.as_array()?.iter().find(|h| h["name"] == name)?["value"].get(kind)
}

fn fields(headers: &Value) -> Vec<String> {
    let name = |h: &Value| match h["name"].as_str() {
        Some(name) => name.replace('_', "-"),
        None => h["name"]["other"].as_str().unwrap().to_ascii_lowercase(),
    };
    headers.as_array().unwrap().iter().map(name).collect()
}

/// What a part calls itself; `is_of_digest`: it stands in a multipart/digest.
fn media_type(part: &Value, is_of_digest: bool) -> String {
    match field(&part["headers"], "content_type", "ContentType") {
        Some(found) => {
            let kind = found["c_type"].as_str().unwrap();
            let essence = found["c_subtype"].as_str().map_or(kind.to_string(), |sub| format!("{kind}/{sub}"));
            essence.to_ascii_lowercase()
        }
        None if is_of_digest => "message/rfc822".into(),
        None => "text/plain".into(),
    }
}

fn attribute(part: &Value, header: &str, name: &str) -> Option<String> {
    let found = field(&part["headers"], header, "ContentType")?;
    let pairs = found["attributes"].as_array()?;
    Some(squeezed(pairs.iter().find(|p| p["name"] == name)?["value"].as_str()?))
}

/// Name and address, a word that stands for both and one that stands alone as the address.
fn pair(name: &str, email: &str) -> (String, String) {
    let name = squeezed(name);
    match email {
        "" if !name.contains(' ') => (String::new(), name),
        email if email == name => (String::new(), name),
        email => (name, email.to_string()),
    }
}

fn addresses(headers: &Value, name: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for header in headers.as_array().unwrap().iter().filter(|h| h["name"] == name) {
        let value = &header["value"]["Address"];
        let lists = value["Group"].as_array().into_iter().flatten().map(|g| &g["addresses"]);
        for list in lists.chain([&value["List"]]) {
            let text = |value: &Value| value.as_str().unwrap_or("").to_string();
            all.extend(
                list.as_array().into_iter().flatten().map(|a| pair(&text(&a["name"]), &text(&a["address"]))),
            );
        }
    }
    all
}

fn texts(headers: &Value, name: &str) -> Vec<String> {
    let of = |v: &Value| v.as_str().map(String::from);
    if let Some(one) = field(headers, name, "Text") {
        return of(one).into_iter().collect();
    }
    field(headers, name, "TextList").and_then(Value::as_array).into_iter().flatten().filter_map(of).collect()
}

fn seconds(date: &Value) -> Option<i64> {
    let n = |key: &str| date[key].as_i64();
    let civil = jiff::civil::DateTime::new(
        n("year")? as i16,
        n("month")? as i8,
        n("day")? as i8,
        n("hour")? as i8,
        n("minute")? as i8,
        n("second")? as i8,
        0,
    );
    let local = civil.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    let offset = n("tz_hour")? * 3600 + n("tz_minute")? * 60;
    Some(if date["tz_before_gmt"] == true { local + offset } else { local - offset })
}

fn octets(list: &Value) -> Vec<u8> {
    list.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u8).collect()
}

/// The tree of types of a message, messages in it as one part.
fn expected_tree(message: &Value, index: usize, is_of_digest: bool) -> String {
    let part = &message["parts"][index];
    let essence = media_type(part, is_of_digest);
    let children = part["body"]["Multipart"].as_array().filter(|children| !children.is_empty());
    let Some(children) = children else { return essence };
    let is_digest = essence == "multipart/digest";
    let children = children.iter().map(|c| expected_tree(message, c.as_u64().unwrap() as usize, is_digest));
    format!("{essence}({})", children.collect::<Vec<_>>().join(" "))
}

fn found_tree(part: &Structure) -> String {
    if !part.content_type.starts_with("multipart/") || part.parts.is_empty() {
        return part.content_type.clone();
    }
    let children: Vec<_> = part.parts.iter().map(found_tree).collect();
    format!("{}({})", part.content_type, children.join(" "))
}

/// The parts of ours that are those of theirs, by their index, where the trees are alike.
fn pairs<'a>(message: &Value, index: usize, part: &'a Structure, out: &mut Vec<(usize, &'a Structure)>) {
    out.push((index, part));
    for (child, part) in
        message["parts"][index]["body"]["Multipart"].as_array().into_iter().flatten().zip(&part.parts)
    {
        pairs(message, child.as_u64().unwrap() as usize, part, out);
    }
}

struct Comparison<'a> {
    verdict: &'a mut Verdict,
    set: &'a str,
    file: &'a str,
}

impl Comparison<'_> {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &'static str, expected: T, found: T) {
        self.verdict.check(self.set, self.file, what, expected, found);
    }

    fn head(&mut self, headers: &Value, message: &Message<'_>) {
        let head = message.head();
        let found = message.headers();
        let names: Vec<_> = found.iter().map(|h| h.name.to_ascii_lowercase()).collect();
        let wanted = fields(headers);
        let is_alike = wanted == names;
        self.check("fields", wanted, names);
        if is_alike {
            let others = headers.as_array().unwrap().iter().zip(&found);
            let others: Vec<_> = others
                .filter_map(|(h, f)| Some((h["name"].get("other")?, h["value"].get("Text")?.as_str()?, f)))
                .collect();
            let wanted: Vec<_> = others.iter().map(|(_, wanted, _)| squeezed(wanted)).collect();
            let found: Vec<_> = others.iter().map(|(_, _, found)| squeezed(&found.value)).collect();
            self.check("values", wanted, found);
        }
        let subject = field(headers, "subject", "Text").and_then(Value::as_str).unwrap_or("");
        self.check("subject", squeezed(subject), squeezed(&head.subject));
        let lists = [("from", &head.from), ("to", &head.to), ("cc", &head.cc), ("bcc", &head.bcc)];
        for (name, list) in lists.into_iter().chain([("reply_to", &head.reply_to)]) {
            let found: Vec<_> =
                list.iter().map(|a| pair(a.name.as_deref().unwrap_or(""), &a.email)).collect();
            self.check("addresses", addresses(headers, name), found);
        }
        self.check("ids", texts(headers, "message_id"), head.message_id.clone().into_iter().collect());
        self.check("ids", texts(headers, "in_reply_to"), head.in_reply_to.clone());
        self.check("ids", texts(headers, "references"), head.references.clone());
        let date = field(headers, "date", "DateTime").and_then(seconds);
        self.check("date", date, head.sent_at.map(|ms| ms as i64 / 1000));
        if let Some(lists) = field(headers, "list_id", "Address") {
            let wanted = lists["List"][0]["address"].as_str().map(str::to_lowercase);
            self.check(
                "addresses",
                vec![(String::new(), wanted.unwrap_or_default())],
                vec![(String::new(), head.list_id.clone().unwrap_or_default())],
            );
        }
    }

    fn part(&mut self, expected: &Value, message: &Message<'_>, found: &Structure) {
        let name = attribute(expected, "content_disposition", "filename")
            .or_else(|| attribute(expected, "content_type", "name"));
        self.check("names", name, found.name.as_deref().map(squeezed));
        let disposition = field(&expected["headers"], "content_disposition", "ContentType");
        let disposition = disposition.and_then(|d| d["c_type"].as_str()).map(str::to_ascii_lowercase);
        self.check("dispositions", disposition, found.disposition.clone());
        let id = field(&expected["headers"], "content_id", "Text").and_then(Value::as_str);
        self.check(
            "ids",
            id.into_iter().map(String::from).collect(),
            found.content_id.clone().into_iter().collect::<Vec<_>>(),
        );
        let body = &expected["body"];
        let Some(part) = message.part(&found.part_id) else {
            return self.check(
                "contents",
                String::new(),
                if body.get("Multipart").is_some() { String::new() } else { "none".into() },
            );
        };
        if let Some(text) = body.get("Text").or(body.get("Html")) {
            // What is no text by its type, theirs is of its octets.
            let is_text = ["text/", "multipart/"].iter().any(|t| found.content_type.starts_with(t));
            let got =
                if is_text { text_of(&part) } else { String::from_utf8_lossy(&part.bytes).into_owned() };
            self.check("texts", unix(text.as_str().unwrap()), unix(&got));
        } else if let Some(list) = body.get("Binary").or(body.get("InlineBinary")) {
            let wanted = octets(list);
            let lengths = (wanted.len(), part.bytes.len());
            self.check("contents", (lengths.0, sha256(&wanted)), (lengths.1, sha256(&part.bytes)));
        } else if let Some(nested) = body.get("Message") {
            self.message(nested, &parse(&part.bytes, &Limits::default()));
        }
    }

    fn message(&mut self, expected: &Value, message: &Message<'_>) {
        self.head(&expected["parts"][0]["headers"], message);
        let structure = message.structure();
        let (wanted, found) = (expected_tree(expected, 0, false), found_tree(&structure));
        let is_alike = wanted == found;
        self.check("parts", wanted, found);
        if !is_alike {
            return;
        }
        let mut parts = Vec::new();
        pairs(expected, 0, &structure, &mut parts);
        for (index, part) in &parts {
            self.part(&expected["parts"][*index], message, part);
        }
        let listed = |key: &str| -> Vec<usize> {
            expected[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
        };
        let number = |index: &usize| parts.iter().find(|(i, _)| i == index).unwrap().1.part_id.clone();
        let wanted: Vec<_> = listed("attachments").iter().map(number).collect();
        let found: Vec<_> = message.attachments().into_iter().map(|a| a.part_id).collect();
        self.check("attachments", wanted, found);
        let bodies: Vec<_> = listed("text_body").iter().map(|i| &expected["parts"][*i]["body"]).collect();
        if bodies.iter().all(|body| body.get("Html").is_none()) {
            let texts: Vec<_> = bodies.iter().filter_map(|body| body["Text"].as_str()).collect();
            self.check("text_body", squeezed(&texts.join("\n")), squeezed(&message.text_body()));
        }
    }
}

#[test]
fn messages_are_what_mail_parser_reads() {
    let mut verdict = Verdict::of(&CHECKED);
    for (set, file, path) in files(".eml") {
        let raw = fs::read(&path).unwrap();
        let lines = raw.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let crlf = lines.collect::<Vec<_>>().join(&b"\r\n"[..]);
        for (raw, ending) in [(raw, "json"), (crlf, "crlf.json")] {
            let Ok(text) = fs::read_to_string(path.with_extension(ending)) else { continue };
            let expected: Value = serde_json::from_str(&text).unwrap();
            let mut comparison = Comparison { verdict: &mut verdict, set: &set, file: &file };
            comparison.message(&expected, &parse(&raw, &Limits::default()));
        }
    }
    verdict.end();
}
