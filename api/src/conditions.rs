//! Conditional requests (RFC 9110 §13).

use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::error::Problem;

/// The entity tags in all of a request's headers of this name.
fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether `If-Match` is not there, or names the tag. A weak tag never matches (§13.1.1).
pub(crate) fn is_expected(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    !headers.contains_key(header::IF_MATCH)
        || tags(headers, header::IF_MATCH).any(|each| each == "*" || each.as_bytes() == tag.as_bytes())
}

/// Whether `If-Match` asks for the thing to be there, whatever it is by now.
pub(crate) fn is_any_expected(headers: &HeaderMap) -> bool {
    tags(headers, header::IF_MATCH).any(|each| each == "*")
}

/// Whether `If-None-Match` names the tag; weak or not makes no difference (§13.1.2).
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    tags(headers, header::IF_NONE_MATCH)
        .any(|each| each == "*" || each.strip_prefix("W/").unwrap_or(each).as_bytes() == tag.as_bytes())
}

/// The answer to a read whose conditions do not hold: 412, or 304 without a body.
///
/// # Errors
/// 412.
pub(crate) fn unmet(headers: &HeaderMap, tag: &HeaderValue) -> Result<Option<Response>, Problem> {
    if !is_expected(headers, tag) {
        return Err(Problem::stale());
    }
    Ok(is_known(headers, tag).then(|| {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        response.headers_mut().insert(header::ETAG, tag.clone());
        response
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: HeaderName, value: &'static str) -> Option<StatusCode> {
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        match unmet(&headers, &HeaderValue::from_static("\"a-1\"")) {
            Ok(response) => response.map(|response| response.status()),
            Err(_) => Some(StatusCode::PRECONDITION_FAILED),
        }
    }

    #[test]
    fn tags_are_compared_as_the_rfc_says() {
        const NOT_MODIFIED: Option<StatusCode> = Some(StatusCode::NOT_MODIFIED);
        const FAILED: Option<StatusCode> = Some(StatusCode::PRECONDITION_FAILED);
        for (value, if_match, if_none_match) in [
            ("\"a-1\"", None, NOT_MODIFIED),
            ("*", None, NOT_MODIFIED),
            ("\"b\" , \"a-1\"", None, NOT_MODIFIED),
            ("W/\"a-1\"", FAILED, NOT_MODIFIED),
            ("a-1", FAILED, None),
            ("\"a-2\"", FAILED, None),
            ("", FAILED, None),
        ] {
            assert_eq!(answer(header::IF_MATCH, value), if_match, "If-Match: {value}");
            assert_eq!(answer(header::IF_NONE_MATCH, value), if_none_match, "If-None-Match: {value}");
        }
    }
}
