//! The command line.

mod probe;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::Flag;

pub use self::probe::ProbeArguments;

/// A private mail platform: LMTP in, sealed at rest, REST out.
#[derive(Debug, Parser)]
#[command(name = "signet", version, about)]
pub struct Arguments {
    /// The configuration file (TOML)
    #[arg(long, global = true, env = "SIGNET_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory [SIGNET_DATA]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// Where LMTP listens [SIGNET_LMTP]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    lmtp: Option<String>,
    /// Where the REST API listens [SIGNET_API]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    api: Option<String>,
    /// Where the internal listener is [SIGNET_INTERNAL]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    internal: Option<String>,
    /// The file with the master key [SIGNET_MASTER_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    master_key_file: Option<String>,
    /// What is logged: a tracing filter [SIGNET_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Without a command: run every role
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Arguments {
    /// The settings that flags give.
    pub fn flags(&self) -> Vec<Flag> {
        let given = [
            ("data", &self.data),
            ("lmtp", &self.lmtp),
            ("api", &self.api),
            ("internal", &self.internal),
            ("master_key_file", &self.master_key_file),
            ("log", &self.log),
        ];
        given.into_iter().filter_map(|(key, text)| Some(Flag { key, text: text.clone()? })).collect()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every role, as without a command
    All,
    /// Run a node that takes mail in (on the cluster)
    Lmtp,
    /// Run a node that works off jobs (on the cluster)
    Workers,
    /// Run a node that serves the REST API (on the cluster)
    Api,
    /// What the servers of the cluster need
    Schema {
        /// What to do
        #[command(subcommand)]
        command: SchemaCommand,
    },
    /// The configuration
    Config {
        /// What of it
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Domains that are hosted
    Domain {
        /// What to do
        #[command(subcommand)]
        command: DomainCommand,
    },
    /// Accounts
    Account {
        /// What to do
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Addresses: aliases, and catch-alls (`@domain`)
    Address {
        /// What to do
        #[command(subcommand)]
        command: AddressCommand,
    },
    /// Put messages from files into an account; run again, it goes on where it was
    Import {
        /// The account, by address or id
        account: String,
        /// An mbox file, a Maildir, or a folder of .eml files
        path: PathBuf,
        /// What it is; found out if not given
        #[arg(long)]
        format: Option<Format>,
        /// The mailbox to put them into, by role or id [default: inbox]
        #[arg(long)]
        mailbox: Option<String>,
    },
    /// Write an account's messages into a zip file
    Export {
        /// The account, by address or id
        account: String,
        /// The file to write
        file: PathBuf,
    },
    /// Background work
    Jobs {
        /// What to do
        #[command(subcommand)]
        command: JobsCommand,
    },
    /// The processes that run
    Node {
        /// What to do
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Keys
    Keys {
        /// What to do
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Verify that every row, blob and index entry agrees
    Check {
        /// Repair what disagrees
        #[arg(long)]
        repair: bool,
    },
    /// Write a consistent copy of everything into a new directory
    Backup {
        /// The directory, which is made
        dir: PathBuf,
    },
    /// Make a new data directory from a backup; on servers that have restored their own, make it one that can be served
    Restore {
        /// The backup's directory; none on servers
        from: Option<PathBuf>,
    },
    /// Send a mail as anyone would, wait until its account lists it and search finds it, and delete it; it needs neither a
    /// configuration nor a data directory
    Probe(ProbeArguments),
    /// Write the manual pages of all commands into a directory, which is made
    #[command(hide = true)]
    Manual {
        /// The directory
        directory: PathBuf,
    },
    /// Take everything from a data directory to the servers of the cluster, or back, and verify every message; run again,
    /// it goes on where it was
    Migrate {
        /// The data directory that it comes from, or a new one
        directory: PathBuf,
        /// Where to
        #[arg(long)]
        to: Side,
    },
}

/// Where an instance can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// On the servers that the configuration names
    Cluster,
    /// In the directory
    Embedded,
}

/// `signet config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print what is in force, with secrets hidden
    Show,
}

/// `signet schema …`
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Make or upgrade it, and on the first time the keys; may be run again
    Apply,
    /// Show which version the servers have, and which this program needs
    Show,
    /// Build the search index anew beside the one that serves, and put it in its place; run again, it goes on where it was
    Reindex {
        /// Give up one that was cut short: its index is deleted, and the one that serves stays
        #[arg(long)]
        abandon: bool,
    },
}

/// `signet domain …`
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Host a domain
    Add {
        /// Its name
        name: String,
    },
    /// List the domains
    List,
    /// Host a domain no more
    Remove {
        /// Its name
        name: String,
    },
}

/// `signet account …`
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Create an account
    Create {
        /// Its first address
        address: String,
        /// Read the password from the first line of standard input; else a random one is printed once
        #[arg(long)]
        password_stdin: bool,
        /// Octets it may hold
        #[arg(long, value_name = "OCTETS")]
        quota: Option<u64>,
    },
    /// List the accounts
    List,
    /// Show an account
    Show {
        /// By address or id
        account: String,
    },
    /// Refuse sign-in; mail is still kept
    Lock {
        /// By address or id
        account: String,
    },
    /// Allow sign-in again
    Unlock {
        /// By address or id
        account: String,
    },
    /// Set how many octets an account may hold; mail that is there stays
    Quota {
        /// By address or id
        account: String,
        /// A number of octets, or none for no limit
        #[arg(value_name = "OCTETS|none")]
        quota: Quota,
    },
    /// Forget an account for good: its key is destroyed
    Purge {
        /// By address or id
        account: String,
        /// Do not ask first; without a terminal nothing is asked
        #[arg(long)]
        yes: bool,
    },
    /// Set the password; all sessions end
    Password {
        /// By address or id
        account: String,
        /// Read it from the first line of standard input; else a random one is printed once
        #[arg(long)]
        password_stdin: bool,
    },
}

/// How many octets an account may hold; `None` = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(pub Option<u64>);

impl FromStr for Quota {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(octets) if octets > 0 => Ok(Self(Some(octets))),
            _ if text == "none" => Ok(Self(None)),
            _ => Err("it is a whole number of octets of at least 1, or none"),
        }
    }
}

/// `signet address …`
#[derive(Debug, Subcommand)]
pub enum AddressCommand {
    /// Give an account one more address
    Add {
        /// The address, or `@domain` for what nobody else takes
        address: String,
        /// The account, by address or id
        #[arg(long)]
        account: String,
    },
    /// List addresses
    List {
        /// Only this account's
        #[arg(long)]
        account: Option<String>,
    },
    /// Take an address away
    Remove {
        /// The address
        address: String,
    },
}

/// `signet jobs …`
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Show how much work there is, and list the jobs that were given up
    List,
    /// Try jobs again that were given up
    #[command(arg_required_else_help = true)]
    Retry {
        /// Their ids
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
        ids: Vec<u64>,
        /// All of them
        #[arg(long)]
        all: bool,
    },
}

/// `signet node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes that are alive
    List,
    /// Have a node begin nothing more: it finishes what is under way and stays, idle, until it is stopped or resumed
    Drain {
        /// Its id
        id: String,
        /// Wait so many seconds for it to be idle; it fails if it is not by then
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
    },
    /// Have a drained node go on
    Resume {
        /// Its id
        id: String,
    },
}

/// `signet keys …`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Begin a new key epoch: every key is wrapped anew, nothing else changes
    Rotate,
}

/// What messages come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One file with many messages
    Mbox,
    /// A directory with `cur` and `new`
    Maildir,
    /// A folder of .eml files
    Eml,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_quota_is_a_number_or_none() {
        assert_eq!("1048576".parse(), Ok(Quota(Some(1 << 20))));
        assert_eq!("none".parse(), Ok(Quota(None)));
        for text in ["", "0", "-1", "1.5", "10M", "None", "18446744073709551616"] {
            assert!(text.parse::<Quota>().is_err(), "{text:?}");
        }
    }
}
