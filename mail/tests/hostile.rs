//! Broken and hostile mail: nothing panics, everything ends soon.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use mail::{Limits, parse, safe_html, thread::thread_keys};
use proptest::prelude::*;

/// Every view of a message.
fn view(raw: &[u8], limits: &Limits) {
    let message = parse(raw, limits);
    let head = message.head();
    assert!(head.preview.chars().count() <= 256);
    thread_keys(&head);
    message.headers();
    message.text_body();
    message.attachments();
    message.report();
    message.calendar();
    message.language();
    assert!(message.terms().len() <= limits.terms);
    if let Some(html) = message.html_body() {
        safe_html(&html, &|cid| Some(format!("/{cid}")));
    }
    let mut parts = vec![message.structure()];
    while let Some(part) = parts.pop() {
        message.part(&part.part_id);
        parts.extend(part.parts);
    }
}

/// The limit in a build that is not optimised; a release build takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(20);

fn view_soon(name: &str, raw: &[u8]) {
    let start = Instant::now();
    view(raw, &Limits::default());
    let took = start.elapsed();
    println!("{name}: {} KiB in {took:?}", raw.len() >> 10);
    assert!(took < LIMIT, "{name} took {took:?}");
}

#[test]
fn a_hundred_thousand_nested_boundaries_end_soon() {
    let mut raw = String::from("Content-Type: multipart/mixed; boundary=b0\n\n");
    for i in 0..100_000 {
        raw.push_str(&format!("--b{i}\nContent-Type: multipart/mixed; boundary=b{}\n\n", i + 1));
    }
    view_soon("nested boundaries", raw.as_bytes());
}

#[test]
fn nested_messages_without_end_end_soon() {
    let raw = "Content-Type: message/rfc822\n\n".repeat(100_000);
    view_soon("nested messages", raw.as_bytes());
}

#[test]
fn boundaries_that_never_come_end_soon() {
    let mut raw = String::from("Content-Type: multipart/mixed; boundary=b\n\n");
    for i in 0..50_000 {
        raw.push_str(&format!("--b\nContent-Type: multipart/mixed; boundary=never{i}\n\nx\n"));
    }
    view_soon("boundaries that never come", raw.as_bytes());
}

#[test]
fn lines_that_look_like_boundaries_end_soon() {
    let boundary = "x".repeat(60);
    let mut raw = format!("Content-Type: multipart/mixed; boundary={boundary}\n\n");
    raw.push_str(&format!("--{boundary}y\n").repeat(50_000));
    view_soon("boundaries that almost come", raw.as_bytes());
}

#[test]
fn a_header_of_ten_megabytes_ends_soon() {
    let long = format!("Subject: x\nTo: {}\n\nbody", "a@example.org, ".repeat(700_000));
    view_soon("one long field", long.as_bytes());
    let many = format!("{}\nbody", "X-Field: value\n".repeat(700_000));
    view_soon("many fields", many.as_bytes());
    let folded = format!("Content-Type: text/plain{}\n\nbody", ";\n x*1*=utf-8''a".repeat(100_000));
    view_soon("many parameters", folded.as_bytes());
    let words = format!("Subject: {}\n\n", "=?utf-8?B?".repeat(1_000_000));
    view_soon("open encoded words", words.as_bytes());
    let comments = format!("From: {}\n\n", "(".repeat(1_000_000));
    view_soon("open comments", comments.as_bytes());
}

#[test]
fn a_body_of_megabytes_ends_soon() {
    view_soon("one line", &[b"Subject: x\n\n".to_vec(), vec![b'a'; 25 << 20]].concat());
    view_soon("words", format!("Subject: x\n\n{}", "word ".repeat(1 << 20)).as_bytes());
    let base64 = format!(
        "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n{}",
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5\n".repeat(150_000)
    );
    view_soon("base64", base64.as_bytes());
    view_soon("dense script", format!("Subject: x\n\n{}", "漢".repeat(1 << 18)).as_bytes());
    let html = format!("Content-Type: text/html\n\n{}", "<div><b><a href=x>".repeat(60_000));
    view_soon("html", html.as_bytes());
    let fostered = format!("Content-Type: text/html\n\n<table>{}", "<b></b>".repeat(9_000));
    view_soon("elements in no cell", fostered.as_bytes());
    let attributes: String = (0..10_000).map(|i| format!(" x{i}=''")).collect();
    view_soon("attributes", format!("Content-Type: text/html\n\n<a {attributes}>x").as_bytes());
    let table =
        format!("Content-Type: text/html\n\n{}", "<table><tr><td>x</td></tr></table><p>y".repeat(3_000));
    view_soon("tables", table.as_bytes());
}

#[test]
fn broken_mail_is_shown_as_well_as_can_be() {
    let text = |raw: &[u8]| parse(raw, &Limits::default()).text_body();
    let cases: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"no header at all", "no header at all"),
        (b"two lines\nno header", "two lines\nno header"),
        (b"Subject: x", ""), // no body
        (b"Subject: x\nno empty line\nbody", "no empty line\nbody"),
        (b"\r\n\r\nSubject: x\r\n\r\nbody", "body"), // empty lines first
        (b"From a@x Mon Jan  1 00:00:00 2001\nSubject: x\n\nbody", "body"), // mbox
        (b"Subject: x\r\rbody", "body"),             // bare CR
        (b"Content-Type: multipart/mixed; boundary=b\n\nno parts", "no parts"),
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nno end", "no end"),
        (b"Content-Type: multipart/mixed\n\n--b\n\nx\n--b--", "--b\n\nx\n--b--"), // no boundary declared
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b and more\n\nx\n--b-- too\n", "x"), // a longer line
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--bb\n--b\n", "x\n--bb"), // cut after a delimiter
        (b"Content-Type: multipart/mixed\n boundary=b\n\n--b\n\nx\n--b--", "x"), // a semicolon forgotten
        (b"Content-Type: multipart/mixed; boundary=b\n--b\n\nx\n--b--", "x"),    // an empty line forgotten
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\nx\n\n--b--", "x\n"),
        (b"Content-Transfer-Encoding: base64\n\nnot base64, really\n", "not base64, really\n"),
        (b"Content-Type: text/plain; charset=x-none\n\ncaf\xe9", "café"),
        (b"Subject: x\n\na\0b", "ab"),
        (
            b"Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\n \n\n\
              --b\nContent-Type: text/html\n\n<p>only here</p>\n--b--\n",
            "only here\n", // a text part without text
        ),
    ];
    for (raw, expected) in cases {
        assert_eq!(text(raw), *expected, "{}", String::from_utf8_lossy(raw));
    }
    let head = parse(b"\r\n\r\nSubject: x\r\n\r\nbody", &Limits::default()).head();
    assert_eq!(head.subject, "x");
}

#[test]
fn boundaries_that_begin_alike_are_told_apart() {
    let raw = b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=bb\n\n\
        --bb\n\nplain\n--bb\nContent-Type: text/html\n\n<p>html\n--bb--\n--b\nContent-Type: image/png\n\nx\n--b--\n";
    let message = parse(raw, &Limits::default());
    assert_eq!(message.text_body(), "plain");
    assert_eq!(message.html_body().as_deref(), Some("<p>html"));
    assert_eq!(message.attachments().len(), 1);
    assert_eq!(message.attachments()[0].part_id, "2");
    assert_eq!(&*message.part("1.2").unwrap().bytes, b"<p>html");
}

#[test]
fn parts_of_nested_messages_have_numbers() {
    let raw = b"Content-Type: multipart/mixed; boundary=a\n\n--a\n\ntext\n--a\nContent-Type: message/rfc822\n\n\
        Subject: inner\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\none\n--i\n\ntwo\n--i--\n--a\n\
        Content-Type: message/rfc822\n\nSubject: single\n\nbody\n--a\n\
        Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogZW5jb2RlZAoKYm9keQ==\n--a--\n";
    let message = parse(raw, &Limits::default());
    let bytes = |id: &str| message.part(id).map(|p| String::from_utf8_lossy(&p.bytes).into_owned());
    assert_eq!(bytes("1").as_deref(), Some("text"));
    assert_eq!(bytes("2.1").as_deref(), Some("one"));
    assert_eq!(bytes("2.2").as_deref(), Some("two"));
    assert_eq!(bytes("3").as_deref(), Some("Subject: single\n\nbody"));
    assert_eq!(bytes("3.1").as_deref(), Some("body"));
    assert_eq!(bytes("4.1").as_deref(), Some("body"));
    assert_eq!(bytes("5"), None);
    assert_eq!(bytes(""), None);
    assert_eq!(message.text_body(), "text");
    assert_eq!(message.attachments().len(), 3);
}

#[test]
fn limits_hold() {
    let limits = Limits { parts: 10, headers: 3, depth: 2, ..Limits::default() };
    let raw = format!("A: 1\nB: 2\nC: 3\nD: 4\nContent-Type: text/plain\n\n{}", "x");
    assert_eq!(parse(raw.as_bytes(), &limits).headers().len(), 3);
    let parts = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(100));
    assert_eq!(parse(parts.as_bytes(), &limits).structure().parts.len(), 9);
    let mut deep = parse(&b"Content-Type: message/rfc822\n\n".repeat(50), &limits).structure();
    let mut depth = 0;
    while let Some(inner) = deep.parts.pop() {
        deep = inner;
        depth += 1;
    }
    assert_eq!(depth, 2);
}

/// Pieces that mail is broken with.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: message/rfc822\n",
        b"--b\r\n",
        b"--b--\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: quoted-printable\n",
        b"Subject: =?utf-8?B?w6k=?= =?utf-8?Q?=C3?=\n",
        b"From: \"a\\\" <b@c>, (d(e) f: g@h;,\n",
        b"Date: 1 Jan 99 00:00\n",
        b"Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1=x\n",
        b"Content-Type: text/html\n\n<p><a b='",
        b"=?",
        b"?=",
        b"=3D=\n",
        b"\"",
        b"(",
        b"<",
        b">",
        b";",
        b":",
        b",",
        b"\0",
        b"\xff",
        b"&#x80;",
        b"<!--",
        b"begin 644 x\n",
        b"Content-Type: text/plain; charset=utf-16\n\n",
        b"Content-Type: text/plain; charset=utf-7\n\n+",
        b"References: <a> <b\n",
        b"Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822;\n",
        b"Content-Type: text/calendar\n\nMETHOD:",
    ];
    prop_oneof![
        3 => prop::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "\\PC{0,20}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..600)) {
        view(&raw, &Limits::default());
    }

    #[test]
    fn no_pieces_of_mail_make_it_panic(pieces in prop::collection::vec(piece(), 0..30)) {
        view(&pieces.concat(), &Limits::default());
    }

    #[test]
    fn no_change_of_a_real_message_makes_it_panic(
        which in 0usize..64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), piece(), 0usize..40), 1..12),
    ) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "eml")).collect();
        files.sort();
        let mut raw = std::fs::read(&files[which % files.len()]).unwrap();
        for (at, piece, removed) in changes {
            let at = at.index(raw.len() + 1);
            let end = (at + removed).min(raw.len());
            raw.splice(at..end, piece);
        }
        view(&raw, &Limits::default());
    }
}
