//! What every backend must do: ordinary functions that both backends run, one for each sentence.

// A broken promise ends the test that finds it.
#![allow(clippy::unwrap_used)]

pub mod blobs;
pub mod cache;
pub mod index;
pub mod queue;
pub mod store;
pub mod stories;
