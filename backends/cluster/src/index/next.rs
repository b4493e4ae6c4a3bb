//! The next index, as those see it who write: while its alias is there, all that is written goes to it too.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;

use super::nodes::{Failure, Nodes, Request};

/// How long it is believed that there is none: after that whoever writes looks again, first.
pub(super) const BELIEVED: Duration = Duration::from_secs(5);

/// The alias of the index that is built beside the one behind `alias`.
pub(super) fn alias_of(alias: &str) -> String {
    format!("{alias}-next")
}

/// The index that is built beside another.
pub(super) struct Next {
    alias: String,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy)]
enum Seen {
    /// It is to be looked for.
    Unknown,
    /// It was there. When it is there no more, whoever writes to it is told so.
    There,
    /// It was not there when this was asked.
    NotThere(Instant),
}

impl Next {
    /// The one beside the index behind `alias`.
    pub(super) fn of(alias: &str) -> Self {
        Self { alias: alias_of(alias), seen: Mutex::new(Seen::Unknown) }
    }

    pub(super) fn alias(&self) -> &str {
        &self.alias
    }

    /// Whether it has to be written to.
    pub(super) async fn is_there(&self, nodes: &Nodes) -> Result<bool, Failure> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen {
            Seen::There => return Ok(true),
            Seen::NotThere(at) if at.elapsed() < BELIEVED => return Ok(false),
            Seen::NotThere(_) | Seen::Unknown => {}
        }
        let asked = Instant::now();
        let is_there = exists(nodes, &self.alias).await?;
        self.set(if is_there { Seen::There } else { Seen::NotThere(asked) });
        Ok(is_there)
    }

    /// It was not there when it was written to.
    pub(super) fn forget(&self) {
        self.set(Seen::Unknown);
    }

    fn set(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

async fn exists(nodes: &Nodes, alias: &str) -> Result<bool, Failure> {
    let path = format!("_alias/{alias}");
    match nodes.ask::<IgnoredAny>(&Request::get(&path, &[])).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.is_missing() => Ok(false),
        Err(failure) => Err(failure),
    }
}
