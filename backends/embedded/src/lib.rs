//! embedded

pub mod index;
