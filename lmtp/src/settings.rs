//! What can be set of the LMTP side.

use std::time::Duration;

use proxy_protocol::IpNet;

/// What to do with a message sent by DATA in which a LF stands without a CR before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareLf {
    /// 554 5.6.0: nobody can say where its lines end.
    #[default]
    Refuse,
    /// Keep it as it is. It still ends nothing.
    Keep,
}

/// The limits and habits of the LMTP side. All of them hold for all listeners together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name in the greeting, and the domain of `<postmaster>`. A host name of 1–255 octets.
    pub hostname: String,
    /// Octets of one message, 1 KiB – 1 GiB. Larger: 552 5.3.4.
    pub message_bytes: usize,
    /// Accepted recipients of one transaction, 1–100,000 (RFC 5321 §4.5.3.1.8 asks for 100). More: 452 4.5.3.
    pub recipients: usize,
    /// Connections at once, 1–100,000. More: 421 4.7.0.
    pub connections: usize,
    /// Connections at once from one address, 1–100,000; trusted relays and unix sockets count in `connections` only.
    pub connections_per_peer: usize,
    /// Relays of ours: not limited by `connections_per_peer`, and what their topmost `Received:` says is believed to
    /// be when the message came.
    pub trusted_relays: Vec<IpNet>,
    /// How long a client may send nothing, or not take what we send, 1 s – 1 h. Then: 421 4.4.2.
    pub idle_time: Duration,
    /// How long a transaction may take from MAIL to the end of its content, 1 s – 24 h. Then: 421 4.4.2.
    pub transaction_time: Duration,
    /// How long a session may take; the transaction that it is in may be finished. 1 s – 24 h. Then: 421 4.4.2.
    pub session_time: Duration,
    /// How long keeping one message may take, 1 s – 1 h; less than the relay waits for it (postfix: 600 s). Then:
    /// 451 4.3.0 for each recipient without a reply.
    pub delivery_time: Duration,
    /// Octets of messages held in memory at once, at least `message_bytes`. More wait; see `bytes_wait`.
    pub bytes_in_flight: usize,
    /// How long a message waits for its part of `bytes_in_flight`, 0–10 min; less than the relay waits for the reply
    /// to DATA (postfix: 120 s). Then: 452 4.3.1.
    pub bytes_wait: Duration,
    /// What to do with a bare LF.
    pub bare_lf: BareLf,
    /// Commands of one session that may be wrong, 1–1,000,000. Then: 421 4.7.0.
    pub bad_commands: usize,
    /// How long the PROXY header may take, 1 s – 1 min. Then the connection is closed.
    pub proxy_header_time: Duration,
    /// How long transactions in progress have at the shutdown, 0–60 s. Then: 421 4.3.2.
    pub drain_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "localhost".into(),
            message_bytes: 50 << 20,
            recipients: 1000,
            connections: 1000,
            connections_per_peer: 200,
            trusted_relays: Vec::new(),
            idle_time: Duration::from_secs(300),
            transaction_time: Duration::from_secs(900),
            session_time: Duration::from_secs(3600),
            delivery_time: Duration::from_secs(300),
            bytes_in_flight: 128 << 20,
            bytes_wait: Duration::from_secs(100),
            bare_lf: BareLf::Refuse,
            bad_commands: 100,
            proxy_header_time: Duration::from_secs(5),
            drain_time: Duration::from_secs(8),
        }
    }
}
