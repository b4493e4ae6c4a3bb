//! Accounts.

use std::sync::Arc;

use axum::extract::{Path, State};
use schema::{AccountId, AccountInfo};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use validator::Validate;

use super::{Internal, no_account};
use crate::error::{Answer, Problem};
use crate::json::{Id, Time, created, ok};
use crate::valid::{Body, NoParameters, Parameters};

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    #[validate(length(min = 3, max = 320))]
    address: String,
    #[validate(length(min = 8, max = 1024))]
    password: String,
    /// Octets; without it the configured quota.
    #[validate(range(min = 1))]
    quota: Option<u64>,
}

/// What to change; a quota of null lifts the limit.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountPatch {
    locked: Option<bool>,
    #[validate(length(min = 8, max = 1024))]
    password: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[validate(range(min = 1))]
    quota: Option<Option<u64>>,
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(Some)
}

fn shown(info: &AccountInfo, used: Option<u64>) -> Value {
    let mut shown = json!({
        "accountId": Id(info.id.0),
        "addresses": info.addresses,
        "quota": info.quota,
        "locked": info.locked,
        "createdAt": Time(info.created_at),
    });
    if let Some(used) = used {
        shown["used"] = used.into();
    }
    shown
}

async fn show(internal: &Internal, id: AccountId) -> Answer<Value> {
    let info = internal.instance.account_info(id).await?.ok_or_else(no_account)?;
    let account = internal.instance.account(id).await?.ok_or_else(no_account)?;
    Ok(shown(&info, Some(account.used().await?)))
}

/// `{items: [{accountId, addresses, quota, locked, createdAt}]}`
pub(super) async fn list(State(internal): State<Arc<Internal>>, _: Parameters<NoParameters>) -> Answer {
    let mut items = Vec::new();
    for id in internal.instance.accounts().await? {
        items.extend(internal.instance.account_info(id).await?.map(|info| shown(&info, None)));
    }
    Ok(ok(&json!({ "items": items })))
}

/// 201 with the account, 409 if the address is taken.
pub(super) async fn create(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Body(body): Body<NewAccount>,
) -> Answer {
    let made = internal.instance.create_account(&body.address, &body.password, body.quota).await;
    let id = made.map_err(|error| Problem::about("address", error))?;
    let account = show(&internal, id).await?;
    Ok(created(&format!("/admin/v1/accounts/{}", Id(id.0).text()), &account))
}

/// `{accountId, addresses, quota, used, locked, createdAt}` of an account by its id or an address.
pub(super) async fn read(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(account): Path<String>,
) -> Answer {
    let id = internal.account_id(&account).await?;
    Ok(ok(&show(&internal, id).await?))
}

/// 200 with the account as it is then.
pub(super) async fn change(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(account): Path<String>,
    Body(patch): Body<AccountPatch>,
) -> Answer {
    let id = internal.account_id(&account).await?;
    if let Some(password) = &patch.password {
        let set = internal.instance.set_password(id, password).await;
        set.map_err(|error| Problem::about("password", error))?;
    }
    if let Some(quota) = patch.quota {
        internal.instance.set_quota(id, quota).await?;
    }
    if let Some(locked) = patch.locked {
        internal.instance.set_locked(id, locked).await?;
    }
    Ok(ok(&show(&internal, id).await?))
}

/// 200 {accountId, epoch}: the account's key is destroyed, with every key epoch before `epoch`.
pub(super) async fn purge(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(account): Path<String>,
) -> Answer {
    let id = internal.account_id(&account).await?;
    let purged = internal.instance.purge_account(id).await?.ok_or_else(no_account)?;
    Ok(ok(&json!({ "accountId": Id(id.0), "epoch": purged.epoch })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_changed_to_a_number_or_lifted_or_left() {
        let patch = |text: &str| serde_json::from_str::<AccountPatch>(text).unwrap();
        for (text, quota) in
            [("{}", None), (r#"{"quota": null}"#, Some(None)), (r#"{"quota": 1}"#, Some(Some(1)))]
        {
            let patch = patch(text);
            assert_eq!(patch.quota, quota, "{text}");
            assert!(patch.validate().is_ok(), "{text}");
        }
        assert!(patch(r#"{"quota": 0}"#).validate().is_err());
    }
}
