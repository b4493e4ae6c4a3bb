//! The commands that talk to the running process, and `manual`, `migrate`, `restore` and `schema`, which work without one,
//! and `probe`, which asks one from outside.

mod account;
mod address;
mod backup;
mod check;
mod domain;
mod export;
mod import;
mod jobs;
mod keys;
pub mod manual;
pub mod migrate;
mod node;
pub mod probe;
mod reindex;
pub mod restore;
pub mod schema;

use serde_json::Value;

use crate::arguments::Command;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

/// Runs one command against the running process.
///
/// # Errors
/// If it does not run, or refuses.
pub fn run(config: &Config, command: &Command, json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut client = Client::new(config)?;
    runtime.block_on(async {
        let client = &mut client;
        match command {
            Command::Domain { command } => domain::run(client, command, json).await,
            Command::Account { command } => account::run(client, command, json).await,
            Command::Address { command } => address::run(client, command, json).await,
            Command::Import { account, path, format, mailbox } => {
                import::run(client, account, path, *format, mailbox.as_deref(), json).await
            }
            Command::Export { account, file } => export::run(client, account, file, json).await,
            Command::Jobs { command } => jobs::run(client, command, json).await,
            Command::Node { command } => node::run(client, command, json).await,
            Command::Keys { .. } => keys::rotate(client, json).await,
            Command::Check { repair } => check::run(client, *repair, json).await,
            Command::Backup { dir } => backup::run(client, dir, json).await,
            Command::All
            | Command::Lmtp
            | Command::Workers
            | Command::Api
            | Command::Schema { .. }
            | Command::Config { .. }
            | Command::Manual { .. }
            | Command::Migrate { .. }
            | Command::Probe(_)
            | Command::Restore { .. } => Ok(()),
        }
    })
}

/// Prints `value` as JSON, or `text`.
fn print(json: bool, value: &Value, text: &str) {
    if json {
        println!("{value}");
    } else if !text.is_empty() {
        println!("{text}");
    }
}

/// The items of a listing's answer.
fn items(answer: &Value) -> &[Value] {
    answer["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text of an answer; empty where there is none.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
