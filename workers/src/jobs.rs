//! One file for each job.

pub(crate) mod compress_thread;
pub(crate) mod index_message;
pub(crate) mod purge_account;
pub(crate) mod remove_message;
