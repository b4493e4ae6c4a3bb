//! The queues: what schema/rabbitmq/topology-1.json names.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde::Deserialize;
use serde_json::Value;

use super::session::{SERVER, refused};
use crate::StartError;

const TOPOLOGY: &str = include_str!("../../../../schema/rabbitmq/topology-1.json");
/// Begins the names of the delay queues; their time in milliseconds ends them.
const DELAY: &str = "delay.";
/// RabbitMQ's names are at most 255 octets; ours add to the prefix.
const LONGEST_PREFIX: usize = 200;

#[derive(Deserialize)]
struct Topology {
    queues: Vec<QueueForm>,
}

#[derive(Deserialize)]
struct QueueForm {
    name: String,
    arguments: BTreeMap<String, Value>,
}

/// The names of the queues.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) jobs: ShortString,
    pub(super) dead: ShortString,
    /// By their times, shortest first.
    pub(super) delays: Vec<(Duration, ShortString)>,
}

/// A queue as it is declared.
pub(super) struct Declared {
    pub(super) name: ShortString,
    arguments: FieldTable,
}

/// The names of the queues, and how they are declared.
///
/// # Errors
/// [`StartError::Unusable`] if no names can be made with `prefix`.
pub(super) fn topology(prefix: &str, copies: u8) -> Result<(Names, Vec<Declared>), StartError> {
    let unusable = |reason: String| StartError::Unusable { server: SERVER, reason };
    if prefix.is_empty() || prefix.len() > LONGEST_PREFIX {
        return Err(unusable(format!("a prefix has 1–{LONGEST_PREFIX} octets")));
    }
    let form: Topology = serde_json::from_str(TOPOLOGY).map_err(|error| unusable(error.to_string()))?;
    let mut names = Names { jobs: name(prefix, "jobs"), dead: name(prefix, "dead"), delays: Vec::new() };
    let mut queues = Vec::new();
    for queue in form.queues {
        let own = queue.name.strip_prefix("{prefix}.").unwrap_or(&queue.name);
        let declared = name(prefix, own);
        if let Some(millis) = own.strip_prefix(DELAY).and_then(|millis| millis.parse().ok()) {
            names.delays.push((Duration::from_millis(millis), declared.clone()));
        }
        let mut arguments = FieldTable::default();
        for (key, value) in queue.arguments {
            arguments.insert(key.as_str().into(), argument(&value, prefix, copies));
        }
        queues.push(Declared { name: declared, arguments });
    }
    names.delays.sort();
    Ok((names, queues))
}

fn name(prefix: &str, own: &str) -> ShortString {
    format!("{prefix}.{own}").into()
}

fn argument(value: &Value, prefix: &str, copies: u8) -> AMQPValue {
    match value {
        Value::String(text) if text == "{copies}" => AMQPValue::LongLongInt(copies.into()),
        Value::String(text) => AMQPValue::LongString(text.replace("{prefix}", prefix).into()),
        Value::Bool(value) => AMQPValue::Boolean(*value),
        other => AMQPValue::LongLongInt(other.as_i64().unwrap_or_default()),
    }
}

impl Names {
    /// Where a job waits that may come back after `delay`, and what is left of the delay then: the shortest queue that
    /// is not too short, unless it is more than twice as long; then the longest that is not too long, and a rest.
    pub(super) fn delayed(&self, delay: Duration) -> (ShortString, Duration) {
        if delay.is_zero() {
            return (self.jobs.clone(), Duration::ZERO);
        }
        let long_enough = self.delays.iter().find(|(time, _)| (delay..=delay * 2).contains(time));
        let not_too_long = self.delays.iter().rfind(|(time, _)| *time <= delay);
        match long_enough.or(not_too_long).or(self.delays.first()) {
            Some((time, name)) => (name.clone(), delay.saturating_sub(*time)),
            None => (self.jobs.clone(), Duration::ZERO),
        }
    }
}

impl Declared {
    /// Makes the queue unless it is there.
    ///
    /// # Errors
    /// [`StartError::Unusable`] if it is there and was made otherwise.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), StartError> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declaring = channel.queue_declare(self.name.clone(), options, self.arguments.clone());
        declaring.await.map(drop).map_err(|error| {
            refused(&error, &format!("the queue {} cannot be made as it should be", self.name))
        })
    }

    /// Looks whether the queue is there.
    ///
    /// # Errors
    /// [`StartError::Unusable`] if it is not.
    pub(super) async fn check(&self, channel: &Channel) -> Result<(), StartError> {
        count(channel, &self.name).await.map(drop).map_err(|error| {
            refused(&error, &format!("the queue {} is missing: `signet schema apply` makes it", self.name))
        })
    }
}

/// How many messages of a queue could be delivered now, and how many consumers it has.
pub(super) async fn count(channel: &Channel, name: &ShortString) -> lapin::Result<(u32, u32)> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(name.clone(), options, FieldTable::default()).await?;
    Ok((queue.message_count(), queue.consumer_count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_bear_the_prefix_and_so_do_their_arguments() {
        let (names, queues) = topology("a \"quoted\" one", 3).unwrap();
        assert_eq!(names.jobs.as_str(), "a \"quoted\" one.jobs");
        assert_eq!(queues.len(), names.delays.len() + 3);
        let jobs = queues.iter().find(|queue| queue.name == names.jobs).unwrap();
        let argument = |name: &str| jobs.arguments.inner().get(name).cloned().unwrap();
        assert_eq!(argument("x-quorum-initial-group-size"), AMQPValue::LongLongInt(3));
        assert_eq!(
            argument("x-dead-letter-routing-key"),
            AMQPValue::LongString("a \"quoted\" one.undelivered".into())
        );
    }

    #[test]
    fn every_queue_is_durable_on_a_quorum_and_no_delay_may_lose_a_job() {
        let (names, queues) = topology("signet", 1).unwrap();
        for queue in &queues {
            let text = |name: &str| match queue.arguments.inner().get(name) {
                Some(AMQPValue::LongString(text)) => text.to_string(),
                _ => String::new(),
            };
            assert_eq!(text("x-queue-type"), "quorum");
            if names.delays.iter().any(|(_, name)| *name == queue.name) {
                assert_eq!(text("x-dead-letter-strategy"), "at-least-once");
                assert_eq!(text("x-overflow"), "reject-publish");
                assert_eq!(text("x-dead-letter-routing-key"), names.jobs.as_str());
            }
        }
    }

    #[test]
    fn a_delay_is_never_cut_short() {
        let (names, _) = topology("signet", 1).unwrap();
        // (asked, the queue's time, what is left)
        for (asked, waits, left) in [
            (1, 100, 0),
            (100, 100, 0),
            (101, 100, 1),
            (500, 1000, 0),
            (499, 100, 399),
            (600_000, 600_000, 0),
            (63_700, 60_000, 3_700),
            (3_700, 1_000, 2_700),
            (256_000, 60_000, 196_000),
            (300_000, 600_000, 0),
            (3_600_000, 3_600_000, 0),
            (5_000_000, 3_600_000, 1_400_000),
        ] {
            let (name, rest) = names.delayed(Duration::from_millis(asked));
            assert_eq!(name.as_str(), format!("signet.delay.{waits}"), "{asked}");
            assert_eq!(rest, Duration::from_millis(left), "{asked}");
        }
        assert_eq!(names.delayed(Duration::ZERO), (names.jobs.clone(), Duration::ZERO));
    }

    #[test]
    fn a_prefix_that_makes_no_names_is_refused() {
        for prefix in ["", &"p".repeat(LONGEST_PREFIX + 1)] {
            assert!(matches!(topology(prefix, 3), Err(StartError::Unusable { .. })));
        }
        assert!(topology(&"p".repeat(LONGEST_PREFIX), 3).is_ok());
    }
}
