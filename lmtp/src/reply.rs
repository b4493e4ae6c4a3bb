//! What the session answers: RFC 5321 §4.2 codes with the enhanced codes of RFC 2034.

/// One reply of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// RFC 5321 §4.2.
    pub code: u16,
    /// RFC 3463; empty where RFC 2034 wants none.
    pub enhanced: &'static str,
    /// What a person reads. Never names an address.
    pub text: &'static str,
}

impl Reply {
    const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self { code, enhanced, text }
    }

    /// Whether it says yes.
    pub fn is_positive(self) -> bool {
        self.code < 400
    }

    /// Whether it says "not now".
    pub fn is_transient(self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Appends the reply's line to `output`.
    pub fn write_to(self, output: &mut Vec<u8>) {
        let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or_default();
        output.extend([digit(self.code / 100), digit(self.code / 10), digit(self.code), b' ']);
        if !self.enhanced.is_empty() {
            output.extend_from_slice(self.enhanced.as_bytes());
            output.push(b' ');
        }
        output.extend_from_slice(self.text.as_bytes());
        output.extend_from_slice(b"\r\n");
    }

    pub(crate) const SENDER_OK: Self = Self::new(250, "2.1.0", "Sender accepted");
    pub(crate) const RECIPIENT_OK: Self = Self::new(250, "2.1.5", "Recipient accepted");
    pub(crate) const KEPT: Self = Self::new(250, "2.0.0", "Kept");
    pub(crate) const CHUNK_OK: Self = Self::new(250, "2.0.0", "Chunk received");
    pub(crate) const OK: Self = Self::new(250, "2.0.0", "OK");
    pub(crate) const BYE: Self = Self::new(221, "2.0.0", "Bye");
    pub(crate) const CANNOT_VERIFY: Self = Self::new(252, "2.0.0", "Send some mail to find out");
    pub(crate) const GO_ON: Self = Self::new(354, "", "End data with <CR><LF>.<CR><LF>");

    pub(crate) const SHUTTING_DOWN: Self = Self::new(421, "4.3.2", "Shutting down, try again later");
    pub(crate) const TIMED_OUT: Self = Self::new(421, "4.4.2", "Timed out");
    pub(crate) const SESSION_TOO_LONG: Self = Self::new(421, "4.4.2", "The session lasts too long");
    pub(crate) const TOO_MANY_CONNECTIONS: Self = Self::new(421, "4.7.0", "Too many connections");
    pub(crate) const TOO_MANY_FROM_PEER: Self =
        Self::new(421, "4.7.0", "Too many connections from your address");
    pub(crate) const TOO_MANY_ERRORS: Self = Self::new(421, "4.7.0", "Too many errors");

    pub(crate) const FAULT: Self = Self::new(451, "4.3.0", "Cannot keep it now, try again later");
    pub(crate) const OVER_QUOTA: Self = Self::new(452, "4.2.2", "The mailbox is full");
    pub(crate) const NO_ROOM: Self = Self::new(452, "4.3.1", "Too much mail in flight, try again later");
    pub(crate) const TOO_MANY_RECIPIENTS: Self = Self::new(452, "4.5.3", "Too many recipients");

    pub(crate) const LINE_TOO_LONG: Self = Self::new(500, "5.5.2", "Line too long");
    pub(crate) const BAD_LINE: Self =
        Self::new(500, "5.5.2", "A command is one line of text that ends in <CR><LF>");
    pub(crate) const UNKNOWN_COMMAND: Self = Self::new(500, "5.5.1", "Unknown command");
    pub(crate) const NOT_LMTP: Self = Self::new(500, "5.5.1", "This is LMTP: say LHLO");
    pub(crate) const BAD_ARGUMENT: Self = Self::new(501, "5.5.4", "Syntax error in the argument");
    pub(crate) const NO_ARGUMENT: Self = Self::new(501, "5.5.4", "This command takes no argument");
    pub(crate) const BAD_SENDER: Self = Self::new(501, "5.1.7", "Syntax error in the sender's address");
    pub(crate) const BAD_RECIPIENT: Self = Self::new(501, "5.1.3", "Syntax error in the recipient's address");
    pub(crate) const NOT_IMPLEMENTED: Self = Self::new(502, "5.5.1", "Command not implemented");
    pub(crate) const LHLO_FIRST: Self = Self::new(503, "5.5.1", "Say LHLO first");
    pub(crate) const MAIL_FIRST: Self = Self::new(503, "5.5.1", "MAIL first");
    pub(crate) const MAIL_AGAIN: Self = Self::new(503, "5.5.1", "A transaction is open already");
    pub(crate) const NO_RECIPIENT: Self = Self::new(503, "5.5.1", "No recipient was accepted");
    pub(crate) const CHUNKS_OPEN: Self = Self::new(503, "5.5.1", "Only BDAT or RSET may follow BDAT");
    pub(crate) const BINARY_NEEDS_BDAT: Self = Self::new(503, "5.5.1", "BINARYMIME needs BDAT");
    pub(crate) const UNKNOWN_ADDRESS: Self = Self::new(550, "5.1.1", "No such address here");
    // Not 5.1.1, which says that the domain is right and its address is wrong; nor 5.7.1, which would say that some
    // other client might relay through here.
    pub(crate) const UNKNOWN_DOMAIN: Self = Self::new(550, "5.1.2", "No such domain here");
    pub(crate) const TOO_BIG: Self = Self::new(552, "5.3.4", "The message is larger than this server takes");
    pub(crate) const NEEDS_SMTPUTF8: Self = Self::new(553, "5.6.7", "The address needs SMTPUTF8");
    pub(crate) const BARE_LF: Self = Self::new(554, "5.6.0", "A line ends in <LF> without <CR>");
    pub(crate) const UNKNOWN_PARAMETER: Self = Self::new(555, "5.5.4", "Parameter not recognized");
}

/// Appends a reply of several lines.
pub(crate) fn write_lines(code: u16, lines: &[&str], output: &mut Vec<u8>) {
    for (at, line) in lines.iter().enumerate() {
        let mark = if at + 1 == lines.len() { ' ' } else { '-' };
        output.extend_from_slice(format!("{code}{mark}{line}\r\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_line_with_its_codes() {
        let mut output = Vec::new();
        Reply::FAULT.write_to(&mut output);
        Reply::GO_ON.write_to(&mut output);
        write_lines(214, &["2.0.0 a", "2.0.0 b"], &mut output);
        assert_eq!(
            output,
            b"451 4.3.0 Cannot keep it now, try again later\r\n354 End data with <CR><LF>.<CR><LF>\r\n\
              214-2.0.0 a\r\n214 2.0.0 b\r\n"
        );
    }
}
