//! What connects messages: ids, subjects and people.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::{Head, terms::fold};

/// Ids that connect a message to others.
const IDS: usize = 200;
/// Octets of a subject that are compared.
const SUBJECT: usize = 1_000;

/// What a message is connected to others by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ThreadKeys {
    /// Its own id, then those it refers to, newest first, each once, at most 200.
    pub ids: Vec<String>,
    /// The base subject (RFC 5256 §2.1), folded.
    pub base_subject: String,
    /// Whether the subject says that it is a reply or a forward.
    pub is_reply: bool,
    /// Whether In-Reply-To or References are there.
    pub has_links: bool,
}

/// The thread keys of a message.
pub fn thread_keys(head: &Head) -> ThreadKeys {
    let mut ids: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    let newest_first = head.references.iter().rev();
    for id in head.message_id.iter().chain(head.in_reply_to.iter().take(IDS / 2)).chain(newest_first) {
        if ids.len() == IDS {
            break;
        }
        if seen.insert(id.as_str()) {
            ids.push(id.clone());
        }
    }
    let (base_subject, is_reply) = base_subject(&head.subject);
    let has_links = !head.in_reply_to.is_empty() || !head.references.is_empty();
    ThreadKeys { ids, base_subject, is_reply, has_links }
}

/// The addresses of From, To and Cc: lower-cased and without subaddress, sorted, each once.
pub fn participants(head: &Head) -> Vec<String> {
    let all = head.from.iter().chain(&head.to).chain(&head.cc);
    let found: BTreeSet<String> =
        all.map(|address| person(&address.email)).filter(|email| !email.is_empty()).collect();
    found.into_iter().collect()
}

/// Whom an address leads to, whatever comes behind a `+`.
fn person(email: &str) -> String {
    let email = email.trim().to_lowercase();
    match email.rsplit_once('@').map(|(local, domain)| (local.split_once('+'), domain)) {
        Some((Some((local, _)), domain)) if !local.is_empty() => format!("{local}@{domain}"),
        _ => email,
    }
}

/// What mail programs put before the subject of a reply or a forward, folded. RFC 5256 knows the first three.
const PREFIXES: [&str; 43] = [
    "re", "fw", "fwd", // English
    "aw", "antw", "antwort", "wg", // German, Dutch
    "sv", "vs", "vb", "vl", "vid", // Scandinavian, Finnish
    "tr", "ref", "rep", // French
    "rv", "res", "enc", "rif", "r", "i", // Spanish, Portuguese, Italian
    "odp", "pd", // Polish
    "ynt", "ilt", // Turkish
    "atb", "bls", "doorst", "fs", "yml", "vá", "va",
    "tov", // Latvian, Indonesian, Dutch, Danish, Hungarian
    "απ", "σχετ", "πρθ", // Greek
    "отв", "на", // Russian
    "回复", "回覆", "答复", "转发", "轉寄", // Chinese
];

/// The base subject (RFC 5256 §2.1) and whether something that marks a reply or forward was taken off it.
fn base_subject(subject: &str) -> (String, bool) {
    // What one writes as a subject is far shorter; taking prefixes off a longer one is quadratic.
    let mut rest = subject[..subject.floor_char_boundary(SUBJECT)].trim();
    let mut is_reply = false;
    loop {
        let before = rest;
        // Step 2: trailers.
        while let Some(shorter) = strip_suffix_ignoring_case(rest, "(fwd)") {
            is_reply = true;
            rest = shorter.trim_end();
        }
        // Steps 3 to 5: leaders, and list names when something follows them.
        loop {
            if let Some(after) = after_leader(rest) {
                is_reply = true;
                rest = after;
            } else if let Some(after) = after_blob(rest).filter(|after| !base_is_empty(after)) {
                rest = after;
            } else {
                break;
            }
        }
        // Step 6: a forward wrapped whole.
        if rest.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("[fwd:")) && rest.ends_with(']') {
            is_reply = true;
            rest = rest[5..rest.len() - 1].trim();
        }
        if rest == before {
            break;
        }
    }
    let mut folded = String::with_capacity(rest.len());
    for (i, word) in rest.split_whitespace().enumerate() {
        if i > 0 {
            folded.push(' ');
        }
        fold(word, &mut folded);
    }
    (folded, is_reply)
}

fn base_is_empty(text: &str) -> bool {
    text.trim().is_empty()
}

fn strip_suffix_ignoring_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    text.get(at..)?.eq_ignore_ascii_case(suffix).then(|| &text[..at])
}

/// Behind `[…]` and the white space after it.
fn after_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    inner[end..].strip_prefix(']').map(str::trim_start)
}

/// Behind `Re:`, `[list] Re[2]:`, `AW:` and the like.
fn after_leader(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(after) = after_blob(rest) {
        rest = after;
    }
    let end = rest.find(|c: char| !c.is_alphabetic() && c != '\u{301}')?;
    if end > 24 {
        return None;
    }
    let mut word = String::new();
    fold(&rest[..end], &mut word);
    if !PREFIXES.contains(&word.as_str()) {
        return None;
    }
    rest = rest[end..].trim_start();
    // Re[2]:, Re(2):, Re^2:, and RFC 5256's blob.
    if let Some(after) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
        let is_count = !after.0.is_empty() && after.0.bytes().all(|b| b.is_ascii_digit());
        rest = if is_count { after.1.trim_start() } else { return None };
    } else if let Some(after) = rest.strip_prefix('^') {
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    } else if let Some(after) = after_blob(rest) {
        rest = after;
    }
    rest.strip_prefix([':', '\u{ff1a}']).map(str::trim_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_subject_is_what_all_of_a_thread_share() {
        let cases: &[(&str, &str, bool)] = &[
            ("Hello", "hello", false),
            ("Re: Hello", "hello", true),
            ("RE: FW: Fwd: Hello", "hello", true),
            ("Re[2]: Hello", "hello", true),
            ("Re(3): Hello", "hello", true),
            ("Re^2: Hello", "hello", true),
            ("re : Hello", "hello", true),
            ("[list] Hello", "hello", false),
            ("[list] Re: [other] Hello", "hello", true),
            ("Re: [list] Hello (fwd)", "hello", true),
            ("[Fwd: Re: Hello]", "hello", true),
            ("[only a name]", "[only a name]", false), // nothing would be left
            ("AW: Hallo", "hallo", true),              // German
            ("WG: AW: Hallo", "hallo", true),
            ("SV: Hej", "hej", true), // Swedish
            ("TR : Bonjour", "bonjour", true),
            ("Réf: Bonjour", "bonjour", true),
            ("RV: Hola", "hola", true),
            ("回复：你好", "你好", true),        // with a wide colon
            ("Really: no", "really: no", false), // a word that starts alike
            ("Re", "re", false),                 // no colon
            ("Caf\u{e9}  au\tlait", "cafe au lait", false),
            ("", "", false),
        ];
        for (subject, base, is_reply) in cases {
            assert_eq!(base_subject(subject), (base.to_string(), *is_reply), "{subject}");
        }
        // A subject of prefixes only ends, and ends fast.
        assert_eq!(base_subject(&"Re: ".repeat(50_000)).0, "");
        base_subject(&"[a] ".repeat(50_000));
    }

    #[test]
    fn the_own_id_comes_first_and_the_newest_references_stay() {
        let head = Head {
            message_id: Some("me".into()),
            in_reply_to: vec!["r299".into()],
            references: (0..300).map(|i| format!("r{i}")).collect(),
            ..Head::default()
        };
        let keys = thread_keys(&head);
        assert_eq!(keys.ids.len(), 200);
        assert_eq!(keys.ids[..3], ["me", "r299", "r298"]);
        assert!(keys.has_links);
    }

    #[test]
    fn participants_are_the_same_whatever_the_order_and_case() {
        let address = |email: &str| crate::Address { name: None, email: email.into() };
        let head = Head {
            from: vec![address("B@x.org")],
            to: vec![address("a@x.org"), address("b@x.org")],
            ..Head::default()
        };
        assert_eq!(participants(&head), ["a@x.org", "b@x.org"]);
    }

    #[test]
    fn a_subaddress_is_nobody_else() {
        for (email, expected) in [
            ("Ada+lists@x.org", "ada@x.org"),
            ("ada+a+b@x.org", "ada@x.org"),
            ("+ada@x.org", "+ada@x.org"),
            ("ada@x+y.org", "ada@x+y.org"),
            ("ada+", "ada+"),
            ("", ""),
        ] {
            assert_eq!(person(email), expected);
        }
    }
}
