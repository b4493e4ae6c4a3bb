//! The search language: from text to what the index and the store are asked, and back to snippets.

mod compile;
mod parse;
mod snippet;

pub(crate) use compile::{Filter, Plan, compile};
pub(crate) use parse::{Node, SyntaxError, Test, parse};
pub(crate) use snippet::{Snippet, Wanted, in_body, in_head, looked_at};

/// The most characters of a query.
pub(crate) const CHARACTERS: usize = 2048;
/// The most words, phrases and predicates of a query.
pub(crate) const TERMS: usize = 64;
/// The most levels of parentheses and negations.
pub(crate) const DEPTH: usize = 16;
