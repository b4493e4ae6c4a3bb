//! `signet keys rotate`

use http::Method;

use super::print;
use crate::client::Client;
use crate::failure::Failure;

pub(super) async fn rotate(client: &mut Client, json: bool) -> Result<(), Failure> {
    let done = client.json(Method::POST, "/keys/rotate", None).await?;
    let text = format!(
        "every key is wrapped under epoch {} now: back up the epochs file beside the master key",
        done["epoch"]
    );
    print(json, &done, &text);
    Ok(())
}
