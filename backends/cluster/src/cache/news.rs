//! News of accounts, carried between processes by Redis's publish and subscribe, which keep nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{ErrorKind, RedisError, RedisResult, pipe};
use schema::{AccountId, Change, Watchers};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{CONNECT_TIME, LONGEST_REST, Line};

/// News that wait to be told to other processes at most: while Redis is gone the rest is lost.
const WAITING: usize = 10_000;
/// News told by one request.
const TOLD_AT_ONCE: usize = 100;
/// After so long without news the connection is tried.
const QUIET: Duration = Duration::from_secs(20);

/// What a process tells others and hears from them.
pub(super) struct News {
    watchers: Arc<Watchers>,
    /// Tells what this process has told from what others have.
    process: [u8; 16],
    outgoing: mpsc::Sender<Vec<u8>>,
    tasks: [JoinHandle<()>; 2],
}

impl News {
    pub(super) fn begin(line: &Arc<Line>) -> Self {
        let watchers = Arc::new(Watchers::default());
        let process = *uuid::Uuid::new_v4().as_bytes();
        let (outgoing, waiting) = mpsc::channel(WAITING);
        let telling = tokio::spawn(tell_others(line.clone(), waiting));
        let hearing = tokio::spawn(hear_others(line.clone(), watchers.clone(), process));
        Self { watchers, process, outgoing, tasks: [telling, hearing] }
    }

    pub(super) fn tell(&self, account: AccountId, change: Change) {
        self.watchers.tell(account, change);
        // If too many wait already, this one is lost.
        let _ = self.outgoing.try_send([&self.process[..], account.as_bytes(), &change.to_bytes()].concat());
    }

    pub(super) fn watchers(&self) -> &Watchers {
        &self.watchers
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn tell_others(line: Arc<Line>, mut waiting: mpsc::Receiver<Vec<u8>>) {
    let channel = line.news_channel();
    let mut news = Vec::with_capacity(TOLD_AT_ONCE);
    while waiting.recv_many(&mut news, TOLD_AT_ONCE).await > 0 {
        let mut telling = pipe();
        for news in news.drain(..) {
            telling.cmd("PUBLISH").arg(&channel).arg(news).ignore();
        }
        let _: Option<()> = line.run(&telling).await;
    }
}

async fn hear_others(line: Arc<Line>, watchers: Arc<Watchers>, process: [u8; 16]) {
    loop {
        // That Redis is gone is told where values are kept; here it is looked for until it is back.
        if let Err(error) = hear(&line, &watchers, process).await {
            tracing::debug!(reason = error.to_string(), "news of other processes are not heard");
        }
        sleep(LONGEST_REST).await;
    }
}

/// Returns when the connection is gone.
async fn hear(line: &Line, watchers: &Watchers, process: [u8; 16]) -> RedisResult<()> {
    let late = |_| RedisError::from((ErrorKind::Io, "it does not answer in time"));
    let connecting = line.client.get_async_pubsub();
    let mut connection = timeout(CONNECT_TIME * 2, connecting).await.map_err(late)??;
    timeout(line.request_time, connection.subscribe(line.news_channel())).await.map_err(late)??;
    loop {
        let heard = timeout(QUIET, connection.on_message().next()).await;
        match heard {
            Ok(Some(news)) => {
                if let Some((account, change)) = read(news.get_payload_bytes(), process) {
                    watchers.tell(account, change);
                }
            }
            Ok(None) => return Err(RedisError::from((ErrorKind::Io, "it has ended the connection"))),
            Err(_) => timeout(line.request_time, connection.ping::<()>()).await.map_err(late)??,
        }
    }
}

/// What another process tells; `None` if it was this one, or nothing that it knows of.
fn read(news: &[u8], process: [u8; 16]) -> Option<(AccountId, Change)> {
    let (from, news) = news.split_first_chunk::<16>()?;
    let (account, change) = news.split_first_chunk::<16>()?;
    (*from != process).then_some((AccountId(*account), Change::from_bytes(change)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::ChangeKind;

    #[test]
    fn what_is_no_news_is_passed_over() {
        let change = Change { kind: ChangeKind::ThreadDestroyed, id: [7; 16] };
        let news = [&[1; 16][..], &[2; 16], &change.to_bytes()].concat();
        assert_eq!(read(&news, [0; 16]), Some((AccountId([2; 16]), change)));
        assert_eq!(read(&news, [1; 16]), None, "told by this process");
        for length in 0..news.len() {
            assert_eq!(read(&news[..length], [0; 16]), None, "{length}");
        }
        assert_eq!(read(&[&news[..], &[0]].concat(), [0; 16]), None);
    }
}
