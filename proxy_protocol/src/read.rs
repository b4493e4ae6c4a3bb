//! Reading one header from a stream.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::header::{Addresses, FIXED_V2, LONGEST_V1, Malformed, PREFIX, Parsed, SIGNATURE, parse};

/// Why a connection has no usable header.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else came, or less than a header.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It did not come in time.
    #[error("no PROXY protocol header in time")]
    TimedOut,
    /// It comes from an address that is not a trusted proxy's.
    #[error("the connection does not come from a trusted proxy")]
    Untrusted,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads one header and not an octet more: the next read gives what follows it. `None` where the header names
/// nobody (see [`Parsed`]).
///
/// # Errors
/// [`Error::Malformed`] at the first octet that is wrong, and when the stream ends too early; [`Error::TimedOut`]
/// when the header is not whole within `patience`.
pub async fn read_header<S>(stream: &mut S, patience: Duration) -> Result<Option<Addresses>, Error>
where
    S: AsyncRead + Unpin,
{
    tokio::time::timeout(patience, read(stream)).await.map_err(|_| Error::TimedOut)?
}

async fn read<S>(stream: &mut S) -> Result<Option<Addresses>, Error>
where
    S: AsyncRead + Unpin,
{
    // A header of version 2 is at most this and what its length says, which is asked for in one go.
    let mut header = Vec::with_capacity(LONGEST_V1);
    loop {
        if let Parsed::Header { addresses, .. } = parse(&header)? {
            return Ok(addresses);
        }
        let missing = missing(&header);
        let had = header.len();
        header.resize(had + missing, 0);
        let read = stream.read(&mut header[had..]).await?;
        header.truncate(had + read);
        if read == 0 {
            return Err(Malformed.into());
        }
    }
}

/// How many octets are surely missing from the start of a header.
fn missing(header: &[u8]) -> usize {
    /// `PROXY UNKNOWN` and its CRLF.
    const SHORTEST_V1: usize = 15;
    if header.len() < PREFIX.len() {
        PREFIX.len() - header.len()
    } else if header.starts_with(PREFIX) {
        if header.len() < SHORTEST_V1 { SHORTEST_V1 - header.len() } else { 1 }
    } else if header.len() < SIGNATURE.len() {
        SIGNATURE.len() - header.len()
    } else if header.len() < FIXED_V2 {
        FIXED_V2 - header.len()
    } else {
        FIXED_V2 + usize::from(u16::from_be_bytes([header[14], header[15]])) - header.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn what_follows_the_header_is_left_in_the_stream() {
        let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.9 12345 24\r\n".to_vec();
        let mut v2 = [SIGNATURE.as_slice(), &[0x21, 0x11, 0, 15]].concat();
        v2.extend([192, 0, 2, 7, 198, 51, 100, 9, 0x30, 0x39, 0, 24, 0x04, 0, 0]);
        for header in [v1, v2] {
            for piece in [1, 7, 1000] {
                let (mut client, mut server) = tokio::io::duplex(piece);
                let sent = [header.as_slice(), b"LHLO x\r\n"].concat();
                let sender = tokio::spawn(async move {
                    tokio::io::AsyncWriteExt::write_all(&mut client, &sent).await.unwrap();
                });
                let addresses = read_header(&mut server, PATIENCE).await.unwrap().unwrap();
                assert_eq!(addresses.source, "192.0.2.7:12345".parse().unwrap());
                let mut rest = String::new();
                server.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "LHLO x\r\n");
                sender.await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn something_else_is_refused_at_once() {
        let (mut client, mut server) = tokio::io::duplex(100);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"Q").await.unwrap();
        assert!(matches!(read_header(&mut server, PATIENCE).await, Err(Error::Malformed(_))));
    }

    #[tokio::test]
    async fn half_a_header_is_malformed_at_the_end_of_the_stream() {
        let mut stream = &b"PROXY TCP4 192"[..];
        assert!(matches!(read_header(&mut stream, PATIENCE).await, Err(Error::Malformed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        let (_client, mut server) = tokio::io::duplex(100);
        assert!(matches!(read_header(&mut server, PATIENCE).await, Err(Error::TimedOut)));
    }
}
