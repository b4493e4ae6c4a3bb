//! Whole LMTP sessions: each octet of the input is sent, and the session is over or waits for more.

#![no_main]

use fuzz::{assert_replies, play};
use libfuzzer_sys::fuzz_target;
use lmtp::Settings;

fuzz_target!(|input: &[u8]| {
    let (&size, octets) = input.split_first().unwrap_or((&0, input));
    let settings = || Settings { message_bytes: 4 << 10, recipients: 20, ..Settings::default() };
    let (said, kept) = play(octets, octets.len(), settings());
    assert_replies(&said);
    assert!(said.starts_with("220 "), "{said:?}");
    let positive = said.lines().filter(|line| *line == "250 2.0.0 Kept").count();
    assert_eq!(positive, kept.len(), "a reply of 250 is a message that is kept");
    assert!(kept.iter().all(|(.., message)| message.len() <= 4 << 10));
    // In whatever pieces it comes, it is the same session.
    let again = play(octets, usize::from(size), settings());
    assert_eq!(again, (said, kept));
});
