//! Addresses: aliases and catch-alls.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::json;
use validator::Validate;

use super::Internal;
use crate::error::{Answer, Problem};
use crate::json::{Id, created, no_content, ok};
use crate::valid::{Body, NoParameters, Parameters};

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressesParameters {
    /// An id or an address; without it the addresses of all accounts.
    #[validate(length(min = 1, max = 320))]
    account: Option<String>,
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressBody {
    #[validate(length(min = 2, max = 320))]
    address: String,
    /// An id or an address.
    #[validate(length(min = 1, max = 320))]
    account: String,
}

/// `{items: [{address, accountId}]}`
pub(super) async fn list(
    State(internal): State<Arc<Internal>>,
    Parameters(given): Parameters<AddressesParameters>,
) -> Answer {
    let accounts = match &given.account {
        Some(account) => vec![internal.account_id(account).await?],
        None => internal.instance.accounts().await?,
    };
    let mut items = Vec::new();
    for id in accounts {
        let addresses = internal.instance.addresses(id).await?.into_iter();
        items.extend(addresses.map(|address| json!({ "address": address, "accountId": Id(id.0) })));
    }
    Ok(ok(&json!({ "items": items })))
}

/// 201 {address, accountId} as they are stored, 409 if the address is taken.
pub(super) async fn add(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Body(body): Body<AddressBody>,
) -> Answer {
    let found = internal.find(&body.account).await?;
    let id = found
        .ok_or_else(|| Problem::field("account", "invalid", "there is no account with this id or address"))?;
    let added = internal.instance.add_address(&body.address, id).await;
    let address = added.map_err(|error| Problem::about("address", error))?;
    Ok(created("/admin/v1/addresses", &json!({ "address": address, "accountId": Id(id.0) })))
}

/// 204; 404 if it is not there, 409 for the address that an account was created with.
pub(super) async fn remove(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(address): Path<String>,
) -> Answer {
    match internal.instance.remove_address(&address).await {
        Ok(true) => Ok(no_content()),
        Ok(false) => Err(Problem::not_found()),
        Err(schema::Error::Refused { what }) => Err(Problem::conflict(what)),
        Err(error) => Err(error.into()),
    }
}
