//! Every setting: its place in the file, its kind, its range, its default.

use std::net::{SocketAddr, ToSocketAddrs};

use toml::Value;

use crate::logging;

/// What a setting's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number of this range, both ends included.
    Integer(i64, i64),
    /// Any text but the empty one.
    Text,
    /// `host:port`.
    Address,
    /// A tracing filter.
    Filter,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of networks (`192.0.2.0/24`).
    Networks,
    /// A list of texts that may hold a secret and is never shown.
    HiddenList,
}

/// Where a setting's value comes from if nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// There is none.
    None,
    /// This number.
    Integer(i64),
    /// This text.
    Text(&'static str),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the file: `name`, or `section.name`.
    pub key: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Its value if nobody sets it.
    pub default: Default,
}

const fn setting(key: &'static str, kind: Kind, default: Default) -> Setting {
    Setting { key, kind, default }
}

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const ON_OFF: Kind = Kind::Word(&["off", "required"]);

/// All settings, in the order in which `signet config show` prints them.
pub const SETTINGS: &[Setting] = &[
    // Where everything is kept: one directory.
    setting("data", Kind::Text, Default::Text("./signet-data")),
    // The listeners.
    setting("lmtp", Kind::Address, Default::Text("127.0.0.1:2424")),
    setting("lmtp_socket", Kind::Text, Default::None),
    setting("api", Kind::Address, Default::Text("127.0.0.1:8420")),
    setting("internal", Kind::Address, Default::Text("127.0.0.1:8421")),
    // The master key: a file, else the variable SIGNET_MASTER_KEY, else a command that prints it.
    setting("master_key_file", Kind::Text, Default::None),
    setting("master_key_command", Kind::HiddenList, Default::None),
    // What is logged, and how.
    setting("log", Kind::Filter, Default::Text("info")),
    setting("log_format", Kind::Word(&["text", "json"]), Default::Text("text")),
    // Delivery: the LMTP side. `proxy_protocol` is asked of `lmtp`, `socket_proxy_protocol` of `lmtp_socket`.
    setting("delivery.hostname", Kind::Text, Default::Text("localhost")),
    setting("delivery.message_bytes", Kind::Integer(1024, GIB), Default::Integer(50 * MIB)),
    setting("delivery.recipients", Kind::Integer(1, 100_000), Default::Integer(1000)),
    setting("delivery.connections", Kind::Integer(1, 100_000), Default::Integer(1000)),
    setting("delivery.connections_per_peer", Kind::Integer(1, 100_000), Default::Integer(200)),
    setting("delivery.trusted_relays", Kind::Networks, Default::None),
    setting("delivery.idle_seconds", Kind::Integer(1, 3600), Default::Integer(300)),
    setting("delivery.transaction_seconds", Kind::Integer(1, 86_400), Default::Integer(900)),
    setting("delivery.session_seconds", Kind::Integer(1, 86_400), Default::Integer(3600)),
    setting("delivery.delivery_seconds", Kind::Integer(1, 3600), Default::Integer(120)),
    setting("delivery.bytes_in_flight", Kind::Integer(1024, 64 * GIB), Default::Integer(128 * MIB)),
    setting("delivery.bytes_wait_seconds", Kind::Integer(0, 600), Default::Integer(60)),
    setting("delivery.bare_lf", Kind::Word(&["refuse", "keep"]), Default::Text("refuse")),
    setting("delivery.bad_commands", Kind::Integer(1, 1_000_000), Default::Integer(100)),
    setting("delivery.proxy_protocol", ON_OFF, Default::Text("off")),
    setting("delivery.proxies", Kind::Networks, Default::None),
    setting("delivery.socket_proxy_protocol", ON_OFF, Default::Text("off")),
    // The REST API.
    setting("rest.calls", Kind::Integer(1, 100_000), Default::Integer(1024)),
    setting("rest.call_seconds", Kind::Integer(1, 3600), Default::Integer(30)),
    setting("rest.bytes_in_flight", Kind::Integer(MIB, 64 * GIB), Default::Integer(256 * MIB)),
    setting("rest.bytes_wait_seconds", Kind::Integer(0, 600), Default::Integer(10)),
    setting("rest.search_candidates", Kind::Integer(1, 10_000_000), Default::Integer(50_000)),
    setting("rest.connections", Kind::Integer(1, 100_000), Default::Integer(4096)),
    setting("rest.header_bytes", Kind::Integer(8192, MIB), Default::Integer(32 << 10)),
    setting("rest.header_seconds", Kind::Integer(1, 600), Default::Integer(10)),
    setting("rest.write_seconds", Kind::Integer(1, 3600), Default::Integer(60)),
    setting("rest.sign_ins", Kind::Integer(1, 1000), Default::Integer(2)),
    setting("rest.failures_per_address", Kind::Integer(1, 1_000_000), Default::Integer(10)),
    setting("rest.failures_per_peer", Kind::Integer(1, 1_000_000), Default::Integer(50)),
    setting("rest.proxy_protocol", ON_OFF, Default::Text("off")),
    setting("rest.proxies", Kind::Networks, Default::None),
    // Accounts.
    setting("accounts.quota_bytes", Kind::Integer(1, i64::MAX), Default::None),
    setting("accounts.session_hours", Kind::Integer(1, 8760), Default::Integer(168)),
    // What reading one message may cost.
    setting("messages.depth", Kind::Integer(1, 100), Default::Integer(20)),
    setting("messages.parts", Kind::Integer(1, 100_000), Default::Integer(1000)),
    setting("messages.headers", Kind::Integer(1, 100_000), Default::Integer(5000)),
    setting("messages.header_bytes", Kind::Integer(1024, 64 * MIB), Default::Integer(256 << 10)),
    setting("messages.text_bytes", Kind::Integer(1024, 256 * MIB), Default::Integer(2 * MIB)),
    setting("messages.html_bytes", Kind::Integer(1024, 256 * MIB), Default::Integer(MIB)),
    setting("messages.addresses", Kind::Integer(1, 100_000), Default::Integer(2000)),
    setting("messages.terms", Kind::Integer(1, 10_000_000), Default::Integer(500_000)),
    // The workers. Without `threads`: one for each processor, at most 4.
    setting("workers.threads", Kind::Integer(1, 64), Default::None),
    setting("workers.batch", Kind::Integer(1, 10_000), Default::Integer(512)),
    setting("workers.yield_seconds", Kind::Integer(0, 3600), Default::Integer(5)),
    setting("workers.attempts", Kind::Integer(1, 1_000_000), Default::Integer(100)),
    setting("workers.nice", Kind::Integer(0, 19), Default::Integer(10)),
    // The embedded backend's memory.
    setting("storage.block_cache_bytes", Kind::Integer(MIB, 64 * GIB), Default::Integer(24 * MIB)),
    setting("storage.cache_bytes", Kind::Integer(MIB, 64 * GIB), Default::Integer(16 * MIB)),
    setting("storage.journal_bytes", Kind::Integer(64 * MIB, 64 * GIB), Default::Integer(96 * MIB)),
    setting("storage.threads", Kind::Integer(1, 64), Default::Integer(2)),
    setting("storage.open_files", Kind::Integer(10, 1_000_000), Default::Integer(256)),
];

/// The setting with this key.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

impl Setting {
    /// The variable that overrides it: `SIGNET_NAME`, or `SIGNET_SECTION_NAME`.
    pub fn variable(&self) -> String {
        format!("SIGNET_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Its value if nobody sets it.
    pub fn default_value(&self) -> Option<Value> {
        match self.default {
            Default::None => None,
            Default::Integer(number) => Some(Value::Integer(number)),
            Default::Text(text) => Some(Value::String(text.to_owned())),
        }
    }

    /// The value that a variable's or a flag's text gives; lists are separated by commas, a command by white space.
    ///
    /// # Errors
    /// What the value has to be.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let list = |parts: Vec<&str>| {
            Value::Array(parts.into_iter().map(|part| Value::String(part.to_owned())).collect())
        };
        let value = match self.kind {
            Kind::Integer(..) => Value::Integer(text.trim().parse().map_err(|_| self.wanted())?),
            Kind::Networks => list(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()),
            Kind::HiddenList => list(text.split_whitespace().collect()),
            Kind::Text | Kind::Address | Kind::Filter | Kind::Word(_) => Value::String(text.to_owned()),
        };
        self.check(&value)
    }

    /// The value, if it is of the right kind and in its range.
    ///
    /// # Errors
    /// What the value has to be.
    pub fn check(&self, value: &Value) -> Result<Value, String> {
        let is_good = match (self.kind, value) {
            (Kind::Integer(least, greatest), Value::Integer(number)) => (least..=greatest).contains(number),
            (Kind::Text, Value::String(text)) => !text.is_empty(),
            (Kind::Address, Value::String(text)) => resolve(text).is_some(),
            (Kind::Filter, Value::String(text)) => !text.is_empty() && logging::parse(text).is_ok(),
            (Kind::Word(words), Value::String(text)) => words.contains(&text.as_str()),
            (Kind::Networks, Value::Array(list)) => list.iter().all(is_network),
            (Kind::HiddenList, Value::Array(list)) => !list.is_empty() && list.iter().all(Value::is_str),
            _ => false,
        };
        if is_good { Ok(value.clone()) } else { Err(self.wanted()) }
    }

    fn wanted(&self) -> String {
        match self.kind {
            Kind::Integer(least, i64::MAX) => format!("a whole number of at least {least}"),
            Kind::Integer(least, greatest) => format!("a whole number from {least} to {greatest}"),
            Kind::Text => "a text that is not empty".to_owned(),
            Kind::Address => "an address of the form host:port".to_owned(),
            Kind::Filter => "a tracing filter such as info or warn,lmtp=debug".to_owned(),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
            Kind::Networks => "a list of networks such as 192.0.2.0/24".to_owned(),
            Kind::HiddenList => "a list of a program and its arguments".to_owned(),
        }
    }
}

fn is_network(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<proxy_protocol::IpNet>().is_ok())
}

/// The first address that `host:port` stands for.
pub fn resolve(text: &str) -> Option<SocketAddr> {
    text.to_socket_addrs().ok()?.next()
}
