//! What went wrong, as problem details (RFC 9457).

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The query parameter or the member of the body.
    pub field: String,
    /// What kind of mistake it is: `unknown`, `missing`, `duplicate`, `invalid`, `range`, `length`, `syntax`, …
    pub code: Cow<'static, str>,
    /// The same in words.
    pub message: String,
    /// Where in the value the mistake is, in characters from 0 (only for search queries).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
}

impl FieldError {
    /// A mistake in `field`.
    pub fn new(
        field: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into(), position: None }
    }
}

/// Why a request is not answered as asked. It becomes `application/problem+json` at the edge, where the request's id is
/// known.
#[derive(Debug, Clone)]
pub struct Problem {
    pub(crate) status: StatusCode,
    /// The last part of the type's address.
    pub(crate) code: &'static str,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) errors: Vec<FieldError>,
    pub(crate) retry_after: Option<u64>,
    /// The whole length, where a range is outside of it.
    pub(crate) length: Option<usize>,
}

/// A problem as JSON (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(crate) struct ProblemJson<'a> {
    /// Names the kind of problem; leads to its description.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: &'a str,
    /// The HTTP status code again.
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// The request's id, as in `X-Request-Id`: what to quote to the operator.
    request_id: &'a str,
    /// One entry per wrong field; empty where the mistake is not in a field.
    errors: &'a [FieldError],
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None, length: None }
    }

    /// 401: no session, or one that is over.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "sign in first: POST /v1/session")
    }

    /// 404: also for what belongs to another account.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here for this account")
    }

    /// 412: `If-Match` does not hold.
    pub(crate) fn stale() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "stale",
            "the message has changed since it was read: read it again",
        )
    }

    /// 409.
    pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 422 with one entry per wrong field.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let mut problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "some fields of the request are wrong");
        problem.errors = errors;
        problem
    }

    /// 422 for one field.
    pub(crate) fn field(field: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(field, code, message)])
    }

    /// 429.
    pub(crate) fn too_many(detail: &'static str, seconds: u64) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail);
        problem.retry_after = Some(seconds);
        problem
    }

    /// 503.
    pub(crate) fn unavailable(detail: &'static str) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        problem.retry_after = Some(1);
        problem
    }

    /// 500.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong; the log has more under the request's id",
        )
    }

    /// A schema error about one field of the request: what is refused is 422 on that field.
    pub(crate) fn about(field: &str, error: schema::Error) -> Self {
        match error {
            schema::Error::Refused { what } => Self::field(field, "refused", what),
            error => error.into(),
        }
    }

    /// The answer, now that the request's id is known.
    pub(crate) fn render(&self, method: &Method, request_id: &str) -> Response {
        let body = ProblemJson {
            kind: format!("/docs#problem-{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            request_id,
            errors: &self.errors,
        };
        let body = serde_json::to_vec(&body).expect("strings and numbers are JSON");
        let length = body.len();
        let body = if method == Method::HEAD { Body::empty() } else { Body::from(body) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"signet\""));
        }
        if let Some(range) = self.length.and_then(|n| HeaderValue::from_str(&format!("bytes */{n}")).ok()) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<schema::Error> for Problem {
    fn from(error: schema::Error) -> Self {
        use schema::Error;
        match error {
            Error::Conflict { what } => Self::conflict(what),
            Error::Refused { what } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", what),
            Error::Limit { what } => {
                let mut problem = Self::conflict(format!("{what} is at its limit"));
                problem.code = "limit";
                problem
            }
            Error::CursorExpired => Self::new(
                StatusCode::GONE,
                "cursor-expired",
                "the cursor is older than the change feed: take a new one from GET /v1/changes without since, list the \
                 mailboxes and messages again, then go on from the new cursor",
            ),
            error if error.is_transient() => {
                tracing::warn!(error = %Chain(&error), "a call on the store failed and may succeed later");
                Self::unavailable("the store cannot answer now: try again")
            }
            error => {
                tracing::error!(error = %Chain(&error), "a call on the store failed");
                Self::internal()
            }
        }
    }
}

/// An error with its sources, for the log.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut error = self.0.source();
        while let Some(source) = error {
            write!(f, ": {source}")?;
            error = source.source();
        }
        Ok(())
    }
}

/// What a route answers.
pub(crate) type Answer<T = Response> = Result<T, Problem>;

#[cfg(test)]
mod tests {
    use super::*;
    use schema::Error;

    #[test]
    fn what_the_store_says_becomes_a_status_and_a_kind() {
        for (error, status, code) in [
            (Error::Conflict { what: "it is taken" }, 409, "conflict"),
            (Error::Limit { what: "the number of mailboxes" }, 409, "limit"),
            (Error::Refused { what: "it is no name" }, 422, "invalid"),
            (Error::CursorExpired, 410, "cursor-expired"),
            (Error::transient("rows", "the server is away"), 503, "unavailable"),
            (Error::permanent("rows", "the disk is gone"), 500, "internal"),
            (Error::Sealed { what: "messages" }, 500, "internal"),
            (Error::Damaged { what: "messages" }, 500, "internal"),
        ] {
            let shown = format!("{error:?}");
            let problem = Problem::from(error);
            assert_eq!((problem.status.as_u16(), problem.code), (status, code), "{shown}");
            assert_eq!(problem.retry_after.is_some(), status == 503, "{shown}");
        }
        let limit = Problem::from(Error::Limit { what: "the number of mailboxes" });
        assert_eq!(limit.detail, "the number of mailboxes is at its limit");
    }
}
