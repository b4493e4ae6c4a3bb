//! A message while it arrives: within its limit and within the budget, or not kept in memory at all.

use crate::budget::{Budget, Reservation};
use crate::reply::Reply;

/// Capacity taken for a message that has not said how large it is.
const USUAL: usize = 16 << 10;

/// The octets so far, or why they are only counted off.
#[derive(Debug)]
pub(crate) struct Content {
    bytes: Vec<u8>,
    limit: usize,
    reservation: Reservation,
    failure: Option<Reply>,
}

impl Content {
    /// A message of `declared` octets (0: not known), which waits until the budget has room for it.
    pub(crate) async fn begin(budget: &Budget, limit: usize, declared: u64) -> Self {
        let mut content =
            Self { bytes: Vec::new(), limit, reservation: Reservation::default(), failure: None };
        let declared = usize::try_from(declared).unwrap_or(usize::MAX);
        if declared > limit {
            content.fail(Reply::TOO_BIG);
        } else if budget.reserve(&mut content.reservation, declared).await {
            content.bytes.reserve_exact(if declared == 0 { USUAL } else { declared + 1 });
        } else {
            content.fail(Reply::NO_ROOM);
        }
        content
    }

    /// Why the message cannot be kept, whatever else comes.
    pub(crate) fn failure(&self) -> Option<Reply> {
        self.failure
    }

    /// Gives the message up.
    pub(crate) fn fail(&mut self, reply: Reply) {
        self.failure.get_or_insert(reply);
        self.bytes = Vec::new();
        self.reservation = Reservation::default();
    }

    /// Makes sure that `octets` more are within the budget.
    pub(crate) async fn make_room(&mut self, budget: &Budget, octets: usize) {
        if self.failure.is_none() && !budget.reserve(&mut self.reservation, self.bytes.len() + octets).await {
            self.fail(Reply::NO_ROOM);
        }
    }

    /// Lets `write` append to the octets, and looks at what they are then.
    pub(crate) fn append<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let written = write(&mut self.bytes);
        if self.failure.is_some() {
            self.bytes.clear();
        } else if self.bytes.len() > self.limit {
            self.fail(Reply::TOO_BIG);
        }
        written
    }

    /// How many octets it may still take.
    pub(crate) fn octets_left(&self) -> usize {
        self.limit - self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
