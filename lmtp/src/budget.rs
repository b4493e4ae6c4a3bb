//! How much of the memory messages may take while they arrive and while they are kept.
//!
//! One share, as large as the largest message, is set aside for one message at a time: whoever cannot get what it
//! needs from the rest waits for that share too, and whoever has it can always finish. So messages that grow without
//! having said how large they are never wait for each other for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::Settings;

/// What permits count: octets, rounded up to this.
const UNIT: usize = 1 << 10;
/// What a message that has not said how large it is takes at first.
const FIRST_STEP: usize = 64 << 10;
/// Octets of messages that are kept at once. Keeping takes a few times a message's size: packed, sealed, written.
const KEEPING: usize = 64 << 20;
/// Messages smaller than this are not counted while they are kept.
const SMALL: usize = 1 << 20;

/// Octets that may be in memory.
#[derive(Debug)]
pub(crate) struct Budget {
    open: Arc<Semaphore>,
    open_octets: usize,
    set_aside: Arc<Semaphore>,
    keeping: Semaphore,
    patience: Duration,
}

/// One message's part of it, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    octets: usize,
    open: Option<OwnedSemaphorePermit>,
    set_aside: Option<OwnedSemaphorePermit>,
}

fn units(octets: usize) -> u32 {
    u32::try_from(octets.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Budget {
    pub(crate) fn new(settings: &Settings) -> Self {
        let open = settings.bytes_in_flight.saturating_sub(settings.message_bytes) / UNIT;
        Self {
            open: Arc::new(Semaphore::new(open)),
            open_octets: open * UNIT,
            set_aside: Arc::new(Semaphore::new(1)),
            keeping: Semaphore::new(KEEPING / UNIT),
            patience: settings.bytes_wait,
        }
    }

    /// Makes `reservation` hold at least `octets`, 0 being "not known"; waits a bounded time. False: there is no room.
    pub(crate) async fn reserve(&self, reservation: &mut Reservation, octets: usize) -> bool {
        let octets = octets.max(FIRST_STEP);
        if octets <= reservation.octets || reservation.set_aside.is_some() {
            return true;
        }
        // Doubling keeps the number of steps small.
        let more = octets.max(reservation.octets.saturating_mul(2)) - reservation.octets;
        for wanted in [more, octets - reservation.octets] {
            if let Ok(permit) = self.open.clone().try_acquire_many_owned(units(wanted)) {
                reservation.add(permit, wanted);
                return true;
            }
        }
        let wanted = octets - reservation.octets;
        let from_open = async {
            if wanted > self.open_octets {
                std::future::pending::<()>().await;
            }
            self.open.clone().acquire_many_owned(units(wanted)).await
        };
        let granted = timeout(self.patience, async {
            tokio::select! {
                biased;
                permit = from_open => permit.map(|permit| reservation.add(permit, wanted)),
                permit = self.set_aside.clone().acquire_owned() => permit.map(|permit| reservation.set_aside = Some(permit)),
            }
        });
        matches!(granted.await, Ok(Ok(())))
    }

    /// Waits until a message of this size may be kept; the guard is to be held meanwhile.
    pub(crate) async fn keeping(&self, octets: usize) -> Option<tokio::sync::SemaphorePermit<'_>> {
        if octets < SMALL {
            return None;
        }
        self.keeping.acquire_many(units(octets.min(KEEPING))).await.ok()
    }

    /// How many recipients of a message of this size may be kept at once.
    pub(crate) fn recipients_at_once(octets: usize) -> usize {
        /// What the backend needs to share one commit well.
        const MOST: usize = 256;
        (KEEPING / octets.max(1)).clamp(1, MOST)
    }
}

impl Reservation {
    fn add(&mut self, permit: OwnedSemaphorePermit, octets: usize) {
        self.octets += octets;
        match &mut self.open {
            Some(open) => open.merge(permit),
            None => self.open = Some(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn budget(bytes_in_flight: usize) -> Budget {
        let settings = Settings { message_bytes: 10 * MIB, bytes_in_flight, ..Settings::default() };
        Budget::new(&settings)
    }

    async fn take(budget: &Budget, octets: usize) -> Option<Reservation> {
        let mut reservation = Reservation::default();
        budget.reserve(&mut reservation, octets).await.then_some(reservation)
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_waits_a_bounded_time() {
        let budget = budget(20 * MIB);
        let first = take(&budget, 10 * MIB).await.unwrap();
        let second = take(&budget, 10 * MIB).await.unwrap();
        assert!(take(&budget, 1).await.is_none(), "after its patience");
        drop(first);
        assert!(take(&budget, 1).await.is_some());
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_grow_into_each_other_one_finishes() {
        let budget = budget(14 * MIB);
        let mut first = take(&budget, 2 * MIB).await.unwrap();
        let mut second = take(&budget, 2 * MIB).await.unwrap();
        assert!(budget.reserve(&mut first, 3 * MIB).await);
        assert!(budget.reserve(&mut first, 10 * MIB).await, "it has what was set aside");
        assert!(!budget.reserve(&mut second, 3 * MIB).await);
        drop(first);
        assert!(budget.reserve(&mut second, 10 * MIB).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_budget_lets_one_message_through_at_a_time() {
        let budget = budget(10 * MIB);
        let first = take(&budget, 10 * MIB).await.unwrap();
        assert!(take(&budget, 0).await.is_none());
        drop(first);
        assert!(take(&budget, 0).await.is_some());
    }

    #[test]
    fn large_messages_are_kept_for_few_recipients_at_once() {
        assert_eq!(Budget::recipients_at_once(0), 256);
        assert_eq!(Budget::recipients_at_once(25 * MIB), 2);
        assert_eq!(Budget::recipients_at_once(100 * MIB), 1);
    }
}
