//! `signet domain add|list|remove`

use http::Method;
use serde_json::json;

use super::{items, print, text};
use crate::arguments::DomainCommand;
use crate::client::{Client, escape};
use crate::failure::Failure;

pub(super) async fn run(client: &mut Client, command: &DomainCommand, json: bool) -> Result<(), Failure> {
    match command {
        DomainCommand::Add { name } => {
            let made = client.json(Method::POST, "/domains", Some(json!({ "name": name }))).await?;
            print(json, &made, &format!("added {}", text(&made, "name")));
        }
        DomainCommand::List => {
            let listed = client.json(Method::GET, "/domains", None).await?;
            let names: Vec<&str> = items(&listed).iter().map(|domain| text(domain, "name")).collect();
            print(json, &listed, &names.join("\n"));
        }
        DomainCommand::Remove { name } => {
            client.json(Method::DELETE, &format!("/domains/{}", escape(name)), None).await?;
            print(json, &json!({ "name": name, "removed": true }), &format!("removed {name}"));
        }
    }
    Ok(())
}
