//! Messages: their listing and what is in one.

pub(crate) mod batch;
mod detail;
mod head;
pub(crate) mod state;

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use axum::extract::State;
use http::{HeaderMap, HeaderValue, header};
use schema::{List, ListFilter, Message, MessageId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError};

use super::PathId;
use super::mailboxes::by_parameter;
use crate::auth::Caller;
use crate::conditions::unmet;
use crate::error::{Answer, Problem};
use crate::json::{Time, held_json, ok};
use crate::page::Listing;
use crate::router::Api;
use crate::valid::{NoParameters, Parameters};

pub(crate) use detail::MessageDetail;
pub(crate) use head::{Address, Head};

/// Items of a page unless asked otherwise.
pub(crate) const LIMIT: u16 = 50;

/// What a listing of messages takes.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesParameters {
    /// Only messages in this mailbox: an id or a role.
    #[validate(length(min = 1, max = 64))]
    mailbox: Option<String>,
    /// Only messages with this keyword.
    #[validate(custom(function = "check_keyword"))]
    keyword: Option<String>,
    /// Only messages without this keyword. A page may then be short and still have a `nextCursor`.
    #[validate(custom(function = "check_keyword"))]
    not_keyword: Option<String>,
    /// Only messages received at this time or later.
    #[param(value_type = Option<Time>)]
    after: Option<Time>,
    /// Only messages received before this time.
    #[param(value_type = Option<Time>)]
    before: Option<Time>,
    /// Items of a page; 50 unless given.
    #[validate(range(min = 1, max = 200))]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
    /// `nextCursor` of the page before, with the same parameters as that.
    #[validate(length(max = 256))]
    cursor: Option<String>,
}

/// Whether a keyword has the form of one, in whatever case.
pub(crate) fn check_keyword(keyword: &str) -> Result<(), ValidationError> {
    if schema::is_keyword(&keyword.to_ascii_lowercase()) {
        return Ok(());
    }
    let message = "a keyword is 1-255 printable ASCII characters, none of ( ) { ] % * \" \\";
    Err(ValidationError::new("invalid").with_message(message.into()))
}

/// A keyword as it is stored.
pub(crate) fn stored_keyword(given: Option<&String>) -> Option<String> {
    given.map(|keyword| keyword.to_ascii_lowercase())
}

/// A page of messages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Messages {
    /// Heads, newest first.
    pub items: Vec<Head>,
    /// What `cursor` takes for the next page; null at the end.
    pub next_cursor: Option<String>,
}

/// List messages
///
/// Newest first, by `receivedAt`.
#[utoipa::path(
    get, path = "/v1/messages", tag = "Messages", operation_id = "listMessages", params(MessagesParameters),
    responses((status = 200, description = "A page of heads.", body = Messages))
)]
pub(crate) async fn list(Parameters(given): Parameters<MessagesParameters>, caller: Caller) -> Answer {
    let account = &caller.account;
    let keyword = stored_keyword(given.keyword.as_ref());
    let not_keyword = stored_keyword(given.not_keyword.as_ref());
    let listing = Listing::new(account, "messages")
        .with(given.mailbox.as_ref())
        .with(keyword.as_ref())
        .with(not_keyword.as_ref())
        .within(given.after, given.before);
    let from = listing.position(given.cursor.as_deref())?;
    let (list, keyword) = match (&given.mailbox, keyword) {
        (Some(mailbox), keyword) => {
            (List::Mailbox(by_parameter(account, "mailbox", mailbox).await?), keyword)
        }
        (None, Some(keyword)) => (account.keyword_list(&keyword), None),
        (None, None) => (List::Account, None),
    };
    let filter = ListFilter {
        after: given.after.map(|time| time.0),
        before: given.before.map(|time| time.0),
        mailbox: None,
        keyword,
        not_keyword,
    };
    let page = account.list(list, &filter, from, given.limit.unwrap_or(LIMIT).into()).await?;
    let next_cursor = listing.next(page.next);
    Ok(ok(&Messages { items: page.items.into_iter().map(Head::new).collect(), next_cursor }))
}

/// Read a message
#[utoipa::path(
    get, path = "/v1/messages/{id}", tag = "Messages", operation_id = "readMessage",
    params(
        ("id" = crate::json::Id, Path, description = "The message."),
        ("If-None-Match" = Option<String>, Header, description = "Only if it has none of these tags."),
    ),
    responses(
        (
            status = 200, description = "The message.", body = MessageDetail,
            headers(("ETag" = String, description = "Changes with keywords, mailboxes and the thread."))
        ),
        (status = 304, description = "The client has it."),
    )
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    _: Parameters<NoParameters>,
    caller: Caller,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Answer {
    let id = MessageId(id.0);
    let message = caller.account.message(id).await?.ok_or_else(Problem::not_found)?;
    let tag = etag(&message);
    if let Some(unmet) = unmet(&headers, &tag)? {
        return Ok(unmet);
    }
    let held = api.memory.hold(message.row.size).await?;
    let raw = caller.account.raw(id).await?.ok_or_else(Problem::not_found)?;
    let limits = caller.account.instance().settings.limits;
    let mut response =
        apart(raw.len(), move || held_json(&MessageDetail::new(message, &raw, &limits), held)).await?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// Messages above this many octets are read on a thread of their own, so that they hold up nobody.
pub(crate) const APART: usize = 64 << 10;

/// Runs what takes as long as a message is large.
pub(crate) async fn apart<T: Send + 'static>(
    octets: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Answer<T> {
    if octets <= APART {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal())
}

/// The entity tag of a message: of all in it that can change. The version alone begins anew where a message comes back.
pub(crate) fn etag(message: &Message) -> HeaderValue {
    let mut hasher = std::hash::DefaultHasher::new();
    (message.thread.0, &message.state.mailboxes, &message.state.keywords).hash(&mut hasher);
    let tag = format!("\"{}-{:016x}\"", message.state.version, hasher.finish());
    HeaderValue::from_str(&tag).expect("digits and quotes are a header's value")
}
