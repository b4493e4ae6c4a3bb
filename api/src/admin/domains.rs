//! Domains that are hosted.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::json;
use validator::Validate;

use super::Internal;
use crate::error::{Answer, Problem};
use crate::json::{Time, created, no_content, ok};
use crate::valid::{Body, NoParameters, Parameters};

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainBody {
    #[validate(length(min = 1, max = 255))]
    name: String,
}

/// `{items: [{name, createdAt}]}`
pub(super) async fn list(State(internal): State<Arc<Internal>>, _: Parameters<NoParameters>) -> Answer {
    let domains = internal.instance.domains().await?.into_iter();
    let items: Vec<_> =
        domains.map(|domain| json!({ "name": domain.name, "createdAt": Time(domain.created_at) })).collect();
    Ok(ok(&json!({ "items": items })))
}

/// 201 {name} as it is stored, 409 if it is there already.
pub(super) async fn add(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Body(body): Body<DomainBody>,
) -> Answer {
    let added = internal.instance.add_domain(&body.name).await;
    let name = added.map_err(|error| Problem::about("name", error))?;
    Ok(created("/admin/v1/domains", &json!({ "name": name })))
}

/// 204; 404 if it is not there, 422 while an address uses it.
pub(super) async fn remove(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Path(name): Path<String>,
) -> Answer {
    match internal.instance.remove_domain(&name).await {
        Ok(true) => Ok(no_content()),
        Ok(false) => Err(Problem::not_found()),
        Err(schema::Error::Refused { what }) => Err(Problem::conflict(what)),
        Err(error) => Err(error.into()),
    }
}
