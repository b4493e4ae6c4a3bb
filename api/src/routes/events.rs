//! The stream of live events (Server-Sent Events): a hint to read the change feed now, never instead of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schema::{Account, Change, ChangeKind, Position};
use seal::Credential;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::auth::Caller;
use crate::error::Problem;
use crate::json::Id;
use crate::router::Api;
use crate::valid::{NoParameters, Parameters};

/// How often a stream looks for itself: news may have been lost, and the session may be over.
const LOOK: Duration = Duration::from_secs(15);
/// A comment is sent after so long without an event, so that nobody between takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(20);
/// When a client whose stream has ended is to come again.
const COME_AGAIN: Duration = Duration::from_secs(2);

/// Follow live events
///
/// A stream of `text/event-stream` (Server-Sent Events):
/// `message.received`, `message.updated`, `message.destroyed`, `mailbox.created`, `mailbox.updated`, `mailbox.destroyed`
/// and `thread.destroyed`, each with `{"id": …}`, and `changes` with `{}` where some may have been missed. An event may
/// be lost or come twice: take each as a hint to read `/v1/changes` from your cursor. The stream ends with its session,
/// and when the server ends: connect again.
#[utoipa::path(
    get, path = "/v1/events", tag = "Changes", operation_id = "followEvents",
    responses((status = 200, description = "Events, as they happen.", content_type = "text/event-stream", body = String))
)]
pub(crate) async fn follow(
    State(api): State<Arc<Api>>,
    _: Parameters<NoParameters>,
    caller: Caller,
) -> Result<Response, Problem> {
    let permit = api.streams.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::unavailable("too many streams of events are open: try again"))?;
    // Before the position: what happens between the two is then told twice, not never.
    let news = caller.account.watch();
    let position = caller.account.position().await?;
    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let leaving = api.node.leaving();
    let credential = caller.credential;
    let stream =
        Stream { account: caller.account, credential, news, position, looks, leaving, api, _permit: permit };
    let first = Event::default().retry(COME_AGAIN).comment("follow /v1/changes");
    let events = stream::unfold((stream, Some(first)), |(mut stream, first)| async move {
        let event = match first {
            Some(first) => first,
            None => stream.next().await?,
        };
        Some((Ok::<_, Infallible>(event), (stream, None)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(SILENCE)).into_response())
}

/// An open stream.
struct Stream {
    account: Account,
    credential: Credential,
    news: Receiver<Change>,
    /// Of the change feed, when it was last looked at.
    position: Position,
    looks: Interval,
    leaving: CancellationToken,
    api: Arc<Api>,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    /// The next event; `None`: the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                () = self.leaving.cancelled() => return None,
                heard = self.news.recv() => match heard {
                    Ok(change) => return Some(told(change)),
                    Err(RecvError::Lagged(_)) => return Some(missed()),
                    Err(RecvError::Closed) => return None,
                },
                _ = self.looks.tick() => match self.look().await {
                    // The client comes again, and is told what is the matter.
                    Err(_) | Ok(Look::IsOver) => return None,
                    Ok(Look::HasMoved) => return Some(missed()),
                    Ok(Look::Nothing) => {}
                },
            }
        }
    }

    async fn look(&mut self) -> schema::Result<Look> {
        if self.api.instance.session(&self.credential).await?.is_none() {
            return Ok(Look::IsOver);
        }
        let position = self.account.position().await?;
        let has_moved = std::mem::replace(&mut self.position, position) != position;
        Ok(if has_moved { Look::HasMoved } else { Look::Nothing })
    }
}

enum Look {
    /// The session.
    IsOver,
    /// The change feed.
    HasMoved,
    Nothing,
}

fn told(change: Change) -> Event {
    let name = match change.kind {
        ChangeKind::MessageCreated => "message.received",
        ChangeKind::MessageUpdated => "message.updated",
        ChangeKind::MessageDestroyed => "message.destroyed",
        ChangeKind::MailboxCreated => "mailbox.created",
        ChangeKind::MailboxUpdated => "mailbox.updated",
        ChangeKind::MailboxDestroyed => "mailbox.destroyed",
        ChangeKind::ThreadDestroyed => "thread.destroyed",
    };
    Event::default().event(name).data(format!(r#"{{"id":"{}"}}"#, Id(change.id).text()))
}

fn missed() -> Event {
    Event::default().event("changes").data("{}")
}
