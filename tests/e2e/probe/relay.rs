//! What stands before an instance: a mail server as postfix is one, and TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::ACCOUNT;
use crate::support::{Lmtp, Signet};

/// A mail server that hands on to an LMTP server, and says what that says.
#[derive(Default)]
pub struct Relay {
    pub lmtp: u16,
    /// Offers STARTTLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whom it asks for instead.
    pub recipient: Option<&'static str>,
    /// So many are told to come again, first of all.
    pub deferred: AtomicU32,
    pub gate: Option<Gate>,
}

/// Where a message is held that the LMTP server waits for already.
pub struct Gate {
    pub reached: Sender<()>,
    pub go_on: Mutex<Receiver<()>>,
}

impl Relay {
    pub fn to(signet: &Signet) -> Self {
        Self { lmtp: signet.lmtp, ..Self::default() }
    }

    pub fn start(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Arc::new(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let relay = relay.clone();
                // Whoever goes away in the midst of it is a case of a test.
                std::thread::spawn(move || drop(relay.serve(stream)));
            }
        });
        port
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.write_all(b"220 relay.example ESMTP\r\n")?;
        let Some(stream) = self.converse(stream, self.tls.is_some())? else { return Ok(()) };
        let config = self.tls.clone().expect("TLS was offered");
        let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
        self.converse(StreamOwned::new(session, stream), false).map(|_| ())
    }

    /// Until the end, or until TLS is to begin on the stream that is returned.
    fn converse<S: Read + Write>(&self, stream: S, offers_tls: bool) -> std::io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        let mut lmtp = Lmtp::connect(self.lmtp)?;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let command = line.trim_end().to_owned();
            let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let code = match verb.as_str() {
                "EHLO" => {
                    let offer = if offers_tls { "250-STARTTLS\r\n" } else { "" };
                    let text = format!("250-relay.example\r\n{offer}250 8BITMIME\r\n");
                    stream.get_mut().write_all(text.as_bytes())?;
                    continue;
                }
                "STARTTLS" => {
                    stream.get_mut().write_all(b"220 2.0.0 go on\r\n")?;
                    return Ok(Some(stream.into_inner()));
                }
                "RCPT" if self.deferred.load(Ordering::SeqCst) > 0 => {
                    self.deferred.fetch_sub(1, Ordering::SeqCst);
                    450
                }
                "RCPT" => match self.recipient {
                    Some(recipient) => lmtp.command(&format!("RCPT TO:<{recipient}>"))?,
                    None => lmtp.command(&command)?,
                },
                "DATA" => self.pass_on(&mut stream, &mut lmtp)?,
                _ => lmtp.command(&command)?,
            };
            // As postfix does, the reply repeats whom it is about.
            let text = format!("{code} {}.1.1 <{ACCOUNT}>: {command}\r\n", code / 100);
            stream.get_mut().write_all(text.as_bytes())?;
        }
    }

    fn pass_on<S: Read + Write>(&self, stream: &mut BufReader<S>, lmtp: &mut Lmtp) -> std::io::Result<u16> {
        let code = lmtp.command("DATA")?;
        if code != 354 {
            return Ok(code);
        }
        if let Some(gate) = &self.gate {
            gate.reached.send(()).map_err(std::io::Error::other)?;
            gate.go_on.lock().unwrap().recv().map_err(std::io::Error::other)?;
        }
        stream.get_mut().write_all(b"354 go on\r\n")?;
        let mut data = String::new();
        while !data.ends_with("\r\n.\r\n") {
            if stream.read_line(&mut data)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        lmtp.send(&data)?;
        lmtp.reply()
    }
}

/// A port that answers by HTTPS what `api` answers by HTTP, one call a connection.
pub fn serve_https(api: u16, config: Arc<ServerConfig>) -> u16 {
    let answer = move |stream: TcpStream, config: Arc<ServerConfig>| -> std::io::Result<()> {
        let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
        let mut stream = BufReader::new(StreamOwned::new(session, stream));
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
            if let Some(text) = head[start..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let mut inner = TcpStream::connect(("127.0.0.1", api))?;
        inner.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
        inner.write_all(&body)?;
        let mut answer = Vec::new();
        inner.read_to_end(&mut answer)?;
        let mut stream = stream.into_inner();
        stream.write_all(&answer)?;
        stream.conn.send_close_notify();
        stream.flush()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || drop(answer(stream, config)));
        }
    });
    port
}

/// What signs for an authority, and its certificate.
pub fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut asked = CertificateParams::default();
    asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = asked.self_signed(&key).unwrap().pem();
    (Issuer::new(asked, key), pem)
}

/// Serves as `name`, a host or an address.
pub fn server_config(authority: &Issuer<'_, KeyPair>, name: &str) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let asked = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = asked.signed_by(&key, authority).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}
