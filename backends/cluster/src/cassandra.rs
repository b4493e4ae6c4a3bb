//! The connection to Cassandra that rows and blobs share.

mod clock;
mod reconnection;
mod retry;
mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schema::Error;
use scylla::client::caching_session::CachingSession;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError, UseKeyspaceError};
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::response::PagingState;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::serialize::batch::BatchValues;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::Batch;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::CqlValue;

use self::reconnection::{Reconnection, Repeat};
use self::retry::PrepareAgain;
pub use self::tables::{Applied, VERSION, apply_schema, schema_version};
use crate::options::CassandraOptions;
use crate::start::StartError;
use crate::tls::{self, Authorities};

/// How the server is called in messages.
pub(crate) const SERVER: &str = "Cassandra";
/// Statements that are kept prepared: a few for each table.
const STATEMENTS: usize = 1_000;
/// Rows of a page, where many are read.
pub(crate) const PAGE: i32 = 5_000;
/// A node that has not answered by then is not waited for alone: another is asked too, where asking twice does no harm.
const SILENCE: Duration = Duration::from_millis(300);
/// How often a quiet connection is tried, and how long that may take.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// How long a start waits for a node.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

const WALKING: &str = "walking through a table";

/// A session in our keyspace.
pub(crate) struct Cassandra {
    session: CachingSession,
    pub(crate) options: CassandraOptions,
    stamped: AtomicI64,
    distance: clock::Distance,
    reconnection: Reconnection,
}

impl Cassandra {
    /// Connects to the keyspace and sees that its schema is the one this program works with.
    pub(crate) async fn connect(options: &CassandraOptions) -> Result<Arc<Self>, StartError> {
        let session = connect(options).await?;
        let cassandra = Self::of(session, options);
        tables::use_keyspace(&cassandra).await?;
        tables::check_version(&cassandra).await?;
        Ok(Arc::new(cassandra))
    }

    fn of(session: Session, options: &CassandraOptions) -> Self {
        let session = CachingSession::from(session, STATEMENTS);
        Self {
            session,
            options: options.clone(),
            stamped: AtomicI64::new(0),
            distance: Default::default(),
            reconnection: Default::default(),
        }
    }

    /// Microseconds since 1970, later than any that this process was given before: what a write is stamped with.
    pub(crate) fn stamp(&self) -> i64 {
        let now = now_micros();
        let next = |last: i64| Some(now.max(last.saturating_add(1)));
        let last = self.stamped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        now.max(last.unwrap_or(0).saturating_add(1))
    }

    /// Runs a statement that may be repeated; `what` was attempted, if it fails.
    pub(crate) async fn run(
        &self,
        what: &'static str,
        text: &str,
        values: impl SerializeRow,
    ) -> Result<QueryResult, Error> {
        let mut statement = Statement::new(text);
        statement.set_is_idempotent(true);
        let call = || self.session.execute_unpaged(statement.clone(), &values);
        self.reconnection.once_connected(Repeat::Always, call).await.map_err(|error| failed(what, error))
    }

    /// Runs statements that may be repeated as one; `what` was attempted, if it fails.
    pub(crate) async fn run_batch(
        &self,
        what: &'static str,
        mut batch: Batch,
        values: impl BatchValues,
    ) -> Result<(), Error> {
        batch.set_is_idempotent(true);
        let call = || self.session.batch(&batch, &values);
        self.reconnection
            .once_connected(Repeat::Always, call)
            .await
            .map(drop)
            .map_err(|error| failed(what, error))
    }

    /// Runs a compare-and-set once: whether it was applied is the first column of its first row.
    pub(crate) async fn compare_and_set(
        &self,
        text: &str,
        values: impl SerializeRow,
    ) -> Result<bool, ExecutionError> {
        let mut statement = Statement::new(text);
        statement.set_is_idempotent(false);
        // Made twice, it would find its own value and say that it was not set.
        statement.set_retry_policy(Some(Arc::new(PrepareAgain::only())));
        let call = || self.session.execute_unpaged(statement.clone(), &values);
        let answer = self.reconnection.once_connected(Repeat::Unsent, call).await?;
        let rows = answer.into_rows_result().map_err(|_| ExecutionError::EmptyPlan)?;
        let row: scylla::value::Row = rows.first_row().map_err(|_| ExecutionError::EmptyPlan)?;
        Ok(matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true)))))
    }

    /// The rows that a statement gives.
    pub(crate) async fn rows(
        &self,
        what: &'static str,
        text: &str,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, Error> {
        let answer = self.run(what, text, values).await?;
        answer.into_rows_result().map_err(|error| Error::transient(what, error))
    }

    /// The rows that a statement gives, a page of at most `size`, after those of the page that gave `after`; and what gives
    /// the next ones.
    pub(crate) async fn page(
        &self,
        what: &'static str,
        text: &str,
        values: impl SerializeRow,
        size: i32,
        after: Option<Vec<u8>>,
    ) -> Result<(QueryRowsResult, Option<Vec<u8>>), Error> {
        let mut statement = Statement::new(text).with_page_size(size);
        statement.set_is_idempotent(true);
        let from = after.map_or_else(PagingState::start, PagingState::new_from_raw_bytes);
        let call = || self.session.execute_single_page(statement.clone(), &values, from.clone());
        let page = self.reconnection.once_connected(Repeat::Always, call).await;
        let (answer, next) = page.map_err(|error| failed(what, error))?;
        let rows = answer.into_rows_result().map_err(|error| Error::transient(what, error))?;
        let next = next.into_paging_control_flow().continue_value();
        Ok((rows, next.and_then(|state| state.as_bytes_slice().map(|octets| octets.to_vec()))))
    }

    /// The partitions of a table with their buckets, in no order: it goes through the whole table.
    pub(crate) async fn walk(
        &self,
        table: &str,
        mut visit: impl FnMut(Vec<u8>, Vec<u8>),
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let (walked, next) = self.walk_page(table, after, usize::MAX).await?;
            walked.into_iter().for_each(|(partition, bucket)| visit(partition, bucket));
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    /// Of a table at most `limit` partitions with their buckets, after those of the page that gave `after`, and what gives
    /// the next ones.
    pub(crate) async fn walk_page(
        &self,
        table: &str,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, Option<Vec<u8>>), Error> {
        let size = i32::try_from(limit).unwrap_or(PAGE).clamp(1, PAGE);
        let text = format!("SELECT DISTINCT partition, bucket FROM {table}");
        let (rows, next) = self.page(WALKING, &text, (), size, after).await?;
        let rows = rows.rows::<(Vec<u8>, Vec<u8>)>().map_err(|error| Error::permanent(WALKING, error))?;
        let found = rows.collect::<Result<_, _>>().map_err(|error| Error::permanent(WALKING, error))?;
        Ok((found, next))
    }

    /// The session itself.
    fn session(&self) -> &Session {
        self.session.get_session()
    }
}

async fn connect(options: &CassandraOptions) -> Result<Session, StartError> {
    let (consistency, serial) = match options.datacenter {
        Some(_) => (Consistency::LocalQuorum, SerialConsistency::LocalSerial),
        None => (Consistency::Quorum, SerialConsistency::Serial),
    };
    let profile = ExecutionProfile::builder()
        .consistency(consistency)
        .serial_consistency(Some(serial))
        .request_timeout(Some(options.request_time))
        .retry_policy(Arc::new(PrepareAgain::or_repeat()))
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: SILENCE,
        })))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.nodes)
        .default_execution_profile_handle(profile.into_handle())
        // Of the others' tables nothing is to be known, of ours only where their rows are.
        .keyspaces_to_fetch([&options.keyspace])
        .fetch_full_schema_metadata(false)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .connection_timeout(CONNECTION_TIME);
    if let Some(datacenter) = &options.datacenter {
        builder = builder.prefer_datacenter(datacenter.clone());
    }
    if let Some(login) = &options.login {
        builder = builder.user(&login.name, login.password.as_str());
    }
    if let Some(ca_file) = &options.ca_file {
        builder = builder.tls_context(Some(Authorities::read(ca_file, SERVER)?.client(SERVER)?));
    }
    let connecting = tokio::time::timeout(CONNECTION_TIME * 4, builder.build()).await;
    let unreachable = |reason: String| StartError::Unreachable { server: SERVER, reason };
    let connected = connecting.map_err(|_| unreachable("no node has answered".into()))?;
    let error = match connected {
        Ok(session) => return Ok(session),
        Err(error) => error,
    };
    let unusable = |reason: &str| StartError::Unusable { server: SERVER, reason: reason.into() };
    let reason = error.to_string();
    // The driver tells what went wrong by its text alone.
    if reason.contains("uthentication") || reason.contains("password") {
        return Err(unusable("the login is refused"));
    }
    if let Some(objection) = tls::objection(&reason) {
        return Err(unusable(&objection));
    }
    if options.ca_file.is_none() {
        for node in &options.nodes {
            if tls::is_spoken_at(node).await {
                return Err(unusable("it asks for TLS: `cassandra.ca_file` says who signs its certificate"));
            }
        }
    }
    Err(unreachable(reason))
}

/// Adds to what holds the least `limit` of all that it was given.
pub(crate) fn keep_least<T: Ord>(least: &mut BTreeSet<T>, limit: usize, next: T) {
    if least.len() < limit || least.last().is_some_and(|last| next < *last) {
        least.insert(next);
    }
    if least.len() > limit {
        least.pop_last();
    }
}

/// What failed, and whether the same call may succeed later.
pub(crate) fn failed(what: &'static str, error: ExecutionError) -> Error {
    match is_permanent(&error) {
        true => Error::permanent(what, error),
        false => Error::transient(what, error),
    }
}

/// Whether the same call would fail again.
fn is_permanent(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::BadQuery(_) => true,
        ExecutionError::LastAttemptError(attempt) => is_wrong(attempt),
        _ => false,
    }
}

/// Whether a start fails until somebody has changed something.
fn is_refusal(error: &ExecutionError) -> bool {
    let is_refused = |attempt: &RequestAttemptError| {
        is_wrong(attempt) || matches!(attempt, RequestAttemptError::DbError(DbError::Unauthorized, _))
    };
    match error {
        ExecutionError::BadQuery(_) => true,
        ExecutionError::LastAttemptError(attempt)
        | ExecutionError::UseKeyspaceError(UseKeyspaceError::RequestError(attempt)) => is_refused(attempt),
        ExecutionError::UseKeyspaceError(error) => !matches!(error, UseKeyspaceError::RequestTimeout(_)),
        _ => false,
    }
}

/// Whether what was asked cannot be done.
fn is_wrong(attempt: &RequestAttemptError) -> bool {
    matches!(
        attempt,
        RequestAttemptError::SerializationError(_)
            | RequestAttemptError::DbError(DbError::SyntaxError | DbError::Invalid | DbError::ConfigError, _)
    )
}

/// Microseconds since 1970 by this machine's clock, as Cassandra counts time.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_many_are_kept_whatever_their_order() {
        let mut least = BTreeSet::new();
        for next in [5, 9, 1, 5, 7, 3, 1, 8, 2] {
            keep_least(&mut least, 3, next);
        }
        assert!(least.into_iter().eq([1, 2, 3]));
    }
}
