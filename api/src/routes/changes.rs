//! The change feed.

use schema::{ChangeKind, Position};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::auth::Caller;
use crate::error::Answer;
use crate::json::{Id, ok};
use crate::page::Listing;
use crate::valid::Parameters;

/// The cursor that stands for the oldest entry.
const START: &str = "start";

/// What the change feed takes.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangesParameters {
    /// `cursor` of the answer before; `start` for the oldest entry that was ever written. Without it there are no
    /// changes in the answer, but the cursor of now.
    #[validate(length(min = 1, max = 256))]
    since: Option<String>,
    /// Entries of a page; 500 unless given.
    #[validate(range(min = 1, max = 1000))]
    #[param(minimum = 1, maximum = 1000, default = 500)]
    limit: Option<u16>,
}

/// What happened to what.
#[derive(Serialize, ToSchema)]
pub(crate) struct Change {
    /// `message`, `mailbox` or `thread`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `created`, `updated` or `destroyed`.
    change: &'static str,
    /// Which.
    id: Id,
}

/// A stretch of the change feed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Changes {
    /// Entries, oldest first. One may be seen twice.
    changes: Vec<Change>,
    /// What `since` takes to go on.
    cursor: String,
    /// Whether more entries are there now.
    has_more: bool,
}

/// Read the change feed
///
/// Take a cursor, list mailboxes and messages, then follow the feed from the cursor: what you hold is what the server
/// holds.
#[utoipa::path(
    get, path = "/v1/changes", tag = "Changes", operation_id = "listChanges", params(ChangesParameters),
    responses(
        (status = 200, description = "Changes after the cursor.", body = Changes),
        (status = 410, description = "The cursor is older than the feed: take a new one, list again, go on from it."),
    )
)]
pub(crate) async fn list(Parameters(given): Parameters<ChangesParameters>, caller: Caller) -> Answer {
    let listing = Listing::new(&caller.account, "changes");
    let cursor = |position: Position| listing.seal(&position.0.to_be_bytes());
    let since = match given.since.as_deref() {
        None => {
            let now = cursor(caller.account.position().await?);
            return Ok(ok(&Changes { changes: Vec::new(), cursor: now, has_more: false }));
        }
        Some(START) => Position(0),
        Some(since) => listing.change(since)?,
    };
    let page = caller.account.changes(since, given.limit.unwrap_or(500).into()).await?;
    let changes = page.changes.into_iter().map(|(_, change)| {
        let (kind, what) = match change.kind {
            ChangeKind::MessageCreated => ("message", "created"),
            ChangeKind::MessageUpdated => ("message", "updated"),
            ChangeKind::MessageDestroyed => ("message", "destroyed"),
            ChangeKind::MailboxCreated => ("mailbox", "created"),
            ChangeKind::MailboxUpdated => ("mailbox", "updated"),
            ChangeKind::MailboxDestroyed => ("mailbox", "destroyed"),
            ChangeKind::ThreadDestroyed => ("thread", "destroyed"),
        };
        Change { kind, change: what, id: Id(change.id) }
    });
    let changes = changes.collect();
    Ok(ok(&Changes { changes, cursor: cursor(page.cursor), has_more: page.has_more }))
}
