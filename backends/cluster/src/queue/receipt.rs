//! What RabbitMQ is told of the jobs that it delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::Mutex;

use super::session::{Lane, Session};

/// How long a lane stays open after the last job of it was acknowledged. Of what is acknowledged on a channel a quorum
/// queue is told 32 times (`quorum_commands_soft_limit`) before it has to answer; the channel keeps the rest until then,
/// and forgets it when it closes.
const LINGERS: Duration = Duration::from_secs(1);

/// A lane and the deliveries on it that are not acknowledged. It closes with the last of them, and RabbitMQ takes back
/// what was delivered on it and not seen here.
pub(super) struct Hold {
    lane: Lane,
    session: Arc<Session>,
    open: Mutex<BTreeSet<u64>>,
}

/// A delivery, to be acknowledged once.
#[derive(Clone)]
pub(super) struct Receipt {
    tag: u64,
    hold: Arc<Hold>,
}

/// Receipts for the deliveries that came on a lane, by their tags, the last of which is `last`.
pub(super) fn receipts(lane: Lane, session: Arc<Session>, last: u64) -> impl Fn(u64) -> Receipt {
    // RabbitMQ counts from 1. One that was not seen here stays open, so that no command is about it too.
    let open = Mutex::new((1..=last).collect());
    let hold = Arc::new(Hold { lane: lane.lingering(LINGERS), session, open });
    move |tag| Receipt { tag, hold: Arc::clone(&hold) }
}

impl Receipt {
    /// The connection that it came by.
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.hold.session
    }

    /// Has the job delivered again.
    pub(super) async fn give_back(&self) -> lapin::Result<()> {
        let mut open = self.hold.open.lock().await;
        if open.remove(&self.tag) {
            let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            self.hold.lane.basic_nack(self.tag, options).await?;
        }
        Ok(())
    }
}

/// Acknowledges jobs, by as few commands as say it.
///
/// # Errors
/// Of a channel that is closed RabbitMQ has taken the jobs back.
pub(super) async fn acknowledge(receipts: impl IntoIterator<Item = Receipt>) -> lapin::Result<()> {
    let mut by_hold: BTreeMap<_, (Arc<Hold>, BTreeSet<u64>)> = BTreeMap::new();
    for Receipt { tag, hold } in receipts {
        by_hold.entry(Arc::as_ptr(&hold).addr()).or_insert_with(|| (hold, BTreeSet::new())).1.insert(tag);
    }
    let mut result = Ok(());
    for (hold, tags) in by_hold.into_values() {
        // Until all is said: what is said later may be about all that came before.
        let mut open = hold.open.lock().await;
        for (tag, multiple) in commands(&mut open, tags) {
            result = result.and(hold.lane.basic_ack(tag, BasicAckOptions { multiple }).await);
        }
    }
    result
}

/// Takes `tags` from those that are open: which are to be acknowledged, and whether with all before.
fn commands(open: &mut BTreeSet<u64>, mut tags: BTreeSet<u64>) -> Vec<(u64, bool)> {
    tags.retain(|tag| open.remove(tag));
    let others = match open.first() {
        Some(first) => tags.split_off(first),
        None => BTreeSet::new(),
    };
    let all_before = tags.last().map(|last| (*last, true));
    all_before.into_iter().chain(others.into_iter().map(|tag| (tag, false))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_first_is_acknowledged_by_one_command() {
        let of = |tags: &[u64]| tags.iter().copied().collect::<BTreeSet<_>>();
        for (open, tags, expected, left) in [
            (of(&[1, 2, 3]), of(&[1, 2, 3]), vec![(3, true)], of(&[])),
            (of(&[1, 2, 3]), of(&[1, 2]), vec![(2, true)], of(&[3])),
            (of(&[1, 2, 3]), of(&[2, 3]), vec![(2, false), (3, false)], of(&[1])),
            (of(&[1, 3, 4, 5]), of(&[1, 3, 5]), vec![(3, true), (5, false)], of(&[4])),
            // Once only: RabbitMQ closes a channel on which something is acknowledged twice.
            (of(&[2]), of(&[1, 2]), vec![(2, true)], of(&[])),
            (of(&[2]), of(&[1]), vec![], of(&[2])),
        ] {
            let mut remaining = open.clone();
            assert_eq!(commands(&mut remaining, tags.clone()), expected, "{tags:?} of {open:?}");
            assert_eq!(remaining, left, "{tags:?} of {open:?}");
        }
    }
}
