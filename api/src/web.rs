//! The reference page of the API: three files that load nothing from elsewhere.

use axum::response::Response;
use http::{HeaderValue, header};

use crate::error::Answer;
use crate::valid::{NoParameters, Parameters};

const PAGE: &str = include_str!("../../web/reference.html");
const STYLE: &str = include_str!("../../web/reference.css");
const SCRIPT: &str = include_str!("../../web/reference.js");

fn file(content: &'static str, kind: &'static str) -> Response {
    let mut response = Response::new(content.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
    );
    response
}

/// `/docs`
pub(crate) async fn page(_: Parameters<NoParameters>) -> Answer {
    Ok(file(PAGE, "text/html; charset=utf-8"))
}

/// `/docs/reference.css`
pub(crate) async fn style(_: Parameters<NoParameters>) -> Answer {
    Ok(file(STYLE, "text/css; charset=utf-8"))
}

/// `/docs/reference.js`
pub(crate) async fn script(_: Parameters<NoParameters>) -> Answer {
    Ok(file(SCRIPT, "text/javascript; charset=utf-8"))
}
