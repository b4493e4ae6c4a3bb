//! One line of a client, understood: RFC 5321 §4.1 with the parameters of the extensions that LHLO offers.

use crate::address::{Fault, parse_recipient, parse_sender, split_path};
use crate::reply::Reply;

/// Octets of a command line, its CRLF included (RFC 5321 §4.5.3.1.4).
const LINE: usize = 512;
/// What SIZE (RFC 1870 §3), BODY (RFC 6152 §2) and SMTPUTF8 (RFC 6531 §3.4) add to MAIL.
const MAIL_EXTRA: usize = 26 + 17 + 10;
/// What SMTPUTF8 adds to VRFY.
const VRFY_EXTRA: usize = 10;
/// The longest line of any command.
pub(crate) const LONGEST_LINE: usize = LINE + MAIL_EXTRA;

/// What the content of a message is declared to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum BodyType {
    /// `7BIT`, `8BITMIME` or nothing: lines.
    #[default]
    Lines,
    /// `BINARYMIME`: octets, so BDAT only.
    Binary,
}

/// The arguments of MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// `None` is the null sender.
    pub sender: Option<String>,
    /// SIZE, saturated; 0 is "not known".
    pub size: u64,
    pub body: BodyType,
    pub utf8: bool,
}

/// A command that has the right form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Lhlo,
    Mail(Mail),
    /// The arguments: whether UTF-8 is allowed in them depends on the transaction (see [`parse_rcpt`]).
    Rcpt(&'a [u8]),
    Data,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

/// A line, sorted by whether octets follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Nothing but commands follows.
    Command(Command<'a>),
    /// This many octets of message follow (RFC 3030).
    Chunk { octets: u64, last: bool },
    /// This many octets follow a BDAT that is wrong otherwise.
    BadChunk { octets: u64 },
    /// A BDAT whose octets cannot be told from the commands after them.
    LostCount,
}

/// Understands a line as it was received, its line end included.
///
/// # Errors
/// The reply that says what is wrong with it.
pub(crate) fn parse_line(line: &[u8]) -> Result<Line<'_>, Reply> {
    let Some(text) = line.strip_suffix(b"\r\n") else {
        return if is_bdat(line) { Ok(Line::LostCount) } else { Err(Reply::BAD_LINE) };
    };
    let end = text.iter().position(|&octet| octet == b' ').unwrap_or(text.len());
    let (verb, rest) = text.split_at(end);
    let mut upper = [0; 4];
    let verb: &[u8] = if verb.len() == 4 {
        upper.copy_from_slice(verb);
        upper.make_ascii_uppercase();
        &upper
    } else {
        verb
    };
    let longest = match verb {
        b"MAIL" => LONGEST_LINE,
        b"VRFY" => LINE + VRFY_EXTRA,
        _ => LINE,
    };
    if verb == b"BDAT" {
        // Whatever else is wrong with the line, its octets follow.
        return Ok(parse_bdat(rest));
    }
    if line.len() > longest {
        return Err(Reply::LINE_TOO_LONG);
    }
    if text.iter().any(u8::is_ascii_control) {
        return Err(Reply::BAD_LINE);
    }
    let argument = rest.trim_ascii();
    let bare = |command| if argument.is_empty() { Ok(command) } else { Err(Reply::NO_ARGUMENT) };
    let command = match verb {
        b"LHLO" if argument.is_empty() || argument.len() > 255 || argument.contains(&b' ') => {
            Err(Reply::BAD_ARGUMENT)
        }
        b"LHLO" => Ok(Command::Lhlo),
        b"MAIL" => parse_mail(argument).map(Command::Mail),
        b"RCPT" => Ok(Command::Rcpt(argument)),
        b"DATA" => bare(Command::Data),
        b"RSET" => bare(Command::Rset),
        b"QUIT" => bare(Command::Quit),
        b"NOOP" => Ok(Command::Noop),
        b"HELP" => Ok(Command::Help),
        b"VRFY" if argument.is_empty() => Err(Reply::BAD_ARGUMENT),
        b"VRFY" => Ok(Command::Vrfy),
        b"HELO" | b"EHLO" => Err(Reply::NOT_LMTP),
        b"EXPN" | b"SEND" | b"SOML" | b"SAML" | b"TURN" | b"ETRN" | b"AUTH" => Err(Reply::NOT_IMPLEMENTED),
        _ if verb.eq_ignore_ascii_case(b"STARTTLS") => Err(Reply::NOT_IMPLEMENTED),
        _ => Err(Reply::UNKNOWN_COMMAND),
    };
    command.map(Line::Command)
}

/// Whether a line that cannot be read announced octets.
pub(crate) fn is_bdat(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}

fn parse_bdat(rest: &[u8]) -> Line<'_> {
    let mut words = rest.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let Some(count) = words.next() else {
        // No count announces no octets.
        return Line::BadChunk { octets: 0 };
    };
    let is_count = count.len() <= 20 && count.iter().all(u8::is_ascii_digit);
    let octets = std::str::from_utf8(count).ok().filter(|_| is_count).and_then(|text| text.parse().ok());
    let Some(octets) = octets else { return Line::LostCount };
    match (words.next(), words.next()) {
        (None, _) => Line::Chunk { octets, last: false },
        (Some(word), None) if word.eq_ignore_ascii_case(b"LAST") => Line::Chunk { octets, last: true },
        _ => Line::BadChunk { octets },
    }
}

/// Strips `FROM:` or `TO:` off the argument of MAIL or RCPT.
fn strip_word<'a>(argument: &'a [u8], word: &[u8]) -> Result<&'a [u8], Reply> {
    match argument.split_at_checked(word.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(word) => Ok(rest),
        _ => Err(Reply::BAD_ARGUMENT),
    }
}

fn parse_mail(argument: &[u8]) -> Result<Mail, Reply> {
    let rest = strip_word(argument, b"FROM:")?;
    let (path, rest) = split_path(rest).map_err(|_| Reply::BAD_SENDER)?;
    let (mut size, mut body, mut utf8) = (None, None, false);
    for parameter in parameters(rest)? {
        let (keyword, value) = parameter?;
        match (keyword.to_ascii_uppercase().as_slice(), value) {
            (b"SIZE", Some(value)) if size.is_none() => size = Some(parse_size(value)?),
            (b"BODY", Some(value)) if body.is_none() => {
                body = Some(match value.to_ascii_uppercase().as_slice() {
                    b"7BIT" | b"8BITMIME" => BodyType::Lines,
                    b"BINARYMIME" => BodyType::Binary,
                    _ => return Err(Reply::BAD_ARGUMENT),
                });
            }
            (b"SMTPUTF8", None) if !utf8 => utf8 = true,
            (b"SIZE" | b"BODY" | b"SMTPUTF8", _) => return Err(Reply::BAD_ARGUMENT),
            _ => return Err(Reply::UNKNOWN_PARAMETER),
        }
    }
    let sender = parse_sender(path, utf8).map_err(|fault| match fault {
        Fault::Syntax => Reply::BAD_SENDER,
        Fault::NeedsUtf8 => Reply::NEEDS_SMTPUTF8,
    })?;
    Ok(Mail { sender, size: size.unwrap_or_default(), body: body.unwrap_or_default(), utf8 })
}

/// The recipient in the argument of RCPT; `utf8` says whether MAIL had SMTPUTF8.
///
/// # Errors
/// The reply that says what is wrong with it.
pub(crate) fn parse_rcpt(argument: &[u8], utf8: bool) -> Result<String, Reply> {
    let rest = strip_word(argument, b"TO:")?;
    let (path, rest) = split_path(rest).map_err(|_| Reply::BAD_RECIPIENT)?;
    if let Some(parameter) = parameters(rest)?.next() {
        parameter?;
        return Err(Reply::UNKNOWN_PARAMETER);
    }
    parse_recipient(path, utf8).map_err(|fault| match fault {
        Fault::Syntax => Reply::BAD_RECIPIENT,
        Fault::NeedsUtf8 => Reply::NEEDS_SMTPUTF8,
    })
}

type Parameter<'a> = (&'a [u8], Option<&'a [u8]>);

/// The `keyword[=value]`s after a path (RFC 5321 §4.1.2).
fn parameters(rest: &[u8]) -> Result<impl Iterator<Item = Result<Parameter<'_>, Reply>>, Reply> {
    if !rest.is_empty() && !rest.starts_with(b" ") {
        return Err(Reply::BAD_ARGUMENT);
    }
    Ok(rest.split(|&octet| octet == b' ').filter(|word| !word.is_empty()).map(|word| {
        let (keyword, value) = match memchr::memchr(b'=', word) {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let is_keyword = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
            && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
        let is_value = value.is_none_or(|value| {
            !value.is_empty() && value.iter().all(|octet| *octet != b'=' && !octet.is_ascii_control())
        });
        if is_keyword && is_value { Ok((keyword, value)) } else { Err(Reply::BAD_ARGUMENT) }
    }))
}

fn parse_size(value: &[u8]) -> Result<u64, Reply> {
    if value.len() > 20 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Reply::BAD_ARGUMENT);
    }
    let digit = |sum: u64, octet: &u8| sum.saturating_mul(10).saturating_add(u64::from(octet - b'0'));
    Ok(value.iter().fold(0, digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mail(line: &str) -> Result<Mail, Reply> {
        match parse_line(format!("{line}\r\n").as_bytes())? {
            Line::Command(Command::Mail(mail)) => Ok(mail),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mail_takes_the_parameters_that_lhlo_offers() {
        let plain = Mail { sender: Some("a@b.example".into()), size: 0, body: BodyType::Lines, utf8: false };
        assert_eq!(mail("MAIL FROM:<a@b.example>"), Ok(plain.clone()));
        assert_eq!(mail("mail from:<a@b.example> BODY=8bitmime  "), Ok(plain.clone()));
        assert_eq!(mail("MAIL FROM:<a@b.example> SIZE=12"), Ok(Mail { size: 12, ..plain.clone() }));
        let all = Mail { size: u64::MAX, body: BodyType::Binary, utf8: true, ..plain };
        assert_eq!(
            mail("MAIL FROM:<a@b.example> SIZE=99999999999999999999 body=BINARYMIME SMTPUTF8"),
            Ok(all)
        );
        assert_eq!(mail("MAIL FROM:<>").map(|mail| mail.sender), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_a_mail_command_is_told_apart() {
        for (line, reply) in [
            ("MAIL", Reply::BAD_ARGUMENT),
            ("MAIL FROM", Reply::BAD_ARGUMENT),
            ("MAIL TO:<a@b.example>", Reply::BAD_ARGUMENT),
            ("MAIL FROM:", Reply::BAD_SENDER),
            ("MAIL FROM:a@b.example", Reply::BAD_SENDER),
            ("MAIL FROM: <a@b.example>", Reply::BAD_SENDER),
            ("MAIL FROM:<a@b.example", Reply::BAD_SENDER),
            ("MAIL FROM:<a@b.example>SIZE=1", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> SIZE", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> SIZE=", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> SIZE=-1", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> SIZE=1 SIZE=1", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> SIZE=999999999999999999999", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> BODY=9BIT", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> SMTPUTF8=1", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> =1", Reply::BAD_ARGUMENT),
            ("MAIL FROM:<a@b.example> RET=HDRS", Reply::UNKNOWN_PARAMETER),
            ("MAIL FROM:<ä@b.example>", Reply::NEEDS_SMTPUTF8),
        ] {
            assert_eq!(mail(line), Err(reply), "{line}");
        }
    }

    #[test]
    fn a_bdat_says_how_many_octets_follow_even_when_it_is_wrong() {
        for (line, expected) in [
            ("BDAT 0", Line::Chunk { octets: 0, last: false }),
            ("bdat 10 last", Line::Chunk { octets: 10, last: true }),
            ("BDAT 18446744073709551615 LAST", Line::Chunk { octets: u64::MAX, last: true }),
            ("BDAT 10 LATEST", Line::BadChunk { octets: 10 }),
            ("BDAT 10 LAST LAST", Line::BadChunk { octets: 10 }),
            ("BDAT", Line::BadChunk { octets: 0 }),
            ("BDAT ten", Line::LostCount),
            ("BDAT -1", Line::LostCount),
            ("BDAT 18446744073709551616", Line::LostCount),
        ] {
            assert_eq!(parse_line(format!("{line}\r\n").as_bytes()), Ok(expected), "{line}");
        }
        assert_eq!(parse_line(b"BDAT 10\n"), Ok(Line::LostCount));
    }

    #[test]
    fn the_length_of_a_line_is_that_of_its_command() {
        let noop = |length: usize| format!("NOOP {}\r\n", "x".repeat(length - 7));
        assert_eq!(parse_line(noop(512).as_bytes()), Ok(Line::Command(Command::Noop)));
        assert_eq!(parse_line(noop(513).as_bytes()), Err(Reply::LINE_TOO_LONG));
        let mail = |length: usize| format!("MAIL FROM:<>{}\r\n", " ".repeat(length - 14));
        assert!(parse_line(mail(565).as_bytes()).is_ok());
        assert_eq!(parse_line(mail(566).as_bytes()), Err(Reply::LINE_TOO_LONG));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(verb in "(MAIL FROM:<|RCPT TO:<|BDAT |VRFY )?", rest in proptest::collection::vec(any::<u8>(), 0..600)) {
            let line = [verb.as_bytes(), &rest, b"\r\n"].concat();
            if let Ok(Line::Command(Command::Rcpt(argument))) = parse_line(&line) {
                let _ = parse_rcpt(argument, true);
            }
        }
    }
}
