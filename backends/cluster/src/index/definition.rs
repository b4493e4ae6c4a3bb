//! The index as it has to be: its settings, its mapping, and the alias that stands for it.
//!
//! The program knows the alias only. The index behind it is named after the version of its mapping and, from the second of a
//! version on, a number, so that the next one can be filled beside it and the alias moved.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::nodes::{Failure, Nodes, Request};
use super::{SERVER, unusable};
use crate::{ElasticsearchOptions, StartError};

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;
const DEFINITION: &str = include_str!("../../../../schema/elasticsearch/messages-1.json");
/// The oldest Elasticsearch that does all that is asked of it.
const OLDEST: (u32, u32) = (7, 17);
/// What Elasticsearch takes unless an index says otherwise.
const DEFAULT_WINDOW: usize = 10_000;

/// How often an alias is looked for once its index is there, and how long after the last time.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);

/// An index that this program reads.
pub(super) struct Found {
    /// Its own name.
    pub(super) name: String,
    /// How far hits are numbered: `index.max_result_window`.
    pub(super) window: usize,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    mappings: Value,
    #[serde(default)]
    settings: Value,
}

/// Checks the name of the alias: it becomes a part of addresses.
pub(super) fn check_alias(alias: &str) -> Result<(), StartError> {
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.');
    let is_name = alias.len() <= 200 && alias.bytes().all(is_plain);
    match is_name && alias.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        true => Ok(()),
        false => Err(unusable(
            "the name of its alias has to begin with a lower-case letter or a digit, and to go on with those, `-`, `_` \
             and `.` up to 200 characters"
                .into(),
        )),
    }
}

/// Checks that every node is of a version that does what is asked of it; gives the oldest one's major version.
pub(super) async fn check_version(nodes: &Nodes) -> Result<u32, StartError> {
    #[derive(Deserialize)]
    struct Answer {
        nodes: HashMap<String, Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        version: String,
    }
    let request = Request::get("_nodes/os", &[("filter_path", "nodes.*.version")]);
    let answer: Answer = match nodes.ask(&request).await {
        Ok(answer) => answer,
        Err(failure) => return Err(nodes.refused(failure).await),
    };
    let mut oldest = u32::MAX;
    for node in answer.nodes.values() {
        match parse_version(&node.version).filter(|&version| version >= OLDEST) {
            Some((major, _)) => oldest = oldest.min(major),
            None => {
                let (major, minor) = OLDEST;
                let version: String = node.version.chars().filter(char::is_ascii_graphic).take(20).collect();
                return Err(unusable(format!(
                    "its version is {version}: {major}.{minor} or newer is needed"
                )));
            }
        }
    }
    Ok(oldest)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The index behind the alias; `None` if there is none.
///
/// # Errors
/// [`StartError::Unusable`] if this program cannot use what is there.
pub(super) async fn find(nodes: &Nodes, alias: &str) -> Result<Option<Found>, StartError> {
    let parameters =
        [("filter_path", "*.settings.index.uuid,*.settings.index.max_result_window,*.mappings._meta")];
    let mut indices: HashMap<String, Described> = match nodes.ask(&Request::get(alias, &parameters)).await {
        Err(Failure::Status { status: 404, .. }) => return Ok(None),
        answer => answer?,
    };
    if indices.contains_key(alias) {
        return Err(unusable(format!(
            "`{alias}` is an index, and has to be an alias: name another in the configuration, or delete that index"
        )));
    }
    if indices.len() > 1 {
        return Err(unusable(format!("the alias `{alias}` stands for several indices: leave it one")));
    }
    let Some((name, described)) = indices.drain().next() else { return Ok(None) };
    match described.mappings.pointer("/_meta/version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(version) if version > VERSION => {
            return Err(unusable(format!(
                "the index `{name}` has version {version}, and this program knows those up to {VERSION}: start a newer one"
            )));
        }
        version => {
            let version = version.map_or("no version".to_owned(), |version| format!("version {version}"));
            return Err(unusable(format!(
                "the index `{name}` has {version}, and this program reads {VERSION}: run `signet schema apply`"
            )));
        }
    }
    let window = described.settings.pointer("/index/max_result_window").and_then(Value::as_str);
    let window = window.and_then(|window| window.parse().ok()).unwrap_or(DEFAULT_WINDOW);
    Ok(Some(Found { name, window }))
}

/// Makes the index and its alias unless they are there, and waits until it can be written.
pub(super) async fn apply(nodes: &Nodes, options: &ElasticsearchOptions) -> Result<(), StartError> {
    let alias = options.alias.as_str();
    if find(nodes, alias).await?.is_none() {
        create(nodes, options, &format!("{alias}-v{VERSION}"), alias).await?;
    }
    wait_for_shards(nodes, options, alias).await
}

/// The name of an index that follows `name` behind `alias`.
pub(super) fn following(alias: &str, name: &str) -> String {
    let first = format!("{alias}-v{VERSION}");
    let number = name.strip_prefix(&first).and_then(|rest| rest.strip_prefix('-'));
    let number = number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(1);
    format!("{first}-{}", number + 1)
}

/// Whether an index of this name is, or was, one behind `alias`.
pub(super) fn is_of(alias: &str, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(alias).and_then(|rest| rest.strip_prefix("-v")) else { return false };
    let mut numbers = rest.splitn(2, '-');
    numbers.all(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
}

/// Waits until the index behind `alias` can be written.
pub(super) async fn wait_for_shards(
    nodes: &Nodes,
    options: &ElasticsearchOptions,
    alias: &str,
) -> Result<(), StartError> {
    let wait = format!("{}ms", options.request_time.as_millis() / 2);
    let parameters = [("wait_for_status", "yellow"), ("timeout", wait.as_str()), ("filter_path", "status")];
    match nodes.ask::<Value>(&Request::get(&format!("_cluster/health/{alias}"), &parameters)).await {
        Err(Failure::Status { status: 408, .. }) => Err(StartError::Unreachable {
            server: SERVER,
            reason: "the index is there, but not all of its shards".into(),
        }),
        answer => Ok(answer.map(drop)?),
    }
}

/// Makes an index and its alias in one step. That another made them first is no error.
pub(super) async fn create(
    nodes: &Nodes,
    options: &ElasticsearchOptions,
    index: &str,
    alias: &str,
) -> Result<(), StartError> {
    let mut definition: Value = serde_json::from_str(DEFINITION)
        .map_err(|_| unusable("the definition of its index does not parse".into()))?;
    definition["settings"]["index"]["number_of_shards"] = options.shards.into();
    definition["settings"]["index"]["number_of_replicas"] = options.replicas.into();
    definition["aliases"] = json!({ alias: {} });
    let wait = format!("{}ms", options.request_time.as_millis() / 2);
    let parameters = [("master_timeout", wait.as_str()), ("timeout", wait.as_str())];
    match nodes.ask::<Value>(&Request::put(index, &parameters, definition.to_string())).await {
        Err(Failure::Status { kind, .. }) if kind == "resource_already_exists_exception" => {}
        answer => drop(answer?),
    }
    // Whoever made it: it has to be one that can be used. What another made may take a moment to be seen.
    let mut looks = 0;
    while find(nodes, alias).await?.is_none() {
        looks += 1;
        if looks == LOOKS {
            return Err(unusable(format!(
                "the index `{index}` is there without its alias `{alias}`: add the alias, or delete the index"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::document::{LAYERS, TOKEN_FIELDS};
    use super::*;

    #[test]
    fn the_definition_is_of_the_version_and_has_the_fields_that_are_written() {
        let definition: Value = serde_json::from_str(DEFINITION).unwrap();
        let mappings = &definition["mappings"];
        assert_eq!(mappings["_meta"]["version"], VERSION);
        assert_eq!(
            (&mappings["dynamic"], &mappings["_source"]["enabled"]),
            (&"strict".into(), &false.into())
        );
        for field in TOKEN_FIELDS {
            let described = &mappings["properties"][field];
            assert_eq!(described["analyzer"], "whitespace");
            assert_eq!(described["index_options"] == "positions", LAYERS.contains(&field), "{field}");
        }
    }

    #[test]
    fn versions_are_compared_by_their_first_two_numbers() {
        assert_eq!(parse_version("7.17.29"), Some((7, 17)));
        assert_eq!(parse_version("9.1.0-SNAPSHOT"), Some((9, 1)));
        assert_eq!(["", "8", "x.y"].map(parse_version), [None; 3]);
        assert!(parse_version("8.0.0").unwrap() > OLDEST && parse_version("7.9.3").unwrap() < OLDEST);
    }

    #[test]
    fn an_index_is_named_after_its_alias_its_version_and_its_number() {
        for (name, next) in
            [("a-v1", "a-v1-2"), ("a-v1-2", "a-v1-3"), ("a-v1-99", "a-v1-100"), ("other", "a-v1-2")]
        {
            assert_eq!(following("a", name), next);
        }
        for name in ["a-v1", "a-v12", "a-v1-2", "a-v1-30"] {
            assert!(is_of("a", name), "{name}");
        }
        for name in ["a", "a-v", "a-v1-", "a-v1-2-3", "a-vault-v1", "a-b-v1", "b-v1", "a-next", "a-v1x"] {
            assert!(!is_of("a", name), "{name}");
        }
    }

    #[test]
    fn an_alias_is_a_name_that_needs_no_escape() {
        for alias in ["messages", "a", "0-b_c.d"] {
            assert!(check_alias(alias).is_ok(), "{alias}");
        }
        for alias in ["", "-a", "_a", "Messages", "a/b", "a b", "a%2f", "é", "*", &"a".repeat(201)] {
            assert!(check_alias(alias).is_err(), "{alias}");
        }
    }
}
