//! The content of a message as DATA sends it (RFC 5321 §4.5.2): lines, a dot doubled at the start of a line, the end
//! at `CRLF.CRLF` and nowhere else.

/// Where in a line the next octet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// After a CRLF (the one of the DATA command, at first).
    LineStart,
    /// After a CRLF and a dot.
    Dot,
    /// After a CRLF, a dot and a CR.
    DotCr,
    /// After a CR within a line.
    Cr,
    /// Anywhere else.
    Inside,
}

/// Takes the dots out while the content arrives, in pieces of any size.
#[derive(Debug)]
pub(crate) struct Decoder {
    at: At,
    has_bare_lf: bool,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { at: At::LineStart, has_bare_lf: false }
    }

    /// Whether a LF without a CR before it was among the content.
    pub(crate) fn has_bare_lf(&self) -> bool {
        self.has_bare_lf
    }

    /// Appends what `input` says to `content`, which grows by at most one octet more than `input` has. Returns how
    /// many octets of `input` were taken, and whether the content has ended with them (all are taken unless it has).
    pub(crate) fn decode(&mut self, input: &[u8], content: &mut Vec<u8>) -> (usize, bool) {
        let mut next = 0;
        // What is to be appended starts here: runs are copied whole, not line by line.
        let mut run = 0;
        while next < input.len() {
            match self.at {
                At::LineStart if input[next] == b'.' => {
                    content.extend_from_slice(&input[run..next]);
                    next += 1;
                    run = next;
                    self.at = At::Dot;
                }
                At::Dot if input[next] == b'\r' => {
                    next += 1;
                    run = next;
                    self.at = At::DotCr;
                }
                At::DotCr if input[next] == b'\n' => return (next + 1, true),
                At::DotCr => {
                    content.push(b'\r');
                    run = next;
                    self.at = At::Cr;
                }
                At::LineStart | At::Dot | At::Inside | At::Cr => {
                    let after_cr = self.at == At::Cr;
                    let line_end = memchr::memchr(b'\n', &input[next..]);
                    self.at = match line_end {
                        Some(0) if after_cr => At::LineStart,
                        Some(length) if length > 0 && input[next + length - 1] == b'\r' => At::LineStart,
                        Some(_) => {
                            self.has_bare_lf = true;
                            At::Inside
                        }
                        None if input.ends_with(b"\r") => At::Cr,
                        None => At::Inside,
                    };
                    next = line_end.map_or(input.len(), |length| next + length + 1);
                }
            }
        }
        content.extend_from_slice(&input[run..]);
        (next, false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `wire` in pieces of `piece` octets; the content, what is left of `wire`, and whether a LF was bare.
    fn decode(wire: &[u8], piece: usize) -> Option<(Vec<u8>, Vec<u8>, bool)> {
        let (mut decoder, mut content) = (Decoder::new(), Vec::new());
        let mut taken = 0;
        for part in wire.chunks(piece) {
            let (octets, done) = decoder.decode(part, &mut content);
            taken += octets;
            if done {
                return Some((content, wire[taken..].to_vec(), decoder.has_bare_lf()));
            }
            assert_eq!(octets, part.len());
        }
        None
    }

    #[test]
    fn only_a_dot_between_two_line_ends_ends_the_content() {
        for (wire, content, has_bare_lf) in [
            // The ordinary cases.
            ("a\r\n.\r\n", "a\r\n", false),
            (".\r\n", "", false),
            ("\r\n.\r\n", "\r\n", false),
            ("..\r\n.\r\n", ".\r\n", false),
            ("a\r\n..b\r\n.\r\n", "a\r\n.b\r\n", false),
            ("a\r\n...\r\n.\r\n", "a\r\n..\r\n", false),
            // A dot that nobody doubled is taken out all the same.
            ("a\r\n.b\r\n.\r\n", "a\r\nb\r\n", false),
            // Dots elsewhere.
            ("a.\r\n.\r\n", "a.\r\n", false),
            // What smugglers hope is an end.
            ("a\n.\n.\r\n.\r\n", "a\n.\n.\r\n", true),
            ("a\n.\r\n.\r\n", "a\n.\r\n", true),
            ("a\r\n.\n.\r\n.\r\n", "a\r\n\n.\r\n", true),
            ("a\r.\r.\r\n.\r\n", "a\r.\r.\r\n", false),
            ("a\r\n.\r.\r\n.\r\n", "a\r\n\r.\r\n", false),
            ("a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", false),
            ("a\r\r\n.\r\n", "a\r\r\n", false),
            ("a\r\n\0.\r\n.\r\n", "a\r\n\0.\r\n", false),
            ("a\r\n. \r\n.\r\n", "a\r\n \r\n", false),
            ("\n.\r\n.\r\n", "\n.\r\n", true),
            (".\n.\r\n.\r\n", "\n.\r\n", true),
        ] {
            let sent = format!("{wire}QUIT\r\n");
            for piece in 1..sent.len() + 1 {
                let expected = Some((content.into(), b"QUIT\r\n".to_vec(), has_bare_lf));
                assert_eq!(decode(sent.as_bytes(), piece), expected, "{wire:?} by {piece}");
            }
        }
    }

    #[test]
    fn without_an_end_there_is_no_end() {
        for wire in ["", ".", ".\r", "\r\n.", "a\r\n.\r", "a\n.\n", "a\r\n.\rb\n", "a\r.\r\n"] {
            assert_eq!(decode(wire.as_bytes(), 1), None, "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_stuffed_comes_out_as_it_went_in(
            lines in proptest::collection::vec("[.a\r\0ü]{0,5}", 0..20), piece in 1usize..50,
        ) {
            // A CR at the end of a line would be one with its line end.
            let content: String = lines.iter().map(|line| format!("{}\r\n", line.trim_end_matches('\r'))).collect();
            let stuffed = format!("\r\n{content}").replace("\r\n.", "\r\n..");
            let wire = format!("{}.\r\n", &stuffed[2..]);
            prop_assert_eq!(decode(wire.as_bytes(), piece), Some((content.into_bytes(), vec![], false)));
        }

        #[test]
        fn pieces_make_no_difference(wire in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60)) {
            let whole = decode(&wire, wire.len().max(1));
            for piece in 1..5 {
                prop_assert_eq!(decode(&wire, piece), whole.clone());
            }
        }
    }
}
