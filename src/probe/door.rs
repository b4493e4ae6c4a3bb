//! The mail server, as anyone in the world speaks to it.

use std::error::Error as _;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::Trouble;
use super::message::Message;
use super::options::Options;
use super::trust::{Authority, trouble};
use crate::failure::Failure;

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);

const WHO: &str = "the mail server";

/// A mail server.
pub struct Door {
    host: String,
    port: u16,
    tls: TlsParameters,
    /// Whether nothing is sent in clear.
    needs_tls: bool,
    name: ClientId,
}

impl Door {
    /// The server that was named. Nothing is sent yet.
    ///
    /// # Errors
    /// 78 if its name or the certificates of `authority` cannot be used.
    pub fn new(options: &Options, authority: &Authority) -> Result<Self, Failure> {
        let mut tls = TlsParameters::builder(options.host.clone());
        if let Some(certificate) = authority.of_smtp.clone() {
            tls = tls.add_root_certificate(certificate);
        }
        let tls = tls.build_rustls().map_err(|error| {
            Failure::config(format!("the certificates that are trusted cannot be used: {error}"))
        })?;
        let (host, port) = (options.host.clone(), options.port);
        Ok(Self { host, port, tls, needs_tls: authority.of_smtp.is_some(), name: own_name() })
    }

    /// Sends the message.
    pub async fn send(&self, message: &Message) -> Result<Option<()>, Trouble> {
        let envelope = Envelope::new(Some(message.from.clone()), vec![message.to.clone()])
            .map_err(|error| Trouble::Lasting(error.to_string()))?;
        let server = (self.host.as_str(), self.port);
        let connected =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_TIME), &self.name, None, None);
        let mut connection = connected.await.map_err(|error| told(&error))?;
        if connection.can_starttls() {
            connection.starttls(self.tls.clone(), &self.name).await.map_err(|error| told(&error))?;
        } else if self.needs_tls {
            return Err(Trouble::Lasting(format!("{WHO} does not offer STARTTLS")));
        }
        connection.send(&envelope, message.text.as_bytes()).await.map_err(|error| told(&error))?;
        // The message is the server's now, whatever becomes of the session.
        let _ = connection.quit().await;
        Ok(Some(()))
    }
}

/// What may be told of an error: a reply's text may repeat an address.
fn told(error: &Error) -> Trouble {
    if let Some(code) = error.status() {
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        let detail = enhanced_code(&text).map(|detail| format!(" {detail}")).unwrap_or_default();
        let why = format!("{WHO} answered {code}{detail}");
        return if error.is_permanent() { Trouble::Lasting(why) } else { Trouble::Passing(why) };
    }
    if error.is_response() {
        return Trouble::Passing(format!("{WHO} does not answer as one"));
    }
    if error.is_client() {
        let why = error.source().map(ToString::to_string).unwrap_or_default();
        return Trouble::Lasting(format!("{WHO} cannot be sent it: {why}"));
    }
    trouble(WHO, error)
}

/// The status code of RFC 3463 at the beginning of a reply's text.
fn enhanced_code(text: &str) -> Option<&str> {
    let word = text.split_whitespace().next()?;
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit());
    (word.split('.').count() == 3 && word.split('.').all(is_number)).then_some(word)
}

/// This machine's name, where it is a whole one.
fn own_name() -> ClientId {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_whole = name.contains('.')
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet));
    if is_whole { ClientId::Domain(name) } else { ClientId::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_reply_nothing_is_told_but_its_codes() {
        assert_eq!(enhanced_code("5.1.1 <anna@example.org>: unknown"), Some("5.1.1"));
        assert_eq!(enhanced_code("4.7.100 later"), Some("4.7.100"));
        for text in ["", "<anna@example.org> 5.1.1", "192.0.2.1 is listed", "5.1.anna", "5..1"] {
            assert_eq!(enhanced_code(text), None, "{text}");
        }
    }
}
