//! Many writes to documents, as few requests.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use schema::index::IndexedMessage;
use schema::{AccountId, MessageId};
use serde::Deserialize;

use super::document::{document, document_id, routing};
use super::nodes::{Failure, Nodes, Request};

/// A request is sent once it holds this many octets.
const FULL: usize = 5 * 1024 * 1024;
/// How long the first wait is where the server is busy; each further one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Answer {
    /// In the order of the request, each under the name of what was to be done.
    items: Vec<HashMap<String, Done>>,
}

#[derive(Deserialize)]
struct Done {
    status: u16,
    error: Option<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(rename = "type")]
    kind: String,
}

impl Done {
    fn failure(self) -> Option<Failure> {
        // What is to be deleted may be unknown; an index that is missing is an error.
        let failed = self.status >= 300 && (self.status != 404 || self.error.is_some());
        failed.then(|| Failure::Status {
            status: self.status,
            kind: self.error.map_or(String::new(), |cause| cause.kind),
        })
    }
}

/// Where a document stands.
fn place(account: AccountId, message: MessageId) -> String {
    let (id, routing) = (document_id(account, message), routing(account));
    format!("{{\"_id\":\"{id}\",\"routing\":\"{routing}\"}}")
}

/// What is to be done with a document.
pub(super) enum Change<'a> {
    /// Adds it or puts it in the place of the one with its id.
    Put(AccountId, &'a IndexedMessage),
    /// Takes it away if it is there.
    Delete(AccountId, MessageId),
}

impl Change<'_> {
    /// As lines of a request.
    fn lines(&self) -> String {
        match *self {
            Change::Put(account, message) => {
                format!("{{\"index\":{}}}\n{}\n", place(account, message.id), document(message))
            }
            Change::Delete(account, message) => format!("{{\"delete\":{}}}\n", place(account, message)),
        }
    }
}

/// Makes all changes to the index behind `alias`; then searches see them. What one of them meets does not hold up the
/// others.
///
/// # Errors
/// The worst that any of them met.
pub(super) async fn write(nodes: &Nodes, alias: &str, changes: &[Change<'_>]) -> Result<(), Failure> {
    let mut bulk =
        Bulk { nodes, path: format!("{alias}/_bulk"), pending: Vec::new(), octets: 0, failure: None };
    for change in changes {
        let lines = change.lines();
        if bulk.octets + lines.len() > FULL && !bulk.pending.is_empty() {
            bulk.send(false).await?;
        }
        bulk.octets += lines.len();
        bulk.pending.push(lines);
    }
    if !bulk.pending.is_empty() {
        bulk.send(true).await?;
    }
    bulk.failure.map_or(Ok(()), Err)
}

/// Writes that are gathered and sent.
struct Bulk<'a> {
    nodes: &'a Nodes,
    path: String,
    pending: Vec<String>,
    octets: usize,
    /// The worst that a write met.
    failure: Option<Failure>,
}

impl Bulk<'_> {
    /// Sends what is pending, again what the server is too busy for, until the time of a request is over.
    async fn send(&mut self, refresh: bool) -> Result<(), Failure> {
        let deadline = self.nodes.deadline();
        let timeout = format!("{}ms", deadline.saturating_duration_since(Instant::now()).as_millis());
        // A missing alias must not become an index of that name.
        let parameters = [
            ("refresh", if refresh { "true" } else { "false" }),
            ("timeout", timeout.as_str()),
            ("require_alias", "true"),
            ("filter_path", "items.*.status,items.*.error.type"),
        ];
        let mut wait = FIRST_WAIT;
        self.octets = 0;
        loop {
            let request = Request::lines(&self.path, &parameters, self.pending.concat());
            let busy = match self.nodes.ask_until::<Answer>(&request, deadline).await {
                Ok(answer) => self.settle(answer)?,
                Err(failure) if failure.is_busy() => failure,
                Err(failure) => return Err(failure),
            };
            if self.pending.is_empty() {
                return Ok(());
            }
            if Instant::now() + wait >= deadline {
                return Err(busy);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Notes what each write met; those that the server was too busy for stay pending.
    fn settle(&mut self, answer: Answer) -> Result<Failure, Failure> {
        if answer.items.len() != self.pending.len() {
            return Err(Failure::Nonsense);
        }
        let mut busy = Failure::Nonsense;
        for (lines, item) in std::mem::take(&mut self.pending).into_iter().zip(answer.items) {
            let done = item.into_values().next().ok_or(Failure::Nonsense)?;
            match done.failure() {
                Some(failure) if failure.is_busy() => {
                    busy = failure;
                    self.pending.push(lines);
                }
                // One that the same write will meet again is worse than one that may pass.
                Some(failure) if self.failure.as_ref().is_none_or(Failure::is_transient) => {
                    self.failure = Some(failure);
                }
                _ => {}
            }
        }
        Ok(busy)
    }
}
