//! Which path leads where.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, Version, header};
use schema::{Instance, LocalNode};
use tokio::sync::Semaphore;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::edge::{self, Edge};
use crate::error::Problem;
use crate::memory::Memory;
use crate::routes::{
    account, changes, discussions, events, mailboxes, messages, raw, search, session, threads,
};
use crate::texts::Texts;
use crate::{openapi, web};

/// What can be set for the API.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Calls that are answered at once; more get 503. At least 1.
    pub calls: usize,
    /// How long one call may take.
    pub time: Duration,
    /// Streams of events that are open at once; more get 503. At least 1.
    pub streams: usize,
    /// Octets of opened messages that may be in memory, twice a message's size while it is read. At least 1.
    pub bytes_in_flight: u64,
    /// How long a call waits for such memory before it is answered 503.
    pub bytes_wait: Duration,
    /// Hits that one search with `is:`, `in:` or `keyword:` holds against the store. At least 1.
    pub search_candidates: usize,
    /// Passwords that are checked at once, each for some tens of MiB of memory. At least 1.
    pub sign_ins: usize,
    /// Wrong passwords for one address from one peer within 15 minutes, after which they have to wait; ten times as many
    /// from all peers, after which the address has to.
    pub failures_per_address: u64,
    /// Wrong passwords from one peer (of IPv6: one /64) within 15 minutes, after which it has to wait.
    pub failures_per_peer: u64,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            calls: 1024,
            time: Duration::from_secs(30),
            streams: 2048,
            bytes_in_flight: 256 << 20,
            bytes_wait: Duration::from_secs(10),
            search_candidates: 50_000,
            sign_ins: 2,
            failures_per_address: 10,
            failures_per_peer: 50,
        }
    }
}

/// What the routes share.
pub(crate) struct Api {
    pub instance: Arc<Instance>,
    pub settings: ApiSettings,
    pub sign_in: session::SignIn,
    pub memory: Memory,
    pub texts: Texts,
    pub streams: Arc<Semaphore>,
    pub node: Arc<LocalNode>,
}

/// The REST API as clients reach it, with its reference at `/docs`. Calls count as work of `node`.
pub fn router(instance: Arc<Instance>, settings: ApiSettings, node: Arc<LocalNode>) -> Router {
    let edge = Edge::new("api", settings.calls, Some(settings.time), Some(node.clone()));
    let sign_in = session::SignIn::new(&settings);
    let memory = Memory::new(settings.bytes_in_flight, settings.bytes_wait);
    let texts = Texts::new(instance.backend.is_shared);
    let streams = Arc::new(Semaphore::new(settings.streams));
    let api = Arc::new(Api { instance, settings, sign_in, memory, texts, streams, node });
    let routes = Router::new()
        .route("/v1/session", get(session::read).post(session::create).delete(session::end))
        .route("/v1/account", get(account::read))
        .route("/v1/mailboxes", get(mailboxes::list).post(mailboxes::create))
        .route("/v1/mailboxes/{id}", get(mailboxes::read).patch(mailboxes::rename).delete(mailboxes::remove))
        .route("/v1/messages", get(messages::list))
        .route("/v1/messages/batch", post(messages::batch::change))
        .route(
            "/v1/messages/{id}",
            get(messages::read).patch(messages::state::patch).delete(messages::state::remove),
        )
        .route("/v1/messages/{id}/raw", get(raw::message))
        .route("/v1/messages/{id}/parts/{partId}", get(raw::part))
        .route("/v1/threads", get(threads::list))
        .route("/v1/threads/{id}", get(threads::read))
        .route("/v1/discussions", get(discussions::list))
        .route("/v1/discussions/{id}", get(discussions::read))
        .route("/v1/search", get(search::by_url).post(search::by_body))
        .route("/v1/changes", get(changes::list))
        .route("/v1/events", get(events::follow))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/docs", get(web::page))
        .route("/docs/reference.css", get(web::style))
        .route("/docs/reference.js", get(web::script))
        .with_state(api);
    layered(routes, edge)
}

/// The layers around all routes of a listener.
pub(crate) fn layered(routes: Router, edge: Arc<Edge>) -> Router {
    let compression = CompressionLayer::new()
        .no_br()
        .no_deflate()
        .quality(CompressionLevel::Fastest)
        .compress_when(is_compressed);
    routes
        .fallback(edge::other_path)
        .method_not_allowed_fallback(edge::other_method)
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(middleware::from_fn_with_state(edge, edge::pass))
        .layer(compression)
        .layer(middleware::map_request(edge::forget_codings))
}

/// Marks answers that hold a secret: compressed next to what a stranger chose, their length would tell of it.
#[derive(Clone, Copy)]
pub(crate) struct Secretive;

/// JSON and pages are compressed; octets of messages and secrets are not.
fn is_compressed(status: StatusCode, _: Version, headers: &HeaderMap, extensions: &http::Extensions) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    status != StatusCode::PARTIAL_CONTENT
        && extensions.get::<Secretive>().is_none()
        && !headers.contains_key(header::CONTENT_DISPOSITION)
        && ["application/json", "application/problem+json", "text/html", "text/css", "text/javascript"]
            .iter()
            .any(|known| text.starts_with(known))
}
