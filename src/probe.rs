//! A probe: what somebody out in the world and the owner of an account see of the platform, step by step.

mod door;
mod message;
pub mod metrics;
mod options;
mod rest;
mod trust;

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::message::Message;
use self::rest::{Listed, Rest};
use self::trust::Authority;
use crate::failure::Failure;

pub use self::options::Options;

/// The rest between two attempts, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(250);
const LONGEST_REST: Duration = Duration::from_secs(1);
/// What a probe that has failed may take beyond its time to leave nothing behind.
const CLEAN_UP: Duration = Duration::from_secs(2);

/// What a probe does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sign in, so that nothing is sent in vain.
    SignIn,
    /// Have the message taken by the mail server.
    Send,
    /// Await it in the inbox.
    List,
    /// Await that a search finds it.
    Search,
    /// Delete it and what older probes have left, and sign out.
    Delete,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::SignIn, Self::Send, Self::List, Self::Search, Self::Delete];

    /// Its name in metrics and JSON, which stays.
    pub fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Send => "send",
            Self::List => "list",
            Self::Search => "search",
            Self::Delete => "delete",
        }
    }

    /// What is so where it failed.
    fn failed(self) -> &'static str {
        match self {
            Self::SignIn => "the probe was not signed in",
            Self::Send => "the probe's message was not taken",
            Self::List => "the probe's message was not listed in the inbox",
            Self::Search => "the probe's message was not found by search",
            Self::Delete => "the probe's message was not deleted",
        }
    }
}

/// Why an attempt failed, told without an address, a password or a text of a message.
#[derive(Debug)]
enum Trouble {
    /// It may pass: the attempt is made again.
    Passing(String),
    /// Another attempt would end the same.
    Lasting(String),
}

/// How far a probe has come.
#[derive(Debug)]
pub struct Course {
    began: Instant,
    time: Duration,
    done: Vec<(Step, Duration)>,
    failed: Option<Step>,
}

impl Course {
    /// Begins now, and ends when `time` is over.
    pub fn begin(time: Duration) -> Self {
        Self { began: Instant::now(), time, done: Vec::new(), failed: None }
    }

    /// The steps that were done, and how long after the beginning each was.
    pub fn done(&self) -> impl Iterator<Item = (Step, Duration)> {
        self.done.iter().copied()
    }

    /// The step that failed.
    pub fn failed(&self) -> Option<Step> {
        self.failed
    }

    fn fail(&mut self, step: Step, failure: Failure) -> Failure {
        self.failed = Some(step);
        failure.with("step", json!(step.name()))
    }

    /// Makes attempts until one gives something; `None` is not yet.
    async fn take<T>(
        &mut self,
        step: Step,
        mut attempt: impl AsyncFnMut() -> Result<Option<T>, Trouble>,
    ) -> Result<T, Failure> {
        let mut last = None;
        let attempts = async {
            let mut rest = FIRST_REST;
            loop {
                match attempt().await {
                    Ok(Some(value)) => return Ok(value),
                    Ok(None) => last = None,
                    Err(Trouble::Passing(why)) => last = Some(why),
                    Err(Trouble::Lasting(why)) => return Err(why),
                }
                sleep(rest).await;
                rest = (rest * 3 / 2).min(LONGEST_REST);
            }
        };
        let ended = timeout_at(self.began + self.time, attempts).await;
        let what = step.failed();
        let message = match ended {
            Ok(Ok(value)) => {
                self.done.push((step, self.began.elapsed()));
                return Ok(value);
            }
            Ok(Err(why)) => format!("{what}: {why}"),
            Err(_) => {
                let why = last.map(|why| format!(": {why}")).unwrap_or_default();
                format!("{what} within {} s{why}", self.time.as_secs())
            }
        };
        Err(self.fail(step, Failure::other(message)))
    }
}

/// Probes once.
///
/// # Errors
/// Says which step failed, and why.
pub async fn run(options: &Options, course: &mut Course) -> Result<(), Failure> {
    let prepared = Authority::read(options.ca_file.as_deref()).and_then(|authority| {
        let password = options.password()?;
        Ok((Rest::new(&options.api, &authority)?, door::Door::new(options, &authority)?, password))
    });
    let (mut rest, door, password) = prepared.map_err(|failure| course.fail(Step::SignIn, failure))?;
    course.take(Step::SignIn, async || rest.sign_in(options.account.as_ref(), &password).await).await?;
    let message = Message::new(&options.from, &options.account);
    let mut listed = Vec::new();
    let ended = go(course, &mut rest, &door, &message, &mut listed).await;
    if ended.is_err() {
        // What is not cleaned up in this time is found by a later probe, and the session ends by itself.
        let _ = timeout(CLEAN_UP, async {
            let _ = rest.delete(&listed).await;
            rest.sign_out().await
        })
        .await;
    }
    ended
}

/// Everything behind the sign-in; what was listed is left in `listed`.
async fn go(
    course: &mut Course,
    rest: &mut Rest,
    door: &door::Door,
    message: &Message,
    listed: &mut Vec<Listed>,
) -> Result<(), Failure> {
    course.take(Step::Send, async || door.send(message).await).await?;
    *listed = course.take(Step::List, async || rest.in_inbox(message).await).await?;
    course.take(Step::Search, async || rest.found(message).await).await?;
    let attempt = async || {
        let older = rest.older(message, listed).await?;
        rest.delete(listed).await?;
        rest.delete(&older).await?;
        rest.sign_out().await.map(Some)
    };
    course.take(Step::Delete, attempt).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_until_the_time_is_over() {
        let mut course = Course::begin(Duration::from_secs(30));
        let mut attempts = 0;
        let third = course.take(Step::Send, async || {
            attempts += 1;
            if attempts < 3 { Err(Trouble::Passing("later".to_owned())) } else { Ok(Some(attempts)) }
        });
        assert_eq!(third.await.map_err(|failure| failure.to_string()), Ok(3));
        let never = course.take(Step::Search, async || Ok(None::<()>)).await;
        let said = never.map_err(|failure| failure.to_string());
        assert_eq!(said, Err("the probe's message was not found by search within 30 s".to_owned()));
        assert_eq!((course.done().count(), course.failed()), (1, Some(Step::Search)));
        assert_eq!(course.began.elapsed(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_ends_the_probe_at_once() {
        let mut course = Course::begin(Duration::from_secs(30));
        let refused: Result<(), _> =
            course.take(Step::Send, async || Err(Trouble::Lasting("no".to_owned()))).await;
        let said = refused.map_err(|failure| failure.to_string());
        assert_eq!(said, Err("the probe's message was not taken: no".to_owned()));
        assert_eq!(course.began.elapsed(), Duration::ZERO);
    }
}
