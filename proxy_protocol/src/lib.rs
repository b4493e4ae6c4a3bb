//! HAProxy's PROXY protocol, versions 1 and 2: who really connects, told by a proxy in front of a listener.
//!
//! [`parse`] is a pure function on octets; [`read_header`] reads exactly one header from a stream and not an octet
//! more; [`Policy::peer`] is what a listener does with a connection it has accepted.

mod header;
mod policy;
mod read;

pub use header::{Addresses, Malformed, Parsed, parse};
pub use ipnet::IpNet;
pub use policy::{Policy, contains};
pub use read::{Error, read_header};
