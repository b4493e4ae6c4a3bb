//! Every view of every message there is.

use mail::{Limits, parse};

use crate::sets::files;

#[test]
fn every_message_of_every_set_has_all_views() {
    let mut read = 0;
    for ending in [".eml", ".msg", ".raw", ".txt", ".mbox", ".golden"] {
        for (_, _, path) in files(ending) {
            let raw = std::fs::read(&path).unwrap();
            let message = parse(&raw, &Limits::default());
            message.head();
            message.headers();
            message.text_body();
            message.report();
            message.calendar();
            message.terms();
            if let Some(html) = message.html_body() {
                mail::safe_html(&html, &|_| None);
            }
            let mut parts = vec![message.structure()];
            while let Some(part) = parts.pop() {
                if !part.part_id.is_empty() {
                    let found = message.part(&part.part_id).unwrap();
                    assert_eq!(found.bytes.len() as u64, part.size, "{}", path.display());
                }
                parts.extend(part.parts);
            }
            read += 1;
        }
    }
    println!("{read} messages read");
    assert!(read > 0);
}
