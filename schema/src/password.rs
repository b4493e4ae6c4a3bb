//! What a password has to be, and its hash.

use crate::{Error, Result};

/// The fewest characters of a password.
const PASSWORD_CHARACTERS: usize = 8;
/// The most octets of a password.
const PASSWORD_OCTETS: usize = 1_024;

fn check_password(password: &str) -> Result<()> {
    if password.chars().count() < PASSWORD_CHARACTERS {
        return Err(Error::Refused { what: "a password has at least 8 characters" });
    }
    if password.len() > PASSWORD_OCTETS {
        return Err(Error::Refused { what: "a password has at most 1024 octets" });
    }
    Ok(())
}

/// The hash of a password, made where blocking is allowed.
///
/// # Errors
/// [`Error::Refused`] if it is too short or too long.
pub(crate) async fn hash_password(password: &str) -> Result<String> {
    check_password(password)?;
    let password = seal::Secret::new(password.to_owned());
    tokio::task::spawn_blocking(move || seal::password::hash(password.expose()))
        .await
        .map_err(|error| Error::transient("hashing a password was cut short", error))?
        .map_err(|error| Error::permanent("the password could not be hashed", error))
}
