//! `signet address add|list|remove`

use http::Method;
use serde_json::json;

use super::{items, print, text};
use crate::arguments::AddressCommand;
use crate::client::{Client, escape};
use crate::failure::Failure;

pub(super) async fn run(client: &mut Client, command: &AddressCommand, json: bool) -> Result<(), Failure> {
    match command {
        AddressCommand::Add { address, account } => {
            let body = json!({ "address": address, "account": account });
            let made = client.json(Method::POST, "/addresses", Some(body)).await?;
            print(
                json,
                &made,
                &format!("added {} to account {}", text(&made, "address"), text(&made, "accountId")),
            );
        }
        AddressCommand::List { account } => {
            let query = account.as_ref().map(|account| format!("?account={}", escape(account)));
            let path = format!("/addresses{}", query.unwrap_or_default());
            let listed = client.json(Method::GET, &path, None).await?;
            let lines: Vec<String> = items(&listed)
                .iter()
                .map(|item| format!("{}  {}", text(item, "accountId"), text(item, "address")))
                .collect();
            print(json, &listed, &lines.join("\n"));
        }
        AddressCommand::Remove { address } => {
            client.json(Method::DELETE, &format!("/addresses/{}", escape(address)), None).await?;
            print(json, &json!({ "address": address, "removed": true }), &format!("removed {address}"));
        }
    }
    Ok(())
}
