//! The connection that is in use now, made anew whenever it breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::session::{Servers, Session, refused, unreachable};
use super::topology::Declared;
use crate::StartError;

/// The wait after the first attempt that failed; it doubles with each.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Gives the connection in use.
pub(super) struct Link {
    sessions: watch::Receiver<Option<Arc<Session>>>,
    keeper: JoinHandle<()>,
}

impl Link {
    /// Connects, and stays connected until it is dropped. `lost` is told of each connection that broke, before the next
    /// one is in use.
    ///
    /// # Errors
    /// See [`Servers::connect`]; [`StartError::Unusable`] if a queue is missing.
    pub(super) async fn open(
        servers: Servers,
        queues: Vec<Declared>,
        lost: impl Fn(&Arc<Session>) + Send + 'static,
    ) -> Result<Self, StartError> {
        let session = connect(&servers, &queues).await?;
        let (sender, sessions) = watch::channel(Some(session));
        let keeper = tokio::spawn(keep(servers, queues, lost, sender));
        Ok(Self { sessions, keeper })
    }

    /// The connection in use; waits for one until `until`.
    pub(super) async fn session(&self, until: Instant) -> Option<Arc<Session>> {
        let mut sessions = self.sessions.clone();
        let in_use = sessions.wait_for(|session| session.as_ref().is_some_and(|session| session.is_open()));
        timeout_at(until, in_use).await.ok()?.ok()?.clone()
    }

    /// The connection in use, if there is one now.
    pub(super) fn current(&self) -> Option<Arc<Session>> {
        self.sessions.borrow().clone()
    }

    /// Makes no new connection any more.
    pub(super) fn stop(&self) {
        self.keeper.abort();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn keep(
    servers: Servers,
    queues: Vec<Declared>,
    lost: impl Fn(&Arc<Session>),
    sessions: watch::Sender<Option<Arc<Session>>>,
) {
    loop {
        metrics::gauge!("signet_queue_up").set(1.0);
        let session = sessions.borrow().clone();
        if let Some(session) = session {
            session.ended().await;
            sessions.send_replace(None);
            lost(&session);
        }
        metrics::gauge!("signet_queue_up").set(0.0);
        tracing::warn!("the connection to RabbitMQ is lost: jobs wait until it is back");
        let mut rest = FIRST_REST;
        let mut told = String::new();
        let session = loop {
            match connect(&servers, &queues).await {
                Ok(session) => break session,
                Err(error) => {
                    // The same reason is told once.
                    let reason = error.to_string();
                    if reason != told {
                        tracing::warn!(reason, "RabbitMQ is not back yet");
                        told = reason;
                    }
                }
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(LONGEST_REST);
        };
        tracing::info!("RabbitMQ is back");
        sessions.send_replace(Some(session));
    }
}

/// A connection to servers that have the queues.
async fn connect(servers: &Servers, queues: &[Declared]) -> Result<Arc<Session>, StartError> {
    let session = servers.connect().await?;
    let checking = async {
        let lane = session.lane().await.map_err(|error| refused(&error, "no channel can be opened"))?;
        for queue in queues {
            queue.check(&lane).await?;
        }
        Ok::<_, StartError>(())
    };
    let checked = timeout(servers.request_time(), checking).await;
    checked.map_err(|_| unreachable("it does not answer".into()))??;
    Ok(session)
}
