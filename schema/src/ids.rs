//! The keys of what is stored. Every id is 16 octets; those that a client sees are written as 32 lower-case
//! hexadecimal digits. An id means nothing outside its account: no id is ever looked up without one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An id that does not have the form of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 lower-case hexadecimal digits")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The id's octets, as they stand in a row key.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The id in `bytes`, or `None` if they are not 16 octets.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_hex(text).map(Self)
            }
        }
    };
}

id!(
    /// Who owns mailboxes: a random UUID (RFC 9562, version 4).
    AccountId
);
id!(
    /// One stored message: a UUID (RFC 9562, version 8) of 122 bits of the account's keyed digest of the bytes,
    /// so that the same bytes delivered again are the same message.
    MessageId
);
id!(
    /// What Message-ID, In-Reply-To and References connect. It changes when a late message joins two threads.
    ThreadId
);
id!(
    /// A mailbox of one account.
    MailboxId
);
id!(
    /// All messages among the same set of people: a keyed digest of their addresses.
    DiscussionId
);
id!(
    /// One process from its start to its end: random.
    NodeId
);

impl AccountId {
    /// A new random id.
    pub fn random() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }
}

impl NodeId {
    /// A new random id.
    pub fn random() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }
}

impl MailboxId {
    /// A new random id.
    pub fn random() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }
}

/// Turns a digest into a UUID of version 8 (RFC 9562 §5.8): 122 bits of it stay.
pub fn uuid_v8(digest: &[u8; 32]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    *uuid::Builder::from_custom_bytes(id).as_uuid().as_bytes()
}

fn parse_hex(text: &str) -> Result<[u8; 16], InvalidId> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Ok(octet - b'0'),
        b'a'..=b'f' => Ok(octet - b'a' + 10),
        _ => Err(InvalidId),
    };
    let text = text.as_bytes();
    if text.len() != 32 {
        return Err(InvalidId);
    }
    let mut id = [0; 16];
    for (octet, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = AccountId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_is_not_32_lower_case_digits_is_no_id() {
        for text in [
            "",
            "00",
            &"0".repeat(31),
            &"0".repeat(33),
            &"G".repeat(32),
            &"A".repeat(32),
            "é".repeat(16).as_str(),
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(InvalidId), "{text:?}");
        }
    }
}
