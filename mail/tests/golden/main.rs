//! Real messages against what other readers see in them.
//!
//! `SIGNET_MESSAGES=DIR` points the tests at a folder of message sets; without it they run over the samples
//! beside them, and say so. A set is held to what stands in it:
//!
//! - `oracle-cpython.jsonl`: what CPython's email package reads, a line a message ([`oracle`]);
//! - `X.json` and `X.crlf.json` beside `X.eml`: what mail-parser reads of it as it is and with lines ended by
//!   CRLF ([`mail_parser`]);
//! - `X.xml` and `X_decoded.xml` beside `X.msg`: the parts that mime4j finds, and what they decode to ([`mime4j`]);
//! - scripts of an IMAP server's replies beside an mbox ([`imaptest`]);
//! - `threads-closure.json` and `search-terms.tsv`: the set as a whole ([`closures`]).
//!
//! A disagreement fails, unless `tests/messages/disagreements.tsv` lists it with its reason; a listed one that is
//! gone fails too.

#![allow(clippy::unwrap_used)]

mod closures;
mod imaptest;
mod mail_parser;
mod mime4j;
mod oracle;
mod sets;
mod views;
