//! The welcome message of a first start, delivered through the program's own LMTP like any other.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// The domain of a first start.
pub const DOMAIN: &str = "localhost";
/// The account of a first start.
pub const ACCOUNT: &str = "demo@localhost";

const TIME: Duration = Duration::from_secs(30);

/// The message; `written_at` is a date of RFC 5322. The same date gives the same bytes, so that a repeated delivery is
/// one message.
pub fn message(written_at: &str) -> String {
    let text = format!(
        "From: Signet <postmaster@localhost>\n\
         To: {ACCOUNT}\n\
         Subject: Welcome to Signet\n\
         Date: {written_at}\n\
         Message-ID: <welcome@localhost>\n\
         MIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\n\
         \n\
         This message came in over LMTP, as postfix would have brought it. It is sealed\n\
         on the disk, and can be listed, read and searched over the REST API.\n\
         \n\
         Next: add a domain and an account, and point postfix at Signet.\n\
         \n\
         \x20   signet domain add example.org\n\
         \x20   signet account create anna@example.org\n\
         \n\
         Copy the master key and the epochs file beside it to another place: whoever\n\
         loses them has lost the mail.\n"
    );
    text.replace('\n', "\r\n")
}

/// Delivers the message.
///
/// # Errors
/// What the connection or the reply says.
pub async fn deliver(lmtp: SocketAddr, written_at: &str) -> std::io::Result<()> {
    let session = session(lmtp, written_at);
    tokio::time::timeout(TIME, session)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

async fn session(lmtp: SocketAddr, written_at: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(lmtp).await?);
    expect(&mut stream, b'2').await?;
    let data = format!("{}.", message(written_at));
    let commands = [
        ("LHLO localhost", b'2'),
        ("MAIL FROM:<postmaster@localhost>", b'2'),
        (&format!("RCPT TO:<{ACCOUNT}>"), b'2'),
        ("DATA", b'3'),
        (&data, b'2'),
        ("QUIT", b'2'),
    ];
    for (command, class) in commands {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        expect(&mut stream, class).await?;
    }
    Ok(())
}

async fn expect(stream: &mut BufReader<TcpStream>, class: u8) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let is_last = line.as_bytes().get(3) != Some(&b'-');
        if is_last && line.as_bytes().first() == Some(&class) {
            return Ok(());
        }
        if is_last {
            return Err(std::io::Error::other(format!(
                "the reply was {}",
                line.get(..3).unwrap_or_default()
            )));
        }
    }
}
