//! The account that calls.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{Answer, Problem};
use crate::json::{Id, Time, ok};
use crate::router::Api;
use crate::valid::{NoParameters, Parameters};

/// An account.
#[derive(Serialize, ToSchema)]
pub(crate) struct Account {
    /// Which.
    id: Id,
    /// Its addresses, the first one first; `@domain` takes all mail to a domain that no other address takes.
    addresses: Vec<String>,
    /// Octets it may hold; null: no limit.
    quota: Option<u64>,
    /// Octets it holds: messages as received.
    used: u64,
    /// When it was made.
    created: Time,
}

/// Read the account
#[utoipa::path(
    get, path = "/v1/account", tag = "Account", operation_id = "readAccount",
    responses((status = 200, description = "The account of the session.", body = Account))
)]
pub(crate) async fn read(State(api): State<Arc<Api>>, _: Parameters<NoParameters>, caller: Caller) -> Answer {
    let info = api.instance.account_info(caller.account.id()).await?.ok_or_else(Problem::not_found)?;
    let used = caller.account.used().await?;
    Ok(ok(&Account {
        id: Id(info.id.0),
        addresses: info.addresses,
        quota: info.quota,
        used,
        created: Time(info.created_at),
    }))
}
