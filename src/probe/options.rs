//! What a probe was told, checked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::Address;
use reqwest::Url;
use seal::Secret;

use crate::arguments::ProbeArguments;
use crate::config;
use crate::failure::Failure;

/// The command line of a probe, of which nothing can be refused any more but what its files hold.
#[derive(Debug)]
pub struct Options {
    /// The mail server: a name or an address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The API's URL, without a slash at its end.
    pub api: String,
    /// Whose account it is.
    pub account: Address,
    /// The envelope's sender.
    pub from: Address,
    /// Authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The time for the whole of it.
    pub timeout: Duration,
    /// Where metrics are written.
    pub metrics: Option<PathBuf>,
    password_file: PathBuf,
}

impl Options {
    /// Checks what the command line says.
    ///
    /// # Errors
    /// Names the flag whose value is none. The value is not repeated: it may be an address.
    pub fn new(given: &ProbeArguments) -> Result<Self, Failure> {
        let (host, port) = door(&given.smtp).ok_or_else(|| refused("smtp", "it is host:port"))?;
        let account = address("account", &given.account)?;
        let from = given.from.as_deref().map(|from| address("from", from)).transpose()?;
        Ok(Self {
            host,
            port,
            api: api(&given.api).map_err(|wanted| refused("api", wanted))?,
            from: from.unwrap_or_else(|| account.clone()),
            account,
            ca_file: given.ca_file.clone(),
            timeout: Duration::from_secs(given.timeout),
            metrics: given.metrics.clone(),
            password_file: given.password_file.clone(),
        })
    }

    /// The account's password.
    ///
    /// # Errors
    /// 78 if the file cannot be read, or may be by others.
    pub fn password(&self) -> Result<Secret<String>, Failure> {
        let mut password = config::read_password(&self.password_file).map_err(|why| {
            Failure::config(format!("--password-file: {} {why}", self.password_file.display()))
        })?;
        Ok(Secret::new(std::mem::take(&mut *password)))
    }
}

fn refused(flag: &str, wanted: &str) -> Failure {
    Failure::usage(format!("--{flag} is refused: {wanted}"))
}

fn address(flag: &str, text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|_| refused(flag, "it is an address, as in anna@example.org"))
}

/// Host and port of `host:port`; an IPv6 address stands in brackets.
fn door(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|host| host.parse::<IpAddr>().is_ok())?,
        None => Some(host).filter(|host| !host.is_empty() && !host.contains([':', '/', '@', ' ']))?,
    };
    Some((host.to_owned(), port))
}

/// The URL without a slash at its end, or what it has to be.
fn api(text: &str) -> Result<String, &'static str> {
    const WANTED: &str = "it is a URL, as in https://mail.example.org";
    let url: Url = text.parse().map_err(|_| WANTED)?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(WANTED)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds no name and no password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it ends with its path");
    }
    let is_near = || {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    };
    match url.scheme() {
        "https" => {}
        "http" if is_near() => {}
        "http" => return Err("only on the loopback a password goes by http: it is a URL with https"),
        _ => return Err("it is a URL with https"),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_a_host_and_a_port() {
        let found = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(door("mx.example.org:25"), found("mx.example.org", 25));
        assert_eq!(door("192.0.2.1:2525"), found("192.0.2.1", 2525));
        assert_eq!(door("[2001:db8::1]:25"), found("2001:db8::1", 25));
        for text in ["", "mx", ":25", "mx:", "mx:0", "mx:65536", "2001:db8::1:25", "[mx]:25", "smtp://mx:25"]
        {
            assert_eq!(door(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_goes_by_http_on_the_loopback_only() {
        for (text, wanted) in [
            ("https://mail.example.org", "https://mail.example.org"),
            ("https://mail.example.org:8443/", "https://mail.example.org:8443"),
            ("https://192.0.2.1/mail/", "https://192.0.2.1/mail"),
            ("http://127.0.0.1:8420", "http://127.0.0.1:8420"),
            ("http://[::1]:8420/", "http://[::1]:8420"),
            ("http://localhost:8420", "http://localhost:8420"),
        ] {
            assert_eq!(api(text).as_deref(), Ok(wanted), "{text}");
        }
        for text in [
            "mail.example.org",
            "127.0.0.1:8420",
            "http://mail.example.org",
            "http://192.0.2.1",
            "http://localhost.example.org",
            "https://anna:secret@mail.example.org",
            "https://mail.example.org/?q=1",
            "https://mail.example.org/#top",
            "ftp://mail.example.org",
            "https://",
        ] {
            assert!(api(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        let given = |account: &str, from: Option<&str>| ProbeArguments {
            smtp: "mx.example.org:25".to_owned(),
            api: "https://mail.example.org".to_owned(),
            account: account.to_owned(),
            password_file: PathBuf::from("password"),
            from: from.map(str::to_owned),
            ca_file: None,
            timeout: 30,
            metrics: None,
        };
        for (flag, given) in [
            ("--account", given("probe", None)),
            ("--account", given("probe@example.org\r\nRCPT TO:<x@example.org>", None)),
            ("--from", given("probe@example.org", Some("probe at example.org"))),
        ] {
            let said = Options::new(&given).map(|_| ()).unwrap_err().to_string();
            assert!(said.contains(flag) && !said.contains("probe"), "{said}");
        }
        let options = Options::new(&given("probe@example.org", None)).unwrap();
        assert_eq!(options.from, options.account);
    }
}
