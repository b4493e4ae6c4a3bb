//! Stories of the program as it runs: the real binary on free ports of the loopback, in a directory of its own.

mod backup;
mod commands;
mod crash;
mod start;
mod support;
