//! The routes, a file per noun.

pub(crate) mod account;
pub(crate) mod changes;
pub(crate) mod discussions;
pub(crate) mod events;
pub(crate) mod mailboxes;
pub(crate) mod messages;
pub(crate) mod raw;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod threads;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use crate::error::Problem;
use crate::json::Id;

/// The id in a path. What is not an id names nothing, so it is 404.
pub(crate) struct PathId(pub Id);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parameters =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        let id = parameters.iter().find(|(name, _)| *name == "id").and_then(|(_, value)| Id::parse(value));
        id.map(Self).ok_or_else(Problem::not_found)
    }
}
