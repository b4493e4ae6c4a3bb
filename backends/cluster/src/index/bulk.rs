//! Many writes to documents, as few requests.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use schema::{AccountId, MessageId, Result};
use serde::Deserialize;

use super::document::{document_id, routing};
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

/// Writes that are gathered and sent. What one of them meets does not hold up the others.
pub(super) struct Bulk<'a> {
    nodes: &'a Nodes,
    path: String,
    what: &'static str,
    pending: Vec<String>,
    octets: usize,
    /// The worst that a write met.
    failure: Option<Failure>,
}

impl<'a> Bulk<'a> {
    /// Writes to the index behind `alias`, which are to do `what`.
    pub(super) fn new(nodes: &'a Nodes, alias: &str, what: &'static str) -> Self {
        let path = format!("{alias}/_bulk");
        Self { nodes, path, what, pending: Vec::new(), octets: 0, failure: None }
    }

    /// Adds a document or puts it in the place of the one with its id.
    pub(super) async fn put(&mut self, account: AccountId, message: MessageId, document: &str) -> Result<()> {
        self.add(format!("{{\"index\":{}}}\n{document}\n", place(account, message))).await
    }

    /// Takes a document away if it is there.
    pub(super) async fn delete(&mut self, account: AccountId, message: MessageId) -> Result<()> {
        self.add(format!("{{\"delete\":{}}}\n", place(account, message))).await
    }

    async fn add(&mut self, lines: String) -> Result<()> {
        if self.octets + lines.len() > FULL && !self.pending.is_empty() {
            self.send(false).await.map_err(|failure| failure.during(self.what))?;
        }
        self.octets += lines.len();
        self.pending.push(lines);
        Ok(())
    }

    /// Sends what is left; then searches see all that was written.
    ///
    /// # Errors
    /// The worst that any of the writes met; the others are done.
    pub(super) async fn finish(mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.send(true).await.map_err(|failure| failure.during(self.what))?;
        }
        self.failure.take().map_or(Ok(()), |failure| Err(failure.during(self.what)))
    }

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
