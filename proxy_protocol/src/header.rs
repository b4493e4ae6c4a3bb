//! The two forms of a header.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The twelve octets that every header of version 2 starts with.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What every header of version 1 starts with.
pub(crate) const PREFIX: &[u8; 6] = b"PROXY ";
/// The longest header of version 1, its CRLF included.
pub(crate) const LONGEST_V1: usize = 107;
/// The fixed part of a header of version 2; its last two octets say how many follow.
pub(crate) const FIXED_V2: usize = 16;

/// The two ends of the connection that the proxy accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Who connects.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// What the octets received so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The start of a header.
    Incomplete,
    /// A whole header.
    Header {
        /// The octets it takes, what follows its addresses (TLVs) included.
        length: usize,
        /// `None` where the header names nobody over IP (`LOCAL`, `UNKNOWN`, `UNSPEC`, unix sockets): the
        /// connection's own address stays.
        addresses: Option<Addresses>,
    },
}

/// Octets that no header starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY protocol header")]
pub struct Malformed;

/// Reads the header at the start of `input`.
///
/// # Errors
/// [`Malformed`] as soon as no further octets can make a header of it.
pub fn parse(input: &[u8]) -> Result<Parsed, Malformed> {
    if starts_alike(input, SIGNATURE) {
        parse_v2(input)
    } else if starts_alike(input, PREFIX) {
        parse_v1(input)
    } else {
        Err(Malformed)
    }
}

/// Whether `input` starts with `start`, or is the start of it.
fn starts_alike(input: &[u8], start: &[u8]) -> bool {
    let common = input.len().min(start.len());
    input[..common] == start[..common]
}

fn parse_v1(input: &[u8]) -> Result<Parsed, Malformed> {
    let window = &input[..input.len().min(LONGEST_V1)];
    let Some(end) = window.iter().position(|&octet| octet == b'\n') else {
        return if input.len() < LONGEST_V1 { Ok(Parsed::Incomplete) } else { Err(Malformed) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let mut words = line.strip_prefix("PROXY ").ok_or(Malformed)?.split(' ');
    let addresses = match words.next() {
        // Whatever else stands on the line must be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(addresses_v1::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(addresses_v1::<Ipv6Addr>(words)?),
        _ => return Err(Malformed),
    };
    Ok(Parsed::Header { length: end + 1, addresses })
}

fn addresses_v1<'a, A>(mut words: impl Iterator<Item = &'a str>) -> Result<Addresses, Malformed>
where
    A: std::str::FromStr + Into<std::net::IpAddr>,
{
    let mut address =
        || words.next().and_then(|word| word.parse::<A>().ok()).map(Into::into).ok_or(Malformed);
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next().and_then(port_v1).ok_or(Malformed);
    let (source_port, destination_port) = (port()?, port()?);
    match words.next() {
        None => Ok(Addresses {
            source: SocketAddr::new(source, source_port),
            destination: SocketAddr::new(destination, destination_port),
        }),
        Some(_) => Err(Malformed),
    }
}

/// A port is written without sign and without leading zeros.
fn port_v1(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|octet| octet.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn parse_v2(input: &[u8]) -> Result<Parsed, Malformed> {
    if input.get(12).is_some_and(|version_and_command| !matches!(version_and_command, 0x20 | 0x21)) {
        return Err(Malformed);
    }
    let Some(fixed) = input.get(..FIXED_V2) else { return Ok(Parsed::Incomplete) };
    let length = FIXED_V2 + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let is_local = fixed[12] == 0x20;
    let (family, transport) = (fixed[13] >> 4, fixed[13] & 0x0f);
    // UNSPEC, IPv4, IPv6, unix; unspecified, stream, datagram.
    if family > 3 || transport > 2 {
        return Err(Malformed);
    }
    let needed = match family {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    if !is_local && transport != 0 && length < FIXED_V2 + needed {
        return Err(Malformed);
    }
    let Some(rest) = input.get(FIXED_V2..length) else { return Ok(Parsed::Incomplete) };
    let addresses = match (is_local, family, transport) {
        (false, 1, 1) => Some(addresses_v2::<4>(rest)),
        (false, 2, 1) => Some(addresses_v2::<16>(rest)),
        // A stream listener is not reached by datagrams.
        (false, 1 | 2, 2) => return Err(Malformed),
        _ => None,
    };
    Ok(Parsed::Header { length, addresses })
}

/// Two addresses of `N` octets and two ports; the caller has checked that they are there.
fn addresses_v2<const N: usize>(rest: &[u8]) -> Addresses
where
    std::net::IpAddr: From<[u8; N]>,
{
    let address = |at: usize| {
        let mut octets = [0; N];
        octets.copy_from_slice(&rest[at..at + N]);
        std::net::IpAddr::from(octets)
    };
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    Addresses {
        source: SocketAddr::new(address(0), port(2 * N)),
        destination: SocketAddr::new(address(N), port(2 * N + 2)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(version_and_command: u8, family_and_transport: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([version_and_command, family_and_transport]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 9, 0x30, 0x39, 0, 24];

    fn addresses(source: &str, destination: &str) -> Option<Addresses> {
        Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    #[test]
    fn a_header_of_version_1_names_both_ends() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.7 198.51.100.9 12345 24\r\n",
                addresses("192.0.2.7:12345", "198.51.100.9:24"),
            ),
            (
                "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
                addresses("0.0.0.0:0", "255.255.255.255:65535"),
            ),
            ("PROXY TCP6 2001:db8::7 ::1 12345 24\r\n", addresses("[2001:db8::7]:12345", "[::1]:24")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f ffff:f 65535 65535\r\n", None),
        ] {
            let whole = Parsed::Header { length: line.len(), addresses: expected };
            assert_eq!(parse(line.as_bytes()), Ok(whole), "{line:?}");
            assert_eq!(
                parse(format!("{line}LHLO x\r\n").as_bytes()),
                Ok(whole),
                "what follows is not looked at"
            );
            for end in 0..line.len() {
                assert_eq!(parse(&line.as_bytes()[..end]), Ok(Parsed::Incomplete), "{:?}", &line[..end]);
            }
        }
    }

    #[test]
    fn what_is_not_quite_version_1_is_malformed() {
        for line in [
            "LHLO client.example\r\n",
            "proxy TCP4 192.0.2.7 198.51.100.9 12345 24\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.9 12345 24\n",
            "PROXY  TCP4 192.0.2.7 198.51.100.9 12345 24\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.9 12345\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.9 12345 24 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.9 12345 65536\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.9 12345 024\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.9 +12345 24\r\n",
            "PROXY TCP4 192.0.2.07 198.51.100.9 12345 24\r\n",
            "PROXY TCP4 2001:db8::7 ::1 12345 24\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.9 12345 24\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.9 12345 24\r\n",
            "PROXY \r\n",
            "PROXY TCP4\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed), "{line:?}");
        }
        let endless = [PREFIX.as_slice(), &[b'x'; 200]].concat();
        assert_eq!(parse(&endless[..106]), Ok(Parsed::Incomplete));
        assert_eq!(parse(&endless[..107]), Err(Malformed));
    }

    #[test]
    fn a_header_of_version_2_names_both_ends_and_its_tlvs_are_skipped() {
        let header = v2(0x21, 0x11, &V4);
        let expected = addresses("192.0.2.7:12345", "198.51.100.9:24");
        assert_eq!(parse(&header), Ok(Parsed::Header { length: 28, addresses: expected }));
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(Parsed::Incomplete), "{end}");
        }
        let with_tlv = v2(0x21, 0x11, &[V4.as_slice(), &[0x04, 0, 1, 0]].concat());
        assert_eq!(parse(&with_tlv), Ok(Parsed::Header { length: 32, addresses: expected }));

        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
        let expected = addresses("[::1]:3", "[::2]:4");
        assert_eq!(parse(&v2(0x21, 0x21, &v6)), Ok(Parsed::Header { length: 52, addresses: expected }));
    }

    #[test]
    fn local_unspecified_and_unix_connections_keep_their_own_address() {
        for header in [
            v2(0x20, 0x00, &[]),
            v2(0x20, 0x11, &V4),
            v2(0x20, 0x11, &[]),
            v2(0x21, 0x00, &[]),
            v2(0x21, 0x00, &[1, 2, 3]),
            v2(0x21, 0x31, &[0; 216]),
        ] {
            assert_eq!(
                parse(&header),
                Ok(Parsed::Header { length: header.len(), addresses: None }),
                "{header:?}"
            );
        }
    }

    #[test]
    fn what_is_not_quite_version_2_is_malformed() {
        for header in [
            v2(0x11, 0x11, &V4),
            v2(0x22, 0x11, &V4),
            v2(0x21, 0x41, &V4),
            v2(0x21, 0x13, &V4),
            v2(0x21, 0x12, &V4),
            v2(0x21, 0x11, &V4[..11]),
            v2(0x21, 0x21, &[0; 35]),
        ] {
            assert_eq!(parse(&header), Err(Malformed), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic_or_take_more_than_is_there(
            start in prop_oneof![Just(&b""[..]), Just(&SIGNATURE[..]), Just(&PREFIX[..]), Just(&b"PROXY TCP4 "[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let input = [start, &rest].concat();
            if let Ok(Parsed::Header { length, .. }) = parse(&input) {
                prop_assert!(length <= input.len());
            }
        }
    }
}
