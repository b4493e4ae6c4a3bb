//! An API on an embedded backend in a directory of its own, and calls on it.

// Each file of tests uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use api::{ApiSettings, Internal, Operator, Readiness};
use axum::Router;
use axum::body::Body;
use embedded::{Embedded, Options};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use schema::{Account, Arrival, Backend, Envelope, Incoming, Instance, LocalNode, MessageId, SystemClock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub const PASSWORD: &str = "correct horse battery";
pub const TOKEN: &str = "the operator's token";

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        format!("{:?} {}", self.headers, String::from_utf8_lossy(&self.body))
    }

    /// The wrong fields of a problem and their codes.
    pub fn wrong(&self) -> Vec<(String, String)> {
        let problem = self.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        problem["errors"].as_array().unwrap().iter().map(|e| (text(&e["field"]), text(&e["code"]))).collect()
    }
}

struct Nothing;

#[async_trait::async_trait]
impl Operator for Nothing {
    async fn check(&self, repair: bool) -> schema::Result<Value> {
        Ok(json!({ "repaired": repair }))
    }
    async fn backup(&self, to: PathBuf) -> schema::Result<Value> {
        Ok(json!({ "path": to }))
    }
}

pub struct Service {
    pub instance: Arc<Instance>,
    pub router: Router,
    pub internal: Router,
    pub readiness: Readiness,
    pub node: Arc<LocalNode>,
    _embedded: Embedded,
    _directory: tempfile::TempDir,
}

impl Service {
    pub async fn start() -> Self {
        Self::start_with(ApiSettings::default()).await
    }

    pub async fn start_with(settings: ApiSettings) -> Self {
        Self::start_over(settings, |backend| backend).await
    }

    /// With what `over` makes of the backend.
    pub async fn start_over(settings: ApiSettings, over: impl FnOnce(Backend) -> Backend) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("data"), Options::default()).unwrap();
        let clock = Arc::new(SystemClock);
        let instance = schema::contract::instance(over(embedded.backend()), directory.path(), clock).await;
        let readiness = Readiness::default();
        readiness.set(true);
        let node = LocalNode::unnamed(CancellationToken::new());
        let internal = Internal {
            instance: instance.clone(),
            operator: Arc::new(Nothing),
            token: TOKEN.to_owned().into(),
            metrics: metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle(),
            readiness: readiness.clone(),
            node: node.clone(),
            message_bytes: 1 << 20,
        };
        Self {
            router: api::router(instance.clone(), settings, node.clone()),
            internal: api::internal_router(internal),
            instance,
            readiness,
            node,
            _embedded: embedded,
            _directory: directory,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        answer(&self.router, request).await
    }

    /// A client of a new account, signed in.
    pub async fn client(&self, address: &str) -> Client<'_> {
        let id = self.instance.create_account(address, PASSWORD, None).await.unwrap();
        let account = self.instance.account(id).await.unwrap().unwrap();
        let session = self.instance.sign_in(address, PASSWORD).await.unwrap().unwrap();
        let token = session.credential.to_text().expose().clone();
        Client { service: self, token, account }
    }

    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/admin/v1{path}"));
        request = request.header("authorization", format!("Bearer {TOKEN}"));
        answer(&self.internal, with_body(request, body)).await
    }
}

pub async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub fn with_body(request: http::request::Builder, body: Option<Value>) -> Request<Body> {
    match body {
        Some(body) => {
            let body = body.to_string();
            let request =
                request.header("content-type", "application/json").header("content-length", body.len());
            request.body(Body::from(body)).unwrap()
        }
        None => request.body(Body::empty()).unwrap(),
    }
}

pub struct Client<'a> {
    pub service: &'a Service,
    pub token: String,
    pub account: Account,
}

impl Client<'_> {
    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", self.token))
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method.parse().unwrap(), path);
        self.service.send(with_body(request, body)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    /// GET with more headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.request(Method::GET, path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.service.send(request.body(Body::empty()).unwrap()).await
    }

    /// Keeps a message, as a delivery does, and puts it into the index.
    pub async fn deliver(&self, raw: &str, received_at: u64) -> MessageId {
        let raw = raw.replace('\n', "\r\n");
        let incoming = Incoming::prepare(raw.as_bytes(), &mail::Limits::default());
        let arrival = Arrival {
            envelope: Envelope { sender: None, recipient: Some("a+tag@one.example".into()) },
            received_at: Some(received_at),
            ..Arrival::default()
        };
        let id = self.account.keep(&incoming, arrival).await.unwrap().id;
        let indexed = self.account.indexed_message(id).await.unwrap().unwrap();
        let at = indexed.received_at;
        self.service.instance.backend.index.put(self.account.id(), vec![indexed]).await.unwrap();
        self.account.note_indexed(&[(at, id)]).await.unwrap();
        id
    }
}

/// A message with a subject and a text.
pub fn message(subject: &str, text: &str) -> String {
    format!(
        "From: Ada Lovelace <ada@two.example>\nTo: Bob <bob@one.example>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\
         Message-ID: <{}@two.example>\nSubject: {subject}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n{text}\n",
        subject.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    )
}
