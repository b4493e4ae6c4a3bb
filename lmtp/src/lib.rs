//! THE POSTFIX SIDE: takes mail by LMTP (RFC 2033) and answers 250 for what is durably kept.
//!
//! [`serve`] is what the program runs. A [`Server`] is a session per connection; what a session understands is in
//! `command.rs` and `data.rs`, what it says in `reply.rs`, and where the mail goes in `deliver.rs`.

mod address;
mod budget;
mod command;
mod connections;
mod content;
mod data;
mod deliver;
mod listener;
mod metrics;
mod received;
mod reply;
mod server;
mod session;
mod settings;
mod wire;

use std::sync::Arc;

use schema::{Instance, LocalNode};

pub use deliver::{Accounts, Delivery, Recipient, Submission};
pub use listener::Listener;
pub use proxy_protocol::{IpNet, Policy as Proxy};
pub use reply::Reply;
pub use server::Server;
pub use settings::{BareLf, Settings};

/// Takes mail for the accounts of `instance` on `listeners` until `node` is to stop, then lets the transactions in
/// progress finish (see [`Settings::drain_time`]) and returns. While `node` drains nothing new is begun.
pub async fn serve(
    listeners: Vec<Listener>,
    instance: Arc<Instance>,
    settings: Settings,
    node: Arc<LocalNode>,
) {
    Server::new(Arc::new(Accounts::new(instance)), settings, node).serve(listeners).await;
}
