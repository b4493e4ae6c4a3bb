//! Requests to Elasticsearch, and those that were recorded on their way to it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use elasticsearch::http::headers::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::{Failure, loopback};

/// How long a request may take: segments are merged in one.
const REQUEST_TIME: Duration = Duration::from_secs(240);

/// A request as it was sent.
#[derive(Deserialize)]
pub(crate) struct Recorded {
    /// Path and parameters.
    pub(crate) path: String,
    pub(crate) body: String,
}

/// The requests that were recorded in a file, one a line.
pub(crate) fn recorded(file: &Path) -> Result<Vec<Recorded>, Failure> {
    let requests: Vec<Recorded> =
        fs::read_to_string(file)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    if requests.is_empty() { Err("nothing was recorded".into()) } else { Ok(requests) }
}

/// One node.
#[derive(Clone)]
pub(crate) struct Elastic(Transport);

impl Elastic {
    pub(crate) fn open(url: &str) -> Result<Self, Failure> {
        let pool = SingleNodeConnectionPool::new(Url::parse(loopback(url)?)?);
        let builder = TransportBuilder::new(pool)
            .disable_proxy()
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .timeout(REQUEST_TIME);
        Ok(Self(builder.build()?))
    }

    /// The octets of an answer, which has to be a good one.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: String) -> Result<Vec<u8>, Failure> {
        let mut headers = HeaderMap::new();
        let kind = if path.contains("_bulk") { "application/x-ndjson" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let body = (!body.is_empty()).then_some(body);
        let sent = self.0.send(method, path, headers, None::<&()>, body, None).await?;
        let status = sent.status_code();
        let answer = sent.bytes().await?;
        if status.is_success() {
            return Ok(answer.to_vec());
        }
        // What it quotes is made up, and is ours.
        Err(format!("Elasticsearch answered {status}: {}", String::from_utf8_lossy(&answer)).into())
    }

    pub(crate) async fn json(&self, method: Method, path: &str, body: String) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&self.ask(method, path, body).await?)?)
    }
}
