//! The internal listener: health, metrics and the admin API, which the command line uses.

mod accounts;
mod addresses;
mod domains;
mod health;
mod import;
mod jobs;
mod nodes;
mod operate;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use schema::{AccountId, Instance, LocalNode};
use seal::Secret;
use subtle::ConstantTimeEq;

use crate::auth::bearer;
use crate::edge::Edge;
use crate::error::{Answer, Problem};
use crate::json::Id;
use crate::router::layered;

pub use health::reach_store;

/// What the program does beside serving, on behalf of the operator.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Compares every row, blob and index entry, and repairs what disagrees if `repair` is set. The answer is shown to
    /// the operator as it is.
    async fn check(&self, repair: bool) -> schema::Result<serde_json::Value>;

    /// Writes a consistent copy of everything stored into the directory `to`, which is made. The answer is shown to
    /// the operator as it is.
    async fn backup(&self, to: PathBuf) -> schema::Result<serde_json::Value>;
}

/// Whether the program takes work: not at its start, not while it drains, and not while it cannot reach its store.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<States>);

#[derive(Debug, Default)]
struct States {
    is_open: AtomicBool,
    is_cut_off: AtomicBool,
}

impl Readiness {
    /// Says whether the program is between its start and its end.
    pub fn set(&self, is_open: bool) {
        self.0.is_open.store(is_open, Ordering::Release);
    }

    /// Whether the program is between its start and its end.
    pub fn get(&self) -> bool {
        self.0.is_open.load(Ordering::Acquire)
    }

    /// Says whether the store cannot be reached; whether that is news.
    pub fn set_cut_off(&self, is_cut_off: bool) -> bool {
        self.0.is_cut_off.swap(is_cut_off, Ordering::AcqRel) != is_cut_off
    }

    /// Whether the store could not be reached when somebody last looked.
    pub fn is_cut_off(&self) -> bool {
        self.0.is_cut_off.load(Ordering::Acquire)
    }
}

/// What the internal listener needs.
#[derive(Clone)]
pub struct Internal {
    /// What is administered.
    pub instance: Arc<Instance>,
    /// What checks and backs up.
    pub operator: Arc<dyn Operator>,
    /// The bearer token that the admin API asks for; not empty.
    pub token: Secret<String>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// What `/health/ready` says.
    pub readiness: Readiness,
    /// Which process this is.
    pub node: Arc<LocalNode>,
    /// The most octets of an imported message.
    pub message_bytes: usize,
}

/// The internal listener's routes. Whoever reaches it sees health and metrics; the rest asks for the token.
pub fn internal_router(internal: Internal) -> Router {
    let internal = Arc::new(internal);
    let admin = Router::new()
        .route("/domains", get(domains::list).post(domains::add))
        .route("/domains/{name}", delete(domains::remove))
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route("/accounts/{account}", get(accounts::read).patch(accounts::change).delete(accounts::purge))
        .route("/accounts/{account}/import", post(import::import))
        .route("/accounts/{account}/mailboxes", get(import::mailboxes).post(import::create_mailbox))
        .route("/accounts/{account}/messages", get(import::list))
        .route("/accounts/{account}/messages/{id}/raw", get(import::raw))
        .route("/addresses", get(addresses::list).post(addresses::add))
        .route("/addresses/{address}", delete(addresses::remove))
        .route("/jobs", get(jobs::depth))
        .route("/periodic-jobs", get(jobs::periodic))
        .route("/dead-letters", get(jobs::dead_letters))
        .route("/dead-letters/{id}/requeue", post(jobs::requeue))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{id}", get(nodes::read))
        .route("/nodes/{id}/drain", post(nodes::drain))
        .route("/nodes/{id}/resume", post(nodes::resume))
        .route("/keys/rotate", post(operate::rotate_keys))
        .route("/check", post(operate::check))
        .route("/backup", post(operate::backup))
        .route_layer(middleware::from_fn_with_state(internal.clone(), authorize));
    let routes = Router::new()
        .nest("/admin/v1", admin)
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .with_state(internal);
    layered(routes, Edge::new("internal", 256, None, None))
}

/// 401 without the token.
async fn authorize(State(internal): State<Arc<Internal>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let token = internal.token.expose().as_bytes();
    let is_right = bearer(&parts).is_some_and(|given| given.as_bytes().ct_eq(token).into());
    if !is_right || token.is_empty() {
        let mut problem = Problem::unauthorized();
        problem.detail = "the admin API asks for the token in the program's token file".into();
        return problem.into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

impl Internal {
    /// The account with this id or address; `None` if there is none.
    async fn find(&self, account: &str) -> Answer<Option<AccountId>> {
        match Id::parse(account) {
            Some(id) => {
                let id = AccountId(id.0);
                Ok(self.instance.account_info(id).await?.map(|info| info.id))
            }
            None => Ok(self.instance.account_by_address(account).await?),
        }
    }

    /// The same; 404 if there is none.
    async fn account_id(&self, account: &str) -> Answer<AccountId> {
        self.find(account).await?.ok_or_else(no_account)
    }
}

fn no_account() -> Problem {
    Problem::new(http::StatusCode::NOT_FOUND, "not-found", "there is no account with this id or address")
}
