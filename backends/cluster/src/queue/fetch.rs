//! Taking jobs.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use schema::{Error, Lease, Result};
use tokio::time::{Instant, timeout_at};

use super::leases::{Delivered, Step};
use super::message::{Message, unchanged};
use super::moving::LOST;
use super::receipt::{Receipt, receipts};
use super::session::Outgoing;
use super::{AWAY, LEASE, Queue, failed};

/// Jobs leased at once at most.
const MOST: u16 = 10_000;
/// How long a job waits for a version that knows it.
const UNKNOWN_WAITS: Duration = Duration::from_secs(60);
const CANCELLED: &str = "RabbitMQ has ended the delivery";

impl Queue {
    /// Jobs for one worker; waits for the first one until `until`, and then no longer than a request may take.
    pub(super) async fn lease(&self, limit: usize, time: Duration, until: Instant) -> Result<Vec<Lease>> {
        let limit = u16::try_from(limit).unwrap_or(MOST).clamp(1, MOST);
        // Who has the turn gets what there is: while it waits, others would find nothing either.
        let Ok(_turn) = timeout_at(until, self.turn.lock()).await else { return Ok(Vec::new()) };
        loop {
            // Before the look, so that no lease ends unnoticed.
            let mut changed = std::pin::pin!(self.held.changed.notified());
            changed.as_mut().enable();
            let step = self.held.lock().step(limit, Instant::now() + time);
            match step {
                Step::Take(lease) => {
                    self.held.changed.notify_waiters();
                    return Ok(vec![lease]);
                }
                Step::Wait => {
                    if timeout_at(until, changed).await.is_err() {
                        return Ok(Vec::new());
                    }
                }
                Step::Fetch(number) => {
                    let came = self.fetch(number, until).await?;
                    if came.is_empty() {
                        return Ok(Vec::new());
                    }
                    let mut leases = self.admit(came, time).await?;
                    if !leases.is_empty() {
                        if usize::from(number) == leases.len() && number < limit {
                            leases.extend(self.lease_more(limit - number, time).await);
                        }
                        return Ok(leases);
                    }
                    if Instant::now() >= until + self.request_time {
                        return Ok(leases);
                    }
                }
            }
        }
    }

    /// What is there beside a first job that was asked for by itself.
    async fn lease_more(&self, limit: u16, time: Duration) -> Vec<Lease> {
        if !self.held.lock().is_confident() {
            return Vec::new();
        }
        let more = async { self.admit(self.fetch(limit, Instant::now()).await?, time).await };
        // The first is leased whatever becomes of the others.
        more.await.unwrap_or_default()
    }

    /// Up to `number` jobs, all that RabbitMQ has if it has no more; waits for the first one until `until`.
    async fn fetch(&self, number: u16, until: Instant) -> Result<Vec<(Delivery, Receipt)>> {
        let session = self.link.session(until.max(Instant::now())).await;
        let session = session.ok_or_else(|| Error::transient(LEASE, AWAY))?;
        let opening = async {
            let lane = session.lane().await.map_err(failed(LEASE))?;
            lane.basic_qos(number, BasicQosOptions::default()).await.map_err(failed(LEASE))?;
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consuming = lane.basic_consume(self.names.jobs.clone(), "".into(), options, arguments);
            let consumer = consuming.await.map_err(failed(LEASE))?;
            Ok((lane, consumer))
        };
        let (lane, mut consumer) = self.in_time(LEASE, opening).await?;
        let mut came = Vec::new();
        match timeout_at(until, consumer.next()).await {
            Ok(Some(delivery)) => came.push(delivery.map_err(failed(LEASE))?),
            Ok(None) => return Err(Error::transient(LEASE, CANCELLED)),
            Err(_) => {}
        }
        let ending = async {
            let tag = consumer.tag();
            lane.basic_cancel(tag, BasicCancelOptions::default()).await.map_err(failed(LEASE))?;
            // What RabbitMQ has given this consumer comes before its answer.
            while let Some(delivery) = consumer.next().await {
                came.push(delivery.map_err(failed(LEASE))?);
            }
            Ok(())
        };
        self.in_time(LEASE, ending).await?;
        drop(consumer);
        let receipt =
            receipts(lane, session, came.iter().map(|delivery| delivery.delivery_tag).max().unwrap_or(0));
        let with_receipt = |delivery: Delivery| {
            let receipt = receipt(delivery.delivery_tag);
            (delivery, receipt)
        };
        Ok(came.into_iter().map(with_receipt).collect())
    }

    /// Leases what came, and sends on what is not to be leased.
    async fn admit(&self, came: Vec<(Delivery, Receipt)>, time: Duration) -> Result<Vec<Lease>> {
        let (mut ready, mut sent_on) = (Vec::new(), Vec::new());
        for (delivery, receipt) in came {
            let Some(message) = Message::read(&delivery) else {
                tracing::warn!("a job of a kind that this version does not know waits for one that does");
                let (queue, _) = self.names.delayed(UNKNOWN_WAITS);
                let properties = unchanged(&delivery);
                sent_on.push((Outgoing { queue, body: delivery.data, properties }, receipt));
                continue;
            };
            let delivered = Delivered { message, receipt };
            if !delivered.message.left.is_zero() {
                // Its delay is longer than the longest queue's.
                sent_on.push((self.outgoing(&delivered.message), delivered.receipt));
            } else if delivered.message.is_given_up() {
                let outgoing = self.buried(&delivered.message, LOST);
                sent_on.push((outgoing, delivered.receipt));
            } else {
                ready.push(delivered);
            }
        }
        let (leases, left) = self.held.lock().add(ready, Instant::now() + time);
        self.held.changed.notify_waiters();
        for delivered in left {
            sent_on.push((self.outgoing(&delivered.message), delivered.receipt));
        }
        match self.send_on(sent_on).await {
            Err(error) if leases.is_empty() => Err(error),
            // They are delivered again when the leases beside them have ended.
            Err(error) => {
                tracing::warn!(%error, "jobs were not sent on");
                Ok(leases)
            }
            Ok(()) => Ok(leases),
        }
    }
}
