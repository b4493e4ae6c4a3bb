//! Discussions: all messages among the same set of people.

use schema::{Account, DiscussionId, ListFilter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::PathId;
use super::mailboxes::by_parameter;
use super::messages::{Head, LIMIT, Messages, check_keyword, stored_keyword};
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
    /// Only what is in this mailbox: an id or a role. Of discussions any of their messages counts, as with keywords.
    #[validate(length(min = 1, max = 64))]
    mailbox: Option<String>,
    /// Only what has this keyword.
    #[validate(custom(function = "check_keyword"))]
    keyword: Option<String>,
    /// Only what lacks this keyword. A page may then be short and still have a `nextCursor`.
    #[validate(custom(function = "check_keyword"))]
    not_keyword: Option<String>,
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
    async fn filter(&self, account: &Account) -> Answer<ListFilter> {
        let mailbox = match &self.mailbox {
            Some(mailbox) => Some(by_parameter(account, "mailbox", mailbox).await?),
            None => None,
        };
        Ok(ListFilter {
            after: self.after.map(|time| time.0),
            before: self.before.map(|time| time.0),
            mailbox,
            keyword: stored_keyword(self.keyword.as_ref()),
            not_keyword: stored_keyword(self.not_keyword.as_ref()),
        })
    }

    /// The same listing with what decides what is listed.
    fn bind<'a>(&self, listing: Listing<'a>) -> Listing<'a> {
        listing
            .with(self.mailbox.as_ref())
            .with(stored_keyword(self.keyword.as_ref()))
            .with(stored_keyword(self.not_keyword.as_ref()))
            .within(self.after, self.before)
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
    let listing = given.bind(Listing::new(&caller.account, "discussions"));
    let from = listing.position(given.cursor.as_deref())?;
    let filter = given.filter(&caller.account).await?;
    let page = caller.account.discussions(&filter, from, given.limit()).await?;
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
    let listing = given.bind(Listing::new(&caller.account, "discussion").with(Some(id.0)));
    let from = listing.position(given.cursor.as_deref())?;
    let filter = given.filter(&caller.account).await?;
    let page = caller.account.discussion(DiscussionId(id.0), &filter, from, given.limit()).await?;
    let page = page.ok_or_else(Problem::not_found)?;
    let next_cursor = listing.next(page.next);
    Ok(ok(&Messages { items: page.items.into_iter().map(Head::new).collect(), next_cursor }))
}
