//! What a listener asks of those who connect to it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncRead;

use crate::{Error, read_header};

/// Whether connections start with a header. A property of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// They do not; one that does is taken for what the listener speaks, and fails.
    #[default]
    Off,
    /// They all do, and come from one of these networks.
    Required {
        /// Where the proxies are. Empty: nobody is trusted, so every TCP connection is closed.
        trusted: Vec<IpNet>,
    },
}

impl Policy {
    /// The address of who is really at the other end of `stream`, a connection just accepted from `socket` (`None`:
    /// a unix socket, which is trusted because its file's mode says who may connect). Reads nothing but the header.
    ///
    /// # Errors
    /// Close the connection without a word: the header is missing, wrong, not there within `patience`, or comes
    /// from an address that is not trusted.
    pub async fn peer<S>(
        &self,
        stream: &mut S,
        socket: Option<IpAddr>,
        patience: Duration,
    ) -> Result<Option<IpAddr>, Error>
    where
        S: AsyncRead + Unpin,
    {
        let Self::Required { trusted } = self else { return Ok(socket.map(|ip| ip.to_canonical())) };
        if socket.is_some_and(|ip| !contains(trusted, ip)) {
            return Err(Error::Untrusted);
        }
        let addresses = read_header(stream, patience).await?;
        Ok(addresses.map(|addresses| addresses.source.ip()).or(socket).map(|ip| ip.to_canonical()))
    }
}

/// Whether one of `networks` holds `address`; an IPv4 address mapped into IPv6 is that IPv4 address.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn required(network: &str) -> Policy {
        Policy::Required { trusted: vec![network.parse().unwrap()] }
    }

    #[tokio::test]
    async fn a_trusted_proxy_says_who_connects() {
        let mut stream = &b"PROXY TCP4 192.0.2.7 198.51.100.9 12345 24\r\nLHLO"[..];
        let socket = Some("::ffff:127.0.0.1".parse().unwrap());
        let peer = required("127.0.0.0/8").peer(&mut stream, socket, PATIENCE).await;
        assert_eq!(peer.unwrap(), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(stream, b"LHLO");
    }

    #[tokio::test]
    async fn an_untrusted_one_is_not_even_read() {
        let header = &b"PROXY TCP4 192.0.2.7 198.51.100.9 12345 24\r\n"[..];
        for policy in [required("10.0.0.0/8"), Policy::Required { trusted: vec![] }] {
            let mut stream = header;
            let socket = Some("127.0.0.1".parse().unwrap());
            assert!(matches!(policy.peer(&mut stream, socket, PATIENCE).await, Err(Error::Untrusted)));
            assert_eq!(stream, header);
        }
    }

    #[tokio::test]
    async fn without_an_address_in_the_header_the_sockets_stays() {
        for socket in [Some("127.0.0.1".parse().unwrap()), None] {
            let mut stream = &b"PROXY UNKNOWN\r\n"[..];
            let peer = required("127.0.0.0/8").peer(&mut stream, socket, PATIENCE).await;
            assert_eq!(peer.unwrap(), socket);
        }
    }

    #[tokio::test]
    async fn when_it_is_off_nothing_is_read() {
        let mut stream = &b"PROXY UNKNOWN\r\n"[..];
        let socket = Some("::ffff:192.0.2.1".parse().unwrap());
        let peer = Policy::Off.peer(&mut stream, socket, PATIENCE).await;
        assert_eq!(peer.unwrap(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(stream.len(), 15);
    }
}
