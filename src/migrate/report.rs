//! What a verification has found.

use std::collections::BTreeMap;

use schema::Table;
use serde_json::{Value, json};

/// What a verification has found.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) accounts: u64,
    /// Messages whose octets are the same.
    pub(super) messages: u64,
    pub(super) rows: u64,
    /// Messages that did not open on the source either.
    pub(super) unreadable: u64,
    /// Messages that are not what they were.
    pub(super) wrong: u64,
    pub(super) differing: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(super) fn note_differing(&mut self, table: Table, rows: u64) {
        if rows > 0 {
            *self.differing.entry(table.name()).or_default() += rows;
        }
    }

    /// Whether the target holds what the source does.
    pub fn is_ok(&self) -> bool {
        self.wrong == 0 && self.differing.is_empty()
    }

    /// `{ok, accounts, messages, rows, unreadableMessages, wrongMessages, differingRows: {table: count}}`.
    pub fn to_json(&self) -> Value {
        json!({
            "ok": self.is_ok(),
            "accounts": self.accounts,
            "messages": self.messages,
            "rows": self.rows,
            "unreadableMessages": self.unreadable,
            "wrongMessages": self.wrong,
            "differingRows": self.differing,
        })
    }
}
