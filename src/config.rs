//! The configuration: a TOML file, overridden by `SIGNET_…` variables, overridden by flags.
//!
//! Every setting stands once, in [`settings::SETTINGS`], with its place, kind, range and default. A value is checked
//! where it comes from, so that an error names the setting and the file, variable or flag.

mod kind;
mod servers;
mod settings;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

pub use kind::Kind;
pub use servers::read_password;
pub use settings::{SETTINGS, Setting};
pub use show::{to_json, to_toml};

/// Why there is no configuration to run with. The program ends with 78 (`EX_CONFIG`).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not TOML: {message}", path.display())]
    NotToml {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// There is no such setting.
    #[error("{from}: there is no setting `{key}`")]
    UnknownKey {
        /// The file it stands in.
        from: String,
        /// The key as it stands there.
        key: String,
    },
    /// The value is of the wrong kind or out of its range.
    #[error("{from}: `{key}` is {wanted}")]
    BadValue {
        /// The file, variable or flag it comes from.
        from: String,
        /// The setting.
        key: &'static str,
        /// What it has to be.
        wanted: String,
    },
    /// Two settings do not go together.
    #[error("{0}")]
    Contradiction(String),
    /// A file that holds a password cannot be used.
    #[error("`{key}`: {} {why}", path.display())]
    BadPasswordFile {
        /// The setting that names it.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The configuration that is in force: every setting that has a value, checked, but for those of the other backend.
#[derive(Clone, PartialEq)]
pub struct Config {
    values: Table,
}

/// A value that a flag gives.
pub struct Flag {
    /// The setting.
    pub key: &'static str,
    /// Its value as text.
    pub text: String,
}

/// A value that somebody set.
struct Given {
    setting: &'static Setting,
    value: Value,
    /// The file, variable or flag.
    from: String,
}

impl Given {
    fn parse(setting: &'static Setting, text: &str, from: String) -> Result<Self, ConfigError> {
        match setting.kind.parse(text) {
            Ok(value) => Ok(Self { setting, value, from }),
            Err(wanted) => Err(ConfigError::BadValue { from, key: setting.key, wanted }),
        }
    }

    fn in_file(from: &str, key: &str, value: &Value) -> Result<Self, ConfigError> {
        let from = from.to_owned();
        let Some(setting) = settings::find(key) else {
            return Err(ConfigError::UnknownKey { from, key: key.to_owned() });
        };
        match setting.kind.check(value) {
            Ok(value) => Ok(Self { setting, value, from }),
            Err(wanted) => Err(ConfigError::BadValue { from, key: setting.key, wanted }),
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<Given>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::NotToml {
        path: path.to_owned(),
        message: error.message().to_owned(),
    })?;
    let from = path.display().to_string();
    let mut given = Vec::new();
    for (key, value) in &table {
        match value {
            Value::Table(section) => {
                for (inner, value) in section {
                    given.push(Given::in_file(&from, &format!("{key}.{inner}"), value)?);
                }
            }
            value => given.push(Given::in_file(&from, key, value)?),
        }
    }
    Ok(given)
}

impl Config {
    /// Reads the file, if one is named, then the variables, then the flags.
    ///
    /// # Errors
    /// [`ConfigError`] names what is wrong and where it stands.
    pub fn load(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
        flags: &[Flag],
    ) -> Result<Self, ConfigError> {
        let mut given = file.map(read_file).transpose()?.unwrap_or_default();
        for setting in SETTINGS {
            let name = setting.variable();
            if let Some(text) = variable(&name) {
                given.push(Given::parse(setting, &text, format!("the variable {name}"))?);
            }
        }
        for flag in flags {
            let setting = settings::find(flag.key).expect("every flag is a setting");
            let from = format!("the flag --{}", flag.key.replace('_', "-"));
            given.push(Given::parse(setting, &flag.text, from)?);
        }
        let mut config = Self { values: Table::new() };
        for setting in SETTINGS {
            if let Some(value) = setting.default_value() {
                config.set(setting, value);
            }
        }
        for given in &given {
            config.set(given.setting, given.value.clone());
        }
        config.leave_the_other_backend(&given)?;
        config.check()?;
        Ok(config)
    }

    fn set(&mut self, setting: &Setting, value: Value) {
        match setting.key.split_once('.') {
            Some((section, key)) => {
                let section = self.values.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(section) = section {
                    section.insert(key.to_owned(), value);
                }
            }
            None => {
                self.values.insert(setting.key.to_owned(), value);
            }
        }
    }

    /// What is of the other backend only has no value; nobody may have given it one.
    fn leave_the_other_backend(&mut self, given: &[Given]) -> Result<(), ConfigError> {
        let ours = if self.is_cluster() { "cluster" } else { "embedded" };
        let is_foreign = |setting: &Setting| setting.backend().is_some_and(|backend| backend != ours);
        if let Some(Given { setting, from, .. }) = given.iter().find(|given| is_foreign(given.setting)) {
            return Err(ConfigError::Contradiction(format!(
                "{from}: `{}` means nothing where `backend` is \"{ours}\"",
                setting.key
            )));
        }
        for setting in SETTINGS.iter().filter(|setting| is_foreign(setting)) {
            self.values.remove(setting.key.split_once('.').map_or(setting.key, |(section, _)| section));
        }
        Ok(())
    }

    /// What no single setting can say.
    fn check(&self) -> Result<(), ConfigError> {
        if self.integer("delivery.bytes_in_flight") < self.integer("delivery.message_bytes") {
            return Err(contradiction(
                "`delivery.bytes_in_flight` is less than `delivery.message_bytes`: no largest message could come in",
            ));
        }
        if self.path("master_key_file").is_some() && self.list("master_key_command").is_some() {
            return Err(contradiction("`master_key_file` and `master_key_command` exclude each other"));
        }
        let closes_all = |setting, proxies| {
            self.text(setting) == Some("required") && self.list(proxies).is_none_or(|list| list.is_empty())
        };
        if closes_all("delivery.proxy_protocol", "delivery.proxies") {
            return Err(contradiction(
                "`delivery.proxy_protocol` is \"required\" but `delivery.proxies` names nobody: every connection would be closed",
            ));
        }
        if closes_all("rest.proxy_protocol", "rest.proxies") {
            return Err(contradiction(
                "`rest.proxy_protocol` is \"required\" but `rest.proxies` names nobody: every connection would be closed",
            ));
        }
        if self.is_cluster() { servers::check(self) } else { Ok(()) }
    }

    fn value(&self, key: &str) -> Option<&Value> {
        debug_assert!(settings::find(key).is_some(), "{key} is a setting");
        match key.split_once('.') {
            Some((section, key)) => self.values.get(section)?.get(key),
            None => self.values.get(key),
        }
    }

    /// A number; only for settings that have a default.
    pub fn integer(&self, key: &str) -> u64 {
        let value = self.value(key).and_then(Value::as_integer);
        u64::try_from(value.unwrap_or_default()).unwrap_or_default()
    }

    /// A number as the platform counts.
    pub fn size(&self, key: &str) -> usize {
        usize::try_from(self.integer(key)).unwrap_or(usize::MAX)
    }

    /// A number of seconds.
    pub fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.integer(key))
    }

    /// A number of milliseconds.
    pub fn milliseconds(&self, key: &str) -> Duration {
        Duration::from_millis(self.integer(key))
    }

    /// A number that may be missing.
    pub fn integer_if_set(&self, key: &str) -> Option<u64> {
        self.value(key).and_then(Value::as_integer).and_then(|number| u64::try_from(number).ok())
    }

    /// A text that may be missing.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(Value::as_str)
    }

    /// A path that may be missing.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// A list of texts that may be missing.
    pub fn list(&self, key: &str) -> Option<Vec<String>> {
        let list = self.value(key)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Where everything is kept; on the cluster, the node's own directory.
    pub fn data(&self) -> PathBuf {
        self.path("data").unwrap_or_default()
    }

    /// Whether everything is kept on servers.
    pub fn is_cluster(&self) -> bool {
        self.text("backend") == Some("cluster")
    }

    /// Where the servers of the cluster are; reads the files that hold passwords.
    ///
    /// # Errors
    /// [`ConfigError::BadPasswordFile`].
    pub fn servers(&self) -> Result<cluster::Options, ConfigError> {
        servers::options(self)
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Config").field(&show::shown(self, false)).finish()
    }
}

fn contradiction(why: &str) -> ConfigError {
    ConfigError::Contradiction(why.to_owned())
}

/// Variables that begin with `SIGNET_` and set nothing: most likely one of ours, misspelt.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    const OTHERS: [&str; 3] = ["SIGNET_CONFIG", "SIGNET_MASTER_KEY", "SIGNET_STEP"];
    /// What `signet probe` is told, maybe in the same environment.
    const PROBE: &str = "SIGNET_PROBE_";
    let is_known = |name: &String| {
        name.starts_with(PROBE)
            || OTHERS.contains(&name.as_str())
            || SETTINGS.iter().any(|setting| setting.variable() == *name)
    };
    let mut unknown: Vec<String> =
        names.filter(|name| name.starts_with("SIGNET_")).filter(|name| !is_known(name)).collect();
    unknown.sort();
    unknown
}

#[cfg(test)]
mod tests;
