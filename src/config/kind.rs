//! What a setting's value is: how it is read and what it has to be.

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
    /// A text that is a secret and is never shown.
    Hidden,
    /// `host:port`, which is looked up.
    Address,
    /// A tracing filter.
    Filter,
    /// One of these words.
    Word(&'static [&'static str]),
    /// What other servers know something of ours by: a small letter, then small letters, digits and these marks.
    Name(&'static str),
    /// A list of networks (`192.0.2.0/24`).
    Networks,
    /// A list of `host:port`. Nothing is looked up: one that is away must not keep the program from its start.
    Nodes,
    /// `scheme://host:port` of one of these schemes.
    Url(&'static [&'static str]),
    /// A list of such.
    Urls(&'static [&'static str]),
    /// A list of texts that may hold a secret and is never shown.
    HiddenList,
}

/// The most characters of a [`Kind::Name`]: what Cassandra takes.
const NAME_LENGTH: usize = 48;

impl Kind {
    /// Whether its values are never shown.
    pub fn is_hidden(self) -> bool {
        matches!(self, Self::Hidden | Self::HiddenList)
    }

    /// The value that a variable's or a flag's text gives; lists are separated by commas, a command by white space.
    ///
    /// # Errors
    /// What the value has to be.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let list = |parts: Vec<&str>| {
            Value::Array(parts.into_iter().map(|part| Value::String(part.to_owned())).collect())
        };
        let value = match self {
            Self::Integer(..) => Value::Integer(text.trim().parse().map_err(|_| self.wanted())?),
            Self::Networks | Self::Nodes | Self::Urls(_) => {
                list(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect())
            }
            Self::HiddenList => list(text.split_whitespace().collect()),
            Self::Text
            | Self::Hidden
            | Self::Address
            | Self::Filter
            | Self::Word(_)
            | Self::Name(_)
            | Self::Url(_) => Value::String(text.to_owned()),
        };
        self.check(&value)
    }

    /// The value, if it is of this kind and in its range.
    ///
    /// # Errors
    /// What the value has to be.
    pub fn check(self, value: &Value) -> Result<Value, String> {
        let all = |list: &[Value], is_good: &dyn Fn(&str) -> bool| {
            !list.is_empty() && list.iter().all(|value| value.as_str().is_some_and(is_good))
        };
        let is_good = match (self, value) {
            (Self::Integer(least, greatest), Value::Integer(number)) => (least..=greatest).contains(number),
            (Self::Text | Self::Hidden, Value::String(text)) => !text.is_empty(),
            (Self::Address, Value::String(text)) => resolve(text).is_some(),
            (Self::Filter, Value::String(text)) => !text.is_empty() && logging::parse(text).is_ok(),
            (Self::Word(words), Value::String(text)) => words.contains(&text.as_str()),
            (Self::Name(marks), Value::String(text)) => is_name(text, marks),
            (Self::Networks, Value::Array(list)) => list.is_empty() || all(list, &is_network),
            (Self::Nodes, Value::Array(list)) => all(list, &is_node),
            (Self::Url(schemes), Value::String(text)) => is_url(text, schemes),
            (Self::Urls(schemes), Value::Array(list)) => all(list, &|text| is_url(text, schemes)),
            (Self::HiddenList, Value::Array(list)) => all(list, &|_| true),
            _ => false,
        };
        if is_good { Ok(value.clone()) } else { Err(self.wanted()) }
    }

    fn wanted(self) -> String {
        let url = |schemes: &[&str]| format!("{}://host:port, without name and password", schemes.join("|"));
        match self {
            Self::Integer(least, i64::MAX) => format!("a whole number of at least {least}"),
            Self::Integer(least, greatest) => format!("a whole number from {least} to {greatest}"),
            Self::Text | Self::Hidden => "a text that is not empty".to_owned(),
            Self::Address => "an address of the form host:port".to_owned(),
            Self::Filter => "a tracing filter such as info or warn,lmtp=debug".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Name(marks) => {
                let marks: Vec<String> = marks.chars().map(String::from).collect();
                format!(
                    "a small letter, then small letters, digits and {}, {NAME_LENGTH} characters at most",
                    marks.join(" ")
                )
            }
            Self::Networks => "a list of networks such as 192.0.2.0/24".to_owned(),
            Self::Nodes => "a list of one or more of the form host:port".to_owned(),
            Self::Url(schemes) => format!("of the form {}", url(schemes)),
            Self::Urls(schemes) => format!("a list of one or more of the form {}", url(schemes)),
            Self::HiddenList => "a list of a program and its arguments".to_owned(),
        }
    }
}

fn is_network(text: &str) -> bool {
    text.parse::<proxy_protocol::IpNet>().is_ok()
}

fn is_name(text: &str, marks: &str) -> bool {
    let is_good =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || marks.contains(letter);
    text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && text.chars().all(is_good)
        && text.len() <= NAME_LENGTH
}

/// A name or an IPv4 address, or an IPv6 address in brackets, and a port.
fn is_node(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_good = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
            !host.is_empty() && host.chars().all(is_good)
        }
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        schemes.contains(&scheme) && is_node(rest.strip_suffix('/').unwrap_or(rest))
    })
}

fn resolve(text: &str) -> Option<SocketAddr> {
    text.to_socket_addrs().ok()?.next()
}
