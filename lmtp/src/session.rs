//! One session: RFC 2033's commands in their order, and a reply to each.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::poll_immediate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::BareLf;
use crate::command::{BodyType, Command, Line, Mail, parse_line, parse_rcpt};
use crate::content::Content;
use crate::data::Decoder;
use crate::deliver::{Recipient, Submission};
use crate::reply::{Reply, write_lines};
use crate::server::Server;
use crate::wire::{NextLine, Stop, Wire};

/// How a session ends.
enum End {
    /// With these last words, if any.
    Say(Option<Reply>),
    /// The client is gone.
    Lost,
}

type Flow = Result<(), End>;

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Lost => Self::Lost,
            Stop::TimedOut => Self::Say(Some(Reply::TIMED_OUT)),
            Stop::ShuttingDown => Self::Say(Some(Reply::SHUTTING_DOWN)),
        }
    }
}

/// From MAIL to the end of the content.
struct Transaction {
    mail: Mail,
    recipients: Vec<Recipient>,
    deadline: Instant,
    /// Set by the first BDAT.
    chunks: Option<Content>,
}

pub(crate) struct Session<'s, S> {
    server: &'s Server,
    wire: Wire<S>,
    from_relay: bool,
    is_greeted: bool,
    transaction: Option<Transaction>,
    bad_commands: usize,
    ends_at: Instant,
    /// Cancelled once it is to begin nothing more.
    leaving: CancellationToken,
}

impl<'s, S: AsyncRead + AsyncWrite + Unpin> Session<'s, S> {
    pub(crate) fn new(server: &'s Server, stream: S, from_relay: bool) -> Self {
        Self {
            server,
            wire: Wire::new(stream, server.settings.idle_time),
            from_relay,
            is_greeted: false,
            transaction: None,
            bad_commands: 0,
            ends_at: Instant::now() + server.settings.session_time,
            leaving: server.node.leaving(),
        }
    }

    /// Talks until one of the two has had enough.
    pub(crate) async fn run(mut self) {
        let server = self.server;
        self.wire.output().extend_from_slice(&server.greeting);
        let cut_off = async {
            server.node.stop().cancelled().await;
            sleep(server.settings.drain_time).await;
        };
        let end = tokio::select! {
            biased;
            end = self.talk() => end,
            () = cut_off => Err(End::Say(Some(Reply::SHUTTING_DOWN))),
        };
        if let Err(End::Say(last_words)) = end {
            if let Some(reply) = last_words {
                reply.write_to(self.wire.output());
            }
            self.wire.close().await;
        }
    }

    async fn talk(&mut self) -> Flow {
        let mut line = Vec::new();
        loop {
            self.wire.flush_if_much().await?;
            let leaving = self.transaction.is_none().then_some(&self.leaving);
            let deadline = self.transaction.as_ref().map(|transaction| transaction.deadline);
            let next = self.wire.next_line(&mut line, deadline, leaving).await?;
            if self.transaction.is_none() && Instant::now() > self.ends_at {
                return Err(End::Say(Some(Reply::SESSION_TOO_LONG)));
            }
            let understood = match next {
                NextLine::TooLong { is_bdat: true } => Ok(Line::LostCount),
                NextLine::TooLong { is_bdat: false } => Err(Reply::LINE_TOO_LONG),
                NextLine::Whole => parse_line(&line),
            };
            match understood {
                Ok(Line::Command(command)) => self.obey(command).await?,
                Ok(Line::Chunk { octets, last }) => self.take_chunk(octets, last).await?,
                Ok(Line::BadChunk { octets }) => {
                    self.skip(octets).await?;
                    self.say(Reply::BAD_ARGUMENT)?;
                }
                // What follows may be octets of a message: they must never be taken for commands.
                Ok(Line::LostCount) => return Err(End::Say(Some(Reply::BAD_ARGUMENT))),
                Err(reply) => self.say(reply)?,
            }
        }
    }

    fn say(&mut self, reply: Reply) -> Flow {
        reply.write_to(self.wire.output());
        if matches!(reply.code, 500..=503) {
            self.bad_commands += 1;
            if self.bad_commands > self.server.settings.bad_commands {
                return Err(End::Say(Some(Reply::TOO_MANY_ERRORS)));
            }
        }
        Ok(())
    }

    async fn obey(&mut self, command: Command<'_>) -> Flow {
        match command {
            Command::Lhlo => {
                self.is_greeted = true;
                self.transaction = None;
                self.wire.output().extend_from_slice(&self.server.capabilities);
                Ok(())
            }
            Command::Mail(mail) => self.begin(mail),
            Command::Rcpt(argument) => self.add_recipient(argument).await,
            Command::Data => self.take_data().await,
            Command::Rset => {
                self.transaction = None;
                self.say(Reply::OK)
            }
            Command::Noop => self.say(Reply::OK),
            Command::Vrfy => self.say(Reply::CANNOT_VERIFY),
            Command::Help => {
                let lines = [
                    "2.0.0 This is Signet, which takes mail by LMTP (RFC 2033).",
                    "2.0.0 Commands: LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT",
                ];
                write_lines(214, &lines, self.wire.output());
                Ok(())
            }
            Command::Quit => Err(End::Say(Some(Reply::BYE))),
        }
    }

    fn begin(&mut self, mail: Mail) -> Flow {
        if !self.is_greeted {
            return self.say(Reply::LHLO_FIRST);
        }
        if let Some(transaction) = &self.transaction {
            let reply = if transaction.chunks.is_some() { Reply::CHUNKS_OPEN } else { Reply::MAIL_AGAIN };
            return self.say(reply);
        }
        if self.leaving.is_cancelled() {
            return Err(End::Say(Some(Reply::SHUTTING_DOWN)));
        }
        if usize::try_from(mail.size).unwrap_or(usize::MAX) > self.server.settings.message_bytes {
            return self.say(Reply::TOO_BIG);
        }
        let deadline = Instant::now() + self.server.settings.transaction_time;
        self.transaction = Some(Transaction { mail, recipients: Vec::new(), deadline, chunks: None });
        self.say(Reply::SENDER_OK)
    }

    async fn add_recipient(&mut self, argument: &[u8]) -> Flow {
        let reply = self.accept_recipient(argument).await;
        if !reply.is_positive() {
            self.server.metrics.count(reply);
        }
        self.say(reply)
    }

    async fn accept_recipient(&mut self, argument: &[u8]) -> Reply {
        let server = self.server;
        let Some(transaction) = &mut self.transaction else {
            return if self.is_greeted { Reply::MAIL_FIRST } else { Reply::LHLO_FIRST };
        };
        if transaction.chunks.is_some() {
            return Reply::CHUNKS_OPEN;
        }
        let address = match parse_rcpt(argument, transaction.mail.utf8) {
            Ok(address) => address,
            Err(reply) => return reply,
        };
        if transaction.recipients.len() >= server.settings.recipients {
            return Reply::TOO_MANY_RECIPIENTS;
        }
        let asked = if address.contains('@') {
            timeout(server.settings.delivery_time, server.delivery.accepts(&address)).await
        } else {
            let here = format!("{address}@{}", server.settings.hostname);
            timeout(server.settings.delivery_time, server.delivery.accepts(&here)).await
        };
        match asked {
            Ok(Ok(account)) => {
                transaction.recipients.push(Recipient { address, account });
                Reply::RECIPIENT_OK
            }
            Ok(Err(reply)) => reply,
            Err(_) => Reply::FAULT,
        }
    }

    async fn take_data(&mut self) -> Flow {
        let server = self.server;
        let refusal = match &self.transaction {
            _ if !self.is_greeted => Some(Reply::LHLO_FIRST),
            None => Some(Reply::MAIL_FIRST),
            Some(transaction) if transaction.chunks.is_some() => Some(Reply::CHUNKS_OPEN),
            Some(transaction) if transaction.recipients.is_empty() => Some(Reply::NO_RECIPIENT),
            Some(transaction) if transaction.mail.body == BodyType::Binary => Some(Reply::BINARY_NEEDS_BDAT),
            Some(_) => None,
        };
        if let Some(reply) = refusal {
            return self.say(reply);
        }
        let Some(transaction) = self.transaction.take() else { return Ok(()) };
        let begin = Content::begin(&server.budget, server.settings.message_bytes, transaction.mail.size);
        let mut begin = pin!(begin);
        let mut content = match poll_immediate(&mut begin).await {
            Some(content) => content,
            None => {
                // The replies to what was pipelined before DATA do not wait with it.
                self.wire.flush().await?;
                begin.await
            }
        };
        if let Some(reply) = content.failure() {
            transaction.recipients.iter().for_each(|_| server.metrics.count(reply));
            return self.say(reply);
        }
        self.say(Reply::GO_ON)?;
        let mut decoder = Decoder::new();
        loop {
            if self.wire.buffered().is_empty()
                && let Err(stop) = self.wire.fill(Some(transaction.deadline)).await
            {
                return self.give_up(&transaction, stop);
            }
            let input = self.wire.buffered();
            content.make_room(&server.budget, input.len() + 1).await;
            let (taken, done) = content.append(|bytes| decoder.decode(input, bytes));
            self.wire.consume(taken);
            if done {
                break;
            }
        }
        if decoder.has_bare_lf() && server.settings.bare_lf == BareLf::Refuse {
            content.fail(Reply::BARE_LF);
        }
        self.finish(&transaction, content).await
    }

    /// The content stopped before its end: nothing is kept, and each recipient's reply says so.
    fn give_up(&mut self, transaction: &Transaction, stop: Stop) -> Flow {
        if stop != Stop::TimedOut {
            return Err(End::from(stop));
        }
        for _ in &transaction.recipients {
            self.server.metrics.count(Reply::TIMED_OUT);
            Reply::TIMED_OUT.write_to(self.wire.output());
        }
        Err(End::Say(None))
    }

    async fn skip(&mut self, octets: u64) -> Flow {
        let deadline = Instant::now() + self.server.settings.transaction_time;
        Ok(self.wire.skip(octets, deadline).await?)
    }

    async fn take_chunk(&mut self, octets: u64, last: bool) -> Flow {
        let server = self.server;
        let refusal = match &self.transaction {
            _ if !self.is_greeted => Some(Reply::LHLO_FIRST),
            None => Some(Reply::MAIL_FIRST),
            Some(transaction) if transaction.recipients.is_empty() => Some(Reply::NO_RECIPIENT),
            Some(_) => None,
        };
        if let Some(reply) = refusal {
            self.skip(octets).await?;
            return self.say(reply);
        }
        let Some(mut transaction) = self.transaction.take() else { return Ok(()) };
        let limit = server.settings.message_bytes;
        let mut content = match transaction.chunks.take() {
            Some(content) => content,
            None if last => Content::begin(&server.budget, limit, octets).await,
            None => Content::begin(&server.budget, limit, transaction.mail.size).await,
        };
        let mut missing = octets;
        if missing > content.octets_left() as u64 {
            content.fail(Reply::TOO_BIG);
        }
        while missing > 0 {
            if self.wire.buffered().is_empty()
                && let Err(stop) = self.wire.fill(Some(transaction.deadline)).await
            {
                return if last { self.give_up(&transaction, stop) } else { Err(End::from(stop)) };
            }
            let here = usize::try_from(missing).unwrap_or(usize::MAX).min(self.wire.buffered().len());
            let input = &self.wire.buffered()[..here];
            content.make_room(&server.budget, here).await;
            content.append(|bytes| bytes.extend_from_slice(input));
            self.wire.consume(here);
            missing -= here as u64;
        }
        if last {
            return self.finish(&transaction, content).await;
        }
        let reply = content.failure().unwrap_or(Reply::CHUNK_OK);
        transaction.chunks = Some(content);
        self.transaction = Some(transaction);
        self.say(reply)
    }

    /// Keeps the message for those who were accepted, and says of each whether it is.
    async fn finish(&mut self, transaction: &Transaction, content: Content) -> Flow {
        let server = self.server;
        let started = Instant::now();
        let recipients = &transaction.recipients;
        let mut replies = match content.failure() {
            Some(reply) => vec![reply; recipients.len()],
            None => {
                let _turn = server.budget.keeping(content.bytes().len()).await;
                let submission = Submission {
                    sender: transaction.mail.sender.as_deref(),
                    recipients,
                    message: content.bytes(),
                    from_relay: self.from_relay,
                    patience: server.settings.delivery_time,
                };
                server.delivery.deliver(submission).await
            }
        };
        // Whatever delivery does, each recipient has one reply.
        replies.resize(recipients.len(), Reply::FAULT);
        let kept = replies.iter().filter(|reply| reply.is_positive()).count();
        let time: Duration = started.elapsed();
        server.metrics.time(time);
        tracing::debug!(
            octets = content.bytes().len(),
            recipients = recipients.len(),
            kept,
            micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            "a transaction ended"
        );
        for reply in replies {
            server.metrics.count(reply);
            reply.write_to(self.wire.output());
        }
        Ok(())
    }
}
