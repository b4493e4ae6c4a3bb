//! What can go wrong, in words that carry no secret and no personal data.

use std::path::PathBuf;

/// The result of this crate's fallible calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a key, a key file or a sealed value could not be used.
///
/// None of these is transient, except perhaps [`Error::Io`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes were changed, cut, moved from another place, or sealed under another key.
    #[error("the sealed value does not open: it was changed, cut, moved, or sealed under another key")]
    DoesNotOpen,
    /// The value names a key that these keys are not.
    #[error("the value is sealed under key {id}, which is not at hand")]
    UnknownKey {
        /// The key id that the value names.
        id: u32,
    },
    /// The wrapped key names an epoch that is not, or no longer, in the epochs file.
    #[error("epoch {id} is not in the epochs file: it was destroyed, or the file is not the newest one")]
    UnknownEpoch {
        /// The epoch that the wrapped key names.
        id: u32,
    },
    /// The key file or the epochs file beside it does not exist.
    #[error("{} does not exist", path.display())]
    MissingKeyFile {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The file may be read by its group or by others; it must be 0600 or less.
    #[error("{} has mode {mode:04o}: nobody but its owner may have access to it (chmod 600)", path.display())]
    ExposedKeyFile {
        /// The file with the wrong mode.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The master key is well-formed, and does not open any epoch in the epochs file.
    #[error("the master key is not the one that {} was made with", path.display())]
    WrongMasterKey {
        /// The epochs file that did not open.
        path: PathBuf,
    },
    /// The file is not what its name says, or was damaged.
    #[error("{} is damaged: {reason}", path.display())]
    BadKeyFile {
        /// The damaged file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key file is never overwritten by a new one.
    #[error("{} exists already and is not overwritten", path.display())]
    KeyFileExists {
        /// The file in the way.
        path: PathBuf,
    },
    /// The master key came from a variable or a command, so only its keeper can replace it.
    #[error("the master key is kept elsewhere and cannot be replaced from here")]
    MasterKeptElsewhere,
    /// Not 64 hexadecimal digits.
    #[error("a master key is 64 hexadecimal digits")]
    BadMasterKey,
    /// Not a credential as [`crate::Credential`] writes it.
    #[error("not a credential")]
    BadCredential,
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    Password,
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file that was worked on.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}
