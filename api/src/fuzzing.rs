//! A way to the search language from outside, for `fuzz/`. It is part of no build of the program.

use mail::Language;

use crate::query::{Wanted, in_body, in_head, parse};

/// Reads a query and, if it is one, marks in `text` what it looks for.
///
/// # Panics
/// If the search language does not do what it promises: an error lies within the query and has a reason, and a text
/// brings no markup of its own into a snippet.
pub fn query(query: &str, text: &str) {
    let node = match parse(query) {
        Ok(node) => node,
        Err(error) => {
            assert!(error.position <= query.chars().count(), "{error:?}");
            assert!(!error.reason.is_empty());
            return;
        }
    };
    let wanted = Wanted::new(&node, &[Language::English, Language::German]);
    let head = in_head(&wanted, text, text);
    for snippet in [head.subject, head.preview, in_body(&wanted, text)].into_iter().flatten() {
        let plain = snippet.replace("<mark>", "").replace("</mark>", "");
        assert!(!plain.contains(['<', '>']), "{snippet}");
        assert_eq!(snippet.matches("<mark>").count(), snippet.matches("</mark>").count(), "{snippet}");
    }
}
