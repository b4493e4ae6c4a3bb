//! Who calls: the session behind `Authorization: Bearer`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;
use schema::{Account, Millis};
use seal::Credential;

use crate::error::Problem;
use crate::router::Api;

/// The address a connection comes from, as the socket or the PROXY header says it; `None` where nobody said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer(pub Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Peer>().copied().unwrap_or_default())
    }
}

/// The account that calls, and its session.
pub(crate) struct Caller {
    pub account: Account,
    pub expires_at: Millis,
    pub credential: Credential,
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let credential =
            bearer(parts).and_then(|text| Credential::parse(text).ok()).ok_or_else(Problem::unauthorized)?;
        let session = api.instance.session(&credential).await?.ok_or_else(Problem::unauthorized)?;
        Ok(Self { account: session.account, expires_at: session.expires_at, credential })
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750 §2.1).
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}
