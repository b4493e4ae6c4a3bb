//! `signet manual`: the manual pages, for those who make a package.

use std::path::Path;

use clap::CommandFactory as _;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Writes a page for the program and one for each of its commands, as man(1) reads them.
///
/// # Errors
/// If the directory cannot be written to.
pub fn run(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Arguments::command(), directory)?;
    Ok(())
}
