//! What reading a message costs: `cargo run --release -p mail --example cost -- FOLDER`.
//!
//! Prints the mean time per message of each view over the files of a folder.

use std::{fs, hint::black_box, path::PathBuf, time::Instant};

use mail::{Limits, parse};

fn main() {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: cost FOLDER");
        std::process::exit(64);
    };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            std::process::exit(66);
        }
    };
    let messages: Vec<Vec<u8>> =
        entries.flatten().filter_map(|e| fs::read(e.path()).ok()).filter(|m| !m.is_empty()).collect();
    if messages.is_empty() {
        eprintln!("no messages in {}", folder.display());
        std::process::exit(66);
    }
    let limits = Limits::default();
    let octets: usize = messages.iter().map(Vec::len).sum();
    println!("{} messages, {} octets each", messages.len(), octets / messages.len());
    let measure = |name: &str, view: &dyn Fn(&[u8])| {
        let rounds = 3;
        let start = Instant::now();
        for _ in 0..rounds {
            messages.iter().for_each(|m| view(m));
        }
        let each = start.elapsed().as_secs_f64() * 1e6 / (rounds * messages.len()) as f64;
        println!("{name:<14}{each:>10.1} µs");
    };
    measure("parse", &|m| {
        black_box(parse(m, &limits));
    });
    measure("parse + head", &|m| {
        black_box(parse(m, &limits).head());
    });
    measure("text", &|m| {
        black_box(parse(m, &limits).text_body());
    });
    measure("language", &|m| {
        black_box(parse(m, &limits).language());
    });
    measure("terms", &|m| {
        black_box(parse(m, &limits).terms());
    });
    measure("attachments", &|m| {
        black_box(parse(m, &limits).attachments());
    });
    let terms: usize = messages.iter().map(|m| parse(m, &limits).terms().len()).sum();
    println!("{} terms a message", terms / messages.len());
}
