//! Every setting: its place in the file, its kind, its range, its default.

use toml::Value;

use super::Kind;

/// Where a setting's value comes from if nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// There is none.
    None,
    /// This number.
    Integer(i64),
    /// This text.
    Text(&'static str),
    /// These texts.
    Texts(&'static [&'static str]),
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
const HTTP: Kind = Kind::Urls(&["http", "https"]);
const AMQP: Kind = Kind::Urls(&["amqp", "amqps"]);
/// Milliseconds that a request may take.
const REQUEST: Kind = Kind::Integer(100, 600_000);

/// All settings, in the order in which `signet config show` prints them.
pub const SETTINGS: &[Setting] = &[
    // Where everything is kept; on the cluster, what only this node needs.
    setting("data", Kind::Text, Default::Text("./signet-data")),
    // On what: one directory, or servers. `start_seconds`: how long a start waits for those.
    setting("backend", Kind::Word(&["embedded", "cluster"]), Default::Text("embedded")),
    setting("start_seconds", Kind::Integer(0, 3600), Default::Integer(60)),
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
    // Whether the first start in a new directory makes an account to look around with, and a message in it.
    setting("welcome", Kind::Word(&["on", "off"]), Default::Text("on")),
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
    setting("rest.streams", Kind::Integer(1, 100_000), Default::Integer(2048)),
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
    setting("workers.attempts", Kind::Integer(1, 1_000_000), Default::Integer(150)),
    // 0: never.
    setting("workers.scrub_hours", Kind::Integer(0, 8760), Default::Integer(168)),
    setting("workers.nice", Kind::Integer(0, 19), Default::Integer(10)),
    // The embedded backend's memory.
    setting("storage.block_cache_bytes", Kind::Integer(MIB, 64 * GIB), Default::Integer(24 * MIB)),
    setting("storage.cache_bytes", Kind::Integer(MIB, 64 * GIB), Default::Integer(16 * MIB)),
    setting("storage.journal_bytes", Kind::Integer(64 * MIB, 64 * GIB), Default::Integer(96 * MIB)),
    setting("storage.threads", Kind::Integer(1, 64), Default::Integer(2)),
    setting("storage.open_files", Kind::Integer(10, 1_000_000), Default::Integer(256)),
    // The cluster backend's servers. A password stands here, or in a file that only its owner may read.
    setting("cassandra.nodes", Kind::Nodes, Default::Texts(&["127.0.0.1:9042"])),
    setting("cassandra.keyspace", Kind::Name("_"), Default::Text("signet")),
    setting("cassandra.datacenter", Kind::Text, Default::None),
    setting("cassandra.copies", Kind::Integer(1, 9), Default::Integer(3)),
    setting("cassandra.login", Kind::Text, Default::None),
    setting("cassandra.password", Kind::Hidden, Default::None),
    setting("cassandra.password_file", Kind::Text, Default::None),
    setting("cassandra.ca_file", Kind::Text, Default::None),
    setting("cassandra.request_milliseconds", REQUEST, Default::Integer(8000)),
    setting("cassandra.clock_skew_milliseconds", Kind::Integer(1, 60_000), Default::Integer(1000)),
    setting("cassandra.change_milliseconds", REQUEST, Default::Integer(10_000)),
    setting("cassandra.bucket_rows", Kind::Integer(1000, 1_000_000), Default::Integer(50_000)),
    setting("elasticsearch.urls", HTTP, Default::Texts(&["http://127.0.0.1:9200"])),
    setting("elasticsearch.alias", Kind::Name("-_."), Default::Text("messages")),
    setting("elasticsearch.shards", Kind::Integer(1, 1024), Default::Integer(3)),
    setting("elasticsearch.replicas", Kind::Integer(0, 9), Default::Integer(1)),
    setting("elasticsearch.login", Kind::Text, Default::None),
    setting("elasticsearch.password", Kind::Hidden, Default::None),
    setting("elasticsearch.password_file", Kind::Text, Default::None),
    setting("elasticsearch.ca_file", Kind::Text, Default::None),
    setting("elasticsearch.request_milliseconds", REQUEST, Default::Integer(10_000)),
    setting("rabbitmq.urls", AMQP, Default::Texts(&["amqp://127.0.0.1:5672"])),
    setting("rabbitmq.virtual_host", Kind::Text, Default::Text("/")),
    setting("rabbitmq.prefix", Kind::Name("-_.:"), Default::Text("signet")),
    setting("rabbitmq.copies", Kind::Integer(1, 9), Default::Integer(3)),
    setting("rabbitmq.login", Kind::Text, Default::None),
    setting("rabbitmq.password", Kind::Hidden, Default::None),
    setting("rabbitmq.password_file", Kind::Text, Default::None),
    setting("rabbitmq.ca_file", Kind::Text, Default::None),
    setting("rabbitmq.request_milliseconds", REQUEST, Default::Integer(10_000)),
    setting("redis.url", Kind::Url(&["redis", "rediss"]), Default::Text("redis://127.0.0.1:6379")),
    setting("redis.prefix", Kind::Name("-_.:"), Default::Text("signet:")),
    setting("redis.login", Kind::Text, Default::None),
    setting("redis.password", Kind::Hidden, Default::None),
    setting("redis.password_file", Kind::Text, Default::None),
    setting("redis.ca_file", Kind::Text, Default::None),
    setting("redis.request_milliseconds", Kind::Integer(10, 60_000), Default::Integer(250)),
];

/// The setting with this key.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

impl Setting {
    /// The backend that alone has a use for it; `None`: both have.
    pub fn backend(&self) -> Option<&'static str> {
        let section = self.key.split_once('.').map_or(self.key, |(section, _)| section);
        match section {
            "storage" | "welcome" => Some("embedded"),
            "start_seconds" | "cassandra" | "elasticsearch" | "rabbitmq" | "redis" => Some("cluster"),
            _ => None,
        }
    }

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
            Default::Texts(texts) => {
                Some(Value::Array(texts.iter().map(|text| Value::String((*text).to_owned())).collect()))
            }
        }
    }
}
