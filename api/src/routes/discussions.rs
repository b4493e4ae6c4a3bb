//! Discussions: all messages among the same set of people.

use schema::{DiscussionId, ListFilter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::PathId;
use super::messages::{Head, LIMIT, Messages};
use crate::auth::Caller;
use crate::error::{Answer, Problem};
use crate::json::{Id, Time, ok};
use crate::page::Listing;
use crate::valid::Parameters;

/// What a listing of discussions, or of one's messages, takes.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiscussionsParameters {
    /// Only what was received at this time or later; of discussions the newest message counts.
    #[param(value_type = Option<Time>)]
    after: Option<Time>,
    /// Only what was received before this time; of discussions the newest message counts.
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

impl DiscussionsParameters {
    fn filter(&self) -> ListFilter {
        ListFilter {
            after: self.after.map(|time| time.0),
            before: self.before.map(|time| time.0),
            ..ListFilter::default()
        }
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT).into()
    }
}

/// A discussion in a listing.
#[derive(Serialize, ToSchema)]
pub(crate) struct Discussion {
    /// Which.
    id: Id,
    /// The head of its newest message, which names the people.
    newest: Head,
}

/// A page of discussions.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Discussions {
    /// Discussions, newest activity first.
    items: Vec<Discussion>,
    /// What `cursor` takes for the next page; null at the end.
    next_cursor: Option<String>,
}

/// List discussions
#[utoipa::path(
    get, path = "/v1/discussions", tag = "Discussions", operation_id = "listDiscussions",
    params(DiscussionsParameters),
    responses((status = 200, description = "A page of discussions.", body = Discussions))
)]
pub(crate) async fn list(Parameters(given): Parameters<DiscussionsParameters>, caller: Caller) -> Answer {
    let listing = Listing::new(&caller.account, "discussions").within(given.after, given.before);
    let from = listing.position(given.cursor.as_deref())?;
    let page = caller.account.discussions(&given.filter(), from, given.limit()).await?;
    let next_cursor = listing.next(page.next);
    let items = page.items.into_iter();
    let items = items.map(|each| Discussion { id: Id(each.id.0), newest: Head::new(each.newest) }).collect();
    Ok(ok(&Discussions { items, next_cursor }))
}

/// List the messages of a discussion
#[utoipa::path(
    get, path = "/v1/discussions/{id}", tag = "Discussions", operation_id = "readDiscussion",
    params(("id" = Id, Path, description = "The discussion."), DiscussionsParameters),
    responses((status = 200, description = "A page of heads, newest first.", body = Messages))
)]
pub(crate) async fn read(
    PathId(id): PathId,
    Parameters(given): Parameters<DiscussionsParameters>,
    caller: Caller,
) -> Answer {
    let listing =
        Listing::new(&caller.account, "discussion").with(Some(id.0)).within(given.after, given.before);
    let from = listing.position(given.cursor.as_deref())?;
    let page = caller.account.discussion(DiscussionId(id.0), &given.filter(), from, given.limit()).await?;
    let page = page.ok_or_else(Problem::not_found)?;
    let next_cursor = listing.next(page.next);
    Ok(ok(&Messages { items: page.items.into_iter().map(Head::new).collect(), next_cursor }))
}
