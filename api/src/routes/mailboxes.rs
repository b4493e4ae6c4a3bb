//! Mailboxes.

use schema::{Account, MailboxDeleted, MailboxId, Role, Totals};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::PathId;
use crate::auth::Caller;
use crate::error::{Answer, Problem};
use crate::json::{Id, created, no_content, ok};
use crate::valid::{Body, NoParameters, Parameters};

/// A mailbox.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mailbox {
    /// Which.
    id: Id,
    /// What it is called.
    name: String,
    /// What it is for: `inbox`, `sent`, `drafts`, `archive`, `junk`, `trash`; null for one's own.
    role: Option<&'static str>,
    /// Messages in it.
    total_messages: u64,
    /// Messages in it without `$seen` and `$draft`.
    unread_messages: u64,
}

impl Mailbox {
    fn new(mailbox: schema::Mailbox, totals: Totals) -> Self {
        Self {
            id: Id(mailbox.id.0),
            name: mailbox.name,
            role: mailbox.role.map(Role::name),
            total_messages: totals.total,
            unread_messages: totals.unread,
        }
    }
}

/// Mailboxes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Mailboxes {
    /// All mailboxes of the account.
    items: Vec<Mailbox>,
}

impl Mailboxes {
    /// Those of an account.
    pub(crate) async fn of(account: &Account) -> Answer<Self> {
        let mailboxes = account.mailboxes().await?;
        Ok(Self {
            items: mailboxes.into_iter().map(|(mailbox, totals)| Mailbox::new(mailbox, totals)).collect(),
        })
    }
}

/// A mailbox's name.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailboxBody {
    /// 1–255 characters, no control characters, not another mailbox's.
    #[validate(length(min = 1, max = 255), custom(function = "has_no_controls"))]
    name: String,
}

fn has_no_controls(name: &str) -> Result<(), validator::ValidationError> {
    if name.chars().any(char::is_control) {
        return Err(
            validator::ValidationError::new("invalid").with_message("it has a control character".into())
        );
    }
    Ok(())
}

/// List mailboxes
#[utoipa::path(
    get, path = "/v1/mailboxes", tag = "Mailboxes", operation_id = "listMailboxes",
    responses((status = 200, description = "All mailboxes.", body = Mailboxes))
)]
pub(crate) async fn list(_: Parameters<NoParameters>, caller: Caller) -> Answer {
    Ok(ok(&Mailboxes::of(&caller.account).await?))
}

/// Create a mailbox
#[utoipa::path(
    post, path = "/v1/mailboxes", tag = "Mailboxes", operation_id = "createMailbox", request_body = MailboxBody,
    responses(
        (status = 201, description = "Created; `Location` leads to it.", body = Mailbox),
        (status = 409, description = "The name is taken, or there are too many mailboxes."),
    )
)]
pub(crate) async fn create(
    _: Parameters<NoParameters>,
    caller: Caller,
    Body(body): Body<MailboxBody>,
) -> Answer {
    let mailbox = create_in(&caller.account, &body).await?;
    Ok(created(&format!("/v1/mailboxes/{}", mailbox.id.text()), &mailbox))
}

/// Creates a mailbox in an account.
pub(crate) async fn create_in(account: &Account, body: &MailboxBody) -> Answer<Mailbox> {
    let made = account.create_mailbox(&body.name).await;
    made.map(|mailbox| Mailbox::new(mailbox, Totals::default()))
        .map_err(|error| Problem::about("name", error))
}

/// Read a mailbox
#[utoipa::path(
    get, path = "/v1/mailboxes/{id}", tag = "Mailboxes", operation_id = "readMailbox",
    params(("id" = Id, Path, description = "The mailbox.")),
    responses((status = 200, description = "The mailbox.", body = Mailbox))
)]
pub(crate) async fn read(_: Parameters<NoParameters>, caller: Caller, PathId(id): PathId) -> Answer {
    Ok(ok(&find(&caller.account, MailboxId(id.0)).await?))
}

async fn find(account: &Account, id: MailboxId) -> Answer<Mailbox> {
    let (mailbox, totals) = account.mailbox(id).await?.ok_or_else(Problem::not_found)?;
    Ok(Mailbox::new(mailbox, totals))
}

/// Rename a mailbox
#[utoipa::path(
    patch, path = "/v1/mailboxes/{id}", tag = "Mailboxes", operation_id = "renameMailbox",
    params(("id" = Id, Path, description = "The mailbox.")),
    request_body(content((MailboxBody = "application/merge-patch+json"), (MailboxBody = "application/json"))),
    responses(
        (status = 200, description = "The mailbox with its new name.", body = Mailbox),
        (status = 409, description = "The name is taken."),
    )
)]
pub(crate) async fn rename(
    _: Parameters<NoParameters>,
    caller: Caller,
    PathId(id): PathId,
    Body(body): Body<MailboxBody>,
) -> Answer {
    let renamed = caller.account.rename_mailbox(MailboxId(id.0), &body.name).await;
    renamed.map_err(|error| Problem::about("name", error))?.ok_or_else(Problem::not_found)?;
    Ok(ok(&find(&caller.account, MailboxId(id.0)).await?))
}

/// Delete a mailbox
///
/// Only an empty one, and none with a role.
#[utoipa::path(
    delete, path = "/v1/mailboxes/{id}", tag = "Mailboxes", operation_id = "deleteMailbox",
    params(("id" = Id, Path, description = "The mailbox.")),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "It holds messages, or it has a role."),
    )
)]
pub(crate) async fn remove(_: Parameters<NoParameters>, caller: Caller, PathId(id): PathId) -> Answer {
    match caller.account.delete_mailbox(MailboxId(id.0)).await? {
        MailboxDeleted::Done => Ok(no_content()),
        MailboxDeleted::NotFound => Err(Problem::not_found()),
        MailboxDeleted::HasRole => Err(Problem::conflict("a mailbox with a role is never deleted")),
        MailboxDeleted::NotEmpty => {
            Err(Problem::conflict("the mailbox holds messages: move or delete them first"))
        }
    }
}

/// The mailbox that a parameter names by its role or its id; 422 on `field` if the account has none such.
pub(crate) async fn by_parameter(account: &Account, field: &str, text: &str) -> Answer<MailboxId> {
    if let Some(role) = Role::from_name(text) {
        return Ok(account.role_mailbox(role));
    }
    if let Some(id) = Id::parse(text).map(|id| MailboxId(id.0))
        && account.has_mailbox(id).await?
    {
        return Ok(id);
    }
    Err(Problem::field(field, "invalid", "there is no mailbox with this role or id"))
}
