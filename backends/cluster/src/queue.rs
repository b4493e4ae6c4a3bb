//! Jobs on RabbitMQ: quorum queues, publisher confirms, delays that lose nothing.
//!
//! - A job is a message in `<prefix>.jobs`; its headers say how often it was tried. A job that goes elsewhere (a retry to
//!   a delay queue, which gives it back by dead-lettering at least once; a dead letter; a lease that ran out) is published
//!   there, confirmed, and only then acknowledged where it was. So a fault may make two of it and never none.
//! - Nothing is fetched that nobody asked for. A lease starts a consumer for as many jobs as it wants, and stops it with
//!   the first that come; all of them are leased. So a process that ends, however it ends, loses no lease of a job that
//!   it had not leased, but for one: a suspect (below) that came with others and waits for its turn.
//! - A connection that breaks takes its leases with it: RabbitMQ delivers the jobs again and counts that. What is counted
//!   twice is leased by itself from then on, so that a job that ends processes takes no others with it.
//! - A job of a kind that this version does not know waits a minute at a time for one that does.
//!
//! Users of a restricted RabbitMQ account need to configure, write and read `^<prefix>\..*`, and to write to
//! `amq.default`.

mod fetch;
mod leases;
mod letters;
mod link;
mod message;
mod moving;
mod receipt;
mod session;
mod topology;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schema::{Clock, DeadLetter, Depth, Error, Job, JobQueue, Lease, Millis, Result, SystemClock};
use tokio::sync::{Mutex as Turn, Notify};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::calls::timed;
use crate::{RabbitmqOptions, StartError};
use leases::Leases;
use link::Link;
use message::Message;
use session::{Outgoing, Servers, Session, Unpublished, refused, unreachable};
use topology::{Names, count, topology};

/// How long after a publish that failed its connection may still say that it has ended.
const ENDING: Duration = Duration::from_secs(1);

const AWAY: &str = "RabbitMQ is not connected";
const SLOW: &str = "RabbitMQ does not answer in time";
const PUBLISH: &str = "a job was not published";
const LEASE: &str = "no job was leased";
const ACK: &str = "a job was not acknowledged";
const COUNT: &str = "jobs were not counted";

/// Makes the queues that are missing. Two at once are safe.
///
/// # Errors
/// [`StartError::Unusable`] if a queue is there and was made with other arguments, or RabbitMQ refuses us;
/// [`StartError::Unreachable`] if none of its nodes answers.
pub async fn apply_schema(options: &RabbitmqOptions) -> Result<(), StartError> {
    let servers = Servers::new(options)?;
    let (_, queues) = topology(&options.prefix, options.copies)?;
    let session = servers.connect().await?;
    let declaring = async {
        for queue in &queues {
            // A lane each: RabbitMQ closes the one on which it refuses something.
            let lane = session.lane().await.map_err(|error| refused(&error, "no channel can be opened"))?;
            queue.declare(&lane).await?;
        }
        Ok(())
    };
    // Each queue is made on a quorum of nodes.
    let declared = timeout(servers.request_time() * 10, declaring).await;
    let result = declared.unwrap_or_else(|_| Err(unreachable("it does not answer".into())));
    close(&session, options.request_time).await;
    result
}

/// The queue.
pub struct RabbitQueue {
    queue: Arc<Queue>,
    expiry: JoinHandle<()>,
}

impl RabbitQueue {
    /// Connects, and stays connected: a connection that breaks is made anew in the background, on the runtime that this
    /// is called on.
    ///
    /// # Errors
    /// [`StartError::Unusable`] if a queue is missing or RabbitMQ refuses us; [`StartError::Unreachable`] if none of its
    /// nodes answers.
    pub async fn connect(options: &RabbitmqOptions) -> Result<Self, StartError> {
        let servers = Servers::new(options)?;
        let (names, queues) = topology(&options.prefix, options.copies)?;
        let held = Arc::new(Held::default());
        let lost = {
            let held = Arc::clone(&held);
            move |session: &Arc<Session>| {
                held.lock().forget(session);
                held.changed.notify_waiters();
            }
        };
        let link = Link::open(servers, queues, lost).await?;
        let queue = Arc::new(Queue {
            link,
            names,
            held,
            turn: Turn::default(),
            reading: Turn::default(),
            clock: SystemClock,
            request_time: options.request_time,
        });
        let expiry = tokio::spawn(Arc::clone(&queue).expire());
        Ok(Self { queue, expiry })
    }

    /// Gives back what waits here for its turn, and ends the connection. What is leased still counts as lost.
    pub async fn close(&self) {
        let kept = self.queue.held.lock().take_kept();
        if let Some(kept) = kept
            && let Err(error) = self.queue.give_back(vec![kept]).await
        {
            tracing::warn!(%error, "a job was not given back");
        }
        self.expiry.abort();
        self.queue.link.stop();
        if let Some(session) = self.queue.link.current() {
            close(&session, self.queue.request_time).await;
        }
    }
}

impl Drop for RabbitQueue {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

async fn close(session: &Session, time: Duration) {
    // One that does not answer is over by itself.
    let _ = timeout(time, session.close()).await;
}

/// What this process holds.
#[derive(Default)]
struct Held {
    leases: Mutex<Leases>,
    /// A lease began or ended.
    changed: Notify,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Leases> {
        lock(&self.leases)
    }
}

struct Queue {
    link: Link,
    names: Names,
    held: Arc<Held>,
    /// Who may ask RabbitMQ for jobs: one at a time, so that many idle workers cost no more than one.
    turn: Turn<()>,
    /// Who may read dead letters: nobody else sees those that are being read.
    reading: Turn<()>,
    clock: SystemClock,
    request_time: Duration,
}

impl Queue {
    fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The connection in use; waits for one as long as a request may take.
    async fn session(&self, what: &'static str) -> Result<Arc<Session>> {
        let until = Instant::now() + self.request_time;
        self.link.session(until).await.ok_or_else(|| Error::transient(what, AWAY))
    }

    /// The result of a call, if it comes in time.
    async fn in_time<T>(&self, what: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.request_time, call).await.unwrap_or_else(|_| Err(Error::transient(what, SLOW)))
    }

    fn outgoing(&self, message: &Message) -> Outgoing {
        let (queue, left) = self.names.delayed(message.left);
        let message = Message { left, ..message.clone() };
        Outgoing { queue, body: message.body(), properties: message.properties() }
    }
}

#[async_trait]
impl JobQueue for RabbitQueue {
    async fn publish(&self, jobs: Vec<Job>) -> Result<()> {
        let _time = timed("queue.publish");
        let queue = &self.queue;
        if jobs.is_empty() {
            return Ok(());
        }
        let now = queue.now();
        let messages: Vec<_> = jobs.into_iter().map(|job| queue.outgoing(&Message::new(job, now))).collect();
        let publishing = async {
            loop {
                let session = queue.session(PUBLISH).await?;
                let published = session.publish(messages.clone()).await;
                // A node that stops takes with it what was not confirmed; what was under way fails before the connection
                // does. A job that is there twice does no harm.
                if matches!(published, Err(Unpublished::Broken(_)))
                    && timeout(ENDING, session.ended()).await.is_ok()
                {
                    continue;
                }
                return published.map_err(|error| Error::transient(PUBLISH, error));
            }
        };
        queue.in_time(PUBLISH, publishing).await
    }

    async fn lease(&self, limit: usize, time: Duration, wait: Duration) -> Result<Vec<Lease>> {
        self.queue.lease(limit, time, Instant::now() + wait).await
    }

    async fn ack(&self, ids: &[u64]) -> Result<()> {
        let _time = timed("queue.ack");
        let queue = &self.queue;
        let done: Vec<_> = {
            let mut leases = queue.held.lock();
            ids.iter().filter_map(|id| leases.end_unmoved(*id)).collect()
        };
        queue.held.changed.notify_waiters();
        let acking = async {
            receipt::acknowledge(done.into_iter().map(|done| done.receipt)).await.map_err(failed(ACK))
        };
        queue.in_time(ACK, acking).await
    }

    async fn retry(&self, id: u64, delay: Duration) -> Result<()> {
        let _time = timed("queue.retry");
        self.queue.retry(id, delay).await
    }

    async fn release(&self, ids: &[u64]) -> Result<()> {
        let _time = timed("queue.release");
        self.queue.release(ids).await
    }

    async fn bury(&self, id: u64, reason: &str) -> Result<()> {
        let _time = timed("queue.bury");
        self.queue.bury(id, reason).await
    }

    async fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>> {
        self.queue.dead_letters(after, limit).await
    }

    async fn requeue(&self, id: u64) -> Result<bool> {
        self.queue.requeue(id).await
    }

    /// What other processes hold is not in it, and `oldest` is the oldest job that this process holds: RabbitMQ shows
    /// what is ready by its number only.
    async fn depth(&self) -> Result<Depth> {
        let queue = &self.queue;
        let counting = async {
            let session = queue.session(COUNT).await?;
            // Those that are being read are not counted by RabbitMQ.
            let _reading = queue.reading.lock().await;
            let lane = session.lane().await.map_err(failed(COUNT))?;
            let ready = count(&lane, &queue.names.jobs).await.map_err(failed(COUNT))?.0;
            let dead = count(&lane, &queue.names.dead).await.map_err(failed(COUNT))?.0;
            let mut delayed = 0;
            for (_, name) in &queue.names.delays {
                delayed += u64::from(count(&lane, name).await.map_err(failed(COUNT))?.0);
            }
            let leases = queue.held.lock();
            Ok(Depth {
                ready: u64::from(ready) + leases.waiting(),
                delayed,
                leased: leases.leased(),
                dead: dead.into(),
                oldest: leases.oldest(),
            })
        };
        queue.in_time(COUNT, counting).await
    }
}

/// Whatever RabbitMQ says to a call may have passed by the next one: a queue may be made again, rights be given back.
fn failed(what: &'static str) -> impl Fn(lapin::Error) -> Error {
    move |error| Error::transient(what, error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a thread that panicked left is whole: no guard is held over anything that can.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
