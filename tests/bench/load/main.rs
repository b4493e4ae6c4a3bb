//! The load behind `tests/bench/run`: deliveries over LMTP, or requests over HTTP, against a server on the loopback;
//! one JSON object on the standard output. Bounded by count and by time.

mod http;
mod lmtp;
mod measure;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Load for tests/bench/run")]
enum Command {
    /// Deliver messages over LMTP.
    Lmtp(lmtp::Lmtp),
    /// Send the same request, with another word each time.
    Http(http::Http),
}

fn loopback(address: SocketAddr) -> io::Result<SocketAddr> {
    if address.ip().is_loopback() { Ok(address) } else { Err(io::Error::other("loopback addresses only")) }
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Lmtp(lmtp) => lmtp.run(),
        Command::Http(http) => http.run(),
    };
    match done {
        Ok((out, complete)) => {
            println!("{out}");
            if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
