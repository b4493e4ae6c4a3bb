//! `signet check [--repair]`

use http::Method;

use super::print;
use crate::client::Client;
use crate::failure::Failure;

pub(super) async fn run(client: &mut Client, repair: bool, json: bool) -> Result<(), Failure> {
    let path = if repair { "/check?repair=true" } else { "/check" };
    let report = client.json(Method::POST, path, None).await?;
    let mut text = format!("{} accounts, {} messages", report["accounts"], report["messages"]);
    if report["waitingForIndex"] != 0 {
        text += &format!(", {} of them wait to be indexed", report["waitingForIndex"]);
    }
    let drift = report["drift"].as_object();
    for (kind, count) in drift.into_iter().flatten() {
        text += &format!("\n{kind}: {count}");
    }
    if drift.is_none_or(serde_json::Map::is_empty) {
        text += ": everything agrees";
    } else if repair {
        text += &format!("\nrepaired: {}", report["repaired"]);
    }
    print(json, &report, &text);
    if report["ok"] == true { Ok(()) } else { Err(Failure::other("not everything agrees")) }
}
