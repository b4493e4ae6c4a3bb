//! Threads.

use schema::{ListFilter, ThreadId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::PathId;
use super::mailboxes::by_parameter;
use super::messages::{Head, LIMIT, check_keyword, stored_keyword};
use crate::auth::Caller;
use crate::error::{Answer, Problem};
use crate::json::{Id, Time, ok};
use crate::page::Listing;
use crate::valid::Parameters;

/// Messages of one thread that a page holds unless asked otherwise.
const THREAD_LIMIT: usize = 1000;

/// What a listing of threads takes.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ThreadsParameters {
    /// Only threads with a message in this mailbox: an id or a role.
    #[validate(length(min = 1, max = 64))]
    mailbox: Option<String>,
    /// Only threads with a message that has this keyword (and is in `mailbox`, if that is given too).
    #[validate(custom(function = "check_keyword"))]
    keyword: Option<String>,
    /// Only threads with a message that lacks this keyword (and fits the others).
    #[validate(custom(function = "check_keyword"))]
    not_keyword: Option<String>,
    /// Only threads whose newest message was received at this time or later.
    #[param(value_type = Option<Time>)]
    after: Option<Time>,
    /// Only threads whose newest message was received before this time.
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

/// What reading a thread takes.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ThreadParameters {
    /// Messages of a page; 1,000 unless given.
    #[validate(range(min = 1, max = 1000))]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<u16>,
    /// `nextCursor` of the page before, with the same parameters as that.
    #[validate(length(max = 256))]
    cursor: Option<String>,
}

/// A thread in a listing.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThreadItem {
    /// Which.
    id: Id,
    /// Its messages, oldest first; of a thread with more than 1,000 the newest.
    message_ids: Vec<Id>,
    /// The head of its newest message.
    newest: Head,
    /// How many those are.
    total_messages: u64,
    /// Whether the thread has more than those.
    total_is_lower_bound: bool,
    /// How many of those are unread.
    unread_messages: u64,
}

/// A page of threads.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Threads {
    /// Threads, newest activity first.
    items: Vec<ThreadItem>,
    /// What `cursor` takes for the next page; null at the end.
    next_cursor: Option<String>,
}

/// A thread.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Thread {
    /// Which. It is another than the one asked for where that has become part of it.
    id: Id,
    /// The heads of its messages, oldest first.
    messages: Vec<Head>,
    /// What `cursor` takes for those that are newer; null at the end.
    next_cursor: Option<String>,
}

/// List threads
#[utoipa::path(
    get, path = "/v1/threads", tag = "Threads", operation_id = "listThreads", params(ThreadsParameters),
    responses((status = 200, description = "A page of threads.", body = Threads))
)]
pub(crate) async fn list(Parameters(given): Parameters<ThreadsParameters>, caller: Caller) -> Answer {
    let account = &caller.account;
    let keyword = stored_keyword(given.keyword.as_ref());
    let not_keyword = stored_keyword(given.not_keyword.as_ref());
    let listing = Listing::new(account, "threads")
        .with(given.mailbox.as_ref())
        .with(keyword.as_ref())
        .with(not_keyword.as_ref())
        .within(given.after, given.before);
    let from = listing.position(given.cursor.as_deref())?;
    let mailbox = match &given.mailbox {
        Some(mailbox) => Some(by_parameter(account, "mailbox", mailbox).await?),
        None => None,
    };
    let filter = ListFilter {
        after: given.after.map(|time| time.0),
        before: given.before.map(|time| time.0),
        mailbox,
        keyword,
        not_keyword,
    };
    let page = account.threads(&filter, from, given.limit.unwrap_or(LIMIT).into()).await?;
    let next_cursor = listing.next(page.next);
    let items = page.items.into_iter().map(|thread| ThreadItem {
        id: Id(thread.id.0),
        total_messages: thread.messages.len() as u64,
        total_is_lower_bound: thread.is_cut,
        message_ids: thread.messages.into_iter().map(|id| Id(id.0)).collect(),
        newest: Head::new(thread.newest),
        unread_messages: thread.unread,
    });
    Ok(ok(&Threads { items: items.collect(), next_cursor }))
}

/// Read a thread
///
/// Oldest message first.
#[utoipa::path(
    get, path = "/v1/threads/{id}", tag = "Threads", operation_id = "readThread",
    params(("id" = Id, Path, description = "The thread."), ThreadParameters),
    responses((status = 200, description = "The thread.", body = Thread))
)]
pub(crate) async fn read(
    PathId(id): PathId,
    Parameters(given): Parameters<ThreadParameters>,
    caller: Caller,
) -> Answer {
    let listing = Listing::new(&caller.account, "thread").with(Some(id.0));
    let from = listing.position(given.cursor.as_deref())?;
    let limit = given.limit.map_or(THREAD_LIMIT, usize::from);
    let found = caller.account.thread(ThreadId(id.0), from, limit).await?;
    let (root, page) = found.ok_or_else(Problem::not_found)?;
    let next_cursor = listing.next(page.next);
    Ok(ok(&Thread { id: Id(root.0), messages: page.items.into_iter().map(Head::new).collect(), next_cursor }))
}
