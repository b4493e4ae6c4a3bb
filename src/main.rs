//! Signet: a private mail platform. `signet` alone runs every role, on one directory or on the servers of a cluster, where
//! `signet lmtp`, `signet workers` and `signet api` run one each; the other commands talk to the running process.

mod arguments;
mod check;
mod client;
mod commands;
mod config;
mod data;
mod directory;
mod failure;
mod key_copy;
mod keys;
mod logging;
mod mailfiles;
mod migrate;
mod node;
mod operator;
mod periodic;
mod probe;
mod roles;
mod start;
mod storage;
mod welcome;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command, ConfigCommand};
use crate::config::Config;
use crate::failure::Failure;
use crate::roles::Roles;

/// Values are made on one thread and dropped on another all the time; this allocator gives what is left of them back to
/// the system by itself (how soon, .cargo/config.toml says).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") => {
            return Failure::usage(error.render().to_string().trim_end()).report(true);
        }
        Err(error) => error.exit(),
    };
    let ended = match &arguments.command {
        // It works where there is no configuration, or one that is wrong.
        Some(Command::Probe(given)) => commands::probe::run(given, arguments.json),
        _ => load(&arguments).and_then(|config| carry_out(&arguments, config)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(arguments.json),
    }
}

fn carry_out(arguments: &Arguments, config: Config) -> Result<(), Failure> {
    match &arguments.command {
        None | Some(Command::All) => run(config, Roles::All),
        Some(Command::Lmtp) => run(config, Roles::Lmtp),
        Some(Command::Workers) => run(config, Roles::Workers),
        Some(Command::Api) => run(config, Roles::Api),
        Some(Command::Schema { command }) => {
            // Where JSON is asked for, a failure is one object and nothing else.
            let logged = if arguments.json { Ok(()) } else { start_logging(&config) };
            logged.and_then(|()| commands::schema::run(&config, command, arguments.json))
        }
        Some(Command::Config { command: ConfigCommand::Show }) => {
            show_config(&config, arguments.json);
            Ok(())
        }
        Some(Command::Migrate { directory, to }) => {
            let logged = if arguments.json { Ok(()) } else { start_logging(&config) };
            logged.and_then(|()| commands::migrate::run(&config, *to, directory, arguments.json))
        }
        Some(Command::Manual { directory }) => commands::manual::run(directory),
        Some(Command::Restore { from }) => commands::restore::run(&config, from.as_deref(), arguments.json),
        Some(command) => commands::run(&config, command, arguments.json),
    }
}

fn load(arguments: &Arguments) -> Result<Config, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    Ok(Config::load(arguments.config.as_deref(), variable, &arguments.flags())?)
}

fn show_config(config: &Config, json: bool) {
    let master_key_is_set = std::env::var_os(keys::VARIABLE).is_some();
    if json {
        println!("{}", config::to_json(config, master_key_is_set));
    } else {
        print!("{}", config::to_toml(config, master_key_is_set));
    }
}

/// The program: postfix → LMTP → store and queue → workers → index; clients → API → store and index.
fn run(config: Config, roles: Roles) -> Result<(), Failure> {
    roles.check(&config)?;
    start_logging(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let stop = roles::stop_signal()?;
        let metrics = roles::measure()?;
        let Some(place) = start::find(&config, &stop).await? else { return Ok(()) };
        let listeners = roles::Listeners::bind(&config, roles).await?;
        let started = start::open(&config, place).await?;
        roles::run(&config, roles, started, listeners, metrics, stop).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    ended
}

fn start_logging(config: &Config) -> Result<(), Failure> {
    let filter = config.text("log").unwrap_or("info");
    let json = config.text("log_format") == Some("json");
    let subscriber = logging::subscriber(filter, json, std::io::stderr)
        .map_err(|error| Failure::config(format!("`log` is no filter: {error}")))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| Failure::of("logging", &error))?;
    logging::hide_panic_texts();
    for name in config::unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
    {
        tracing::warn!(name, "this variable sets nothing");
    }
    Ok(())
}
