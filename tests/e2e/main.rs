//! Stories of the program as it runs: the real binary on free ports of the loopback, in a directory of its own.

// A broken promise ends the test that finds it.
#![allow(clippy::unwrap_used)]

mod backup;
#[cfg(feature = "servers")]
mod bad_lines;
#[cfg(feature = "servers")]
mod cluster;
mod commands;
mod crash;
#[cfg(feature = "servers")]
mod drift;
#[cfg(feature = "servers")]
mod migrate;
#[cfg(feature = "servers")]
mod names;
mod probe;
mod refusals;
#[cfg(feature = "servers")]
mod reindex;
#[cfg(feature = "servers")]
mod restore;
#[cfg(feature = "servers")]
mod secured;
mod start;
mod support;
