//! Changing a message's keywords and mailboxes, and deleting it.

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use schema::{Account, Deleted, MailboxId, Message, MessageId, Patched, StatePatch};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use super::super::PathId;
use super::{Head, check_keyword, etag};
use crate::auth::Caller;
use crate::conditions::{is_any_expected, is_expected};
use crate::error::{Answer, FieldError, Problem};
use crate::json::{Id, no_content, ok};
use crate::valid::{Body, NoParameters, Parameters};

/// How often a change that clears a whole member is tried again when another one was faster.
const ATTEMPTS: usize = 10;
/// The most names in one member of a patch.
const NAMES: usize = 1000;

/// A member of a merge patch: `null` takes all away, an object names what to add (true) and to take away (null).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Member {
    Clear,
    Merge(BTreeMap<String, Option<bool>>),
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let merge = Option::<BTreeMap<String, Option<bool>>>::deserialize(deserializer)?;
        Ok(merge.map_or(Self::Clear, Self::Merge))
    }
}

/// Reads a member that is there, so that `null` is not taken for one that is not.
pub(crate) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Member>, D::Error> {
    Member::deserialize(deserializer).map(Some)
}

fn check_member(member: &Member) -> Result<(), ValidationError> {
    let wrong = |message: &'static str| Err(ValidationError::new("invalid").with_message(message.into()));
    match member {
        Member::Merge(names) if names.len() > NAMES => wrong("it names too many"),
        Member::Merge(names) if names.values().any(|value| *value == Some(false)) => {
            wrong("a value is true, or null to take it away")
        }
        _ => Ok(()),
    }
}

fn check_mailboxes(member: &Member) -> Result<(), ValidationError> {
    check_member(member)?;
    let is_id = |text: &String| Id::parse(text).is_some();
    match member {
        Member::Merge(names) if !names.keys().all(is_id) => {
            Err(ValidationError::new("invalid").with_message("a key is not the id of a mailbox".into()))
        }
        _ => Ok(()),
    }
}

fn check_keywords(member: &Member) -> Result<(), ValidationError> {
    check_member(member)?;
    match member {
        Member::Merge(names) => names.keys().try_for_each(|name| check_keyword(name)),
        Member::Clear => Ok(()),
    }
}

/// What to change, merged into what is there (RFC 7396).
#[derive(Debug, Clone, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Patch {
    /// Keywords: `{name: true}` adds, `{name: null}` takes away, `null` takes all away.
    #[serde(default, deserialize_with = "given")]
    #[validate(custom(function = "check_keywords"))]
    #[schema(value_type = Option<std::collections::HashMap<String, Option<bool>>>)]
    pub keywords: Option<Member>,
    /// Mailboxes: `{id: true}` adds, `{id: null}` takes away. A message keeps at least one.
    #[serde(default, deserialize_with = "given")]
    #[validate(custom(function = "check_mailboxes"))]
    #[schema(value_type = Option<std::collections::HashMap<String, Option<bool>>>)]
    pub mailbox_ids: Option<Member>,
}

/// The version to insist on, if `If-Match` names one; 412 if none of its tags is the message's.
async fn check_expected(account: &Account, id: MessageId, headers: &HeaderMap) -> Answer<Option<u64>> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let message = account.message(id).await?.ok_or_else(Problem::not_found)?;
    match is_expected(headers, &etag(&message)) {
        // Any version will do, that of a change meanwhile too.
        true if is_any_expected(headers) => Ok(None),
        true => Ok(Some(message.state.version)),
        false => Err(Problem::stale()),
    }
}

/// Changes one message.
pub(crate) async fn change(
    account: &Account,
    id: MessageId,
    patch: &Patch,
    if_version: Option<u64>,
) -> Answer<Box<Message>> {
    let mut wanted = StatePatch { if_version, ..StatePatch::default() };
    match &patch.mailbox_ids {
        Some(Member::Clear) => wanted.only_mailboxes = Some([].into()),
        Some(Member::Merge(ids)) => {
            for (id, value) in ids {
                let mailbox = Id::parse(id).map(|id| MailboxId(id.0)).ok_or_else(no_such_mailbox)?;
                wanted.mailboxes.push((mailbox, value.is_some()));
            }
        }
        None => {}
    }
    if let Some(Member::Merge(names)) = &patch.keywords {
        wanted.keywords =
            names.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.is_some())).collect();
    }
    let clears = matches!(patch.keywords, Some(Member::Clear));
    for _ in 0..ATTEMPTS {
        if clears {
            let state = account.states(&[id]).await?.pop().flatten().ok_or_else(Problem::not_found)?;
            if if_version.is_some_and(|version| version != state.version) {
                return Err(Problem::stale());
            }
            wanted.if_version = Some(state.version);
            wanted.keywords = state.keywords.into_iter().map(|keyword| (keyword, false)).collect();
        }
        return match account.patch(id, &wanted).await? {
            Patched::Done(message) => Ok(message),
            Patched::NotFound => Err(Problem::not_found()),
            Patched::Stale if clears && if_version.is_none() => continue,
            Patched::Stale => Err(Problem::stale()),
            Patched::NoSuchMailbox(_) => Err(no_such_mailbox()),
            Patched::NoMailboxLeft => {
                Err(Problem::field("mailboxIds", "empty", "a message keeps at least one mailbox"))
            }
            Patched::TooManyKeywords => {
                let message = format!("a message has at most {} keywords", schema::KEYWORDS);
                Err(Problem::invalid(vec![FieldError::new("keywords", "limit", message)]))
            }
        };
    }
    Err(Problem::unavailable("the message is being changed by others: try again"))
}

fn no_such_mailbox() -> Problem {
    Problem::field("mailboxIds", "invalid", "there is no mailbox with one of these ids")
}

/// Change a message
///
/// Its keywords and mailboxes, by merge patch.
#[utoipa::path(
    patch, path = "/v1/messages/{id}", tag = "Messages", operation_id = "changeMessage",
    params(
        ("id" = Id, Path, description = "The message."),
        ("If-Match" = Option<String>, Header, description = "Only if the message still has this `ETag`."),
    ),
    request_body(content((Patch = "application/merge-patch+json"), (Patch = "application/json"))),
    responses(
        (status = 200, description = "The message's new head.", body = Head,
            headers(("ETag" = String, description = "Its new tag."))),
        (status = 412, description = "The message has changed meanwhile."),
    )
)]
pub(crate) async fn patch(
    _: Parameters<NoParameters>,
    caller: Caller,
    PathId(id): PathId,
    headers: HeaderMap,
    Body(patch): Body<Patch>,
) -> Answer {
    let id = MessageId(id.0);
    let version = check_expected(&caller.account, id, &headers).await?;
    let message = change(&caller.account, id, &patch, version).await?;
    let tag = etag(&message);
    let mut response = ok(&Head::new(*message));
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// Delete a message
///
/// Into the trash; what is in the trash is deleted finally.
#[utoipa::path(
    delete, path = "/v1/messages/{id}", tag = "Messages", operation_id = "deleteMessage",
    params(
        ("id" = Id, Path, description = "The message."),
        ("If-Match" = Option<String>, Header, description = "Only if the message still has this `ETag`."),
    ),
    responses(
        (status = 204, description = "It is in the trash, or gone if it was there."),
        (status = 412, description = "The message has changed meanwhile."),
    )
)]
pub(crate) async fn remove(
    _: Parameters<NoParameters>,
    caller: Caller,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Answer {
    let id = MessageId(id.0);
    let version = check_expected(&caller.account, id, &headers).await?;
    match caller.account.delete(id, version).await? {
        Deleted::Trashed(_) | Deleted::Destroyed => Ok(no_content()),
        Deleted::NotFound => Err(Problem::not_found()),
        Deleted::Stale => Err(Problem::stale()),
    }
}
