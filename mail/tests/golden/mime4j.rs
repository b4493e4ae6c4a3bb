//! Against the parts that mime4j finds in its test messages.
//!
//! `X.xml` is the tree with the parts as they were sent, `X_decoded.xml` the tree with a file for each decoded
//! leaf. What they write is not quite XML (an end of line after each tag that is none of the text), and no more
//! than the few tags below.

use std::{fs, path::Path};

use mail::{Limits, Message, Structure, parse};

use crate::sets::{Verdict, files, sha256, squeezed, text_of};

const CHECKED: [&str; 5] = ["tree", "header", "part_types", "part_texts", "part_contents"];

/// A message or a body part.
#[derive(Debug, Default)]
struct Entity {
    fields: Vec<(String, String)>,
    content: Content,
}

#[derive(Debug, Default)]
enum Content {
    #[default]
    None,
    /// The file with the decoded content; whether it is text.
    Leaf(String, bool),
    Multipart(Vec<Entity>),
    Message(Box<Entity>),
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn next_is(&self, tag: &str) -> bool {
        self.rest.trim_start().starts_with(tag)
    }

    fn take(&mut self, tag: &str) {
        self.rest = self.rest.trim_start().strip_prefix(tag).unwrap_or_else(|| panic!("no {tag}"));
    }

    /// What stands between a tag and its end.
    fn within(&mut self, name: &str) -> &'a str {
        self.take(&format!("<{name}>"));
        let (text, rest) = self.rest.split_once(&format!("</{name}>")).unwrap();
        self.rest = rest;
        text
    }

    fn entity(&mut self, name: &str) -> Entity {
        self.take(&format!("<{name}>"));
        self.take("<header>");
        let mut entity = Entity::default();
        while self.next_is("<field>") {
            let field = self.within("field").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            let (name, value) = field.split_once(':').unwrap_or((&field, ""));
            entity.fields.push((name.trim().to_string(), squeezed(value)));
        }
        self.take("</header>");
        entity.content = self.content();
        self.take(&format!("</{name}>"));
        entity
    }

    fn content(&mut self) -> Content {
        for (tag, is_text) in [("<text-body name=\"", true), ("<binary-body name=\"", false)] {
            if self.next_is(tag) {
                self.take(tag);
                let (file, rest) = self.rest.split_once("\"/>").unwrap();
                self.rest = rest;
                return Content::Leaf(file.to_string(), is_text);
            }
        }
        if self.next_is("<message>") {
            return Content::Message(Box::new(self.entity("message")));
        }
        if !self.next_is("<multipart>") {
            return Content::None;
        }
        self.take("<multipart>");
        let mut parts = Vec::new();
        while !self.next_is("</multipart>") {
            if self.next_is("<body-part>") {
                parts.push(self.entity("body-part"));
            } else {
                let name = if self.next_is("<preamble>") { "preamble" } else { "epilogue" };
                self.within(name);
            }
        }
        self.take("</multipart>");
        Content::Multipart(parts)
    }
}

impl Entity {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a field before its parameters.
    fn token(&self, name: &str) -> Option<String> {
        self.field(name).map(|value| value.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
    }

    fn shape(&self) -> String {
        match &self.content {
            Content::None | Content::Leaf(..) => "leaf".into(),
            Content::Message(message) => format!("message({})", message.shape()),
            Content::Multipart(parts) => {
                format!("multipart({})", parts.iter().map(Entity::shape).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

fn shape(part: &Structure) -> String {
    let parts: Vec<_> = part.parts.iter().map(shape).collect();
    if part.content_type.starts_with("multipart/") {
        format!("multipart({})", parts.join(" "))
    } else if parts.is_empty() {
        "leaf".into()
    } else {
        format!("message({})", parts.join(" "))
    }
}

struct Comparison<'a> {
    verdict: &'a mut Verdict,
    set: &'a str,
    file: &'a str,
    folder: &'a Path,
}

impl Comparison<'_> {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &'static str, expected: T, found: T) {
        self.verdict.check(self.set, self.file, what, expected, found);
    }

    fn message(&mut self, expected: &Entity, message: &Message<'_>) {
        let found: Vec<_> = message
            .headers()
            .into_iter()
            .map(|h| {
                // Theirs is as it was sent; the decoded one is compared elsewhere.
                let sent = expected.field(&h.name).filter(|sent| sent.contains("=?")).map(String::from);
                (h.name, sent.unwrap_or(squeezed(&h.value)))
            })
            .collect();
        self.check("header", expected.fields.clone(), found);
        let structure = message.structure();
        let is_alike = expected.shape() == shape(&structure);
        self.check("tree", expected.shape(), shape(&structure));
        if is_alike {
            self.part(expected, &structure, message, false);
        }
    }

    fn part(&mut self, expected: &Entity, found: &Structure, message: &Message<'_>, is_of_digest: bool) {
        let default = if is_of_digest { "message/rfc822" } else { "text/plain" };
        let declared = expected.token("content-type").unwrap_or(default.into());
        self.check("part_types", declared.clone(), found.content_type.clone());
        self.check("part_types", expected.token("content-disposition"), found.disposition.clone());
        let part = message.part(&found.part_id);
        match &expected.content {
            Content::None => self.check("part_contents", found.size, 0),
            Content::Leaf(file, is_text) => {
                let wanted = fs::read(self.folder.join(file)).unwrap();
                let part = part.unwrap();
                let summary = |bytes: &[u8]| (bytes.len(), sha256(bytes));
                self.check("part_contents", summary(&wanted), summary(&part.bytes));
                if *is_text
                    && let Ok(text) = String::from_utf8(wanted)
                    && text.is_ascii()
                {
                    self.check("part_texts", text, text_of(&part));
                }
            }
            Content::Multipart(parts) => {
                for (wanted, found) in parts.iter().zip(&found.parts) {
                    self.part(wanted, found, message, declared == "multipart/digest");
                }
            }
            Content::Message(wanted) => {
                self.message(wanted, &parse(&part.unwrap().bytes, &Limits::default()))
            }
        }
    }
}

#[test]
fn messages_have_the_parts_that_mime4j_finds() {
    let mut verdict = Verdict::of(&CHECKED);
    for (set, file, path) in files("_decoded.xml") {
        let name = file.replace("_decoded.xml", ".msg");
        let raw = fs::read(path.with_file_name(name.rsplit('/').next().unwrap())).unwrap();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let expected = Reader { rest: &text }.entity("message");
        let folder = path.parent().unwrap();
        let mut comparison = Comparison { verdict: &mut verdict, set: &set, file: &name, folder };
        comparison.message(&expected, &parse(&raw, &Limits::default()));
    }
    verdict.end();
}
