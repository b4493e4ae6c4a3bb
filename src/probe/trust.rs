//! Which certificates a probe trusts, and what it may tell of a connection that failed.

use std::error::Error;
use std::io;
use std::path::Path;

use super::Trouble;
use crate::failure::Failure;

/// Authorities that are trusted besides the system's.
pub struct Authority {
    /// For HTTPS.
    pub of_http: Vec<reqwest::Certificate>,
    /// For STARTTLS.
    pub of_smtp: Option<lettre::transport::smtp::client::Certificate>,
}

impl Authority {
    /// Those of a file, or none.
    ///
    /// # Errors
    /// 78 if it cannot be read or holds no certificate.
    pub fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { of_http: Vec::new(), of_smtp: None }) };
        let unusable = |why: &str| Failure::config(format!("--ca-file: {} {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| unusable(&format!("cannot be read: {error}")))?;
        let none = "holds no certificate (PEM)";
        let of_http = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| unusable(none))?;
        let of_smtp = lettre::transport::smtp::client::Certificate::from_pem(&pem);
        match (of_http.is_empty(), of_smtp) {
            (false, Ok(of_smtp)) => Ok(Self { of_http, of_smtp: Some(of_smtp) }),
            _ => Err(unusable(none)),
        }
    }
}

/// What became of a connection, from the last cause of its error. A certificate that is refused now will be later.
pub fn trouble(who: &str, error: &(dyn Error + 'static)) -> Trouble {
    let mut last = error;
    loop {
        if let Some(fault) = last.downcast_ref::<rustls::Error>()
            && matches!(fault, rustls::Error::InvalidCertificate(_))
        {
            return Trouble::Lasting(format!("{who} has a certificate that is not trusted: {fault}"));
        }
        // An error of input or output does not name what it holds as its source.
        let held = last.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match held.map(|held| held as &(dyn Error + 'static)).or_else(|| last.source()) {
            Some(cause) => last = cause,
            None => return Trouble::Passing(format!("{who} cannot be reached: {last}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_certificate_lasts() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(matches!(trouble("it", &reset), Trouble::Passing(why) if why.contains("reset")));
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, unknown));
        assert!(matches!(trouble("it", &wrapped), Trouble::Lasting(why) if why.contains("UnknownIssuer")));
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        assert!(Authority::read(Some(&path)).is_err());
        std::fs::write(&path, "nothing").unwrap();
        let said = Authority::read(Some(&path)).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("--ca-file") && said.contains("holds no certificate"), "{said}");
        assert!(Authority::read(None).is_ok());
    }
}
