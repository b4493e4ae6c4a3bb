//! `signet backup DIR`

use std::path::Path;

use http::Method;
use serde_json::json;

use super::print;
use crate::client::Client;
use crate::failure::Failure;

pub(super) async fn run(client: &mut Client, to: &Path, json: bool) -> Result<(), Failure> {
    let path = std::path::absolute(to)?;
    let shown = path.to_str().ok_or_else(|| Failure::other("the directory's name is not UTF-8"))?;
    let done = client.json(Method::POST, "/backup", Some(json!({ "path": shown }))).await?;
    let text = format!(
        "{} entries are in {shown}. Back up the master key and the files beside it apart from this.",
        done["entries"]
    );
    print(json, &done, &text);
    Ok(())
}
