//! How much of one message is looked at.

/// What one message may cost. Beyond a limit the bytes are kept (they are the message) but no longer read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Levels of multipart and message/rfc822 that are descended into; a part deeper than this is a leaf. 1–100.
    pub depth: u16,
    /// MIME parts listed; what follows the last one belongs to no part. 1–100,000.
    pub parts: u32,
    /// Header fields read per part. 1–100,000.
    pub headers: u32,
    /// Octets of a header section that are read; the rest of it is kept but not shown.
    pub header_bytes: usize,
    /// Octets of decoded text that are analysed per message, for the text, HTML and terms views each.
    pub text_bytes: usize,
    /// Octets of HTML that are turned into text or made safe.
    pub html_bytes: usize,
    /// Addresses read per header field.
    pub addresses: usize,
    /// Terms per message.
    pub terms: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 20,
            parts: 1_000,
            headers: 5_000,
            header_bytes: 256 << 10,
            text_bytes: 2 << 20,
            html_bytes: 1 << 20,
            addresses: 2_000,
            terms: 500_000,
        }
    }
}
