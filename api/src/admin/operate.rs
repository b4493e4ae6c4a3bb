//! Keys, checks and backups.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde_json::json;
use validator::Validate;

use super::Internal;
use crate::error::{Answer, Problem};
use crate::json::ok;
use crate::valid::{Body, NoParameters, Parameters};

/// 200 {epoch}: every account's key is wrapped under a new epoch's.
pub(super) async fn rotate_keys(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
) -> Answer {
    Ok(ok(&json!({ "epoch": internal.instance.rotate_keys().await? })))
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckParameters {
    /// Whether to repair what disagrees.
    repair: Option<bool>,
}

/// 200 with what was found.
pub(super) async fn check(
    State(internal): State<Arc<Internal>>,
    Parameters(given): Parameters<CheckParameters>,
) -> Answer {
    Ok(ok(&internal.operator.check(given.repair.unwrap_or(false)).await?))
}

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupBody {
    /// An absolute path of the machine that the program runs on.
    #[validate(length(min = 1, max = 4096))]
    path: String,
}

/// 200 with what was written.
pub(super) async fn backup(
    State(internal): State<Arc<Internal>>,
    _: Parameters<NoParameters>,
    Body(body): Body<BackupBody>,
) -> Answer {
    let to = PathBuf::from(body.path);
    if !to.is_absolute() {
        return Err(Problem::field("path", "invalid", "it is an absolute path"));
    }
    let done = internal.operator.backup(to).await;
    Ok(ok(&done.map_err(|error| Problem::about("path", error))?))
}
