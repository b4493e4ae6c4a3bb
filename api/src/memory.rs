//! How much memory messages may take while they are read and answered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::Problem;

/// What permits count: octets, rounded up to this.
const UNIT: u64 = 1 << 10;
/// Octets that are handed to a connection at once. What a client has not taken yet is counted.
const CHUNK: usize = 64 << 10;
/// Octets a second that a client takes at least, and how long it may take beyond that.
const RATE: u64 = 32 << 10;
const GRACE: Duration = Duration::from_secs(60);

/// Octets of opened messages that may be in memory.
pub(crate) struct Memory {
    units: Arc<Semaphore>,
    all: u32,
    patience: Duration,
}

/// One message's part of it, given back when dropped.
pub(crate) struct Held(OwnedSemaphorePermit);

fn units(octets: u64) -> u32 {
    u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Memory {
    /// At most `octets` at once; who needs more than are free waits so long for them.
    pub(crate) fn new(octets: u64, patience: Duration) -> Self {
        let all = units(octets).max(1).min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { units: Arc::new(Semaphore::new(all as usize)), all, patience }
    }

    /// Waits until a message of `octets` may be opened and read. One that is larger than all there is waits for all.
    ///
    /// # Errors
    /// 503 when it has waited long enough.
    pub(crate) async fn hold(&self, octets: u64) -> Result<Held, Problem> {
        // The octets as received, and what is made of them.
        let wanted = units(octets.saturating_mul(2)).clamp(1, self.all);
        let held = tokio::time::timeout(self.patience, self.units.clone().acquire_many_owned(wanted)).await;
        match held {
            Ok(Ok(permit)) => Ok(Held(permit)),
            _ => Err(Problem::unavailable("too many large messages are being read: try again")),
        }
    }
}

impl Held {
    /// Gives back what is more than `octets` need.
    fn shrink_to(&mut self, octets: usize) {
        let wanted = units(octets as u64) as usize;
        drop(self.0.split(self.0.num_permits().saturating_sub(wanted)));
    }

    /// A body of octets that holds the memory until they are sent, or the client has taken too long for them.
    pub(crate) fn body(mut self, bytes: Bytes) -> Body {
        self.shrink_to(bytes.len());
        let until = Instant::now() + GRACE + Duration::from_secs(bytes.len() as u64 / RATE);
        Body::new(Sending { bytes, until, _held: self })
    }
}

struct Sending {
    bytes: Bytes,
    until: Instant,
    _held: Held,
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        if Instant::now() > self.until {
            return Poll::Ready(Some(Err(std::io::ErrorKind::TimedOut.into())));
        }
        let length = self.bytes.len().min(CHUNK);
        // A copy: a slice would keep all of the octets in memory after this body is gone.
        let chunk = Bytes::copy_from_slice(&self.bytes.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(octets: u64) -> Memory {
        Memory::new(octets, Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_waits_a_bounded_time() {
        let memory = memory(4 * MIB);
        let held = memory.hold(2 * MIB).await.unwrap();
        assert!(memory.hold(1).await.is_err());
        drop(held);
        assert!(memory.hold(1).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_all_goes_alone() {
        let memory = memory(MIB);
        let held = memory.hold(100 * MIB).await.unwrap();
        assert!(memory.hold(1).await.is_err());
        drop(held);
        assert!(memory.hold(100 * MIB).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_sent_is_counted_until_it_is_gone() {
        let memory = memory(2 * MIB);
        let octets: Bytes = (0..MIB).map(|n| n as u8).collect();
        let body = memory.hold(MIB).await.unwrap().body(octets.clone());
        // What was needed for reading only is free again.
        drop(memory.hold(MIB / 2).await.unwrap());
        assert!(memory.hold(MIB / 2 + 1).await.is_err());
        assert_eq!(body.collect().await.unwrap().to_bytes(), octets);
        assert!(memory.hold(MIB).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_too_long_for_a_body_does_not_get_the_rest() {
        let memory = memory(4 * MIB);
        let mut body = memory.hold(MIB).await.unwrap().body(vec![0; MIB as usize].into());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), CHUNK);
        tokio::time::advance(GRACE + Duration::from_secs(MIB / RATE - 1)).await;
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(body.frame().await.unwrap().is_err());
    }
}
