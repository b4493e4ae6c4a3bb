//! The sessions of `tests/dialogs`, and what no client may do to us.

#![allow(clippy::unwrap_used)]

mod dialog;

use std::path::Path;
use std::sync::Arc;

use dialog::{Client, Memory, play};
use lmtp::{Proxy, Server, Settings};
use proptest::prelude::*;
use schema::LocalNode;
use tokio_util::sync::CancellationToken;

#[test]
fn every_dialog_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dialogs");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_none());
    files.sort();
    assert!(files.len() >= 18, "the dialogs are there");
    let mut failed = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let dialog = std::fs::read_to_string(&path).unwrap();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let play = std::panic::AssertUnwindSafe(|| runtime.block_on(play(&name, &dialog)));
        if std::panic::catch_unwind(play).is_err() {
            failed.push(name);
        }
    }
    assert_eq!(failed, [""; 0], "dialogs that went otherwise");
}

/// What a careless or hostile client may send next.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
    prop_oneof![
        fixed("LHLO x\r\n"),
        fixed("MAIL FROM:<a@b.example>\r\n"),
        fixed("MAIL FROM:<> BODY=BINARYMIME SMTPUTF8\r\n"),
        fixed("RCPT TO:<anna@one.example>\r\n"),
        fixed("RCPT TO:<nobody@one.example>\r\n"),
        fixed("DATA\r\n"),
        fixed("BDAT 5\r\n"),
        fixed("BDAT 3 LAST\r\n"),
        fixed("BDAT 18446744073709551615\r\n"),
        fixed("RSET\r\n"),
        fixed("NOOP\r\n"),
        fixed(".\r\n"),
        fixed("..\r\n"),
        fixed("\r\n.\r\n"),
        fixed("\n.\n"),
        fixed("\r"),
        fixed("QUIT\r\n"),
        proptest::collection::vec(any::<u8>(), 0..40),
        (0..700usize).prop_map(|length| vec![b'x'; length]),
    ]
}

proptest! {
    #[test]
    fn whatever_is_sent_is_answered_or_ended_and_harms_nobody(
        pieces in proptest::collection::vec(pieces(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let memory = Arc::new(Memory::default());
            let server = Server::new(memory.clone(), Settings::default(), LocalNode::unnamed(CancellationToken::new()));
            let socket = "192.0.2.1".parse().unwrap();
            let mut neighbour = Client::connect(&server, socket, &Proxy::Off);
            neighbour.send(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<neighbour@one.example>\r\nDATA\r\n").await;

            let mut client = Client::connect(&server, socket, &Proxy::Off);
            for piece in &pieces {
                client.send(piece).await;
            }
            client.finish_sending().await;
            let said = client.rest().await;
            // Replies and nothing else: a code, a mark, text.
            for line in said.lines() {
                assert!(line.is_ascii() && line.len() > 4 && line[..3].bytes().all(|octet| octet.is_ascii_digit()), "{line:?}");
                assert!(matches!(line.as_bytes()[0], b'2'..=b'5') && matches!(line.as_bytes()[3], b' ' | b'-'), "{line:?}");
            }
            assert!(said.starts_with("220 "));

            neighbour.send(b"still here\r\n.\r\nQUIT\r\n").await;
            let heard = neighbour.rest().await;
            assert!(heard.ends_with("250 2.0.0 Kept\r\n221 2.0.0 Bye\r\n"), "{heard}");
            let kept = memory.kept.lock().unwrap();
            assert!(kept.iter().any(|kept| kept.recipient == "neighbour@one.example" && kept.message == b"still here\r\n"));
        });
    }
}
