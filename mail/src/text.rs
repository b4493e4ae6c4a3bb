//! The text of a message: which parts are its body (RFC 8621 §4.1.4), and what they say.

use crate::{
    Limits, charset, markup,
    structure::{Kind, Tree},
};

/// The parts that are shown as the message.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// For a reader of text.
    pub(crate) text: Vec<usize>,
    /// For a reader of HTML.
    pub(crate) html: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Context {
    in_alternative: bool,
    wants_text: bool,
    wants_html: bool,
}

impl Body {
    /// Of the message of that root.
    pub(crate) fn of(tree: &Tree<'_>, root: usize) -> Self {
        let mut body = Self::default();
        let context = Context { in_alternative: false, wants_text: true, wants_html: true };
        body.collect(tree, &[root], "mixed", context);
        // A message that is nothing but one text is shown, even when it calls itself an attachment or is a
        // multipart without parts.
        if body.text.is_empty()
            && body.html.is_empty()
            && tree.nodes[root].kind == Kind::Leaf
            && matches!(tree.nodes[root].main_type(), "text" | "multipart")
        {
            body.text.push(root);
            body.html.push(root);
        }
        // Newsletters send an empty text beside their HTML.
        let is_html = |id: &usize| tree.nodes[*id].media.essence == "text/html";
        if body.html.iter().any(is_html) && body.text.iter().all(|&id| is_blank(tree, id)) {
            body.text.clone_from(&body.html);
        }
        body
    }

    pub(crate) fn contains(&self, id: usize) -> bool {
        self.text.contains(&id) || self.html.contains(&id)
    }

    fn collect(&mut self, tree: &Tree<'_>, parts: &[usize], multipart: &str, context: Context) {
        let (texts, htmls) = (self.text.len(), self.html.len());
        let (mut wants_text, mut wants_html) = (context.wants_text, context.wants_html);
        for (i, &id) in parts.iter().enumerate() {
            let node = &tree.nodes[id];
            let essence = node.media.essence.as_str();
            if node.kind == Kind::Multipart {
                let subtype = essence.split_once('/').map_or("mixed", |(_, s)| s);
                let in_alternative = context.in_alternative || subtype == "alternative";
                self.collect(
                    tree,
                    &node.children,
                    subtype,
                    Context { in_alternative, wants_text, wants_html },
                );
                continue;
            }
            let is_html = essence == "text/html";
            let is_shown = !node.is_attached()
                && (is_html || is_plain(essence) || node.main_type() == "multipart")
                && (i == 0 || multipart != "related" && node.name().is_none());
            if !is_shown {
                continue;
            }
            if multipart == "alternative" {
                if is_html && wants_html {
                    self.html.push(id);
                } else if essence == "text/plain" && wants_text {
                    self.text.push(id);
                }
                continue;
            }
            if context.in_alternative {
                if is_html {
                    wants_text = false;
                } else {
                    wants_html = false;
                }
            }
            if wants_text {
                self.text.push(id);
            }
            if wants_html {
                self.html.push(id);
            }
        }
        if multipart == "alternative" && context.wants_text && context.wants_html {
            if self.text.len() == texts && self.html.len() > htmls {
                self.text.extend_from_slice(&self.html[htmls..]);
            } else if self.html.len() == htmls && self.text.len() > texts {
                self.html.extend_from_slice(&self.text[texts..]);
            }
        }
    }
}

/// Whether a part has no text: it is short and all space. HTML is taken to have some.
fn is_blank(tree: &Tree<'_>, id: usize) -> bool {
    const SHORT: usize = 1024;
    if tree.nodes[id].media.essence == "text/html" {
        return false;
    }
    let start = tree.content(id, SHORT);
    start.len() < SHORT && start.iter().all(|octet| octet.is_ascii_whitespace())
}

/// Text that is read as it stands; calendars and what AMP makes are for programs.
fn is_plain(essence: &str) -> bool {
    essence.starts_with("text/")
        && !matches!(
            essence,
            "text/html" | "text/calendar" | "text/x-amp-html" | "text/rfc822-headers" | "text/vcard"
        )
}

/// The charset of a part, for its text and for headers that declare none.
pub(crate) fn charset_of<'a>(tree: &'a Tree<'_>, id: usize) -> Option<&'a str> {
    tree.nodes[id].media.charset.as_deref()
}

/// A text part's content as text, from at most `max` decoded octets.
pub(crate) fn decoded(tree: &Tree<'_>, id: usize, max: usize) -> String {
    let bytes = tree.content(id, max);
    let label = charset_of(tree, id);
    let declared = label.is_none() && tree.nodes[id].media.essence == "text/html";
    let meta = if declared { meta_charset(&bytes) } else { None };
    let mut text = charset::decode(&bytes, label.or(meta.as_deref())).into_owned();
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    text
}

/// What `<meta charset=…>` near the start of HTML says.
fn meta_charset(html: &[u8]) -> Option<String> {
    let start = String::from_utf8_lossy(&html[..html.len().min(1024)]).to_ascii_lowercase();
    let (_, rest) = start.split_once("charset=")?;
    let label: String = rest
        .trim_start_matches(['"', '\''])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    // Octets that spell this in ASCII are in no encoding of two octets a character.
    (!label.is_empty() && !label.starts_with("utf-16")).then_some(label)
}

/// A part as plain text, whether it is HTML or not.
pub(crate) fn plain(tree: &Tree<'_>, id: usize, limits: &Limits, max: usize) -> String {
    if tree.nodes[id].media.essence == "text/html" {
        markup::text_of(&decoded(tree, id, limits.html_bytes), max, false)
    } else {
        decoded(tree, id, max)
    }
}

/// The text of the body's parts, one after the other.
pub(crate) fn body_text(tree: &Tree<'_>, body: &Body, limits: &Limits) -> String {
    let mut out = String::new();
    for &id in &body.text {
        let room = limits.text_bytes.saturating_sub(out.len());
        if room == 0 {
            break;
        }
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        let text = plain(tree, id, limits, room);
        if out.is_empty() {
            out = text;
        } else {
            out.push_str(&text);
        }
    }
    out
}

/// The HTML of the body's parts, text between them escaped; `None` when there is no HTML.
pub(crate) fn body_html(tree: &Tree<'_>, body: &Body, limits: &Limits) -> Option<String> {
    let is_html = |id: &usize| tree.nodes[*id].media.essence == "text/html";
    if !body.html.iter().any(is_html) {
        return None;
    }
    let mut out = String::new();
    for id in &body.html {
        let room = limits.html_bytes.saturating_sub(out.len());
        if room == 0 {
            break;
        }
        let text = decoded(tree, *id, room);
        if is_html(id) {
            out.push_str(&text);
        } else {
            out.push_str("<pre>");
            for c in text.chars() {
                match c {
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    '&' => out.push_str("&amp;"),
                    c => out.push(c),
                }
            }
            out.push_str("</pre>\n");
        }
    }
    Some(out)
}
