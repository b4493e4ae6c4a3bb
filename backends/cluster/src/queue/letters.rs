//! Dead letters.
//!
//! RabbitMQ lets nobody look at a queue without taking what is in it, so they are taken, read and given back. Two
//! processes that read at once would each see a part: who finds another at it waits a little.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
use schema::{DeadLetter, Error, Result};
use tokio::time::{Instant, sleep, timeout};

use super::message::{Message, read_dead};
use super::session::{Lane, Session};
use super::topology::count;
use super::{Queue, SLOW, failed};

/// Dead letters read at most: the oldest.
const MOST: u16 = 10_000;
/// How long nothing more has come when all has come that will: another process holds the rest.
const QUIET: Duration = Duration::from_millis(500);
/// How long another reader is waited for, and how long what was read may take to be back.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Whatever was delivered and not acknowledged.
const ALL: u64 = 0;
/// Requests that reading takes, and giving back.
const REQUESTS: u32 = 2;

const READ: &str = "dead letters were not read";
const REQUEUE: &str = "a dead letter was not made a job again";

/// Dead letters that nobody else can have until they are given back, or the lane is closed.
struct Reading {
    lane: Lane,
    consumer: Consumer,
    deliveries: Vec<Delivery>,
}

impl Queue {
    pub(super) async fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>> {
        let reading = async {
            let session = self.session(READ).await?;
            let _turn = self.reading.lock().await;
            let reading = self.read(&session).await?;
            let read = |delivery| read_dead(delivery).map(|(letter, _)| letter);
            let letters = reading.deliveries.iter().filter_map(read).collect::<Vec<_>>();
            let number = reading.deliveries.len();
            self.put_back(&session, reading, number).await?;
            Ok(letters)
        };
        let mut letters = self.with_patience(READ, reading).await?;
        letters.retain(|letter| letter.id > after);
        letters.sort_unstable_by_key(|letter| letter.id);
        // One that was published twice, after a fault between the publish and the acknowledgement, is one.
        letters.dedup_by_key(|letter| letter.id);
        letters.truncate(limit);
        Ok(letters)
    }

    pub(super) async fn requeue(&self, id: u64) -> Result<bool> {
        let requeuing = async {
            let session = self.session(REQUEUE).await?;
            let _turn = self.reading.lock().await;
            let reading = self.read(&session).await?;
            let is_it = |delivery: &&Delivery| read_dead(delivery).is_some_and(|(letter, _)| letter.id == id);
            let found: Vec<_> = reading.deliveries.iter().filter(is_it).collect();
            if let Some((letter, published_at)) = found.first().and_then(|delivery| read_dead(delivery)) {
                let message = Message { id, ..Message::new(letter.job, published_at) };
                let published = session.publish(vec![self.outgoing(&message)]).await;
                published.map_err(|error| Error::transient(REQUEUE, error))?;
                for delivery in &found {
                    delivery.acker.ack(BasicAckOptions::default()).await.map_err(failed(REQUEUE))?;
                }
            }
            let (found, number) = (!found.is_empty(), reading.deliveries.len() - found.len());
            self.put_back(&session, reading, number).await?;
            Ok(found)
        };
        self.with_patience(REQUEUE, requeuing).await
    }

    async fn with_patience<T>(&self, what: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let time = self.request_time * REQUESTS + PATIENCE * 2;
        timeout(time, call).await.unwrap_or_else(|_| Err(Error::transient(what, SLOW)))
    }

    /// Takes what there is.
    async fn read(&self, session: &Arc<Session>) -> Result<Reading> {
        let began = Instant::now();
        let lane = session.lane().await.map_err(failed(READ))?;
        let number = loop {
            let (number, readers) = count(&lane, &self.names.dead).await.map_err(failed(READ))?;
            if readers == 0 || began.elapsed() > PATIENCE {
                break usize::try_from(number).unwrap_or(usize::MAX).min(MOST.into());
            }
            sleep(LOOK_AGAIN).await;
        };
        lane.basic_qos(MOST, BasicQosOptions::default()).await.map_err(failed(READ))?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consuming = lane.basic_consume(self.names.dead.clone(), "".into(), options, arguments);
        let mut consumer = consuming.await.map_err(failed(READ))?;
        let mut deliveries = Vec::with_capacity(number);
        while deliveries.len() < number {
            match timeout(QUIET, consumer.next()).await {
                Ok(Some(delivery)) => deliveries.push(delivery.map_err(failed(READ))?),
                Ok(None) => return Err(Error::transient(READ, "RabbitMQ has ended the delivery")),
                Err(_) => break,
            }
        }
        Ok(Reading { lane, consumer, deliveries })
    }

    /// Gives back what was taken and not acknowledged, which is `number`, and waits until it can be taken again.
    async fn put_back(&self, session: &Arc<Session>, reading: Reading, number: usize) -> Result<()> {
        if reading.deliveries.is_empty() {
            return Ok(());
        }
        // Without the consumer, which would get it again.
        let cancelling = reading.lane.basic_cancel(reading.consumer.tag(), BasicCancelOptions::default());
        cancelling.await.map_err(failed(READ))?;
        let options = BasicNackOptions { multiple: true, requeue: true };
        reading.lane.basic_nack(ALL, options).await.map_err(failed(READ))?;
        drop(reading);
        let began = Instant::now();
        let lane = session.lane().await.map_err(failed(READ))?;
        while began.elapsed() < PATIENCE {
            let (back, _) = count(&lane, &self.names.dead).await.map_err(failed(READ))?;
            if usize::try_from(back).unwrap_or(usize::MAX) >= number {
                break;
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}
