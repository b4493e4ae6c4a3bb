//! The internal listener as the commands use it.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::config::Config;
use crate::directory;
use crate::failure::Failure;

/// A connection to the running process, with its token.
pub struct Client {
    address: String,
    token: seal::Secret<String>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer that is not a success.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Why, as far as the answer says.
    pub why: String,
    /// The answer, if it is problem+json; else null.
    problem: Value,
}

impl Refusal {
    fn new(status: StatusCode, body: &[u8]) -> Self {
        let problem = serde_json::from_slice(body).unwrap_or_default();
        Self { status, why: why(&problem, status), problem }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let problem = &refusal.problem;
        let code = problem["type"].as_str().and_then(|kind| kind.split_once("#problem-"));
        Self::other(refusal.why)
            .with("status", json!(refusal.status.as_u16()))
            .with("code", json!(code.map(|(_, code)| code)))
            .with("errors", problem["errors"].clone())
            .with("requestId", problem["requestId"].clone())
    }
}

impl Client {
    /// The process that uses the configured data directory. Nothing is sent yet.
    ///
    /// # Errors
    /// If its token cannot be read: it never ran, or belongs to somebody else.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let data = config.data();
        let token = directory::token(&data).map_err(|error| {
            let shown = data.display();
            Failure::other(format!(
                "no Signet that runs on the data directory {shown}: its token cannot be read: {error}"
            ))
        })?;
        let configured = || config.text("internal").unwrap_or_default().to_owned();
        let address =
            directory::announced_address(&data).map_or_else(configured, |address| address.to_string());
        Ok(Self { address, token, connection: None })
    }

    async fn connection(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        let is_open = self.connection.as_ref().is_some_and(|connection| !connection.is_closed());
        if !is_open {
            let unreachable = |error: &dyn std::fmt::Display| {
                Failure::other(format!("Signet does not answer on {}: {error}. Is it running?", self.address))
            };
            let stream = TcpStream::connect(&self.address).await.map_err(|error| unreachable(&error))?;
            let (sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
            tokio::spawn(async move {
                // Its end is seen by the one who sends next.
                let _ = connection.await;
            });
            self.connection = Some(sender);
        }
        Ok(self.connection.as_mut().expect("it was just opened"))
    }

    /// Any call; the bytes of a 2xx answer.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Result<Bytes, Refusal>, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1{path}"))
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body))
            .map_err(|error| Failure::of("the request", &error))?;
        let broken = |error: hyper::Error| Failure::of("Signet did not answer", &error);
        let sender = self.connection().await?;
        sender.ready().await.map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        Ok(if status.is_success() { Ok(body) } else { Err(Refusal::new(status, &body)) })
    }

    /// A call with a JSON body, if one is given; the JSON of its answer.
    ///
    /// # Errors
    /// If nobody answers, or the answer is not a success.
    pub async fn json(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let answer = self.call(method, path, "application/json", body).await??;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).map_err(|error| Failure::of("the answer is no JSON", &error))
    }
}

/// What problem+json says, field by field if it names any.
fn why(problem: &Value, status: StatusCode) -> String {
    let fields: Vec<String> = problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| Some(format!("{}: {}", error["field"].as_str()?, error["message"].as_str()?)))
        .collect();
    match problem["detail"].as_str() {
        _ if !fields.is_empty() => fields.join("; "),
        Some(detail) => detail.to_owned(),
        None => format!("the answer was {status}"),
    }
}

/// `text` as a segment of a path or a value of a query.
pub fn escape(text: &str) -> String {
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~".contains(octet);
    text.bytes()
        .map(|octet| if plain(&octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_escaped_as_one_segment() {
        assert_eq!(escape("zoë+a/b@example.org"), "zo%C3%AB%2Ba%2Fb%40example.org");
    }

    #[test]
    fn a_refusal_says_what_the_fields_say() {
        let why = |status, body: &[u8]| Refusal::new(status, body).why;
        let body = br#"{"detail": "some fields are wrong", "errors": [{"field": "name", "message": "it is no domain"}]}"#;
        assert_eq!(why(StatusCode::UNPROCESSABLE_ENTITY, body), "name: it is no domain");
        assert_eq!(why(StatusCode::CONFLICT, br#"{"detail": "taken"}"#), "taken");
        assert_eq!(why(StatusCode::BAD_GATEWAY, b""), "the answer was 502 Bad Gateway");
        assert_eq!(why(StatusCode::BAD_GATEWAY, b"<p>no"), "the answer was 502 Bad Gateway");
    }
}
