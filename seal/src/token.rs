//! Keyed BLAKE3: blind search tokens and digests.

use crate::Secret;

/// A token has 56 bits: what the index spends on each is what decides its size.
const TOKEN_MASK: u64 = (1 << 56) - 1;

/// What fits into one compression of BLAKE3.
const BLOCK: usize = 64;

pub(crate) fn token(key: &[u8; 32], field: u8, form: u8, text: &str) -> u64 {
    let text = text.as_bytes();
    let hash = if text.len() <= BLOCK - 2 {
        let mut block = [0; BLOCK];
        block[0] = field;
        block[1] = form;
        block[2..2 + text.len()].copy_from_slice(text);
        blake3::keyed_hash(key, &block[..2 + text.len()])
    } else {
        blake3::Hasher::new_keyed(key).update(&[field, form]).update(text).finalize()
    };
    let first = hash.as_bytes().first_chunk::<8>().expect("a hash has 32 octets");
    u64::from_le_bytes(*first) & TOKEN_MASK
}

/// The sub-keys for an account's digests: one for lists of parts, one for whole messages, so that neither can be made to
/// look like the other.
pub(crate) struct Digests {
    parts: Secret<[u8; 32]>,
    bytes: Secret<[u8; 32]>,
}

impl Digests {
    pub(crate) fn new(parts: &[u8; 32], bytes: &[u8; 32]) -> Digests {
        Digests { parts: Secret::new(*parts), bytes: Secret::new(*bytes) }
    }

    pub(crate) fn of_parts(&self, domain: &'static str, parts: &[&[u8]]) -> [u8; 32] {
        digest(self.parts.expose(), domain, parts)
    }

    pub(crate) fn of_bytes(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(self.bytes.expose(), bytes).as_bytes()
    }
}

/// The keyed hash of a domain and of parts, each with its length (8 octets, little-endian) before it.
pub(crate) fn digest(key: &[u8; 32], domain: &'static str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::write_hex;

    /// The key of BLAKE3's published test vectors.
    const KEY: &[u8; 32] = b"whats the Elvish word for friend";

    #[test]
    fn tokens_are_keyed_blake3() {
        // The published keyed hash of the octets 00 01 begins with 5392ddae0e0a69d5.
        let expected = u64::from_le_bytes([0x53, 0x92, 0xdd, 0xae, 0x0e, 0x0a, 0x69, 0]);
        assert_eq!(token(KEY, 0, 1, ""), expected);
    }

    #[test]
    fn short_and_long_texts_are_hashed_alike() {
        for length in [0, 1, 61, 62, 63, 64, 1021, 1022, 1023, 5000] {
            let text = "x".repeat(length);
            let whole = [&[3, 4], text.as_bytes()].concat();
            let hash = blake3::keyed_hash(KEY, &whole);
            let expected = u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()) & TOKEN_MASK;
            assert_eq!(token(KEY, 3, 4, &text), expected, "{length}");
        }
    }

    #[test]
    fn a_token_differs_by_key_field_form_and_text_and_has_56_bits() {
        let mut seen = std::collections::HashSet::new();
        for key in [[0; 32], [1; 32]] {
            for field in 0..8 {
                for form in 0..8 {
                    for text in ["", "a", "b", "ab", "\0", "straße"] {
                        let token = token(&key, field, form, text);
                        assert!(token < 1 << 56);
                        assert!(seen.insert(token));
                    }
                }
            }
        }
        assert!(seen.iter().any(|token| token >> 55 == 1), "the highest bit is used");
    }

    #[test]
    fn a_digest_tells_lists_apart_that_join_to_the_same_bytes() {
        let lists: [&[&[u8]]; 7] =
            [&[], &[b""], &[b"", b""], &[b"abc"], &[b"ab", b"c"], &[b"a", b"bc"], &[b"abc", b""]];
        let mut seen = std::collections::HashSet::new();
        for domain in ["", "a", "thread"] {
            for list in lists {
                assert!(seen.insert(digest(KEY, domain, list)), "{domain} {list:?}");
            }
        }
    }

    #[test]
    fn a_message_digest_is_not_a_digest_of_parts() {
        let digests = Digests::new(&[1; 32], &[2; 32]);
        assert_ne!(digests.of_bytes(b"abc"), digests.of_parts("", &[b"abc"]));
        assert_eq!(digests.of_bytes(b"abc"), *blake3::keyed_hash(&[2; 32], b"abc").as_bytes());
    }

    #[test]
    fn digests_of_the_first_format_stay_the_same() {
        assert_eq!(write_hex(&digest(KEY, "frozen", &[b"a", b"bc"])), FROZEN);
    }

    const FROZEN: &str = "e9296877061aeeef7e0e63af85f06d94793cba9926dedd99ba539746b7391e11";
}
