//! Requests: the same GET again and again, with another word each time, over connections kept open.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use crate::loopback;
use crate::measure::{LONGEST_RUN, Tally, Watch, in_parallel};

#[derive(Args)]
pub(crate) struct Http {
    /// `{q}` becomes the next word of `--queries`.
    #[arg(long)]
    url: String,
    /// One header, `Name: value`.
    #[arg(long)]
    header: Option<String>,
    /// Lines of class, tab, word.
    #[arg(long)]
    queries: Option<PathBuf>,
    #[arg(long)]
    count: u64,
    #[arg(long, default_value_t = 5)]
    warmup: u64,
    #[arg(long, default_value_t = 1)]
    concurrency: u64,
    #[command(flatten)]
    watch: Watch,
}

impl Http {
    fn request(&self, stream: &mut BufReader<TcpStream>, host: &str, path: &str) -> io::Result<usize> {
        let header = self.header.as_ref().map(|line| format!("{line}\r\n")).unwrap_or_default();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n");
        stream.get_mut().write_all(head.as_bytes())?;
        let (mut status, mut length, mut chunked) = (String::new(), 0, false);
        stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? <= 2 {
                break;
            }
            let line = line.trim_end().to_ascii_lowercase();
            chunked |= line == "transfer-encoding: chunked";
            length =
                line.strip_prefix("content-length:").and_then(|n| n.trim().parse().ok()).unwrap_or(length);
        }
        let mut total = 0;
        loop {
            if chunked {
                let mut size = String::new();
                stream.read_line(&mut size)?;
                length = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)? + 2;
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
            total += length;
            if !chunked || length == 2 {
                break;
            }
        }
        if status.split(' ').nth(1) == Some("200") {
            Ok(total)
        } else {
            Err(io::Error::other(status.trim_end().to_owned()))
        }
    }

    fn send(&self, address: SocketAddr, path: &str, words: &[String], count: u64) -> (Tally, f64) {
        let end = Instant::now() + LONGEST_RUN;
        let open = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            io::Result::Ok(BufReader::new(stream))
        };
        in_parallel(self.concurrency, |next, _, tally| {
            let mut stream = open();
            while Instant::now() < end && tally.errors.values().sum::<u64>() < 20 {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let path = path.replace("{q}", &words[number as usize % words.len()]);
                let start = Instant::now();
                let done = stream
                    .as_mut()
                    .map_err(|error| io::Error::other(error.to_string()))
                    .and_then(|stream| self.request(stream, &address.to_string(), &path));
                match done {
                    Ok(_) => tally.latencies.push(start.elapsed().as_secs_f64() * 1000.0),
                    Err(error) => {
                        tally.failed(error.to_string());
                        stream = open();
                    }
                }
            }
        })
    }

    pub(crate) fn run(&self) -> io::Result<(Value, bool)> {
        let rest = self.url.strip_prefix("http://").ok_or_else(|| io::Error::other("http:// only"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = loopback(host.parse().map_err(io::Error::other)?)?;
        let listed = self.queries.as_ref().map(fs::read_to_string).transpose()?.unwrap_or_default();
        let mut words: Vec<String> =
            listed.lines().filter_map(|line| line.split('\t').nth(1)).map(str::to_owned).collect();
        if words.is_empty() {
            words.push(String::new());
        }
        self.send(address, path, &words, self.warmup);
        let before = self.watch.read();
        let (mut tally, wall) = self.send(address, path, &words, self.count);
        let after = self.watch.read();
        let answered = tally.latencies.len() as u64;
        let out = json!({
            "tool": "load http", "concurrency": self.concurrency, "ok": answered, "wall_s": wall,
            "req_per_s": answered as f64 / wall, "latency": { "all": tally.percentiles() },
            "errors": tally.errors, "cost": self.watch.cost(&before, &after, answered),
        });
        Ok((out, answered == self.count))
    }
}
