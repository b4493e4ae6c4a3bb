//! What a list row says of its message, so that totals need nothing else. It holds numbers only and is not sealed.

use crate::State;

/// The value of a row in a list of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// Whether the message counts as unread.
    pub unread: bool,
    /// Octets as received.
    pub size: u64,
}

impl Entry {
    /// The entry of a message of `size` octets in this state.
    pub fn new(state: &State, size: u64) -> Self {
        Self { unread: state.is_unread(), size }
    }

    /// The value: a mark, then the size without its leading zeros.
    pub fn to_bytes(self) -> Vec<u8> {
        let size = self.size.to_be_bytes();
        let first = size.iter().position(|&octet| octet != 0).unwrap_or(size.len());
        [&[u8::from(self.unread)], &size[first..]].concat()
    }

    /// The entry in a value; what is not there counts as nothing.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (mark, size) = bytes.split_first().unwrap_or((&0, &[]));
        let size = size.iter().take(8).fold(0, |size, &octet| size << 8 | u64::from(octet));
        Self { unread: *mark == 1, size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        for size in [0, 1, 255, 256, 50 << 20, u64::MAX] {
            for unread in [false, true] {
                let entry = Entry { unread, size };
                assert_eq!(Entry::from_bytes(&entry.to_bytes()), entry);
            }
        }
    }
}
