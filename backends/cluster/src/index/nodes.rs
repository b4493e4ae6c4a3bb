//! The nodes of Elasticsearch, and a request to whichever of them answers.
//!
//! Requests go round. A node that does not answer is set aside for a while: others are asked before it. All that is asked
//! may be asked again without harm, so a request that found no connection goes on to the next node at once; one that
//! found no answer goes on only if it reads, so that a busy server is not given the same work twice.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use schema::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{SERVER, unusable};
use crate::tls::{self, Authorities};
use crate::{ElasticsearchOptions, StartError};

/// How long a node that did not answer is asked only after the others.
const ASIDE: Duration = Duration::from_secs(10);

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[error("there was no answer in time")]
    TimedOut,
    #[error("no connection: {0}")]
    Unreachable(String),
    #[error("the answer is not one of Elasticsearch's")]
    Nonsense,
    #[error("the answer is {status} {kind}")]
    Status {
        status: u16,
        /// Elasticsearch's name for it, or nothing.
        kind: String,
    },
}

impl Failure {
    /// Whether the server asks to be spared for a moment.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Status { status: 429, .. })
    }

    /// Whether there is no such index, or no such alias.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Status { status: 404, .. })
    }

    /// Whether the same request may succeed later. What somebody can put right on the server may.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 401 | 403 | 404 | 408 | 429 | 500..),
            _ => true,
        }
    }

    /// As an error of a call that was to do `what`.
    pub(super) fn during(self, what: &'static str) -> Error {
        match self.is_transient() {
            true => Error::transient(what, self),
            false => Error::permanent(what, self),
        }
    }

    /// Whether another node may do better.
    fn is_of_the_node(&self, request: &Request<'_>) -> bool {
        match self {
            Self::TimedOut => request.reads,
            Self::Unreachable(_) | Self::Nonsense => true,
            Self::Status { status, .. } => matches!(status, 502..=504),
        }
    }
}

impl From<elasticsearch::Error> for Failure {
    fn from(error: elasticsearch::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        // The library's own text names the address with all its parameters.
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return Self::Unreachable(error.to_string());
            }
            cause = error.source();
        }
        Self::Unreachable("it was cut short".into())
    }
}

/// What is asked.
#[derive(Clone)]
pub(super) struct Request<'a> {
    method: Method,
    path: &'a str,
    parameters: &'a [(&'a str, &'a str)],
    body: Option<Bytes>,
    content_type: &'static str,
    reads: bool,
}

impl<'a> Request<'a> {
    pub(super) fn get(path: &'a str, parameters: &'a [(&'a str, &'a str)]) -> Self {
        let content_type = "application/json";
        Self { method: Method::Get, path, parameters, body: None, content_type, reads: true }
    }

    /// A search.
    pub(super) fn search(path: &'a str, parameters: &'a [(&'a str, &'a str)], body: String) -> Self {
        Self { method: Method::Post, body: Some(body.into()), ..Self::get(path, parameters) }
    }

    pub(super) fn put(path: &'a str, parameters: &'a [(&'a str, &'a str)], body: String) -> Self {
        Self { method: Method::Put, reads: false, ..Self::search(path, parameters, body) }
    }

    pub(super) fn post(path: &'a str, parameters: &'a [(&'a str, &'a str)], body: String) -> Self {
        Self { reads: false, ..Self::search(path, parameters, body) }
    }

    pub(super) fn delete(path: &'a str, parameters: &'a [(&'a str, &'a str)]) -> Self {
        Self { method: Method::Delete, reads: false, ..Self::get(path, parameters) }
    }

    /// Lines of JSON.
    pub(super) fn lines(path: &'a str, parameters: &'a [(&'a str, &'a str)], body: String) -> Self {
        Self { content_type: "application/x-ndjson", ..Self::post(path, parameters, body) }
    }
}

struct Node {
    transport: Transport,
    /// Where it is, if it is talked to without TLS.
    in_clear: Option<String>,
    /// Until when others are asked first.
    aside: Mutex<Option<Instant>>,
}

/// The nodes of one cluster.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    next: AtomicUsize,
    time: Duration,
}

impl Nodes {
    /// # Errors
    /// [`StartError::Unusable`] for options that make no sense. Nothing is asked yet.
    pub(super) fn open(options: &ElasticsearchOptions) -> Result<Self, StartError> {
        let read = |path: &PathBuf| Authorities::read(path, SERVER);
        let authorities = options.ca_file.as_ref().map(read).transpose()?;
        let node = |url: &String| {
            let wrong = || {
                unusable(format!(
                    "no. {} of its URLs is not http://host:port or https://host:port",
                    at(options, url)
                ))
            };
            let parsed = Url::parse(url).map_err(|_| wrong())?;
            let has_login = !parsed.username().is_empty() || parsed.password().is_some();
            if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() || has_login {
                return Err(wrong());
            }
            let address = parsed.host_str().zip(parsed.port_or_known_default());
            let address = address.map(|(host, port)| format!("{host}:{port}"));
            let in_clear = address.filter(|_| parsed.scheme() == "http");
            // Answers are not compressed: what that spares on the wire costs more on both of its ends.
            let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(parsed))
                .disable_proxy()
                .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
                .timeout(options.request_time);
            if let Some(login) = &options.login {
                let password = login.password.as_str().to_owned();
                builder = builder.auth(Credentials::Basic(login.name.clone(), password));
            }
            if let Some(authorities) = &authorities {
                let certificates = Certificate::from_pem(authorities.pem.as_bytes()).map_err(|error| {
                    unusable(format!("the certificates of `ca_file` cannot be used: {error}"))
                })?;
                builder = builder.cert_validation(CertificateValidation::Full(certificates));
            }
            let transport = builder
                .build()
                .map_err(|error| unusable(format!("no client for it can be made: {error}")))?;
            Ok(Node { transport, in_clear, aside: Mutex::new(None) })
        };
        let nodes = options.urls.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(unusable("it has no URL".into()));
        }
        Ok(Self { nodes, next: AtomicUsize::new(0), time: options.request_time })
    }

    /// What a request failed of at a start, when the reason may be that a node asks for TLS.
    pub(super) async fn refused(&self, failure: Failure) -> StartError {
        for address in self.nodes.iter().filter_map(|node| node.in_clear.as_ref()) {
            if matches!(failure, Failure::Unreachable(_) | Failure::TimedOut)
                && tls::is_spoken_at(address).await
            {
                return unusable("it asks for TLS: https://".into());
            }
        }
        failure.into()
    }

    /// When a request that begins now has to be done.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.time
    }

    /// Asks within the time of a request.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T, Failure> {
        self.ask_until(request, self.deadline()).await
    }

    /// Asks one node after the other, until `deadline`.
    pub(super) async fn ask_until<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<T, Failure> {
        let mut asked = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let node = self.choose(&asked);
            asked.push(node);
            let is_last = asked.len() >= self.nodes.len().max(2);
            let is_alone = asked.len() >= self.nodes.len();
            let time = if request.reads && !is_alone { left / 2 } else { left };
            let failure = match self.nodes[node].ask(request, time).await {
                Ok(answer) => {
                    self.nodes[node].set_aside(None);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::Status { .. }) {
                self.nodes[node].set_aside(Some(Instant::now() + ASIDE));
            }
            let is_over = matches!(failure, Failure::TimedOut) && is_alone || Instant::now() >= deadline;
            if is_last || is_over || !failure.is_of_the_node(request) {
                return Err(failure);
            }
        }
    }

    /// The next node in turn: one not asked yet and not set aside, else one not asked yet, else any.
    fn choose(&self, asked: &[usize]) -> usize {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let turn = || (0..self.nodes.len()).map(|step| first.wrapping_add(step) % self.nodes.len());
        let unasked = || turn().filter(|node| !asked.contains(node));
        let ready = unasked().find(|&node| self.nodes[node].is_ready(now));
        ready.or_else(|| unasked().next()).unwrap_or(first % self.nodes.len())
    }
}

/// Which of the URLs it is, from 1 on: the URL itself may hold a password.
fn at(options: &ElasticsearchOptions, url: &String) -> usize {
    options.urls.iter().position(|other| other == url).map_or(0, |at| at + 1)
}

impl Node {
    /// One that was set aside long enough is tried by one request; the others wait for what that finds.
    fn is_ready(&self, now: Instant) -> bool {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        match *aside {
            Some(until) if now < until => false,
            Some(_) => {
                *aside = Some(now + ASIDE);
                true
            }
            None => true,
        }
    }

    fn set_aside(&self, until: Option<Instant>) {
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request<'_>, time: Duration) -> Result<T, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        let (path, parameters, body) = (request.path, request.parameters, request.body.clone());
        let sent = self.transport.send(request.method, path, headers, Some(parameters), body, Some(time));
        let answered = async {
            let answer = sent.await?;
            Ok::<_, elasticsearch::Error>((answer.status_code().as_u16(), answer.bytes().await?))
        };
        let (status, body) = tokio::time::timeout(time, answered).await.map_err(|_| Failure::TimedOut)??;
        match status {
            200..300 => serde_json::from_slice(&body).map_err(|_| Failure::Nonsense),
            _ => Err(Failure::Status { status, kind: kind(&body) }),
        }
    }
}

/// Elasticsearch's name for what went wrong, from the depth of an answer. The rest of it may quote what was sent.
fn kind(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        error: Cause,
    }
    #[derive(Deserialize)]
    struct Cause {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        root_cause: Vec<Cause>,
    }
    let Ok(Answer { error }) = serde_json::from_slice(body) else { return String::new() };
    let kind = error.root_cause.into_iter().next().map_or(error.kind, |cause| cause.kind);
    let is_name = kind.len() <= 64 && kind.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
    if is_name { kind } else { String::new() }
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Status { status: 401, .. } => {
                unusable("it asks for a login, or refuses the one it was given".into())
            }
            Failure::Status { status: 403, .. } => unusable(
                "its login lacks rights: it needs `monitor` on the cluster and `all` on the index".into(),
            ),
            Failure::Nonsense => unusable("what answers at its URL is not Elasticsearch".into()),
            Failure::Unreachable(reason) if let Some(objection) = tls::objection(&reason) => {
                unusable(objection)
            }
            failure if failure.is_transient() => {
                Self::Unreachable { server: SERVER, reason: failure.to_string() }
            }
            failure => unusable(failure.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(urls: &[&str]) -> Nodes {
        let urls = urls.iter().map(|&url| url.to_owned()).collect();
        Nodes::open(&ElasticsearchOptions { urls, ..Default::default() }).unwrap()
    }

    #[test]
    fn nodes_take_turns_and_those_set_aside_come_last() {
        let nodes = nodes(&["http://a:1", "http://b:1", "http://c:1"]);
        assert_eq!([(); 4].map(|()| nodes.choose(&[])), [0, 1, 2, 0]);
        nodes.nodes[1].set_aside(Some(Instant::now() + ASIDE));
        assert!((0..9).all(|_| nodes.choose(&[]) != 1));
        assert_eq!(nodes.choose(&[0, 2]), 1);
        // Its time is over: one request tries it, the others do not.
        nodes.nodes[1].set_aside(Some(Instant::now()));
        assert_eq!((0..9).filter(|_| nodes.choose(&[]) == 1).count(), 1);
        nodes.nodes[1].set_aside(None);
        assert_eq!((0..9).filter(|_| nodes.choose(&[]) == 1).count(), 3);
    }

    #[test]
    fn what_is_no_url_of_a_node_is_told_without_quoting_it() {
        for url in ["", "localhost:9200", "ftp://localhost", "http://", "http://name:password@localhost:9200"]
        {
            let urls = vec!["http://localhost:9200".to_owned(), url.to_owned()];
            let opened = Nodes::open(&ElasticsearchOptions { urls, ..Default::default() });
            let Err(StartError::Unusable { reason, .. }) = opened else { panic!("{url} was taken") };
            assert!(reason.contains("no. 2 ") && !reason.contains("password"), "{reason}");
        }
        assert!(Nodes::open(&ElasticsearchOptions { urls: vec![], ..Default::default() }).is_err());
    }

    #[test]
    fn certificates_that_are_none_are_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().join("none")] {
            let options = ElasticsearchOptions { ca_file: Some(path), ..Default::default() };
            assert!(matches!(Nodes::open(&options), Err(StartError::Unusable { .. })));
        }
    }

    #[test]
    fn what_elasticsearch_calls_a_failure_is_kept_and_no_more() {
        let cases = [
            (r#"{"error":{"type":"a_b","reason":"secret"},"status":400}"#, "a_b"),
            (r#"{"error":{"type":"a_b","root_cause":[{"type":"c_d","reason":"secret"}]}}"#, "c_d"),
            (r#"{"error":{"type":"Not a name","reason":"secret"}}"#, ""),
            (r#"{"error":"secret"}"#, ""),
            ("<html>secret</html>", ""),
        ];
        for (body, wanted) in cases {
            assert_eq!(kind(body.as_bytes()), wanted);
        }
    }
}
