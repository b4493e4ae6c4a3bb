//! What a check has found.

use std::collections::BTreeMap;

use schema::Counts;
use serde_json::{Value, json};

/// What can disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// A list names a message that is not there, or not in it.
    StaleListRow,
    /// A message is missing in a list that it belongs to.
    MissingListRow,
    /// A list says something else of a message than its state does.
    WrongListRow,
    /// A list names a message whose row is lost, and its bytes are there.
    MissingMessageRow,
    /// A message's row does not open.
    UnreadableMessage,
    /// A message has no bytes, or they do not open, or are others.
    UnreadableBytes,
    /// Bytes of no message.
    OrphanBytes,
    /// The index holds a message that is not there.
    StaleIndexEntry,
    /// The index lacks a message that it should hold.
    MissingIndexEntry,
}

impl Drift {
    fn name(self) -> &'static str {
        match self {
            Self::StaleListRow => "staleListRows",
            Self::MissingListRow => "missingListRows",
            Self::WrongListRow => "wrongListRows",
            Self::MissingMessageRow => "missingMessageRows",
            Self::UnreadableMessage => "unreadableMessages",
            Self::UnreadableBytes => "unreadableBytes",
            Self::OrphanBytes => "orphanBytes",
            Self::StaleIndexEntry => "staleIndexEntries",
            Self::MissingIndexEntry => "missingIndexEntries",
        }
    }

    fn can_be_repaired(self) -> bool {
        !matches!(self, Self::UnreadableMessage | Self::UnreadableBytes)
    }
}

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) accounts: u64,
    pub(super) messages: u64,
    pub(super) waiting: u64,
    drift: BTreeMap<Drift, u64>,
    repaired: u64,
}

impl Report {
    pub(super) fn note(&mut self, drift: Drift, repair: bool) {
        *self.drift.entry(drift).or_default() += 1;
        tracing::warn!(kind = drift.name(), "a check found drift");
        metrics::counter!("signet_drift_found_total", "kind" => drift.name()).increment(1);
        if repair && drift.can_be_repaired() {
            self.repaired += 1;
            metrics::counter!("signet_drift_repaired_total", "kind" => drift.name()).increment(1);
        }
    }

    /// How many of everything.
    pub fn counts(&self) -> Counts {
        let looked =
            [("accounts", self.accounts), ("messages", self.messages), ("waitingForIndex", self.waiting)];
        let drift = self.drift.iter().map(|(kind, count)| (kind.name(), *count));
        let all = looked.into_iter().chain(drift).chain([("repaired", self.repaired)]);
        all.map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// `{ok, accounts, messages, waitingForIndex, drift: {kind: count}, repaired}`; `ok` where nothing disagrees (any more).
    pub fn to_json(&self) -> Value {
        let found: u64 = self.drift.values().sum();
        let drift: serde_json::Map<String, Value> =
            self.drift.iter().map(|(kind, count)| (kind.name().to_owned(), json!(count))).collect();
        json!({
            "ok": found == self.repaired,
            "accounts": self.accounts,
            "messages": self.messages,
            "waitingForIndex": self.waiting,
            "drift": drift,
            "repaired": self.repaired,
        })
    }
}
