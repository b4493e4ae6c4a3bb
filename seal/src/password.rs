//! Passwords: argon2id (RFC 9106) with OWASP's parameters, in the PHC string format.
//!
//! Each call takes some 20 ms of one core and 19 MiB for as long; call it from a thread that may block, and bound how
//! many run at once.

use crate::Secret;
use crate::error::{Error, Result};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use rand::RngExt;

/// KiB of memory, passes, lanes (OWASP Password Storage Cheat Sheet).
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The hash of a password that nobody has, with the parameters of [`hash()`]: verify against it when the address is
/// unknown, and the answer takes as long as for a known one.
pub const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$oqLaQcc0jB9r4Vf7eqaKlg$Yc7i1XazOGmgvrJzTaeBFyQpToUpCEnzuHb2dVJdUHI";

/// Letters and digits that are not mistaken for each other when read out or copied by hand: 32, so 5 bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, LANES, None).expect("the parameters are within argon2's ranges");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The hash of a password, with a fresh random salt, for the store.
///
/// # Errors
/// [`Error::Password`] if argon2 refuses it (longer than 4 GiB) or the operating system gives no salt.
pub fn hash(password: &str) -> Result<String> {
    let hash: PasswordHash = argon2().hash_password(password.as_bytes()).map_err(|_| Error::Password)?;
    Ok(hash.to_string())
}

/// Whether `password` is the one that `hash` was made of. A hash that cannot be read matches nothing.
pub fn verify(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    argon2().verify_password(password.as_bytes(), &hash).is_ok()
}

/// A password of 120 random bits: six groups of four unambiguous letters and digits, as `k7pm-…`.
pub fn random_password() -> Secret<String> {
    let mut rng = rand::rng();
    let mut text = String::with_capacity(29);
    for at in 0..24 {
        if at > 0 && at % 4 == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    }
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_hash_and_no_other_does() {
        let hash = hash("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify("correct horse", &hash));
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!verify(wrong, &hash));
        }
    }

    #[test]
    fn the_same_password_has_another_hash_each_time() {
        assert_ne!(hash("a").unwrap(), hash("a").unwrap());
    }

    #[test]
    fn a_hash_that_cannot_be_read_matches_nothing() {
        for bad in ["", "a", "$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1$", "$2y$10$abcdefghijklmnopqrstuv"]
        {
            assert!(!verify("", bad) && !verify("a", bad));
        }
    }

    #[test]
    fn the_dummy_hash_costs_what_a_real_one_does_and_matches_nothing() {
        let [dummy, real] = [DUMMY_HASH, &hash("a").unwrap()].map(|hash| {
            let parts: Vec<String> = hash.split('$').map(str::to_owned).collect();
            assert!(PasswordHash::new(hash).is_ok());
            (parts[..4].to_vec(), parts[4].len(), parts[5].len())
        });
        assert_eq!(dummy, real);
        assert!(!verify("", DUMMY_HASH));
    }

    #[test]
    fn a_random_password_has_24_unambiguous_letters_in_six_groups() {
        let [one, other] = [random_password(), random_password()];
        assert_ne!(one.expose(), other.expose());
        let groups: Vec<&str> = one.expose().split('-').collect();
        assert_eq!(groups.len(), 6);
        assert!(groups.iter().all(|group| group.len() == 4 && group.bytes().all(|b| ALPHABET.contains(&b))));
        assert!(!ALPHABET.iter().any(|b| b"lo01".contains(b)));
        let mut letters = ALPHABET.to_vec();
        letters.dedup();
        assert_eq!(letters.len(), 32);
    }
}
