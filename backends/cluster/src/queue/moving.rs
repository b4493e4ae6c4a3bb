//! Jobs that go elsewhere: they are published there, confirmed, and only then acknowledged where they were.

use std::sync::Arc;
use std::time::Duration;

use schema::{Error, Result};
use tokio::time::Instant;

use super::leases::Delivered;
use super::message::Message;
use super::receipt::{Receipt, acknowledge};
use super::session::Outgoing;
use super::{Held, Queue};

/// Why a job is given up that no worker gave up.
pub(super) const LOST: &str = "its lease ran out, or ended with the process, too often";
const MOVE: &str = "a job was not sent on";

/// A move of a leased job. Unless it is done the job stays leased, also if the caller goes away.
struct Moving<'a> {
    held: &'a Held,
    id: u64,
    done: bool,
}

impl Moving<'_> {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        match self.done {
            true => drop(self.held.lock().end(self.id)),
            false => self.held.lock().stay(self.id),
        }
        self.held.changed.notify_waiters();
    }
}

impl Queue {
    pub(super) async fn retry(&self, id: u64, delay: Duration) -> Result<()> {
        self.move_leased(&[id], |message| {
            let attempts = message.attempts.saturating_add(1);
            self.outgoing(&Message { attempts, left: delay, ..message.clone() })
        })
        .await
    }

    pub(super) async fn release(&self, ids: &[u64]) -> Result<()> {
        self.move_leased(ids, |message| self.outgoing(message)).await
    }

    pub(super) async fn bury(&self, id: u64, reason: &str) -> Result<()> {
        self.move_leased(&[id], |message| {
            let attempts = message.attempts.saturating_add(1);
            self.buried(&Message { attempts, ..message.clone() }, reason)
        })
        .await
    }

    /// Gives back what was delivered and not leased.
    pub(super) async fn give_back(&self, delivered: Vec<Delivered>) -> Result<()> {
        let back = |delivered: Delivered| (self.outgoing(&delivered.message), delivered.receipt);
        self.send_on(delivered.into_iter().map(back).collect()).await
    }

    /// The dead letter of a job.
    pub(super) fn buried(&self, message: &Message, reason: &str) -> Outgoing {
        let (id, account) = (message.id, message.job.account());
        if reason == LOST {
            tracing::error!(job = message.job.name(), id, %account, reason, "a job is given up");
        }
        let properties = message.dead_properties(reason, self.now());
        Outgoing { queue: self.names.dead.clone(), body: message.body(), properties }
    }

    async fn move_leased(&self, ids: &[u64], outgoing: impl Fn(&Message) -> Outgoing) -> Result<()> {
        let (mut moves, mut sent_on) = (Vec::new(), Vec::new());
        {
            let mut leases = self.held.lock();
            for &id in ids {
                let Some(delivered) = leases.begin_move(id) else { continue };
                moves.push(Moving { held: &self.held, id, done: false });
                sent_on.push((outgoing(&delivered.message), delivered.receipt));
            }
        }
        self.send_on(sent_on).await?;
        moves.into_iter().for_each(Moving::done);
        Ok(())
    }

    /// Publishes messages and acknowledges those that they take the place of.
    pub(super) async fn send_on(&self, mut sent_on: Vec<(Outgoing, Receipt)>) -> Result<()> {
        // What came by a connection that broke is RabbitMQ's again: sent on it would be there twice.
        sent_on.retain(|(_, receipt)| receipt.session().is_open());
        let Some((_, receipt)) = sent_on.first() else { return Ok(()) };
        let session = Arc::clone(receipt.session());
        let (messages, receipts): (Vec<_>, Vec<_>) = sent_on.into_iter().unzip();
        let sending = async {
            session.publish(messages).await.map_err(|error| Error::transient(MOVE, error))?;
            // Where this fails the connection is lost, and the job is there twice.
            let _ = acknowledge(receipts).await;
            Ok(())
        };
        self.in_time(MOVE, sending).await
    }

    /// Gives the jobs whose time is over to the next, and counts that, for ever.
    ///
    /// They are published anew: by a negative acknowledgement some versions of RabbitMQ count them and some do not, and
    /// none tells when they are back.
    pub(super) async fn expire(self: Arc<Self>) {
        loop {
            let mut changed = std::pin::pin!(self.held.changed.notified());
            changed.as_mut().enable();
            let (expired, next) = {
                let mut leases = self.held.lock();
                (leases.begin_expiry(Instant::now()), leases.next_end())
            };
            if !expired.is_empty() {
                self.lose(expired).await;
                continue;
            }
            match next {
                Some(next) => drop(tokio::time::timeout_at(next, changed).await),
                None => changed.await,
            }
        }
    }

    async fn lose(&self, expired: Vec<(u64, Delivered)>) {
        let moves: Vec<_> =
            expired.iter().map(|(id, _)| Moving { held: &self.held, id: *id, done: false }).collect();
        let again = |(_, delivered): &(u64, Delivered)| {
            let mut message = delivered.message.clone();
            message.lose();
            let outgoing = match message.is_given_up() {
                true => self.buried(&message, LOST),
                false => self.outgoing(&message),
            };
            (outgoing, delivered.receipt.clone())
        };
        if let Err(error) = self.send_on(expired.iter().map(again).collect()).await {
            tracing::warn!(%error, jobs = expired.len(), "jobs whose leases ran out go back uncounted");
            for (_, delivered) in &expired {
                // Where this fails the connection is lost, and RabbitMQ takes them back by itself.
                let _ = tokio::time::timeout(self.request_time, delivered.receipt.give_back()).await;
            }
        }
        moves.into_iter().for_each(Moving::done);
    }
}
