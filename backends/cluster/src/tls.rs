//! TLS with the servers: the certificates that sign theirs, what it has against a server, and whether one asks for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use crate::StartError;

/// How rustls begins what it has against a certificate.
const DISTRUST: &str = "invalid peer certificate";
/// How it begins what it has against all else that a server does. Drivers hand on its text, not always its error.
const OBJECTIONS: [&str; 4] =
    ["received corrupt message", "received fatal alert", "peer is incompatible", "peer misbehaved"];

/// How long a server has to answer in TLS.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The certificates of a file, each of them one that can be used.
pub(crate) struct Authorities {
    /// As they stand in the file.
    pub(crate) pem: String,
    roots: RootCertStore,
}

impl Authorities {
    /// # Errors
    /// [`StartError::Unusable`] if the file cannot be read, holds no certificate, or one that is none.
    pub(crate) fn read(path: &Path, server: &'static str) -> Result<Self, StartError> {
        let unusable =
            |why: String| StartError::Unusable { server, reason: format!("{} {why}", path.display()) };
        let useless =
            |error: &dyn std::fmt::Display| unusable(format!("holds a certificate that is none: {error}"));
        let pem =
            std::fs::read_to_string(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| useless(&error))?;
            roots.add(certificate).map_err(|error| useless(&error))?;
        }
        match roots.is_empty() {
            true => Err(unusable("holds no certificate (PEM)".to_owned())),
            false => Ok(Self { pem, roots }),
        }
    }

    /// What speaks TLS with a server that one of them has signed, and with no other.
    ///
    /// # Errors
    /// [`StartError::Unusable`] if there is no TLS.
    pub(crate) fn client(self, server: &'static str) -> Result<Arc<ClientConfig>, StartError> {
        client(self.roots).map_err(|error| StartError::Unusable { server, reason: error.to_string() })
    }
}

fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    // The drivers bring a second one along, so which is used has to be said.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Whether what listens there answers in TLS. A server that asks for it may cut off whoever talks to it in clear, or say
/// nothing: only this tells it from one that is away.
pub(crate) async fn is_spoken_at(address: impl ToSocketAddrs) -> bool {
    let asking = async {
        let nobody = client(RootCertStore::empty()).map_err(std::io::Error::other)?;
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        let mut greeting = Vec::new();
        let mut connection = ClientConnection::new(nobody, name).map_err(std::io::Error::other)?;
        connection.write_tls(&mut greeting)?;
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&greeting).await?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    // A record of the handshake or an alert, and the first half of the version.
    matches!(timeout(ANSWER_TIME, asking).await, Ok(Ok([21 | 22, 3])))
}

/// What TLS has against a server, and what helps, if that is what a driver's error is about.
pub(crate) fn objection(seen: &str) -> Option<String> {
    let from = |words: &str| seen.find(words).map(|at| &seen[at..]);
    if let Some(why) = from(DISTRUST) {
        return Some(format!(
            "its certificate is not trusted: {why}. It has to be signed by one of `ca_file`, and for the address that we use"
        ));
    }
    let why = OBJECTIONS.into_iter().find_map(from)?;
    Some(format!("it does not speak TLS with us: {why}"))
}

#[cfg(test)]
mod tests {
    use rustls::{
        AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved,
    };

    use super::*;

    #[test]
    fn what_rustls_objects_to_is_known_by_its_words() {
        let untrusted = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let told = objection(&format!("the pool is broken: {untrusted}")).unwrap();
        assert!(
            told.contains("certificate is not trusted: invalid peer certificate: UnknownIssuer"),
            "{told}"
        );
        for error in [
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::AlertReceived(AlertDescription::ProtocolVersion),
            Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
            Error::PeerMisbehaved(PeerMisbehaved::BadCertChainExtensions),
        ] {
            let told = objection(&error.to_string()).unwrap_or_else(|| panic!("{error} is passed over"));
            assert!(told.contains("TLS") && told.ends_with(&error.to_string()), "{told}");
        }
        assert_eq!(objection("Connection refused (os error 111)"), None);
    }

    #[test]
    fn a_file_without_certificates_that_can_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let nonsense = "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n";
        for (text, words) in [
            ("", "holds no certificate"),
            (
                "-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----\n",
                "holds no certificate",
            ),
            (nonsense, "that is none"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "that is none"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let told = Authorities::read(file.path(), "Redis").err().unwrap().to_string();
            let path = file.path().display().to_string();
            assert!(told.contains(words) && told.contains(&path) && told.starts_with("Redis"), "{told}");
        }
        let missing = Authorities::read(Path::new("nowhere.pem"), "Redis").err().unwrap().to_string();
        assert!(missing.contains("nowhere.pem cannot be read"), "{missing}");
    }
}
