//! HTML that is safe to show.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use ammonia::{Builder, UrlRelative};

use crate::markup;

/// Octets of HTML that are cleaned; what follows is left out.
const HTML_BYTES: usize = 2 << 20;
/// Elements open at once. No letter needs so many, and a tree builder's work grows with their square.
const OPEN_ELEMENTS: usize = 400;
/// Tags in all: what stands in a table but in no cell is put before it, each time by a search from the start.
const TAGS: usize = 20_000;
/// Comparisons of attribute names, of the same tag among each other, in all.
const COMPARISONS: usize = 300_000_000;
/// Images listed.
const IMAGES: usize = 2_000;

/// HTML that runs nothing, submits nothing and loads nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SafeHtml {
    /// The cleaned HTML. A remote image has its address in `data-remote` and no `src`.
    pub html: String,
    /// The addresses of remote images that it would have loaded, in order, each once.
    pub remote_images: Vec<String>,
}

/// What the images of a message point at, in the order of their markers.
#[derive(Default)]
struct Images {
    found: Vec<Image>,
}

enum Image {
    Remote(String),
    Part(String),
}

/// Cleans HTML as received. `cid_url` gives the URL of the part with a content id, if there is one.
///
/// What stays is the markup of a letter with its colours and sizes; scripts, forms, frames, style sheets, and
/// everything that a browser would fetch by itself go. Links lead to http, https and mailto only, in a new
/// window, without referrer.
pub fn safe_html(html: &str, cid_url: &dyn Fn(&str) -> Option<String>) -> SafeHtml {
    let html = &html[..html.floor_char_boundary(HTML_BYTES)];
    if costs_too_much(html) {
        let text = markup::text_of(html, HTML_BYTES, false);
        return SafeHtml {
            html: format!("<pre>{}</pre>", ammonia::clean_text(&text)),
            remote_images: Vec::new(),
        };
    }
    let mut hasher = DefaultHasher::new();
    html.hash(&mut hasher);
    let mark = format!("x-signet:{:016x}:", hasher.finish());
    let images = Arc::new(Mutex::new(Images::default()));
    let cleaned = builder(mark.clone(), Arc::clone(&images)).clean(html).to_string();
    let images = std::mem::take(&mut *images.lock().unwrap_or_else(PoisonError::into_inner));
    place_images(&cleaned, &mark, &images.found, cid_url)
}

/// Puts what each image may be in the place of its marker.
fn place_images(
    cleaned: &str,
    mark: &str,
    images: &[Image],
    cid_url: &dyn Fn(&str) -> Option<String>,
) -> SafeHtml {
    let marker = format!("src=\"{mark}");
    let mut safe = SafeHtml { html: String::with_capacity(cleaned.len()), remote_images: Vec::new() };
    let mut seen = HashSet::new();
    let mut rest = cleaned;
    while let Some(at) = rest.find(&marker) {
        safe.html.push_str(&rest[..at]);
        rest = &rest[at + marker.len()..];
        let end = rest.find('"').unwrap_or(rest.len());
        match rest[..end].parse().ok().and_then(|i: usize| images.get(i)) {
            Some(Image::Remote(url)) => {
                push_attribute(&mut safe.html, "data-remote", url);
                if seen.insert(url) {
                    safe.remote_images.push(url.clone());
                }
            }
            Some(Image::Part(cid)) => {
                if let Some(url) = cid_url(cid) {
                    push_attribute(&mut safe.html, "src", &url);
                }
            }
            None => {}
        }
        rest = rest.get(end + 1..).unwrap_or("");
    }
    safe.html.push_str(rest);
    safe
}

fn push_attribute(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether a tree builder should not be given this: more elements open at once than [`OPEN_ELEMENTS`], or tags
/// with so many attributes that comparing each with each takes long.
///
/// Where this reads a comment as a tag it counts too much, never too little: a tag ends here no earlier than
/// for a browser.
fn costs_too_much(html: &str) -> bool {
    // Elements that a browser closes by itself, or that never have content.
    const CLOSED: [&[u8]; 28] = [
        b"p",
        b"li",
        b"dd",
        b"dt",
        b"tr",
        b"td",
        b"th",
        b"tbody",
        b"thead",
        b"tfoot",
        b"option",
        b"colgroup",
        b"area",
        b"base",
        b"br",
        b"col",
        b"embed",
        b"hr",
        b"img",
        b"input",
        b"link",
        b"meta",
        b"param",
        b"source",
        b"track",
        b"wbr",
        b"html",
        b"body",
    ];
    let bytes = html.as_bytes();
    let mut open: HashMap<Vec<u8>, usize> = HashMap::new();
    let (mut total, mut inside, mut comparisons, mut tags) = (0usize, 0usize, 0usize, 0usize);
    let mut at = 0;
    while let Some(i) = memchr::memchr(b'<', &bytes[at..]) {
        at += i + 1;
        let closes = bytes.get(at) == Some(&b'/');
        let start = (at + usize::from(closes)).min(bytes.len());
        let is_name = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':');
        let len = bytes[start..].iter().take(32).take_while(is_name).count();
        if len == 0 || !bytes[start].is_ascii_alphabetic() {
            continue;
        }
        let name = bytes[start..start + len].to_ascii_lowercase();
        let Some(end) = markup::tag_end(&bytes[start + len..]) else { return true };
        let tag = &bytes[start + len..start + len + end];
        at = start + len + end;
        let separators =
            tag.iter().filter(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'"' | b'\'')).count();
        comparisons = comparisons.saturating_add(separators.saturating_mul(separators));
        inside += memchr::memchr_iter(b'<', tag).count();
        tags += 1;
        if comparisons > COMPARISONS || inside > OPEN_ELEMENTS || tags > TAGS {
            return true;
        }
        if CLOSED.contains(&&name[..]) {
            continue;
        }
        let count = open.entry(name).or_default();
        if !closes {
            *count += 1;
            total += 1;
        } else if *count > 0 {
            *count -= 1;
            total -= 1;
        }
        if total > OPEN_ELEMENTS || open.len() > OPEN_ELEMENTS {
            return true;
        }
    }
    false
}

fn builder(mark: String, images: Arc<Mutex<Images>>) -> Builder<'static> {
    let mut builder = Builder::default();
    builder
        .add_tags(["font", "big"])
        .rm_tags(["area", "map"])
        .add_clean_content_tags([
            "title", "noscript", "template", "object", "embed", "applet", "iframe", "frameset", "noembed",
            "noframes", "svg", "math", "audio", "video", "canvas", "textarea", "select", "datalist",
            "portal",
        ])
        .add_generic_attributes(["style", "align", "valign", "bgcolor", "color", "dir"])
        .add_tag_attributes("font", ["face", "size"])
        .add_tag_attributes("table", ["border", "cellpadding", "cellspacing", "width", "height"])
        .add_tag_attributes("td", ["width", "height", "nowrap"])
        .add_tag_attributes("th", ["width", "height", "nowrap"])
        .add_tag_attributes("tr", ["height"])
        .rm_tag_attributes("blockquote", ["cite"])
        .rm_tag_attributes("q", ["cite"])
        .rm_tag_attributes("del", ["cite"])
        .rm_tag_attributes("ins", ["cite"])
        .url_schemes(HashSet::from(["http", "https", "mailto", "cid", "data"]))
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("noopener noreferrer"))
        .set_tag_attribute_value("a", "target", "_blank")
        .filter_style_properties(HashSet::from(STYLES))
        .attribute_filter(move |element, attribute, value| match (element, attribute) {
            ("a", "href") => link(value).map(Cow::Owned),
            ("img", "src") => image(value, &mark, &images),
            (_, "style") => Some(Cow::Owned(style(value))),
            // No other attribute is an address.
            (_, "href" | "src" | "srcset" | "cite" | "background" | "poster" | "longdesc") => None,
            _ => Some(Cow::Borrowed(value)),
        });
    builder
}

const STYLES: [&str; 48] = [
    "background-color",
    "border",
    "border-bottom",
    "border-collapse",
    "border-color",
    "border-left",
    "border-radius",
    "border-right",
    "border-spacing",
    "border-style",
    "border-top",
    "border-width",
    "color",
    "direction",
    "font",
    "font-family",
    "font-size",
    "font-style",
    "font-variant",
    "font-weight",
    "height",
    "letter-spacing",
    "line-height",
    "list-style-type",
    "margin",
    "margin-bottom",
    "margin-left",
    "margin-right",
    "margin-top",
    "max-width",
    "min-width",
    "padding",
    "padding-bottom",
    "padding-left",
    "padding-right",
    "padding-top",
    "table-layout",
    "text-align",
    "text-decoration",
    "text-indent",
    "text-transform",
    "unicode-bidi",
    "vertical-align",
    "white-space",
    "width",
    "word-break",
    "word-spacing",
    "word-wrap",
];

/// Browsers drop these inside an address, so a scheme can hide behind them.
fn unbroken(url: &str) -> String {
    url.trim_matches(|c: char| c <= ' ').chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect()
}

fn starts_with(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme))
}

fn link(url: &str) -> Option<String> {
    let url = unbroken(url);
    ["http://", "https://", "mailto:"].iter().any(|s| starts_with(&url, s)).then_some(url)
}

fn image<'u>(url: &str, mark: &str, images: &Mutex<Images>) -> Option<Cow<'u, str>> {
    let url = unbroken(url);
    let image = if starts_with(&url, "cid:") {
        Image::Part(percent_decoded(&url[4..]))
    } else if starts_with(&url, "http:") || starts_with(&url, "https:") {
        Image::Remote(url)
    } else if url.starts_with("//") {
        Image::Remote(format!("https:{url}"))
    } else {
        let inline = ["png", "jpeg", "jpg", "gif", "webp", "bmp"];
        let is_inline = inline.iter().any(|t| starts_with(&url, &format!("data:image/{t};base64,")));
        return is_inline.then_some(Cow::Owned(url));
    };
    let mut images = images.lock().unwrap_or_else(PoisonError::into_inner);
    if images.found.len() >= IMAGES {
        return None;
    }
    images.found.push(image);
    Some(Cow::Owned(format!("{mark}{}", images.found.len() - 1)))
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        match crate::transfer::hex_pair(tail).filter(|_| *byte == b'%') {
            Some(value) => {
                out.push(value);
                rest = &tail[2..];
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Declarations that name no resource. Escapes and comments could spell one, so they go too.
fn style(value: &str) -> String {
    if value.contains(['\\', '@', '<', '{', '}']) || value.contains("/*") {
        return String::new();
    }
    let lower = |d: &str| d.to_ascii_lowercase();
    let harmless = |d: &&str| {
        let d = lower(d);
        !["url", "image", "expression", "attr(", "var(", "env(", "src(", "element(", "paint("]
            .iter()
            .any(|w| d.contains(w))
    };
    value.split(';').filter(harmless).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(html: &str) -> SafeHtml {
        safe_html(html, &|cid| (cid == "known@x").then(|| "/parts/1.2".to_string()))
    }

    #[test]
    fn nothing_that_runs_submits_or_loads_is_left() {
        let cases = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<a href=\"java\tscript:alert(1)\">x</a>",
            "<a href=\" data:text/html,x\">x</a>",
            "<form action=http://evil/><input name=a></form>",
            "<iframe src=http://evil/></iframe>",
            "<object data=http://evil/></object>",
            "<embed src=http://evil/>",
            "<link rel=stylesheet href=http://evil/>",
            "<meta http-equiv=refresh content=\"0;url=http://evil/\">",
            "<base href=http://evil/>",
            "<style>@import 'http://evil/'; b { background: url(http://evil/) }</style>",
            "<div style=\"background:url(http://evil/)\">x</div>",
            "<div style=\"background-color:red;background-image:u\\72l(http://evil/)\">x</div>",
            "<div style=\"width:expression(alert(1))\">x</div>",
            "<div style=\"list-style:/**/url(http://evil/)\">x</div>",
            "<div style=\"border-image:image-set('http://evil/' 1x)\">x</div>",
            "<table background=http://evil/><tr><td>x</table>",
            "<img srcset=\"http://evil/ 2x\">",
            "<video poster=http://evil/ src=http://evil/></video>",
            "<audio src=http://evil/></audio>",
            "<svg><image href=http://evil/ /></svg>",
            "<svg><style>@import 'http://evil/'</style></svg>",
            "<math><mtext><img src=http://evil/></mtext></math>",
            "<blockquote cite=http://evil/>x</blockquote>",
            "<input type=image src=http://evil/>",
            "<body background=http://evil/>x</body>",
            "<noscript><img src=http://evil/></noscript>",
            "<picture><source srcset=http://evil/></picture>",
            "<img src=\"data:image/svg+xml;base64,PHN2Zz4=\">",
        ];
        for html in cases {
            let safe = clean(html).html.replace("data-remote=\"http://evil/\"", "");
            let lower = safe.to_ascii_lowercase();
            for bad in [
                "evil",
                "script",
                "onerror",
                "alert",
                "expression",
                "<form",
                "<input",
                "<svg",
                "url(",
                "import",
                "svg",
            ] {
                assert!(!lower.contains(bad), "{html} became {safe}");
            }
        }
    }

    #[test]
    fn remote_images_are_listed_and_do_not_load() {
        let safe =
            clean("<img src=\"http://a/1?x=1&amp;y=2\" alt=a><img src=//b/2><img src=http://a/1?x=1&y=2>");
        assert_eq!(safe.remote_images, ["http://a/1?x=1&y=2", "https://b/2"]);
        assert!(!safe.html.contains(" src="), "{}", safe.html);
        assert!(safe.html.contains("data-remote=\"http://a/1?x=1&amp;y=2\""), "{}", safe.html);
    }

    #[test]
    fn images_of_the_message_point_at_its_parts() {
        let safe = clean("<img src=\"cid:known%40x\"><img src=cid:unknown>");
        assert!(safe.html.contains("src=\"/parts/1.2\""), "{}", safe.html);
        assert!(!safe.html.contains("cid:"), "{}", safe.html);
        assert!(safe.remote_images.is_empty());
    }

    #[test]
    fn a_letter_keeps_its_looks_and_links() {
        let safe = clean(
            "<p style=\"color:red;position:fixed\"><a href=https://x/>y</a> <font color=blue>z</font></p>",
        );
        for kept in
            ["color:red", "href=\"https://x/\"", "noopener noreferrer", "target=\"_blank\"", "color=\"blue\""]
        {
            assert!(safe.html.contains(kept), "{kept}: {}", safe.html);
        }
        assert!(!safe.html.contains("fixed"));
        let relative = clean("<a href=/admin>x</a><a href=//evil/>y</a>");
        assert!(!relative.html.contains("href"), "{}", relative.html);
    }

    #[test]
    fn html_that_costs_too_much_is_shown_as_text() {
        for unit in ["<div>", "<b a=1><i>", "<table><tr><td>", "<x>"] {
            let html = format!("hello{}", unit.repeat(10_000));
            let safe = clean(&html);
            assert!(safe.html.starts_with("<pre>hello"), "{unit}");
        }
        let numbered = |between: &str| (0..30_000).map(|i| format!("{between}x{i}")).collect::<String>();
        let cases = [
            format!("hello<a {}>", numbered(" ")),         // attributes without end
            format!("hello<a{}>", numbered("/")),          // the same, with slashes
            format!("hello</a {}>", numbered(" ")),        // in an end tag
            format!("hello<a b=\">\" {}>", numbered(" ")), // behind an end that is none
            format!("hello<!-- <a b=' -->{}'>", "<div>".repeat(10_000)), // behind a quote in a comment
            "hello<a b='>".to_string(),                    // a tag without end
        ];
        for html in cases {
            assert!(clean(&html).html.starts_with("<pre>hello"), "{}", &html[..40.min(html.len())]);
        }
    }
}
