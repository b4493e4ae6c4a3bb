//! What is done once in a while by one process of all: who does it now, when it was done last, and what that found.
//!
//! A run holds a turn ([`crate::turn`]), so it ends up with another process if its own dies. Two may still overlap for a
//! moment, where one was asleep: whatever is run so must be safe to run twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::turn::{Turn, Turns, note};
use crate::{Instance, Millis, NodeId, Result, RowKey, Table, value};

/// How often a run has to give a sign of life.
pub const PERIODIC_SIGN: Duration = Duration::from_secs(8);
/// Who gives none for so long has lost its run.
const SILENCE: Duration = Duration::from_secs(25);
/// A run that failed is tried again after so long, if it is not due before.
const AGAIN: Duration = Duration::from_secs(60);

/// What a run found, by name.
pub type Counts = BTreeMap<String, u64>;

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// By which node.
    pub node: NodeId,
    /// When it began.
    pub began_at: Millis,
    /// When it ended.
    pub ended_at: Millis,
    /// What it found; `None` if it failed.
    pub found: Option<Counts>,
}

/// A run that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// On which node.
    pub node: NodeId,
    /// When it began.
    pub began_at: Millis,
    /// When it is lost unless it gives a sign of life before.
    pub until: Millis,
}

/// One thing that is done once in a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodicJob {
    /// What it is.
    pub name: String,
    /// The run that goes on.
    pub run: Option<Run>,
    /// The one before.
    pub last: Option<LastRun>,
}

/// Fields are only ever added, at the end.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Note {
    /// When it was first heard of.
    since: Millis,
    run: Option<Run>,
    last: Option<LastRun>,
}

/// When something is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// So long after the last time, and at once if there was none.
    Every(Duration),
    /// So long after the last time, or after it was first heard of.
    After(Duration),
    /// Now.
    Now,
}

/// One process's look-out for its turn to do something.
pub struct Lookout {
    turns: Turns,
    node: NodeId,
}

/// A run of this process. Dropped, it goes on for the others until it counts as silent.
pub struct Turning {
    turn: Turn,
    note: Note,
}

fn row(name: &str) -> RowKey {
    RowKey::new(Table::PeriodicJobs, [], name)
}

impl Instance {
    /// Looks out for `node`'s turn to do `name`.
    pub fn lookout(&self, name: &str, node: NodeId) -> Lookout {
        Lookout { turns: Turns::new(self.backend.store.clone(), row(name), SILENCE), node }
    }

    /// Everything that is done once in a while, by name.
    pub async fn periodic_jobs(&self) -> Result<Vec<PeriodicJob>> {
        let rows = self.all_rows(Table::PeriodicJobs).await?.into_iter();
        let jobs = rows.map(|(clustering, value)| {
            let key = RowKey::new(Table::PeriodicJobs, [], clustering);
            let Note { run, last, .. } = self.read_note(&key, note(&value));
            PeriodicJob { name: String::from_utf8_lossy(&key.clustering).into_owned(), run, last }
        });
        Ok(jobs.collect())
    }

    /// A note that cannot be read is as good as none: what it is about is done again.
    fn read_note(&self, key: &RowKey, sealed: &[u8]) -> Note {
        value::open_instance(self.keyring.instance(), key, sealed).unwrap_or_default()
    }

    fn seal_note(&self, lookout: &Lookout, note: &Note) -> Vec<u8> {
        value::seal_instance(self.keyring.instance(), lookout.turns.row(), note)
    }

    fn until(&self) -> Millis {
        self.now() + SILENCE.as_millis() as Millis
    }

    /// Begins a run if it is due and nobody else's; `None` if not.
    pub async fn begin_run(&self, lookout: &Lookout, due: Due) -> Result<Option<Turning>> {
        let look = lookout.turns.look().await?;
        let known = look.note().map(|sealed| self.read_note(lookout.turns.row(), sealed));
        let now = self.now();
        let Some(mut note) =
            known.or((!matches!(due, Due::After(_))).then(|| Note { since: now, ..Note::default() }))
        else {
            let first = self.seal_note(lookout, &Note { since: now, ..Note::default() });
            lookout.turns.leave_first(&first).await?;
            return Ok(None);
        };
        // One that a dead process has left undone is due, whenever the last was.
        if !(look.is_held() || note.is_due(due, now)) || !lookout.turns.is_free(&look) {
            return Ok(None);
        }
        note.run = Some(Run { node: lookout.node, began_at: now, until: self.until() });
        let sealed = self.seal_note(lookout, &note);
        let turn = lookout.turns.seize(look, &sealed).await?;
        Ok(turn.map(|turn| Turning { turn, note }))
    }

    /// Gives a sign of life. False if the run is another process's by now: this one is to end.
    pub async fn renew_run(&self, lookout: &Lookout, turning: &mut Turning) -> Result<bool> {
        if let Some(run) = &mut turning.note.run {
            run.until = self.until();
        }
        let sealed = self.seal_note(lookout, &turning.note);
        lookout.turns.renew(&mut turning.turn, &sealed).await
    }

    /// Ends a run and notes what it found, or that it failed. False if it was another process's by then.
    pub async fn end_run(&self, lookout: &Lookout, turning: Turning, found: Option<Counts>) -> Result<bool> {
        let began_at = turning.note.run.map_or(0, |run| run.began_at);
        let last = LastRun { node: lookout.node, began_at, ended_at: self.now(), found };
        self.leave(lookout, turning, |note| note.last = Some(last)).await
    }

    /// Ends a run as if it had not been begun, for another process or another time.
    pub async fn undo_run(&self, lookout: &Lookout, turning: Turning) -> Result<bool> {
        self.leave(lookout, turning, |_| {}).await
    }

    async fn leave(&self, lookout: &Lookout, turning: Turning, with: impl FnOnce(&mut Note)) -> Result<bool> {
        let Turning { turn, mut note } = turning;
        note.run = None;
        with(&mut note);
        lookout.turns.give_back(turn, Some(&self.seal_note(lookout, &note))).await
    }
}

impl Note {
    fn is_due(&self, due: Due, now: Millis) -> bool {
        let passed = |since: Millis| Duration::from_millis(now.saturating_sub(since));
        match (due, &self.last) {
            (Due::Now, _) | (Due::Every(_), None) => true,
            (Due::Every(time) | Due::After(time), Some(last)) if last.found.is_none() => {
                passed(last.ended_at) >= time.min(AGAIN)
            }
            (Due::Every(time) | Due::After(time), Some(last)) => passed(last.ended_at) >= time,
            (Due::After(time), None) => passed(self.since) >= time,
        }
    }
}
