//! THE CLIENT SIDE: the REST API, and the internal listener's admin API, health and metrics.
//!
//! [`router`] and [`internal_router`] give what is answered, [`serve`] answers it on a listener. A call passes the edge
//! (its id, its limits), then `auth` (whose session), `valid` (what it asks) and its route, one file per noun.

mod admin;
mod auth;
mod conditions;
mod edge;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod json;
mod memory;
mod octets;
mod openapi;
mod page;
mod query;
mod router;
mod routes;
mod serve;
mod texts;
mod valid;
mod web;

pub use admin::{Internal, Operator, Readiness, internal_router, reach_store};
pub use auth::Peer;
pub use error::{FieldError, Problem};
pub use json::{Id, Time};
pub use router::{ApiSettings, router};
pub use serve::{ServeSettings, serve};
