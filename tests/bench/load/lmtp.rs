//! Deliveries: messages of a corpus, to accounts drawn at random, over sessions kept open.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use crate::loopback;
use crate::measure::{LONGEST_RUN, Tally, Watch, in_parallel};

#[derive(Args)]
pub(crate) struct Lmtp {
    #[arg(long)]
    addr: SocketAddr,
    #[arg(long, default_value_t = 1)]
    sessions: u64,
    #[arg(long)]
    messages: u64,
    /// Messages sent before the clock starts.
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Recipients of each message.
    #[arg(long, default_value_t = 1)]
    rcpts: u64,
    /// Recipients to choose from; `%03d` in `--user` becomes 001, 002 and so on.
    #[arg(long, default_value_t = 100)]
    users: u64,
    #[arg(long, default_value = "user%03d@bench.example")]
    user: String,
    /// A directory of messages, read whole.
    #[arg(long)]
    corpus: PathBuf,
    /// Send the messages in the order of their paths, rather than drawn at random.
    #[arg(long)]
    in_order: bool,
    /// After the last reply, wait at most this long (such as `60s`) until the server is idle.
    #[arg(long, default_value = "0s", value_parser = seconds)]
    settle: Duration,
    #[command(flatten)]
    watch: Watch,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches('s').parse().map_err(|_| format!("no number of seconds: {text}"))?;
    Ok(Duration::from_secs(number))
}

/// Random enough to draw messages and recipients, the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

fn files_under(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { files_under(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// The messages as they go over the wire: CRLF, dots doubled, without their Message-ID.
fn read_corpus(directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    files_under(directory, &mut paths)?;
    paths.sort();
    let messages: io::Result<Vec<_>> = paths.iter().map(|path| Ok(wire_form(&fs::read(path)?))).collect();
    messages.and_then(|all| if all.is_empty() { Err(io::Error::other("no messages there")) } else { Ok(all) })
}

fn wire_form(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + message.len() / 40);
    let (mut in_head, mut dropping) = (true, false);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        in_head &= !line.is_empty();
        if in_head {
            let folded = matches!(line.first(), Some(b' ' | b'\t'));
            dropping = (folded && dropping) || line.to_ascii_lowercase().starts_with(b"message-id:");
        }
        if in_head && dropping {
            continue;
        }
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend(line.iter().filter(|byte| !matches!(byte, b'\r' | 0)));
        wire.extend(b"\r\n");
    }
    wire
}

struct Session {
    reader: BufReader<TcpStream>,
}

impl Session {
    fn open(address: SocketAddr) -> io::Result<Session> {
        let stream = TcpStream::connect(loopback(address)?)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut session = Session { reader: BufReader::new(stream) };
        session.expect("220")?;
        session.write(b"LHLO load.example\r\n")?;
        session.expect("250")?;
        Ok(session)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    fn expect(&mut self, code: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                let answered = line.starts_with(code);
                return if answered { Ok(()) } else { Err(io::Error::other(line.trim_end().to_owned())) };
            }
        }
    }

    /// One transaction, its commands pipelined.
    fn deliver(&mut self, id: &str, message: &[u8], recipients: &[String]) -> io::Result<()> {
        let mut commands = String::from("MAIL FROM:<sender@load.example>\r\n");
        for recipient in recipients {
            commands.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
        }
        commands.push_str("DATA\r\n");
        self.write(commands.as_bytes())?;
        for _ in 0..=recipients.len() {
            self.expect("250")?;
        }
        self.expect("354")?;
        let head = format!("Message-ID: <{id}@load.example>\r\n");
        self.write(&[head.as_bytes(), message, b".\r\n"].concat())?;
        recipients.iter().try_for_each(|_| self.expect("250"))
    }
}

impl Lmtp {
    fn recipients(&self, dice: &mut Dice) -> Vec<String> {
        let mut chosen: Vec<String> = Vec::new();
        while (chosen.len() as u64) < self.rcpts.min(self.users) {
            let address = self.user.replace("%03d", &format!("{:03}", dice.below(self.users) + 1));
            if !chosen.contains(&address) {
                chosen.push(address);
            }
        }
        chosen
    }

    fn send(&self, corpus: &[Vec<u8>], run: &str, count: u64) -> (Tally, f64) {
        let end = Instant::now() + LONGEST_RUN;
        in_parallel(self.sessions, |next, worker, tally| {
            let mut dice = Dice(worker);
            let mut session = Session::open(self.addr);
            while Instant::now() < end && tally.errors.values().sum::<u64>() < 20 {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let drawn = if self.in_order { number } else { dice.below(u64::MAX) };
                let message = &corpus[(drawn % corpus.len() as u64) as usize];
                let recipients = self.recipients(&mut dice);
                let start = Instant::now();
                let done = session
                    .as_mut()
                    .map_err(|error| io::Error::other(error.to_string()))
                    .and_then(|open| open.deliver(&format!("{run}.{worker}.{number}"), message, &recipients));
                match done {
                    Ok(()) => tally.latencies.push(start.elapsed().as_secs_f64() * 1000.0),
                    Err(error) => {
                        tally.failed(error.to_string());
                        session = Session::open(self.addr);
                    }
                }
            }
        })
    }

    /// Seconds until the server has been idle for two seconds; the longest wait when it never is.
    fn settle(&self) -> f64 {
        let (start, mut history) = (Instant::now(), vec![self.watch.read().server]);
        while start.elapsed() < self.settle {
            thread::sleep(Duration::from_millis(250));
            history.push(self.watch.read().server);
            if history.len() > 8 && history[history.len() - 1] - history[history.len() - 9] < 0.05 {
                return (start.elapsed().as_secs_f64() - 2.0).max(0.0);
            }
        }
        start.elapsed().as_secs_f64()
    }

    pub(crate) fn run(&self) -> io::Result<(Value, bool)> {
        let corpus = read_corpus(&self.corpus)?;
        let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        if self.warmup > 0 {
            self.send(&corpus, &format!("w{stamp}"), self.warmup);
        }
        let before = self.watch.read();
        let (mut tally, wall) = self.send(&corpus, &format!("m{stamp}"), self.messages);
        let after = self.watch.read();
        let taken = tally.latencies.len() as u64;
        let extra = self.settle();
        let settled = self.watch.read();
        let mut cost = self.watch.cost(&before, &after, taken);
        cost["dir_allocated_bytes_per_op"] =
            self.watch.cost(&before, &settled, taken)["dir_allocated_bytes_per_op"].clone();
        let out = json!({
            "tool": "load lmtp", "sessions": self.sessions, "rcpts": self.rcpts, "ok_messages": taken, "wall_s": wall,
            "msgs_per_s": taken as f64 / wall, "latency": tally.percentiles(), "errors": tally.errors, "cost": cost,
            "settled": {
                "extra_s": extra, "msgs_per_s": taken as f64 / (wall + extra),
                "server_cpu_s_per_1000": (settled.server - before.server) / taken.max(1) as f64 * 1000.0,
            },
        });
        Ok((out, taken == self.messages))
    }
}
