//! A job as RabbitMQ carries it: the job is the body, what is known about it stands in headers.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use schema::{DeadLetter, Job, LOST_LEASES, Millis};
use uuid::Uuid;

/// The job's id, the same through all its retries.
const ID: &str = "signet-id";
/// How often it was leased and not done, as far as this message knows.
const ATTEMPTS: &str = "signet-attempts";
/// How many of these leases nobody ended.
const LOST: &str = "signet-lost";
/// When it was first published.
const PUBLISHED_AT: &str = "signet-published-at";
/// What is left of its delay once this queue's is over, in milliseconds.
const LEFT: &str = "signet-left";
/// Why it was given up.
const REASON: &str = "signet-reason";
/// When it was given up.
const BURIED_AT: &str = "signet-buried-at";
/// How often the queue has had it back; RabbitMQ counts it.
const DELIVERIES: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// RabbitMQ keeps a message on the disk of most of its nodes.
const PERSISTENT: u8 = 2;

/// What is known about a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Below 2⁵³, so that every client of the API can read it as a number.
    pub(super) id: u64,
    pub(super) job: Job,
    pub(super) attempts: u32,
    pub(super) lost: u32,
    pub(super) published_at: Millis,
    /// What is left of its delay.
    pub(super) left: Duration,
}

impl Message {
    pub(super) fn new(job: Job, published_at: Millis) -> Self {
        let id = Uuid::new_v4().as_u64_pair().1 & ((1 << 53) - 1);
        Self { id, job, attempts: 0, lost: 0, published_at, left: Duration::ZERO }
    }

    /// A job as it was delivered. `None` if this version does not know it.
    pub(super) fn read(delivery: &Delivery) -> Option<Self> {
        let job = postcard::from_bytes(&delivery.data).ok()?;
        let headers = delivery.properties.headers().as_ref()?;
        // The counts of RabbitMQ's versions differ; that the message came back is known for certain.
        let returned = match delivery.redelivered {
            true => DELIVERIES.iter().filter_map(|name| number(headers, name)).max().unwrap_or(0).max(1),
            false => 0,
        };
        let count = |name| {
            let counted = number(headers, name).unwrap_or(0).saturating_add(returned);
            u32::try_from(counted).unwrap_or(u32::MAX)
        };
        Some(Self {
            id: number(headers, ID)?,
            job,
            attempts: count(ATTEMPTS),
            lost: count(LOST),
            published_at: number(headers, PUBLISHED_AT)?,
            left: Duration::from_millis(number(headers, LEFT).unwrap_or(0)),
        })
    }

    /// Counts a lease that its holder did not end.
    pub(super) fn lose(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
        self.lost = self.lost.saturating_add(1);
    }

    /// Whether so many leases were lost that it is a dead letter.
    pub(super) fn is_given_up(&self) -> bool {
        self.lost >= LOST_LEASES
    }

    pub(super) fn body(&self) -> Vec<u8> {
        // A job is ids of a fixed length: writing it to memory cannot fail.
        postcard::to_stdvec(&self.job).unwrap_or_default()
    }

    pub(super) fn properties(&self) -> BasicProperties {
        persistent(self.headers())
    }

    /// The properties of its dead letter.
    pub(super) fn dead_properties(&self, reason: &str, buried_at: Millis) -> BasicProperties {
        let mut headers = self.headers();
        headers.insert(REASON.into(), AMQPValue::LongString(reason.into()));
        headers.insert(BURIED_AT.into(), integer(buried_at));
        persistent(headers)
    }

    fn headers(&self) -> FieldTable {
        let mut headers = FieldTable::default();
        headers.insert(ID.into(), integer(self.id));
        headers.insert(ATTEMPTS.into(), integer(self.attempts.into()));
        headers.insert(LOST.into(), integer(self.lost.into()));
        headers.insert(PUBLISHED_AT.into(), integer(self.published_at));
        if !self.left.is_zero() {
            headers.insert(LEFT.into(), integer(u64::try_from(self.left.as_millis()).unwrap_or(u64::MAX)));
        }
        headers
    }
}

/// A dead letter as it was delivered, with when its job was first published. Looking at dead letters does not count
/// against them. `None` if this version does not know it.
pub(super) fn read_dead(delivery: &Delivery) -> Option<(DeadLetter, Millis)> {
    let headers = delivery.properties.headers().as_ref()?;
    let reason = match headers.inner().get(REASON) {
        Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        _ => return None,
    };
    let letter = DeadLetter {
        id: number(headers, ID)?,
        job: postcard::from_bytes(&delivery.data).ok()?,
        attempts: u32::try_from(number(headers, ATTEMPTS)?).unwrap_or(u32::MAX),
        reason,
        buried_at: number(headers, BURIED_AT)?,
    };
    Some((letter, number(headers, PUBLISHED_AT)?))
}

/// The properties of a message that goes on as it is: RabbitMQ's own headers stay behind, since it counts by them.
pub(super) fn unchanged(delivery: &Delivery) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in delivery.properties.headers().iter().flat_map(|headers| headers.inner()) {
        if !name.as_str().starts_with("x-") {
            headers.insert(name.clone(), value.clone());
        }
    }
    persistent(headers)
}

fn persistent(headers: FieldTable) -> BasicProperties {
    BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers)
}

fn integer(value: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX))
}

fn number(headers: &FieldTable, name: &str) -> Option<u64> {
    match *headers.inner().get(name)? {
        AMQPValue::LongLongInt(value) => u64::try_from(value).ok(),
        AMQPValue::LongInt(value) => u64::try_from(value).ok(),
        AMQPValue::ShortInt(value) => u64::try_from(value).ok(),
        AMQPValue::ShortShortInt(value) => u64::try_from(value).ok(),
        AMQPValue::LongUInt(value) => Some(value.into()),
        AMQPValue::ShortUInt(value) => Some(value.into()),
        AMQPValue::ShortShortUInt(value) => Some(value.into()),
        AMQPValue::Timestamp(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::AccountId;

    fn message() -> Message {
        let mut message = Message::new(Job::PurgeAccount { account: AccountId([3; 16]) }, 1_700_000_000_000);
        (message.attempts, message.lost) = (5, 2);
        message
    }

    fn delivered(message: &Message, redelivered: bool, counted: &[(&str, i64)]) -> Delivery {
        let mut delivery = Delivery::mock(1, "".into(), "jobs".into(), redelivered, message.body());
        let mut headers = message.headers();
        for (name, count) in counted {
            headers.insert((*name).into(), AMQPValue::LongLongInt(*count));
        }
        delivery.properties = persistent(headers);
        delivery
    }

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        for left in [Duration::ZERO, Duration::from_secs(7200)] {
            let message = Message { left, ..message() };
            assert_eq!(Message::read(&delivered(&message, false, &[])), Some(message));
        }
    }

    #[test]
    fn every_version_of_rabbitmq_counts_what_came_back() {
        // (redelivered, RabbitMQ's headers, times it came back)
        for (redelivered, counted, returned) in [
            (false, &[][..], 0),
            (false, &[("x-acquired-count", 1)][..], 0),
            (true, &[][..], 1),
            (true, &[("x-delivery-count", 3)][..], 3),
            (true, &[("x-delivery-count", 1), ("x-acquired-count", 4)][..], 4),
            (true, &[("x-delivery-count", -1)][..], 1),
        ] {
            let read = Message::read(&delivered(&message(), redelivered, counted)).unwrap();
            assert_eq!((read.attempts, read.lost), (5 + returned, 2 + returned), "{counted:?}");
        }
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        let mut delivery = delivered(&message(), false, &[]);
        delivery.data = vec![0xff; 3];
        assert_eq!(Message::read(&delivery), None);
        let bare = Delivery::mock(1, "".into(), "jobs".into(), false, message().body());
        assert_eq!(Message::read(&bare), None);
        assert_eq!(read_dead(&delivered(&message(), false, &[])), None);
    }

    #[test]
    fn a_dead_letter_tells_its_reason_and_how_often_it_was_tried() {
        let mut delivery = delivered(&message(), true, &[("x-delivery-count", 9)]);
        delivery.properties = message().dead_properties("no reason", 1_700_000_000_500);
        let (letter, published_at) = read_dead(&delivery).unwrap();
        assert_eq!(
            (letter.attempts, letter.reason.as_str(), letter.buried_at),
            (5, "no reason", 1_700_000_000_500)
        );
        assert_eq!(published_at, 1_700_000_000_000);
    }

    #[test]
    fn what_goes_on_as_it_is_leaves_rabbitmqs_headers_behind() {
        let message = message();
        let delivery = delivered(&message, true, &[("x-delivery-count", 9)]);
        assert_eq!(unchanged(&delivery), persistent(message.headers()));
    }
}
