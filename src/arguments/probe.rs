//! `signet probe` as it stands on the command line.

use std::path::PathBuf;

use clap::Args;

/// What a probe takes.
///
/// Addresses and the URL are texts here: what is wrong with one of them is said without repeating it.
#[derive(Debug, Args)]
pub struct ProbeArguments {
    /// Where the mail server listens
    #[arg(long, env = "SIGNET_PROBE_SMTP", hide_env_values = true, value_name = "HOST:PORT")]
    pub smtp: String,
    /// Where the REST API is: https, or http on the loopback
    // It stands before the flag of the same name that all commands have, so it must be of the same type.
    #[arg(long, env = "SIGNET_PROBE_API", hide_env_values = true, value_name = "URL")]
    pub api: String,
    /// The address of the account that the message is for
    #[arg(long, env = "SIGNET_PROBE_ACCOUNT", hide_env_values = true, value_name = "ADDRESS")]
    pub account: String,
    /// The file with the account's password, in its first line
    #[arg(long, env = "SIGNET_PROBE_PASSWORD_FILE", hide_env_values = true, value_name = "FILE")]
    pub password_file: PathBuf,
    /// The envelope's sender [default: the account's address]
    #[arg(long, env = "SIGNET_PROBE_FROM", hide_env_values = true, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// Trust this authority (PEM) besides those of the system; STARTTLS is required then
    #[arg(long, env = "SIGNET_PROBE_CA_FILE", hide_env_values = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// For the whole of it, 1 to 600
    #[arg(
        long,
        env = "SIGNET_PROBE_TIMEOUT",
        hide_env_values = true,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=600)
    )]
    pub timeout: u64,
    /// Write metrics for node exporter's textfile collector
    #[arg(long, env = "SIGNET_PROBE_METRICS", hide_env_values = true, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
}
