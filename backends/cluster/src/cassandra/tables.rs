//! The tables of Cassandra and their versions.

use std::fmt::Display;
use std::time::{Duration, Instant};

use scylla::client::session::Session;
use scylla::errors::ExecutionError;

use super::{Cassandra, SERVER, connect, is_refusal};
use crate::options::CassandraOptions;
use crate::start::StartError;

/// A version of the tables.
struct Version {
    /// What makes it of the one before.
    statements: &'static str,
    /// The oldest program, by its version, that may serve on it: nodes are replaced one by one after it is applied.
    serves: u32,
}

/// Every version, from version 1 on.
const VERSIONS: [Version; 3] = [
    Version { statements: include_str!("../../../../schema/cassandra/0001.cql"), serves: 1 },
    Version { statements: include_str!("../../../../schema/cassandra/0002.cql"), serves: 1 },
    Version { statements: include_str!("../../../../schema/cassandra/0003.cql"), serves: 1 },
];
/// The version that this program reads and writes.
pub const VERSION: u32 = VERSIONS.len() as u32;

/// How long an apply holds the lock unless it prolongs it: so long one that died is waited for.
const LOCK_TIME: Duration = Duration::from_secs(120);
/// How long a change of the schema may take at least: every node has to agree.
const CHANGE_TIME: Duration = Duration::from_secs(60);
/// How often it looks.
const LOCK_LOOK: Duration = Duration::from_millis(500);

/// What [`apply_schema`] did to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The version that was there; `None`: the keyspace was new.
    pub from: Option<u32>,
    /// The version that is there now.
    pub to: u32,
}

fn unusable(reason: impl Display) -> StartError {
    StartError::Unusable { server: SERVER, reason: reason.to_string() }
}

/// A server that refuses something refuses it again; one that does not answer may do so later.
fn failed(error: &ExecutionError, reason: String) -> StartError {
    match is_refusal(error) {
        true => unusable(reason),
        false => StartError::Unreachable { server: SERVER, reason },
    }
}

/// A keyspace's name stands in statements as it is, so it has to be a plain one.
fn check_name(keyspace: &str) -> Result<(), StartError> {
    let is_plain = keyspace.starts_with(|first: char| first.is_ascii_lowercase())
        && keyspace.len() <= 48
        && keyspace.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match is_plain {
        true => Ok(()),
        false => Err(unusable(
            "the keyspace's name has at most 48 lower-case letters, digits and underscores, a letter first",
        )),
    }
}

/// Makes our keyspace the session's.
pub(super) async fn use_keyspace(cassandra: &Cassandra) -> Result<(), StartError> {
    let keyspace = &cassandra.options.keyspace;
    check_name(keyspace)?;
    cassandra.session().use_keyspace(keyspace, false).await.map_err(|error| {
        let text =
            format!("the keyspace {keyspace} cannot be used ({error}): `signet schema apply` makes it");
        failed(&ExecutionError::UseKeyspaceError(error), text)
    })
}

/// Refuses a schema that this program does not work with.
pub(super) async fn check_version(cassandra: &Cassandra) -> Result<(), StartError> {
    match version(cassandra.session()).await? {
        Some(found) if found.number >= VERSION && found.serves <= VERSION => Ok(()),
        Some(found) if found.number > VERSION => Err(unusable(format!(
            "the schema is of version {}, for programs that know version {} at least; this one knows {VERSION}: run a newer \
             program",
            found.number, found.serves
        ))),
        found => Err(unusable(format!(
            "the schema is of version {}, this program needs {VERSION}: run `signet schema apply`",
            found.map_or(0, |found| found.number)
        ))),
    }
}

/// What [`apply_schema`] would do; nothing is changed.
///
/// # Errors
/// [`StartError`] if no node can be asked.
pub async fn schema_version(options: &CassandraOptions) -> Result<Applied, StartError> {
    let cassandra = Cassandra::of(connect(options).await?, options);
    let found = match use_keyspace(&cassandra).await {
        Ok(()) => version(cassandra.session()).await,
        Err(error) => Err(error),
    };
    let from = match found {
        // What is not there has no version.
        Err(StartError::Unusable { .. }) => None,
        found => found?,
    };
    Ok(Applied { from: from.map(|from| from.number), to: VERSION })
}

/// A version that has been applied whole, and the oldest program that may serve on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    number: u32,
    serves: u32,
}

/// The greatest one.
async fn version(session: &Session) -> Result<Option<Found>, StartError> {
    const TEXT: &str = "SELECT version, serves FROM schema_versions WHERE part = 'rows'";
    let unreadable =
        |error: &dyn Display| StartError::Unreachable { server: SERVER, reason: error.to_string() };
    let found = session.query_unpaged(TEXT, ()).await;
    let found = found.map_err(|error| failed(&error, format!("{error}: run `signet schema apply`")))?;
    let rows = found.into_rows_result().map_err(|error| unreadable(&error))?;
    let mut newest = None;
    for row in rows.rows::<(i32, i32)>().map_err(|error| unreadable(&error))? {
        let (number, serves) = row.map_err(|error| unreadable(&error))?;
        let read = |number: i32| u32::try_from(number).map_err(|error| unreadable(&error));
        newest = newest.max(Some(Found { number: read(number)?, serves: read(serves)? }));
    }
    Ok(newest)
}

/// Makes the keyspace and its tables, or upgrades them. Safe to repeat, and to run from several places at once: one
/// does it, the others wait for that one.
///
/// # Errors
/// [`StartError`]; what was done until then stays, and the next call goes on.
pub async fn apply_schema(options: &CassandraOptions) -> Result<Applied, StartError> {
    check_name(&options.keyspace)?;
    let options =
        &CassandraOptions { request_time: options.request_time.max(CHANGE_TIME), ..options.clone() };
    let cassandra = Cassandra::of(connect(options).await?, options);
    let session = cassandra.session();
    let keyspace = &options.keyspace;
    let copies = options.copies;
    let replication = match &options.datacenter {
        Some(name) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') => {
            format!("{{'class': 'NetworkTopologyStrategy', '{name}': {copies}}}")
        }
        Some(_) => return Err(unusable("the data centre's name has letters, digits, `-` and `_`")),
        None => format!("{{'class': 'SimpleStrategy', 'replication_factor': {copies}}}"),
    };
    if !has_keyspace(session, keyspace).await? {
        run(session, &format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}"))
            .await?;
    }
    use_keyspace(&cassandra).await?;
    // Two that make a table at once make two of one name, unless both ask for the same id.
    let lock = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{keyspace}.schema_locks").as_bytes());
    run(
        session,
        &format!(
            "CREATE TABLE IF NOT EXISTS schema_locks (part text PRIMARY KEY, owner uuid) WITH ID = {lock}"
        ),
    )
    .await?;
    let owner = take_lock(&cassandra).await?;
    let applied = tokio::select! {
        applied = apply(session) => applied,
        lost = keep_lock(&cassandra, owner) => Err(lost),
    };
    let freed = cassandra
        .compare_and_set("DELETE FROM schema_locks WHERE part = 'rows' IF owner = ?", (owner,))
        .await;
    if let Err(error) = freed {
        tracing::warn!(%error, "the schema's lock stays until its time is over");
    }
    applied
}

/// Whether it is there: then it is used as it is, by a login that may not make any.
async fn has_keyspace(session: &Session, keyspace: &str) -> Result<bool, StartError> {
    const TEXT: &str = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let found = session.query_unpaged(TEXT, (keyspace,)).await;
    let found = found.map_err(|error| failed(&error, error.to_string()))?.into_rows_result();
    found.map(|rows| rows.rows_num() > 0).map_err(unusable)
}

async fn take_lock(cassandra: &Cassandra) -> Result<uuid::Uuid, StartError> {
    let owner = uuid::Uuid::new_v4();
    let text = format!(
        "INSERT INTO schema_locks (part, owner) VALUES ('rows', ?) IF NOT EXISTS USING TTL {}",
        LOCK_TIME.as_secs()
    );
    let began = Instant::now();
    loop {
        match cassandra.compare_and_set(&text, (owner,)).await {
            Ok(true) => return Ok(owner),
            Ok(false) if began.elapsed() > LOCK_TIME * 2 => {
                return Err(unusable("another `signet schema apply` does not end"));
            }
            Ok(false) => {}
            // A table that is new may not be known to every node yet.
            Err(error) if began.elapsed() > LOCK_TIME => return Err(unusable(error)),
            Err(_) => {}
        }
        tokio::time::sleep(LOCK_LOOK).await;
    }
}

/// Holds the lock for as long as this is awaited; what ends it is its loss.
async fn keep_lock(cassandra: &Cassandra, owner: uuid::Uuid) -> StartError {
    let text = format!(
        "UPDATE schema_locks USING TTL {} SET owner = ? WHERE part = 'rows' IF owner = ?",
        LOCK_TIME.as_secs()
    );
    loop {
        tokio::time::sleep(LOCK_TIME / 4).await;
        match cassandra.compare_and_set(&text, (owner, owner)).await {
            Ok(true) => {}
            Ok(false) => return unusable("another `signet schema apply` took its turn: run it again"),
            // It is held until its time is over.
            Err(error) => tracing::warn!(%error, "the schema's lock is not prolonged"),
        }
    }
}

async fn apply(session: &Session) -> Result<Applied, StartError> {
    run(
        session,
        "CREATE TABLE IF NOT EXISTS schema_versions (part text, version int, serves int, applied_at timestamp, \
         PRIMARY KEY (part, version))",
    )
    .await?;
    let from = version(session).await?.map(|from| from.number);
    if from.is_some_and(|from| from > VERSION) {
        return Err(unusable("the schema is of a newer version than this program"));
    }
    for (version, number) in VERSIONS.iter().zip(1_u32..).skip(from.unwrap_or(0) as usize) {
        for statement in split(version.statements) {
            run(session, &statement).await?;
        }
        let noted = format!(
            "INSERT INTO schema_versions (part, version, serves, applied_at) \
             VALUES ('rows', {number}, {}, toTimestamp(now()))",
            version.serves
        );
        run(session, &noted).await?;
    }
    Ok(Applied { from, to: VERSION })
}

/// Runs a statement; one that changes the schema returns when all nodes agree.
async fn run(session: &Session, statement: &str) -> Result<(), StartError> {
    session.query_unpaged(statement, ()).await.map(drop).map_err(|error| failed(&error, error.to_string()))
}

/// The statements of a file, without its comments.
fn split(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    let bare = lines.collect::<Vec<_>>().join("\n");
    bare.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_made() {
        let statements: Vec<String> = VERSIONS.iter().flat_map(|version| split(version.statements)).collect();
        for table in schema::Table::ALL {
            let made = format!("CREATE TABLE IF NOT EXISTS {} (", table.name());
            assert_eq!(
                statements.iter().filter(|statement| statement.starts_with(&made)).count(),
                1,
                "{made}"
            );
        }
        assert!(statements.iter().all(|statement| !statement.contains("--")));
    }

    #[test]
    fn a_keyspace_has_a_plain_name() {
        for name in ["signet", "a", "signet_2"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
        for name in ["", "2a", "_a", "A", "a-b", "a;drop", "a\"b", &"a".repeat(49)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
