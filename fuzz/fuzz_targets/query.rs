//! The search language: a query on the first line, and a text in which what it looks for is marked.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (query, text) = input.split_once('\n').unwrap_or((input, input));
    api::fuzzing::query(query, text);
});
