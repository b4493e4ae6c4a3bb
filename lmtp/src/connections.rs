//! How many connections there are, in all and from whom.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    total: AtomicUsize,
    by_peer: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Connections>);

/// One connection of a peer, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedPeer(Arc<Connections>, IpAddr);

impl Connections {
    /// Counts a connection unless there are `most` already.
    pub(crate) fn enter(self: &Arc<Self>, most: usize) -> Option<Counted> {
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.clone());
        (before < most).then_some(counted)
    }

    /// Counts a connection of `peer` unless there are `most` of it already.
    pub(crate) fn enter_peer(self: &Arc<Self>, peer: IpAddr, most: usize) -> Option<CountedPeer> {
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_peer.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(CountedPeer(self.clone(), peer))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.total.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for CountedPeer {
    fn drop(&mut self) {
        let mut by_peer = self.0.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_peer.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                by_peer.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_until_it_ends() {
        let connections = Arc::new(Connections::default());
        let first = connections.enter(1).unwrap();
        assert!(connections.enter(1).is_none());
        drop(first);
        assert!(connections.enter(1).is_some());
    }

    #[test]
    fn one_peer_does_not_count_for_another() {
        let connections = Arc::new(Connections::default());
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = connections.enter_peer(a, 1).unwrap();
        assert!(connections.enter_peer(a, 1).is_none());
        assert!(connections.enter_peer(b, 1).is_some());
        drop(first);
        assert!(connections.enter_peer(a, 1).is_some());
        assert!(connections.by_peer.lock().unwrap().is_empty());
    }
}
