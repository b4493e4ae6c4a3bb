//! Search.

mod snippets;

use std::sync::Arc;

use axum::extract::State;

use schema::index::{Hit, Hits, Query, Sort};
use schema::{Account, Mailbox, MailboxId, MessageId, Millis, Role, SearchIndex};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use self::snippets::with_snippets;
use super::messages::{Head, LIMIT};
use crate::auth::Caller;
use crate::error::{Answer, FieldError, Problem};
use crate::json::{Id, Time, ok};
use crate::page::{Listing, foreign};
use crate::query::{self, Filter, Node, Plan, Snippet, SyntaxError, Wanted};
use crate::router::Api;
use crate::valid::{Body, NoParameters, Parameters};

/// Up to here a total is exact.
const EXACT: u64 = 10_000;
/// Hits that are held against the store at once.
const STEP: usize = 500;

/// The order of hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// What fits best first.
    Relevance,
    /// Newest first.
    Date,
}

/// What a search takes.
#[derive(Debug, Deserialize, Validate, IntoParams, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParameters {
    /// What to find: words, `"phrases"`, `prefix*` (2 to 12 letters or digits before the star), `OR`, `-not`,
    /// parentheses, the fields `from:` `to:` `cc:` `subject:` `body:` `filename:` `list:`, also for several texts as in
    /// `from:(ada OR bob)`, and `has:attachment` `is:unread` `is:read` `is:flagged` `is:answered` `is:draft` `keyword:`
    /// `in:` (role, id or name of a mailbox) `after:` `before:` (a date or a time) `larger:` `smaller:` (octets, or with
    /// k, m, g). An operator where it means nothing is refused; in quotes all but `*` are text.
    #[validate(length(min = 1, max = 2048))]
    q: String,
    /// Items of a page; 50 unless given.
    #[validate(range(min = 1, max = 200))]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
    /// `nextCursor` of the page before, with the same query as that.
    #[validate(length(max = 256))]
    cursor: Option<String>,
    /// The order: `relevance` unless given.
    #[param(inline)]
    sort: Option<Order>,
}

/// A hit.
#[derive(Serialize, ToSchema)]
pub(crate) struct Found {
    #[serde(flatten)]
    head: Head,
    /// Where it matches.
    snippet: Snippet,
}

/// A page of hits.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchResult {
    /// Hits in the order asked for.
    items: Vec<Found>,
    /// What `cursor` takes for the next page; null at the end. A page of a query with `is:`, `in:` or `keyword:` that few
    /// messages pass may be short and still have one.
    next_cursor: Option<String>,
    /// How many messages match: exact up to 10,000. On later pages it is that of the first.
    total: u64,
    /// True where more messages match than `total` says.
    total_is_lower_bound: bool,
    /// Every message received up to this time can be found.
    indexed_through: Time,
    /// Whether every message can be found.
    complete: bool,
}

/// Search
///
/// Flags and mailboxes in the answer are those of now; what was received last may not be found yet, `indexedThrough`
/// tells.
#[utoipa::path(
    get, path = "/v1/search", tag = "Search", operation_id = "search", params(SearchParameters),
    responses((status = 200, description = "A page of hits.", body = SearchResult))
)]
pub(crate) async fn by_url(
    State(api): State<Arc<Api>>,
    Parameters(given): Parameters<SearchParameters>,
    caller: Caller,
) -> Answer {
    search(&api, given, &caller.account).await
}

/// Search, with the query in the body
///
/// The same as by GET, for queries that are not to stand in an address.
#[utoipa::path(
    post, path = "/v1/search", tag = "Search", operation_id = "searchByBody", request_body = SearchParameters,
    responses((status = 200, description = "A page of hits.", body = SearchResult))
)]
pub(crate) async fn by_body(
    State(api): State<Arc<Api>>,
    _: Parameters<NoParameters>,
    caller: Caller,
    Body(given): Body<SearchParameters>,
) -> Answer {
    search(&api, given, &caller.account).await
}

fn syntax(error: SyntaxError) -> Problem {
    let message = format!("at character {}: {}", error.position, error.reason);
    let mut entry = FieldError::new("q", "syntax", message);
    entry.position = Some(error.position);
    Problem::invalid(vec![entry])
}

async fn search(api: &Arc<Api>, given: SearchParameters, account: &Account) -> Answer {
    let node = query::parse(&given.q).map_err(syntax)?;
    let order = given.sort.unwrap_or(Order::Relevance);
    let listing = Listing::new(account, "search").with(Some(&given.q)).with(Some([order as u8]));
    let from = match &given.cursor {
        None => None,
        Some(cursor) => {
            let place = listing.open(cursor).and_then(|bytes| Place::from_bytes(&bytes));
            Some(place.ok_or_else(|| foreign("cursor"))?)
        }
    };
    // How far the index has read, before it is searched: what it takes in meanwhile is more than is promised, never less.
    let progress = async { Ok(account.index_progress().await?) };
    let languages = async { Ok(account.languages().await?) };
    let (languages, mailboxes, progress) =
        tokio::try_join!(languages, named_mailboxes(&node, account), progress)?;
    let lookup = |text: &str| find_mailbox(&mailboxes, account, text);
    let plan = query::compile(&node, account, &languages, &lookup).map_err(syntax)?;
    let limit = usize::from(given.limit.unwrap_or(LIMIT));
    let page =
        Search { account, plan, order, candidates: api.settings.search_candidates }.page(from, limit).await?;
    let ids: Vec<MessageId> = page.hits.iter().map(|hit| hit.id).collect();
    let wanted = Arc::new(Wanted::new(&node, &languages));
    let messages: Vec<_> = account.messages_shown(&ids).await?.into_iter().flatten().collect();
    let items = with_snippets(api, account, &wanted, messages).await?;
    Ok(ok(&SearchResult {
        items,
        next_cursor: page.next.map(|place| listing.seal(&place.to_bytes())),
        total: page.total,
        total_is_lower_bound: page.total_is_lower_bound,
        indexed_through: Time(progress.indexed_through),
        complete: progress.complete,
    }))
}

/// The mailboxes, if `in:` names one by something else than its role.
async fn named_mailboxes(node: &Node, account: &Account) -> Answer<Vec<Mailbox>> {
    fn names(node: &Node) -> bool {
        match node {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().any(names),
            Node::Not(node) => names(node),
            Node::Test(query::Test::In { mailbox, .. }) => Role::from_name(mailbox).is_none(),
            _ => false,
        }
    }
    match names(node) {
        true => Ok(account.all_mailboxes().await?),
        false => Ok(Vec::new()),
    }
}

/// The mailbox with this role, id or name, in that order; a name in whatever case if none has it exactly.
fn find_mailbox(mailboxes: &[Mailbox], account: &Account, text: &str) -> Option<MailboxId> {
    if let Some(role) = Role::from_name(text) {
        return Some(account.role_mailbox(role));
    }
    let text = &*mail::terms::composed(text);
    let id = Id::parse(text).map(|id| MailboxId(id.0));
    let by_id = mailboxes.iter().find(|mailbox| Some(mailbox.id) == id);
    let by_name = || mailboxes.iter().find(|mailbox| mailbox.name == text);
    let folded = text.to_lowercase();
    let in_any_case = || mailboxes.iter().find(|mailbox| mailbox.name.to_lowercase() == folded);
    by_id.or_else(by_name).or_else(in_any_case).map(|mailbox| mailbox.id)
}

/// Where a search goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The total of the first page.
    total: u64,
    total_is_lower_bound: bool,
    /// By relevance: hits of the index before the next page.
    offset: u64,
    /// By date: the last hit of the page before.
    at: Millis,
    id: MessageId,
}

impl Place {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.total_is_lower_bound)];
        bytes.extend([self.total, self.offset, self.at].map(u64::to_be_bytes).concat());
        bytes.extend(self.id.0);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bound, rest) = bytes.split_first()?;
        let (numbers, id) = rest.split_at_checked(24)?;
        let number = |index: usize| Some(u64::from_be_bytes(*numbers.get(index * 8..)?.first_chunk()?));
        Some(Self {
            total_is_lower_bound: *bound == 1,
            total: number(0)?,
            offset: number(1)?,
            at: number(2)?,
            id: MessageId::from_slice(id)?,
        })
    }
}

/// The hits of a page.
struct Page {
    hits: Vec<Hit>,
    next: Option<Place>,
    total: u64,
    total_is_lower_bound: bool,
}

struct Search<'a> {
    account: &'a Account,
    plan: Plan,
    order: Order,
    /// Hits that are held against the store for one page, at most.
    candidates: usize,
}

impl Search<'_> {
    fn index(&self) -> &dyn SearchIndex {
        &*self.account.instance().backend.index
    }

    async fn ask(&self, query: &Query, offset: usize, limit: usize) -> Answer<Hits> {
        let sort = match self.order {
            Order::Relevance => Sort::Relevance,
            Order::Date => Sort::Date,
        };
        Ok(self.index().search(self.account.id(), query, sort, offset, limit).await?)
    }

    async fn page(&self, from: Option<Place>, limit: usize) -> Answer<Page> {
        let by_date = from.filter(|_| self.order == Order::Date);
        // By date a page goes on after a hit, not after a number of them, so that new mail moves nothing.
        let query = match by_date {
            Some(place) => {
                let bound = Query::Received { from: None, until: Some(place.at.saturating_add(1)) };
                Query::And(vec![self.plan.query.clone(), bound])
            }
            None => self.plan.query.clone(),
        };
        let first = if self.order == Order::Date { 0 } else { from.map_or(0, |place| place.offset as usize) };
        let mut offset = first;
        let (mut hits, mut next, mut matched, mut looked_at) = (Vec::new(), None, 0u64, 0);
        let (mut index_total, mut ended) = ((0, false), false);
        // The first page of a filtered search counts on to its total; any other stops after its last hit.
        let counts = self.plan.filter.is_some() && from.is_none();
        while !ended {
            let step = if self.plan.filter.is_some() { STEP } else { limit + 1 };
            let found = self.ask(&query, offset, step).await?;
            ended = found.hits.len() < step;
            index_total = (found.total, found.total_is_lower_bound);
            let states = self.admitted(&found.hits).await?;
            let last = found.hits.last().cloned();
            for (hit, admitted) in found.hits.into_iter().zip(states) {
                let passed = by_date.is_none_or(|place| (hit.received_at, hit.id) < (place.at, place.id));
                looked_at += usize::from(passed);
                if admitted && passed {
                    matched += 1;
                    if hits.len() < limit {
                        hits.push((hit, offset + 1));
                    } else if next.is_none() {
                        next = hits.last().map(|(last, after): &(Hit, usize)| (last.clone(), *after));
                    }
                }
                offset += 1;
            }
            let enough = if counts { matched >= EXACT } else { next.is_some() };
            if enough {
                break;
            }
            // The page is short then, and the next goes on after what was looked at.
            if !ended && self.plan.filter.is_some() && looked_at >= self.candidates {
                next = next.or(last.map(|last| (last, offset)));
                break;
            }
            // Whoever waits for an answer only so long is to be asked now and then.
            tokio::task::yield_now().await;
        }
        let (total, total_is_lower_bound) = match (from, &self.plan.filter) {
            (Some(place), _) => (place.total, place.total_is_lower_bound),
            (None, None) => index_total,
            (None, Some(_)) => (matched, !ended),
        };
        let next = next.map(|(last, after)| Place {
            total,
            total_is_lower_bound,
            offset: after as u64,
            at: last.received_at,
            id: last.id,
        });
        let hits = hits.into_iter().map(|(hit, _)| hit).collect();
        Ok(Page { hits, next, total, total_is_lower_bound })
    }

    /// Which hits pass the filter, by the store's own state of each.
    async fn admitted(&self, hits: &[Hit]) -> Answer<Vec<bool>> {
        let Some(filter): Option<&Filter> = self.plan.filter.as_ref() else {
            return Ok(vec![true; hits.len()]);
        };
        let ids: Vec<_> = hits.iter().map(|hit| hit.id).collect();
        let states = self.account.states(&ids).await?;
        let admits = |(hit, state): (&Hit, Option<_>)| state.is_some_and(|state| filter.admits(hit, &state));
        Ok(hits.iter().zip(states).map(admits).collect())
    }
}
