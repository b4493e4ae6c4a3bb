//! The octets of one connection: what has come and is not understood yet, what is said and not sent yet.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::command::{LONGEST_LINE, is_bdat};

/// Octets read at once.
const INPUT: usize = 64 << 10;
/// Replies are sent when they are waited for, or are more than this.
const OUTPUT: usize = 32 << 10;
/// Octets of one line that are skipped before the connection is given up.
const ENDLESS: usize = 1 << 20;
/// How long a client that is told to go may take to hear it.
const FAREWELL: Duration = Duration::from_millis(400);

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The client is gone, or sends what has no end.
    Lost,
    /// Nothing came in time.
    TimedOut,
    /// We are to stop.
    ShuttingDown,
}

/// What the next line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextLine {
    /// It is in the buffer given.
    Whole,
    /// It was longer than any command and is skipped.
    TooLong {
        /// It announced octets.
        is_bdat: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    idle_time: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S, idle_time: Duration) -> Self {
        let input = vec![0; INPUT].into_boxed_slice();
        Self { stream, input, start: 0, end: 0, output: Vec::new(), idle_time }
    }

    /// What has come and was not consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Forgets the first `octets` of what has come.
    pub(crate) fn consume(&mut self, octets: usize) {
        self.start += octets;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where replies are written; they are sent at the latest before more input is waited for.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what was said. One that is cut short has sent its start, and the next one sends the rest.
    pub(crate) async fn flush(&mut self) -> Result<(), Stop> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = timeout(self.idle_time, async {
            while !self.output.is_empty() {
                let octets = self.stream.write(&self.output).await?;
                if octets == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.output.drain(..octets);
            }
            self.stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            // A client that does not listen need not be told why.
            Ok(Err(_)) | Err(_) => Err(Stop::Lost),
        }
    }

    /// Sends what was said if it is much.
    pub(crate) async fn flush_if_much(&mut self) -> Result<(), Stop> {
        if self.output.len() > OUTPUT { self.flush().await } else { Ok(()) }
    }

    /// Waits for more octets, but not beyond `deadline`.
    pub(crate) async fn fill(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        self.flush().await?;
        if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let idle = Instant::now() + self.idle_time;
        let deadline = deadline.map_or(idle, |deadline| deadline.min(idle));
        let read = timeout_at(deadline, self.stream.read(&mut self.input[self.end..])).await;
        match read {
            Err(_) => Err(Stop::TimedOut),
            Ok(Err(_) | Ok(0)) => Err(Stop::Lost),
            Ok(Ok(octets)) => {
                self.end += octets;
                Ok(())
            }
        }
    }

    /// Puts the next line with its line end into `line`. `leaving`, if given, ends the wait for it.
    pub(crate) async fn next_line(
        &mut self,
        line: &mut Vec<u8>,
        deadline: Option<Instant>,
        leaving: Option<&CancellationToken>,
    ) -> Result<NextLine, Stop> {
        line.clear();
        let mut skipped = 0;
        loop {
            if let Some(length) = memchr::memchr(b'\n', self.buffered()).map(|at| at + 1) {
                let too_long = skipped > 0 || length > LONGEST_LINE;
                if line.is_empty() {
                    line.extend_from_slice(&self.buffered()[..length.min(LONGEST_LINE)]);
                }
                self.consume(length);
                return Ok(if too_long {
                    NextLine::TooLong { is_bdat: is_bdat(line) }
                } else {
                    NextLine::Whole
                });
            }
            if self.buffered().len() > LONGEST_LINE {
                if line.is_empty() {
                    line.extend_from_slice(&self.buffered()[..LONGEST_LINE]);
                }
                skipped += self.buffered().len();
                self.consume(self.buffered().len());
                if skipped > ENDLESS {
                    return Err(Stop::Lost);
                }
            }
            // Not within what a shutdown or a drain may cut off: what is half sent must be sent to its end.
            self.flush().await?;
            match leaving {
                Some(leaving) => match leaving.run_until_cancelled(self.fill(deadline)).await {
                    Some(filled) => filled?,
                    None => return Err(Stop::ShuttingDown),
                },
                None => self.fill(deadline).await?,
            }
        }
    }

    /// Forgets the next `octets`, however many.
    pub(crate) async fn skip(&mut self, mut octets: u64, deadline: Instant) -> Result<(), Stop> {
        while octets > 0 {
            if self.buffered().is_empty() {
                self.fill(Some(deadline)).await?;
            }
            let here = usize::try_from(octets).unwrap_or(usize::MAX).min(self.buffered().len());
            self.consume(here);
            octets -= here as u64;
        }
        Ok(())
    }

    /// Sends what was said and ends the connection, so that the client hears it even if it is still sending.
    pub(crate) async fn close(mut self) {
        if self.flush().await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let listen =
            async { while matches!(self.stream.read(&mut self.input).await, Ok(octets) if octets > 0) {} };
        // Whether it heard it or not, the connection ends here.
        let _ = timeout(FAREWELL, listen).await;
    }
}
