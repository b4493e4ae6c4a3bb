//! The content of messages, by DATA and by BDAT, against the plainest reading of RFC 5321 and RFC 3030.

#![no_main]

use fuzz::{assert_replies, play};
use libfuzzer_sys::fuzz_target;
use lmtp::{BareLf, Settings};

const START: &[u8] = b"LHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<anna@one.example>\r\n";

/// What DATA's content is, octet by octet; `None` if it does not end. Also how many octets it takes.
fn plain(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at, mut at_start) = (Vec::new(), 0, true);
    while at < wire.len() {
        if at_start && wire[at..].starts_with(b".\r\n") {
            return Some((content, at + 3));
        }
        if at_start && wire[at] == b'.' {
            at += 1;
            // A dot alone at a line's start goes; what follows it is not at the start of a line any more.
            at_start = false;
            continue;
        }
        content.push(wire[at]);
        at += 1;
        // A CRLF of the wire, not one that only a dot's going has made.
        at_start = content.ends_with(b"\r\n") && wire[..at].ends_with(b"\r\n");
    }
    None
}

fn has_bare_lf(content: &[u8]) -> bool {
    content.iter().enumerate().any(|(at, &octet)| octet == b'\n' && (at == 0 || content[at - 1] != b'\r'))
}

fn by_data(wire: &[u8], piece: usize, bare_lf: BareLf) {
    let settings = Settings { bare_lf, ..Settings::default() };
    let (said, kept) = play(&[START, b"DATA\r\n", wire].concat(), piece, settings);
    assert_replies(&said);
    let Some((content, _)) = plain(wire) else {
        assert!(kept.is_empty(), "what has no end is not kept");
        return;
    };
    if bare_lf == BareLf::Refuse && has_bare_lf(&content) {
        assert!(said.contains("\r\n554 5.6.0 "), "{said:?}");
        assert!(kept.first().is_none_or(|(.., first)| *first != content));
    } else {
        assert_eq!(kept.first().map(|(.., first)| first.as_slice()), Some(content.as_slice()), "{said:?}");
    }
}

fn by_chunks(octets: &[u8], chunk: usize, piece: usize) {
    let mut wire = START.to_vec();
    for chunk in octets.chunks(chunk) {
        wire.extend(format!("BDAT {}\r\n", chunk.len()).bytes());
        wire.extend(chunk);
    }
    wire.extend(b"BDAT 0 LAST\r\nQUIT\r\n");
    let (said, kept) = play(&wire, piece, Settings::default());
    assert_replies(&said);
    assert_eq!(kept.len(), 1, "{said:?}");
    assert_eq!(kept[0].2, octets);
}

fuzz_target!(|input: &[u8]| {
    let Some(([piece, chunk], octets)) = input.split_first_chunk::<2>() else { return };
    let piece = if *piece == 0 { usize::MAX } else { usize::from(*piece) };
    by_data(octets, piece, BareLf::Refuse);
    by_data(octets, piece, BareLf::Keep);
    // What a careful client sends comes back as it was.
    let mut sent = Vec::new();
    for (at, &octet) in octets.iter().enumerate() {
        if octet == b'.' && (at == 0 || octets[..at].ends_with(b"\r\n")) {
            sent.push(b'.');
        }
        sent.push(octet);
    }
    if octets.ends_with(b"\r\n") {
        sent.extend(b".\r\n");
        assert_eq!(plain(&sent), Some((octets.to_vec(), sent.len())));
        by_data(&sent, piece, BareLf::Keep);
    }
    by_chunks(octets, usize::from(*chunk).max(1) * 16, piece);
});
