//! A message and every view of it, with the limits that hold and with narrow ones.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::thread::{participants, thread_keys};
use mail::{Limits, parse, safe_html};

fn view(raw: &[u8], limits: &Limits) {
    let message = parse(raw, limits);
    let head = message.head();
    assert!(head.preview.chars().count() <= 256);
    thread_keys(&head);
    participants(&head);
    message.headers();
    message.text_body();
    message.attachments();
    message.report();
    message.calendar();
    message.language();
    assert!(message.terms().len() <= limits.terms);
    if let Some(html) = message.html_body() {
        safe_html(&html, &|id| Some(format!("/{}", id.len())));
    }
    let (mut parts, mut seen) = (vec![message.structure()], 0u32);
    while let Some(part) = parts.pop() {
        message.part(&part.part_id);
        parts.extend(part.parts);
        seen += 1;
    }
    assert!(seen <= limits.parts, "{seen} parts");
}

fuzz_target!(|raw: &[u8]| {
    view(raw, &Limits::default());
    view(raw, &Limits { depth: 2, parts: 3, headers: 4, header_bytes: 100, terms: 10, ..Limits::default() });
});
