//! The listener itself: limits, PROXY headers, draining.

#![allow(clippy::unwrap_used)]

mod client;

use std::time::Duration;

use api::ServeSettings;
use client::{Service, message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

struct Listening {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn listen(service: &Service, settings: ServeSettings) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let ended = tokio::spawn(api::serve(vec![listener], service.router.clone(), settings, stop.clone()));
    Listening { address, stop, ended }
}

/// Sends octets and reads what comes back until the other side closes.
async fn exchange(listening: &Listening, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut seen = Vec::new();
    // A reset after an answer is as good an end as any.
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut seen)).await.unwrap();
    String::from_utf8_lossy(&seen).into_owned()
}

const GET: &[u8] = b"GET /v1/account HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_answers_and_drains() {
    let service = Service::start().await;
    let listening = listen(&service, ServeSettings::default()).await;
    assert!(exchange(&listening, GET).await.starts_with("HTTP/1.1 401 "));
    let long = format!("GET /v1/account HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100 << 10));
    assert!(exchange(&listening, long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert!(!exchange(&listening, b"\x00\x01\x02 nonsense\r\n\r\n").await.contains(" 200 "));
    // One that is idle does not hold up the end.
    let mut idle = TcpStream::connect(listening.address).await.unwrap();
    idle.write_all(b"GET /v1/account HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    listening.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), listening.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_does_not_come_ends_the_connection() {
    let service = Service::start().await;
    let settings = ServeSettings { header_time: Duration::from_millis(200), ..ServeSettings::default() };
    let listening = listen(&service, settings).await;
    assert!(!exchange(&listening, b"GET /v1/account HTTP/1.1\r\nHo").await.contains(" 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let service = Service::start().await;
    let bob = service.client("bob@one.example").await;
    // More than the socket's buffers hold.
    let id = bob.deliver(&message("Large", &"a line of text\n".repeat(2 << 20)), 1).await;
    let settings =
        ServeSettings { write_time: Duration::from_millis(200), connections: 1, ..ServeSettings::default() };
    let listening = listen(&service, settings).await;
    let mut stalled = TcpStream::connect(listening.address).await.unwrap();
    let request = format!(
        "GET /v1/messages/{id}/raw HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        bob.token
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    // The only connection there may be is free again.
    assert!(exchange(&listening, GET).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_requires_a_proxy_header_closes_without_one() {
    let service = Service::start().await;
    let trusted = vec!["127.0.0.0/8".parse().unwrap()];
    let settings = ServeSettings {
        proxy_protocol: proxy_protocol::Policy::Required { trusted },
        ..ServeSettings::default()
    };
    let listening = listen(&service, settings).await;
    assert_eq!(exchange(&listening, GET).await, "");
    let named = [b"PROXY TCP4 192.0.2.7 127.0.0.1 1234 80\r\n", GET].concat();
    assert!(exchange(&listening, &named).await.starts_with("HTTP/1.1 401 "));
}
