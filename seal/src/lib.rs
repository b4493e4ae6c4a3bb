//! WHAT HIDES IT: keys, sealed bytes and blind search tokens.
//!
//! Keys stand in a ladder, and each step is random rather than derived, so that a step can be replaced without touching
//! what lies below it:
//!
//! ```text
//! master key   a file, a variable or a command; never in a store           MasterKey, KeyFile
//!   └ epoch keys    beside the master key, wrapped by it; never in a store  EpochKey
//!       ├ instance key   wrapped, in the store: look-up hashes              InstanceKey
//!       └ account keys   wrapped, in the store: everything of one account   AccountKeys
//!           └ rows, blobs, tokens, digests   by HKDF-SHA-256, never stored
//! ```
//!
//! Destroying an epoch key, after every account but the purged ones was wrapped anew, makes the purged accounts' wrapped
//! keys noise wherever copies of them remain. What all of this hides and what it does not stands in `docs/privacy.md`.
//!
//! This is the only crate that names a cipher, a hash or a source of randomness.

mod account;
mod associated;
mod blob;
mod cipher;
mod credential;
mod error;
mod files;
mod instance;
mod keyfile;
mod master;
pub mod password;
mod random;
mod secret;
mod token;
mod wrapped;

pub use account::AccountKeys;
pub use associated::Place;
pub use blob::CHUNK;
pub use credential::Credential;
pub use error::{Error, Result};
pub use instance::InstanceKey;
pub use keyfile::{EpochKey, KeyFile};
pub use master::MasterKey;
pub use password::random_password;
pub use random::random_bytes;
pub use secret::Secret;
pub use wrapped::wrapped_epoch;
