//! What every backend must do: ordinary functions that both backends run, one for each sentence.

// A broken promise ends the test that finds it.
#![allow(clippy::unwrap_used)]

mod between;
pub mod blobs;
pub mod cache;
pub mod faults;
pub mod index;
pub mod limits;
pub mod listings;
mod names;
pub mod progress;
pub mod queue;
pub mod races;
pub mod shared;
pub mod store;
pub mod stories;

use std::path::Path;
use std::sync::Arc;

use seal::KeyFile;

use crate::{Backend, Clock, Instance, Settings};

const INSTANCE: [u8; 16] = [7; 16];

/// An instance for tests on `backend`, its keys in the directory `keys` (made unless they are there), with the domain
/// one.example.
///
/// # Panics
/// If it cannot be opened.
pub async fn instance(backend: Backend, keys: &Path, clock: Arc<dyn Clock>) -> Arc<Instance> {
    let path = keys.join("master.key");
    let key_file = match path.exists() {
        true => KeyFile::open(&path, &INSTANCE).expect("the key file opens"),
        false => KeyFile::create(&path, &INSTANCE).expect("the key file can be made"),
    };
    let opened = Instance::open(backend, key_file, INSTANCE, clock, Settings::default()).await;
    let instance = opened.expect("the instance opens");
    if instance.domains().await.expect("domains can be read").is_empty() {
        instance.add_domain("one.example").await.expect("a domain can be added");
    }
    instance
}
