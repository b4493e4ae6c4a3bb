//! Randomness: the operating system's for keys, a thread's own generator for nonces.

use crate::Secret;
use rand::Rng;

/// `N` random octets for an id or a name, from the thread's generator (ChaCha12, seeded and re-seeded by the operating
/// system). Keys come from the operating system directly.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A new key, straight from the operating system.
pub(crate) fn random_key() -> Secret<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).expect("the operating system gives randomness");
    let secret = Secret::new(key);
    zeroize::Zeroize::zeroize(&mut key);
    secret
}
