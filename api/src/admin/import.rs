//! Messages put in and taken out by the operator.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use schema::{Account, Arrival, Incoming, List, ListFilter, MessageId};
use serde::Deserialize;
use serde_json::json;
use validator::Validate;

use super::{Internal, no_account};
use crate::error::{Answer, Problem};
use crate::json::{Id, Keywords, MailboxIds, Time, created, json as answer, ok};
use crate::octets::{Octets, disposition};
use crate::page::Listing;
use crate::routes::mailboxes::{MailboxBody, Mailboxes, by_parameter, create_in};
use crate::routes::messages::check_keyword;
use crate::valid::{Body, NoParameters, Parameters, read_body};

#[derive(Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ImportParameters {
    /// An id or a role; without it the inbox.
    #[validate(length(min = 1, max = 64))]
    mailbox: Option<String>,
    /// Keywords, with commas between them.
    #[validate(length(min = 1, max = 4096))]
    keywords: Option<String>,
    /// When it was received; without it now.
    received_at: Option<Time>,
}

async fn open(internal: &Internal, account: &str) -> Answer<Account> {
    let id = internal.account_id(account).await?;
    internal.instance.account(id).await?.ok_or_else(no_account)
}

/// The body is one message as received: 201 {id, isNew: true}, or 200 {id, isNew: false} if the account has it already.
pub(super) async fn import(
    State(internal): State<Arc<Internal>>,
    Path(account): Path<String>,
    Parameters(given): Parameters<ImportParameters>,
    request: Request,
) -> Answer {
    let account = open(&internal, &account).await?;
    let mut keywords = BTreeSet::new();
    for keyword in given.keywords.iter().flat_map(|keywords| keywords.split(',')).map(str::trim) {
        if check_keyword(keyword).is_err() {
            return Err(Problem::field("keywords", "invalid", "it is keywords with commas between them"));
        }
        keywords.insert(keyword.to_ascii_lowercase());
    }
    if keywords.len() > schema::KEYWORDS {
        let message = format!("a message has at most {} keywords", schema::KEYWORDS);
        return Err(Problem::field("keywords", "invalid", &message));
    }
    let mailbox = match &given.mailbox {
        Some(mailbox) => Some(by_parameter(&account, "mailbox", mailbox).await?),
        None => None,
    };
    let raw = read_body(request, internal.message_bytes).await?;
    if raw.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "malformed", "the body is a message"));
    }
    let arrival = Arrival {
        mailbox,
        keywords,
        received_at: given.received_at.map(|time| time.0),
        revive: true,
        ..Arrival::default()
    };
    let kept = account.keep(&Incoming::prepare(&raw, &internal.instance.settings.limits), arrival).await?;
    let body = json!({ "id": Id(kept.id.0), "isNew": kept.is_new });
    match kept.is_new {
        true => {
            let (account, id) = (Id(account.id().0).text(), Id(kept.id.0).text());
            Ok(created(&format!("/admin/v1/accounts/{account}/messages/{id}/raw"), &body))
        }
        false => Ok(answer(StatusCode::OK, &body)),
    }
}

/// The account's mailboxes, as in `/v1/mailboxes`.
pub(super) async fn mailboxes(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(account): Path<String>,
) -> Answer {
    Ok(ok(&Mailboxes::of(&open(&internal, &account).await?).await?))
}

/// A new mailbox, as in `/v1/mailboxes`: what an import of folders needs.
pub(super) async fn create_mailbox(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(account): Path<String>,
    Body(body): Body<MailboxBody>,
) -> Answer {
    let account = open(&internal, &account).await?;
    Ok(answer(StatusCode::CREATED, &create_in(&account, &body).await?))
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportParameters {
    #[validate(range(min = 1, max = 1000))]
    limit: Option<u16>,
    #[validate(length(max = 256))]
    cursor: Option<String>,
}

/// `{items: [{id, receivedAt, size, mailboxIds, keywords, returnPath}], nextCursor}`, newest first.
pub(super) async fn list(
    State(internal): State<Arc<Internal>>,
    Path(account): Path<String>,
    Parameters(given): Parameters<ExportParameters>,
) -> Answer {
    let account = open(&internal, &account).await?;
    let listing = Listing::new(&account, "export");
    let from = listing.position(given.cursor.as_deref())?;
    let limit = given.limit.unwrap_or(500).into();
    let page = account.list(List::Account, &ListFilter::default(), from, limit).await?;
    let items = page.items.into_iter().map(|message| {
        json!({
            "id": Id(message.id.0),
            "receivedAt": Time(message.row.received_at),
            "size": message.row.size,
            "mailboxIds": MailboxIds(&message.state.mailboxes),
            "keywords": Keywords(&message.state.keywords),
            "returnPath": message.row.envelope.sender,
        })
    });
    let items: Vec<_> = items.collect();
    Ok(ok(&json!({ "items": items, "nextCursor": listing.next(page.next) })))
}

/// The bytes of a message as received.
pub(super) async fn raw(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path((account, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let account = open(&internal, &account).await?;
    let id = Id::parse(&id).ok_or_else(Problem::not_found)?;
    let raw = account.raw(MessageId(id.0)).await?.ok_or_else(Problem::not_found)?;
    let octets = Octets {
        bytes: Bytes::from(raw),
        held: None,
        tag: id.text(),
        content_type: HeaderValue::from_static("message/rfc822"),
        disposition: disposition(false, None),
    };
    octets.answer(&headers)
}
