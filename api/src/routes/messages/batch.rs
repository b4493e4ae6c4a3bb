//! One change to many messages.

use std::collections::HashSet;

use http::StatusCode;
use schema::{Account, Deleted, MessageId};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use super::state::{Member, Patch, change as change_one, given};
use super::{Head, etag};
use crate::auth::Caller;
use crate::error::{Answer, FieldError, Problem};
use crate::json::{Id, ok};
use crate::valid::{Body, NoParameters, Parameters};

/// Messages that are changed at once, so that they share their flushes.
const AT_ONCE: usize = 32;

/// Which messages, and what to do with each: change keywords and mailboxes as PATCH does, or delete.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Batch {
    /// 1–500 messages, each once.
    #[validate(length(min = 1, max = 500), custom(function = "check_once"))]
    ids: Vec<Id>,
    /// As in a message's PATCH.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::HashMap<String, Option<bool>>>)]
    keywords: Option<Member>,
    /// As in a message's PATCH.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::HashMap<String, Option<bool>>>)]
    mailbox_ids: Option<Member>,
    /// True: delete each as DELETE does. Not together with changes.
    delete: Option<bool>,
}

fn check_once(ids: &[Id]) -> Result<(), ValidationError> {
    let mut seen = HashSet::new();
    if ids.iter().all(|id| seen.insert(id)) {
        return Ok(());
    }
    Err(ValidationError::new("duplicate").with_message("an id stands in it more than once".into()))
}

/// What became of one message.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResult {
    /// Which message.
    id: Id,
    /// The status that the same call on this message alone would have had.
    status: u16,
    /// Its new head, after a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Head>,
    /// Its new `ETag`, after a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// What is wrong, where the status says that something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The wrong fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// What became of each message.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResults {
    /// In the order of `ids`.
    results: Vec<BatchResult>,
}

async fn run(account: Account, id: Id, patch: Option<Patch>) -> BatchResult {
    let result = match patch {
        Some(patch) => change_one(&account, MessageId(id.0), &patch, None).await.map(Some),
        None => match account.delete(MessageId(id.0), None).await {
            Ok(Deleted::Trashed(_) | Deleted::Destroyed) => Ok(None),
            Ok(Deleted::NotFound) => Err(Problem::not_found()),
            Ok(Deleted::Stale) => Err(Problem::stale()),
            Err(error) => Err(error.into()),
        },
    };
    let mut answer =
        BatchResult { id, status: 0, message: None, etag: None, detail: None, errors: Vec::new() };
    let status = match result {
        Ok(None) => StatusCode::NO_CONTENT,
        Ok(Some(message)) => {
            answer.etag = etag(&message).to_str().ok().map(str::to_owned);
            answer.message = Some(Head::new(*message));
            StatusCode::OK
        }
        Err(problem) => {
            answer.detail = Some(problem.detail.into_owned());
            answer.errors = problem.errors;
            problem.status
        }
    };
    answer.status = status.as_u16();
    answer
}

/// Change many messages
///
/// The same change to up to 500 messages, each on its own: one that fails holds up no other.
#[utoipa::path(
    post, path = "/v1/messages/batch", tag = "Messages", operation_id = "changeMessages", request_body = Batch,
    responses((status = 200, description = "One result for each message.", body = BatchResults))
)]
pub(crate) async fn change(_: Parameters<NoParameters>, caller: Caller, Body(batch): Body<Batch>) -> Answer {
    let patch = Patch { keywords: batch.keywords, mailbox_ids: batch.mailbox_ids };
    let changes = patch.keywords.is_some() || patch.mailbox_ids.is_some();
    let patch = match (batch.delete, changes) {
        (Some(true), false) => None,
        (Some(true), true) => {
            return Err(Problem::field("delete", "conflict", "a batch deletes or changes, not both"));
        }
        (_, false) => {
            return Err(Problem::field("keywords", "missing", "keywords, mailboxIds or delete is required"));
        }
        (_, true) => {
            patch.validate().map_err(Problem::from_validator)?;
            Some(patch)
        }
    };
    let mut results: Vec<Option<BatchResult>> = Vec::new();
    results.resize_with(batch.ids.len(), || None);
    let mut running = JoinSet::new();
    for (index, id) in batch.ids.into_iter().enumerate() {
        if running.len() == AT_ONCE {
            keep(&mut results, running.join_next().await)?;
        }
        let (account, patch) = (caller.account.clone(), patch.clone());
        running.spawn(async move { (index, run(account, id, patch).await) });
    }
    while !running.is_empty() {
        keep(&mut results, running.join_next().await)?;
    }
    Ok(ok(&BatchResults { results: results.into_iter().flatten().collect() }))
}

type Joined = Option<Result<(usize, BatchResult), tokio::task::JoinError>>;

fn keep(results: &mut [Option<BatchResult>], joined: Joined) -> Answer<()> {
    let Some(joined) = joined else { return Ok(()) };
    let (index, result) = joined.map_err(|_| Problem::internal())?;
    results[index] = Some(result);
    Ok(())
}
