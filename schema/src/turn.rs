//! Which of several processes may do what only one may do at a time: wrap keys, or run a periodic job.
//!
//! A row names the turn of now by random octets, which its holder replaces as a sign of life. Whoever sees the same octets
//! for long enough by its own clock takes over: no two clocks are compared. Behind them the row holds a note.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{MailStore, Result, RowKey};

const POLL: Duration = Duration::from_millis(100);
/// Octets that name a turn.
const NAME: usize = 16;
/// What stands in their place while it is nobody's turn.
const NOBODY: [u8; NAME] = [0; NAME];

/// The turns of all processes at one thing, as this process sees them.
pub(crate) struct Turns {
    store: Arc<dyn MailStore>,
    row: RowKey,
    silence: Duration,
    /// What somebody else's turn was named by, and since when.
    seen: Mutex<Option<(Vec<u8>, Instant)>>,
}

/// This process's turn: what the row holds.
pub(crate) struct Turn(Vec<u8>);

/// The row as it was when somebody looked.
pub(crate) struct Look(Option<Vec<u8>>);

impl Look {
    /// Whether it is somebody's turn.
    pub(crate) fn is_held(&self) -> bool {
        self.0.as_ref().is_some_and(|row| !row.starts_with(&NOBODY))
    }

    /// The note; `None` if there is no row.
    pub(crate) fn note(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|row| note(row))
    }
}

/// The note that a row holds.
pub(crate) fn note(row: &[u8]) -> &[u8] {
    row.get(NAME..).unwrap_or_default()
}

impl Turns {
    /// Who gives no sign of life for `silence` loses its turn.
    pub(crate) fn new(store: Arc<dyn MailStore>, row: RowKey, silence: Duration) -> Self {
        Self { store, row, silence, seen: Mutex::default() }
    }

    /// Where the turns are kept.
    pub(crate) fn row(&self) -> &RowKey {
        &self.row
    }

    /// Waits for the turn; `None` if another process still has it after `patience`.
    pub(crate) async fn take(&self, patience: Duration) -> Result<Option<Turn>> {
        let began = Instant::now();
        loop {
            let look = self.look().await?;
            if self.is_free(&look)
                && let Some(turn) = self.seize(look, &[]).await?
            {
                return Ok(Some(turn));
            }
            if began.elapsed() >= patience {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What there is now.
    pub(crate) async fn look(&self) -> Result<Look> {
        Ok(Look(self.store.get(std::slice::from_ref(&self.row)).await?.pop().flatten()))
    }

    /// Whether it is nobody's turn, or its holder has given no sign of life for as long as this process has looked, and
    /// that long enough.
    pub(crate) fn is_free(&self, look: &Look) -> bool {
        let Some(held) = look.0.as_ref().filter(|_| look.is_held()) else { return true };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.as_ref() {
            Some((known, since)) if known == held => since.elapsed() >= self.silence,
            _ => {
                *seen = Some((held.clone(), Instant::now()));
                false
            }
        }
    }

    /// Takes the turn, with a note, if the row is still as it was.
    pub(crate) async fn seize(&self, look: Look, note: &[u8]) -> Result<Option<Turn>> {
        let ours = named(note);
        let is_ours = self.store.replace(self.row.clone(), look.0, Some(ours.clone()), vec![]).await?;
        Ok(is_ours.then_some(Turn(ours)))
    }

    /// Gives a sign of life, and a new note. False if another process has taken over.
    pub(crate) async fn renew(&self, turn: &mut Turn, note: &[u8]) -> Result<bool> {
        let ours = named(note);
        let is_ours =
            self.store.replace(self.row.clone(), Some(turn.0.clone()), Some(ours.clone()), vec![]).await?;
        if is_ours {
            turn.0 = ours;
        }
        Ok(is_ours)
    }

    /// Lets the next one go on, leaving a note. One that does not get to know waits until this one counts as silent.
    pub(crate) async fn give_back(&self, turn: Turn, note: Option<&[u8]>) -> Result<bool> {
        self.store.replace(self.row.clone(), Some(turn.0), note.map(nobodys), vec![]).await
    }

    /// Leaves a note where there is no row. False if there is one by now.
    pub(crate) async fn leave_first(&self, note: &[u8]) -> Result<bool> {
        self.store.replace(self.row.clone(), None, Some(nobodys(note)), vec![]).await
    }
}

fn named(note: &[u8]) -> Vec<u8> {
    [&seal::random_bytes::<NAME>()[..], note].concat()
}

fn nobodys(note: &[u8]) -> Vec<u8> {
    [&NOBODY[..], note].concat()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::{AccountId, ChangePage, Durability, Partitions, Position, Row, Scan, Table, Write};

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
        async fn partitions(&self, _: Table, _: &[u8], _: Option<Vec<u8>>, _: usize) -> Result<Partitions> {
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
    const SILENCE: Duration = Duration::from_secs(60);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn row() -> RowKey {
        RowKey::new(Table::Instance, [], *b"turn")
    }

    fn processes(silence: Duration) -> [Turns; 2] {
        let store = Arc::new(One::default());
        [Turns::new(store.clone(), row(), silence), Turns::new(store, row(), silence)]
    }

    #[tokio::test]
    async fn a_turn_is_one_processes_until_it_is_given_back() {
        let [one, other] = processes(SILENCE);
        let mut turn = one.take(NOW).await.unwrap().unwrap();
        assert!(other.take(NOW).await.unwrap().is_none());
        assert!(one.renew(&mut turn, b"").await.unwrap());
        assert!(other.take(NOW).await.unwrap().is_none());
        let waiting = tokio::spawn(async move { other.take(PATIENCE).await.unwrap().is_some() });
        assert!(one.give_back(turn, None).await.unwrap());
        assert!(waiting.await.unwrap());
        assert!(one.take(NOW).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_silent_process_loses_its_turn_and_one_that_lives_does_not() {
        // Whoever is seen twice without a sign of life in between is silent.
        let [one, other] = processes(Duration::ZERO);
        let mut turn = one.take(NOW).await.unwrap().unwrap();
        for _ in 0..3 {
            assert!(other.take(NOW).await.unwrap().is_none());
            assert!(one.renew(&mut turn, b"").await.unwrap());
        }
        assert!(other.take(NOW).await.unwrap().is_none());
        let theirs = other.take(NOW).await.unwrap().unwrap();
        // Whoever was only asleep does no more, and takes nothing away.
        assert!(!one.renew(&mut turn, b"").await.unwrap());
        assert!(!one.give_back(turn, None).await.unwrap());
        assert!(one.take(NOW).await.unwrap().is_none());
        assert!(other.give_back(theirs, None).await.unwrap());
        one.take(NOW).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_note_outlives_the_turn_and_is_left_by_its_holder_alone() {
        let [one, other] = processes(Duration::ZERO);
        assert!(one.look().await.unwrap().note().is_none());
        assert!(one.leave_first(b"first").await.unwrap() && !other.leave_first(b"second").await.unwrap());
        let look = one.look().await.unwrap();
        assert!(!look.is_held() && one.is_free(&look) && look.note() == Some(b"first"));
        let (late, turn) = (one.look().await.unwrap(), one.seize(look, b"running").await.unwrap().unwrap());
        assert!(other.seize(late, b"running too").await.unwrap().is_none(), "two looked, one seized");
        let look = other.look().await.unwrap();
        assert!(look.is_held() && look.note() == Some(b"running"));
        assert!(!other.is_free(&look) && other.is_free(&other.look().await.unwrap()));
        let theirs = other.seize(look, b"taken over").await.unwrap().unwrap();
        assert!(!one.give_back(turn, Some(b"late")).await.unwrap());
        assert!(other.give_back(theirs, Some(b"done")).await.unwrap());
        assert_eq!(one.look().await.unwrap().note(), Some(&b"done"[..]));
    }
}
