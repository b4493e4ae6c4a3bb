//! The order of hits: BM25 and the best few of many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use schema::index::Hit;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// What BM25 knows of the account.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    /// How many messages there are.
    pub messages: u64,
    /// How many words they have together.
    pub words: u64,
    /// In how many of them each token stands.
    pub frequencies: Vec<u64>,
}

impl Statistics {
    /// How much it says that a message holds the token: more for a rare one, above 0.
    pub fn rarity(&self, token: usize) -> f64 {
        let (messages, holding) = (self.messages as f64, self.frequencies[token] as f64);
        (1.0 + (messages - holding + 0.5) / (holding + 0.5)).ln()
    }

    /// What standing `frequency` times in a message of `words` words counts: more often is more, below 1.
    pub fn saturation(&self, frequency: u32, words: u32) -> f64 {
        let mean = self.words as f64 / self.messages.max(1) as f64;
        let length = if mean > 0.0 { f64::from(words) / mean } else { 1.0 };
        let frequency = f64::from(frequency);
        frequency / (frequency + K1 * (1.0 - B + B * length))
    }
}

#[derive(Debug, PartialEq)]
struct Ranked(Hit);

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (left, right) = (&self.0, &other.0);
        left.score
            .total_cmp(&right.score)
            .then(left.received_at.cmp(&right.received_at))
            .then(left.id.cmp(&right.id))
    }
}

/// Keeps the best hits: greatest score, then newest, then greatest id.
#[derive(Debug)]
pub struct Best {
    room: usize,
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    pub fn new(room: usize) -> Self {
        Self { room, heap: BinaryHeap::new() }
    }

    pub fn push(&mut self, hit: Hit) {
        if self.heap.len() < self.room {
            self.heap.push(Reverse(Ranked(hit)));
        } else if let Some(mut worst) = self.heap.peek_mut() {
            let hit = Reverse(Ranked(hit));
            if hit < *worst {
                *worst = hit;
            }
        }
    }

    /// The worst hit kept, if no more can be kept without dropping it.
    pub fn worst(&self) -> Option<&Hit> {
        self.heap.peek().filter(|_| self.heap.len() == self.room).map(|Reverse(Ranked(hit))| hit)
    }

    /// The best first, without the first `offset`.
    pub fn into_hits(self, offset: usize) -> Vec<Hit> {
        self.heap.into_sorted_vec().into_iter().skip(offset).map(|Reverse(Ranked(hit))| hit).collect()
    }
}
