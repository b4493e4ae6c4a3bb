//! The configuration as it is printed: secrets hidden.

use serde_json::json;
use toml::{Table, Value};

use super::{Config, settings};

const HIDDEN: &str = "[hidden]";

/// As a TOML file; `master_key_is_set` says whether a variable gives the master key.
pub fn to_toml(config: &Config, master_key_is_set: bool) -> String {
    let shown = shown(config, master_key_is_set);
    toml::to_string(&shown).expect("a table of plain values is TOML")
}

/// The same as JSON.
pub fn to_json(config: &Config, master_key_is_set: bool) -> serde_json::Value {
    serde_json::to_value(shown(config, master_key_is_set)).unwrap_or_else(|_| json!({}))
}

pub(super) fn shown(config: &Config, master_key_is_set: bool) -> Table {
    let mut table = config.values.clone();
    for setting in settings::SETTINGS.iter().filter(|setting| setting.kind.is_hidden()) {
        let value = match setting.key.split_once('.') {
            Some((section, key)) => table.get_mut(section).and_then(|section| section.get_mut(key)),
            None => table.get_mut(setting.key),
        };
        if let Some(value) = value {
            *value = Value::String(HIDDEN.to_owned());
        }
    }
    if master_key_is_set {
        table.insert("master_key".to_owned(), Value::String(HIDDEN.to_owned()));
    }
    // In TOML plain values stand before the sections.
    let (sections, plain): (Table, Table) = table.into_iter().partition(|(_, value)| value.is_table());
    plain.into_iter().chain(sections).collect()
}
