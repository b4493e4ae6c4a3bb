//! What every call passes: its id, its limits, its measure, and problems turned into answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use schema::{LocalNode, Work};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Peer;
use crate::error::Problem;
use crate::json::Id;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The limits of one listener.
pub(crate) struct Edge {
    calls: Arc<Semaphore>,
    time: Option<Duration>,
    listener: &'static str,
    /// Where calls count as work, if they do.
    node: Option<Arc<LocalNode>>,
}

impl Edge {
    /// At most `calls` at once, each for at most `time`; they count as work of `node`.
    pub(crate) fn new(
        listener: &'static str,
        calls: usize,
        time: Option<Duration>,
        node: Option<Arc<LocalNode>>,
    ) -> Arc<Self> {
        Arc::new(Self { calls: Arc::new(Semaphore::new(calls)), time, listener, node })
    }
}

/// The outermost layer.
pub(crate) async fn pass(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    // A range is one of a GET (RFC 9110 §14.2).
    if method == Method::HEAD {
        request.headers_mut().remove(header::RANGE);
    }
    // A template, never the path itself: that may name a message or an address.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0).map(tracing::field::display);
    let id = Id(*uuid::Uuid::new_v4().as_bytes()).text();
    let _busy = edge.node.as_ref().map(|node| node.begin(Work::Call, 1));
    let answer = match (accepts(&request, route), edge.calls.clone().try_acquire_owned()) {
        (false, _) => Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not-acceptable",
            "the answer is of another type: see /docs",
        )
        .into_response(),
        (_, Err(_)) => Problem::unavailable("too many calls are being answered: try again").into_response(),
        (_, Ok(permit)) => {
            let call = carry_out(permit, request, next);
            match edge.time {
                None => call.await,
                Some(time) => tokio::time::timeout(time, call)
                    .await
                    .unwrap_or_else(|_| Problem::unavailable("the call took too long").into_response()),
            }
        }
    };
    let mut response = finish(answer, &method, &id);
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    let status = response.status();
    let passed = started.elapsed();
    tracing::debug!(
        listener = edge.listener, %method, route, status = status.as_u16(), micros = passed.as_micros() as u64, peer,
        request_id = %id, "answered"
    );
    if status.is_server_error() {
        tracing::warn!(listener = edge.listener, %method, route, status = status.as_u16(), request_id = %id, "failed");
    }
    metrics::histogram!(
        "signet_api_request_seconds",
        "listener" => edge.listener, "method" => method_label(&method), "route" => route.to_owned(),
        "status" => status_class(status)
    )
    .record(passed.as_secs_f64());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Runs the call. One that may change something is carried out to its end, also for a client that has gone.
async fn carry_out(permit: OwnedSemaphorePermit, request: Request, next: Next) -> Response {
    let is_safe = request.method().is_safe();
    let call = async move {
        let _permit = permit;
        next.run(request).await
    };
    match is_safe {
        true => call.await,
        false => tokio::spawn(call).await.unwrap_or_else(|_| Problem::internal().into_response()),
    }
}

/// Forgets what codings a request wants if it takes neither one of ours nor none at all: it gets the answer as it is
/// (RFC 9110, 12.5.3), instead of a refusal after the call was carried out.
pub(crate) async fn forget_codings(mut request: Request) -> Request {
    let codings: Vec<(String, bool)> = request
        .headers()
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            (name, !parts.any(is_refusal))
        })
        .collect();
    let takes = |name: &str| codings.iter().find(|(coding, _)| coding == name).map(|&(_, taken)| taken);
    let takes_plain = takes("identity").or(takes("*")).unwrap_or(true);
    if !takes_plain && ![takes("gzip"), takes("zstd")].contains(&Some(true)) {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    request
}

/// Whether the parameter of a range or coding says that it is not wanted: a quality of 0.
fn is_refusal(parameter: &str) -> bool {
    let quality = parameter.strip_prefix("q=").or(parameter.strip_prefix("Q="));
    quality.and_then(|quality| quality.parse::<f32>().ok()).is_some_and(|quality| quality <= 0.0)
}

/// Turns a problem into its JSON, and what axum refused by itself into a problem.
fn finish(mut answer: Response, method: &Method, id: &str) -> Response {
    let problem = answer.extensions_mut().remove::<Problem>();
    let problem = problem.or_else(|| foreign_error(&answer));
    let Some(problem) = problem else { return answer };
    let mut response = problem.render(method, id);
    if let Some(allow) = answer.headers_mut().remove(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The problem for an error answer without one, which only layers that are not ours give.
fn foreign_error(answer: &Response) -> Option<Problem> {
    let status = answer.status();
    let is_error = status.is_client_error() || status.is_server_error();
    is_error.then(|| match status {
        StatusCode::NOT_FOUND => Problem::not_found(),
        StatusCode::METHOD_NOT_ALLOWED => not_allowed(),
        status => Problem::new(status, "refused", "the request cannot be carried out"),
    })
}

fn not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "the methods of this path are in Allow",
    )
}

/// Answers methods that a path does not have: OPTIONS says which it has.
pub(crate) async fn other_method(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => not_allowed().into_response(),
    }
}

/// Answers paths that are not there.
pub(crate) async fn other_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "there is no such path: see /docs")
}

/// Whether the client takes what the route answers (RFC 9110 §12.5.1).
fn accepts(request: &Request, route: &str) -> bool {
    // Those answer what a message holds, whatever that is.
    if route.ends_with("/raw") || route.ends_with("/parts/{partId}") || !route.starts_with("/v1/") {
        return true;
    }
    let mut given = request.headers().get_all(header::ACCEPT).iter().peekable();
    if given.peek().is_none() {
        return true;
    }
    let own = if route == "/v1/events" {
        ["text/*", "text/event-stream"]
    } else {
        ["application/*", "application/json"]
    };
    given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        !parts.any(is_refusal) && (["*/*", ""].contains(&essence.as_str()) || own.contains(&essence.as_str()))
    })
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "1xx",
    }
}
