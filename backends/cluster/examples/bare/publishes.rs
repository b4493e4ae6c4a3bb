//! Confirmed publishes.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::measure::{Tally, in_parallel};
use crate::{Failure, loopback};

/// Octets of a message: those of a job.
const OCTETS: usize = 34;
/// RabbitMQ keeps a message on the disk.
const PERSISTENT: u8 = 2;

#[derive(Args)]
pub(crate) struct Publishes {
    /// A node of RabbitMQ, `amqp://host:port`.
    #[arg(long)]
    url: String,
    /// The queue; it is made, and taken away at the end.
    #[arg(long)]
    queue: String,
    /// Copies of the queue.
    #[arg(long, default_value_t = 1)]
    copies: u8,
    /// Channels, each with a part of what is under way.
    #[arg(long, default_value_t = 2)]
    channels: usize,
    /// Publishes under way at once.
    #[arg(long, default_value_t = 128)]
    in_flight: usize,
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// Ends the run even when its count is not reached.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Publishes {
    pub(crate) async fn run(&self) -> Result<Value, Failure> {
        let connection = Connection::connect(loopback(&self.url)?, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let queue: ShortString = self.queue.as_str().into();
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongLongInt(self.copies.into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), durable, arguments).await?;
        let published = self.publish(&connection, &queue).await;
        channel.queue_delete(queue, QueueDeleteOptions::default()).await?;
        let tally = published?;
        let done = tally.done * self.burst() as u64;
        Ok(json!({
            "tool": "bare publishes", "in_flight": self.in_flight, "done": done, "wall_s": tally.wall,
            "publishes_per_s": done as f64 / tally.wall,
        }))
    }

    /// Publishes that a channel has under way at once.
    fn burst(&self) -> usize {
        (self.in_flight / self.channels).max(1)
    }

    async fn publish(&self, connection: &Connection, queue: &ShortString) -> Result<Tally, Failure> {
        let mut channels = Vec::new();
        for _ in 0..self.channels {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            channels.push(channel);
        }
        // Each is taken by one task at a time.
        let (give, take) = (Arc::new(std::sync::Mutex::new(channels)), queue.clone());
        let burst = self.burst();
        let send = move |_| {
            let (channels, queue) = (give.clone(), take.clone());
            async move {
                let free = || channels.lock().map_err(|_| "a task has panicked");
                let channel = free()?.pop().ok_or("more tasks than channels")?;
                try_join_all((0..burst).map(|_| confirmed(&channel, &queue))).await?;
                free()?.push(channel);
                Ok(())
            }
        };
        let bursts = self.count.div_ceil(burst as u64);
        in_parallel(self.channels, bursts / 20, Duration::from_secs(2), send.clone()).await?;
        in_parallel(self.channels, bursts, Duration::from_secs(self.seconds), send).await
    }
}

async fn confirmed(channel: &Channel, queue: &ShortString) -> Result<(), Failure> {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let sent = channel.basic_publish("".into(), queue.clone(), options, &[7; OCTETS], properties).await?;
    match sent.await? {
        Confirmation::Ack(None) => Ok(()),
        _ => Err("a message was not taken".into()),
    }
}
