//! Which of the processes that share the keys may wrap keys and change epochs: one at a time.
//!
//! A row names the turn of now by random octets, which its holder replaces as a sign of life. Whoever sees the same octets
//! for long enough by its own clock takes over: no two clocks are compared.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, MailStore, Result, RowKey, Table};

/// How long a holder may give no sign of life before another takes over.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// How long a call waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

fn row() -> RowKey {
    RowKey::new(Table::Instance, [], *b"turn")
}

/// The turns of all processes, as this one sees them.
pub(super) struct Turns {
    store: Arc<dyn MailStore>,
    silence: Duration,
    /// What somebody else's turn was named by, and since when.
    seen: Mutex<Option<(Vec<u8>, Instant)>>,
}

/// This process's turn.
pub(super) struct Turn(Vec<u8>);

impl Turns {
    pub(super) fn new(store: Arc<dyn MailStore>, silence: Duration) -> Self {
        Self { store, silence, seen: Mutex::default() }
    }

    /// Waits for the turn.
    ///
    /// # Errors
    /// A transient one if another process still has it after `patience`.
    pub(super) async fn take(&self, patience: Duration) -> Result<Turn> {
        let began = Instant::now();
        loop {
            let held = self.store.get(&[row()]).await?.pop().flatten();
            if held.as_ref().is_none_or(|held| self.is_silent(held)) {
                let ours = seal::random_bytes::<16>().to_vec();
                if self.store.replace(row(), held, Some(ours.clone()), vec![]).await? {
                    return Ok(Turn(ours));
                }
            }
            if began.elapsed() >= patience {
                return Err(Error::transient(
                    "keys could not be changed",
                    "another process is changing them",
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the holder has given no sign of life for as long as this process has looked, and that long enough.
    fn is_silent(&self, held: &[u8]) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.as_ref() {
            Some((known, since)) if known == held => since.elapsed() >= self.silence,
            _ => {
                *seen = Some((held.to_vec(), Instant::now()));
                false
            }
        }
    }

    /// Gives a sign of life.
    ///
    /// # Errors
    /// A transient one if another process has taken over.
    pub(super) async fn renew(&self, turn: &mut Turn) -> Result<()> {
        let ours = seal::random_bytes::<16>().to_vec();
        if !self.store.replace(row(), Some(turn.0.clone()), Some(ours.clone()), vec![]).await? {
            return Err(Error::transient("keys could not be changed", "another process has taken over"));
        }
        turn.0 = ours;
        Ok(())
    }

    /// Lets the next one go on. One that does not get to know waits until this one counts as silent.
    pub(super) async fn give_back(&self, turn: Turn) {
        let _ = self.store.replace(row(), Some(turn.0), None, vec![]).await;
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::{AccountId, ChangePage, Durability, Position, Row, Scan, Write};

    /// One row.
    #[derive(Default)]
    struct One(Mutex<Option<Vec<u8>>>);

    #[async_trait]
    impl MailStore for One {
        async fn get(&self, _: &[RowKey]) -> Result<Vec<Option<Vec<u8>>>> {
            Ok(vec![self.0.lock().unwrap().clone()])
        }
        async fn replace(
            &self,
            _: RowKey,
            expected: Option<Vec<u8>>,
            new: Option<Vec<u8>>,
            _: Vec<Write>,
        ) -> Result<bool> {
            let mut row = self.0.lock().unwrap();
            let is_expected = *row == expected;
            if is_expected {
                *row = new;
            }
            Ok(is_expected)
        }
        async fn scan(&self, _: &Scan) -> Result<Vec<Row>> {
            unreachable!()
        }
        async fn partitions(
            &self,
            _: Table,
            _: AccountId,
            _: Option<[u8; 16]>,
            _: usize,
        ) -> Result<Vec<[u8; 16]>> {
            unreachable!()
        }
        async fn write(&self, _: Vec<Write>, _: Durability) -> Result<()> {
            unreachable!()
        }
        async fn changes(&self, _: AccountId, _: Position, _: usize) -> Result<ChangePage> {
            unreachable!()
        }
        async fn position(&self, _: AccountId) -> Result<Position> {
            unreachable!()
        }
        async fn forget_changes(&self, _: AccountId, _: Position) -> Result<()> {
            unreachable!()
        }
        async fn remove_account(&self, _: AccountId) -> Result<()> {
            unreachable!()
        }
        async fn flush(&self) -> Result<()> {
            unreachable!()
        }
    }

    const NOW: Duration = Duration::ZERO;

    fn processes(silence: Duration) -> [Turns; 2] {
        let store = Arc::new(One::default());
        [Turns::new(store.clone(), silence), Turns::new(store, silence)]
    }

    #[tokio::test]
    async fn a_turn_is_one_processes_until_it_is_given_back() {
        let [one, other] = processes(SILENCE);
        let mut turn = one.take(NOW).await.unwrap();
        assert!(other.take(NOW).await.is_err_and(|error| error.is_transient()));
        one.renew(&mut turn).await.unwrap();
        assert!(other.take(NOW).await.is_err());
        let waiting = tokio::spawn(async move { other.take(PATIENCE).await.map(drop) });
        one.give_back(turn).await;
        waiting.await.unwrap().unwrap();
        assert!(one.take(NOW).await.is_err());
    }

    #[tokio::test]
    async fn a_silent_process_loses_its_turn_and_one_that_lives_does_not() {
        // Whoever is seen twice without a sign of life in between is silent.
        let [one, other] = processes(Duration::ZERO);
        let mut turn = one.take(NOW).await.unwrap();
        for _ in 0..3 {
            assert!(other.take(NOW).await.is_err());
            one.renew(&mut turn).await.unwrap();
        }
        assert!(other.take(NOW).await.is_err());
        let theirs = other.take(NOW).await.unwrap();
        // Whoever was only asleep does no more, and takes nothing away.
        assert!(one.renew(&mut turn).await.is_err_and(|error| error.is_transient()));
        one.give_back(turn).await;
        assert!(one.take(NOW).await.is_err());
        other.give_back(theirs).await;
        one.take(NOW).await.unwrap();
    }
}
