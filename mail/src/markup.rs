//! Text from HTML, in one pass and with memory for the text only.

use mail_parser::decoders::html::add_html_token;

/// Elements of which the content is no text for a reader.
const UNSEEN: [&str; 9] =
    ["script", "style", "title", "template", "svg", "math", "object", "textarea", "select"];
/// Elements that start and end a line.
const BLOCKS: [&str; 26] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "pre",
    "section",
    "table",
    "tr",
    "ul",
];

struct Writer {
    out: String,
    /// White space is owed before the next character.
    space: bool,
    pre: bool,
    quotes: u32,
    skip_quotes: bool,
}

impl Writer {
    fn is_silent(&self) -> bool {
        self.skip_quotes && self.quotes > 0
    }

    fn push(&mut self, c: char) {
        if self.is_silent() {
            return;
        }
        if c.is_whitespace() && !(self.pre && c == '\n') {
            self.space = true;
        } else if c == '\n' {
            self.break_line(true);
        } else {
            if self.space && !self.out.is_empty() && !self.out.ends_with('\n') {
                self.out.push(' ');
            }
            self.space = false;
            self.out.push(c);
        }
    }

    /// Ends the line; `always` also when it is empty.
    fn break_line(&mut self, always: bool) {
        self.space = false;
        if self.is_silent() || self.out.is_empty() {
            return;
        }
        // Two empty lines say no more than one.
        if !self.out.ends_with('\n') || always && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn text(&mut self, text: &str) {
        if self.is_silent() {
            return;
        }
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
            rest[..at].chars().for_each(|c| self.push(c));
            rest = &rest[at..];
            let name =
                rest[1..].bytes().take(32).take_while(|b| b.is_ascii_alphanumeric() || *b == b'#').count();
            if name > 0 && rest.as_bytes().get(name + 1) == Some(&b';') {
                entity(&rest[..name + 2]).chars().for_each(|c| self.push(c));
                rest = &rest[name + 2..];
            } else {
                self.push('&');
                rest = &rest[1..];
            }
        }
        rest.chars().for_each(|c| self.push(c));
    }
}

fn entity(token: &str) -> String {
    let number = token[1..token.len() - 1].strip_prefix('#');
    let code = number.and_then(|n| match n.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => n.parse().ok(),
    });
    if let Some(code @ 0x80..=0x9f) = code {
        // HTML reads these as windows-1252.
        return encoding_rs::WINDOWS_1252.decode_without_bom_handling(&[code as u8]).0.into_owned();
    }
    let mut out = String::new();
    add_html_token(&mut out, token.as_bytes(), false);
    out.retain(|c| c != '\0');
    out
}

/// The text of HTML; stops once it has `max` octets. With `skip_quotes` without its block quotes.
pub(crate) fn text_of(html: &str, max: usize, skip_quotes: bool) -> String {
    let mut writer = Writer {
        out: String::with_capacity((html.len() / 3).min(max)),
        space: false,
        pre: false,
        quotes: 0,
        skip_quotes,
    };
    let bytes = html.as_bytes();
    let mut at = 0;
    // Once a quote in a tag was not closed, quotes count for nothing: looking again for each tag is quadratic.
    let mut heeds_quotes = true;
    while at < bytes.len() && writer.out.len() < max {
        let open = memchr::memchr(b'<', &bytes[at..]).map_or(bytes.len(), |i| at + i);
        writer.text(&html[at..open]);
        if open == bytes.len() {
            break;
        }
        let rest = &bytes[open..];
        if rest.starts_with(b"<!--") {
            at = memchr::memmem::find(&rest[4..], b"-->").map_or(bytes.len(), |i| open + 4 + i + 3);
            continue;
        }
        if matches!(rest.get(1), Some(b'!' | b'?')) {
            at = memchr::memchr(b'>', rest).map_or(bytes.len(), |i| open + i + 1);
            continue;
        }
        let closes = rest.get(1) == Some(&b'/');
        let name_start = if closes { 2 } else { 1 };
        let name_len = rest[name_start..].iter().take(16).take_while(|b| b.is_ascii_alphanumeric()).count();
        if name_len == 0 || !rest[name_start].is_ascii_alphabetic() {
            writer.push('<');
            at = open + 1;
            continue;
        }
        let name = html[open + name_start..open + name_start + name_len].to_ascii_lowercase();
        let after = open + name_start + name_len;
        let end = if heeds_quotes { tag_end(&bytes[after..]) } else { None };
        let end = end.or_else(|| {
            heeds_quotes = false;
            memchr::memchr(b'>', &bytes[after..])
        });
        let Some(end) = end else { break };
        at = after + end + 1;
        if !closes && UNSEEN.contains(&name.as_str()) && bytes[at - 2] != b'/' {
            at = close_of(bytes, at, &name);
        } else {
            tag(&mut writer, &name, closes);
        }
    }
    writer.out.truncate(writer.out.floor_char_boundary(max));
    writer.out
}

fn tag(writer: &mut Writer, name: &str, closes: bool) {
    match name {
        "br" => {
            writer.space = false;
            if !writer.is_silent() && !writer.out.is_empty() && !writer.out.ends_with("\n\n") {
                writer.out.push('\n');
            }
        }
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => writer.break_line(true),
        "td" | "th" => writer.space = true,
        "blockquote" if closes => {
            writer.break_line(false);
            writer.quotes = writer.quotes.saturating_sub(1);
        }
        "blockquote" => {
            writer.break_line(false);
            writer.quotes += 1;
        }
        _ => {
            if name == "pre" {
                writer.pre = !closes;
            }
            if BLOCKS.contains(&name) {
                writer.break_line(false);
            }
        }
    }
}

/// Where a tag ends, its quoted attribute values heeded.
pub(crate) fn tag_end(rest: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (i, b) in rest.iter().enumerate() {
        match (quote, b) {
            (None, b'>') => return Some(i),
            // A quote that opens no value (`<b don't>`) is a letter.
            (None, b'"' | b'\'') if rest[..i].trim_ascii_end().ends_with(b"=") => quote = Some(*b),
            (Some(q), b) if q == *b => quote = None,
            _ => {}
        }
    }
    None
}

/// Behind the end tag of an element whose content is not read.
fn close_of(bytes: &[u8], mut at: usize, name: &str) -> usize {
    while let Some(i) = memchr::memmem::find(&bytes[at..], b"</") {
        at += i + 2;
        if bytes[at..].len() >= name.len() && bytes[at..at + name.len()].eq_ignore_ascii_case(name.as_bytes())
        {
            return memchr::memchr(b'>', &bytes[at..]).map_or(bytes.len(), |i| at + i + 1);
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_the_text_that_it_shows() {
        let cases: &[(&str, &str)] = &[
            ("plain", "plain"),
            ("a<br>b<p>c</p>d", "a\nb\nc\nd"),
            ("<p>one</p><p>two</p>", "one\n\ntwo"),
            ("a  \n b", "a b"), // white space is one space
            ("<style>x{}</style>a<script>if (a<b) {}</script>b", "ab"),
            ("<title>t</title>a", "a"),
            ("a<!-- <b>not</b> -->b", "ab"),
            ("&lt;a&gt; &amp; &eacute;&#233;&#xe9;&nbsp;&#150;x", "<a> & ééé –x"),
            ("AT&T &unknown; &", "AT&T &unknown; &"),
            ("1 < 2", "1 < 2"), // no tag
            ("<a title=\"a > b\">x</a>", "x"),
            ("<a title=\"never closed>x", "x"),
            ("<b don't>x</b>", "x"),
            ("<ul><li>a<li>b</ul>", "a\nb\n"),
            ("<tr><td>a</td><td>b</td></tr>", "a b\n"),
            ("<pre>a\nb</pre>", "a\nb\n"),
            ("<script>never closed", ""),
            ("x<", "x<"),
        ];
        for (html, expected) in cases {
            assert_eq!(text_of(html, 1000, false).trim_end(), expected.trim_end(), "{html}");
        }
        assert_eq!(text_of("new<blockquote>old</blockquote>end", 1000, true), "new\nend");
        assert_eq!(text_of("ééé", 3, false), "é");
    }

    #[test]
    fn hostile_html_takes_one_pass() {
        for unit in ["<a b='", "<script>", "<!--", "<b", "&amp", "</", "<a b=\"\" c='"] {
            let html = unit.repeat(20_000);
            let start = std::time::Instant::now();
            text_of(&html, 1 << 20, false);
            assert!(start.elapsed().as_secs() < 5, "{unit}");
        }
    }
}
