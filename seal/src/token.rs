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
