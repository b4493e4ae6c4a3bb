//! Where the master key comes from: a file, the variable `SIGNET_MASTER_KEY`, or a command that prints it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use seal::{KeyFile, MasterKey, Secret};

use crate::config::Config;
use crate::directory::{self, hex};
use crate::failure::Failure;

/// The variable that holds a master key.
pub const VARIABLE: &str = "SIGNET_MASTER_KEY";

/// Where this instance's master key is.
pub enum Source {
    /// In a file, with the epochs file beside it.
    File(PathBuf),
    /// Somewhere else; the epochs file is here.
    Elsewhere {
        /// The key that was given.
        master: MasterKey,
        /// Where the epoch keys are.
        epochs: PathBuf,
    },
}

impl Source {
    /// Finds out where the key of `instance` is, and asks for it if it is not in a file.
    ///
    /// # Errors
    /// If nothing says where, or the command fails or prints no key.
    pub fn find(config: &Config, instance: &[u8; 16]) -> Result<Self, Failure> {
        let variable = std::env::var(VARIABLE).ok().map(Secret::new);
        let given = match (variable, config.list("master_key_command")) {
            (Some(text), _) => Some(text),
            (None, Some(command)) => Some(ask(&command)?),
            (None, None) => None,
        };
        let file = config.path("master_key_file");
        match given {
            Some(text) => {
                let master = MasterKey::parse(text.expose()).map_err(|error| {
                    Failure::config(format!("the master key that was given is none: {error}"))
                })?;
                let epochs = match file {
                    Some(file) => file.with_extension("epochs"),
                    None => default_directory()?.join(format!("{}.epochs", hex(instance))),
                };
                Ok(Self::Elsewhere { master, epochs })
            }
            None => match file {
                Some(file) => Ok(Self::File(file)),
                None => Ok(Self::File(default_directory()?.join(format!("{}.key", hex(instance))))),
            },
        }
    }

    /// Where the key files are.
    pub fn directory(&self) -> &Path {
        let (Self::File(file) | Self::Elsewhere { epochs: file, .. }) = self;
        file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Opens the keys of data that exist. Never makes any.
    ///
    /// # Errors
    /// If they are missing, open to others, damaged, or not those of this instance.
    pub fn open(self, instance: &[u8; 16]) -> Result<KeyFile, Failure> {
        let opened = match self {
            Self::File(path) => KeyFile::open(&path, instance),
            Self::Elsewhere { master, epochs } => KeyFile::with_master(master, &epochs, instance),
        };
        opened.map_err(refused)
    }

    /// Makes the keys of a new instance; those that an unfinished first start has made are opened, and a master key that
    /// somebody has put into the file is used.
    ///
    /// # Errors
    /// If there are keys already that are not this instance's.
    pub fn create(self, instance: &[u8; 16]) -> Result<KeyFile, Failure> {
        let opened = match &self {
            Self::File(path) => KeyFile::open(path, instance),
            Self::Elsewhere { master, epochs } => KeyFile::with_master(master.clone(), epochs, instance),
        };
        match (opened, self) {
            (Ok(key_file), _) => Ok(key_file),
            (Err(seal::Error::MissingKeyFile { path: missing }), Self::File(path)) => {
                // A key whose epochs file is missing was put there for this instance; it has no data yet.
                let made = if missing == path { KeyFile::create } else { KeyFile::claim };
                made(&path, instance).map_err(refused)
            }
            (Err(seal::Error::MissingKeyFile { .. }), Self::Elsewhere { master, epochs }) => {
                KeyFile::create_with_master(master, &epochs, instance).map_err(refused)
            }
            (Err(error), _) => Err(refused(error)),
        }
    }
}

/// Keeps others who ask from the directory of key files, for as long as the file is open; waits for their end.
///
/// # Errors
/// If there is no such directory and none can be made.
pub fn lock(directory: &Path) -> Result<File, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::config(format!("the key directory {} cannot be used: {error}", directory.display()))
    };
    directory::make(directory).map_err(cannot)?;
    let opened = File::open(directory).map_err(cannot)?;
    flock(&opened, FlockOperation::LockExclusive).map_err(|error| cannot(error.into()))?;
    Ok(opened)
}

fn refused(error: seal::Error) -> Failure {
    Failure::config(match error {
        seal::Error::MissingKeyFile { .. } => {
            format!("the key of these data is missing: {error}. No new one is made: it would not open them")
        }
        seal::Error::WrongMasterKey { .. } => format!("the key is not that of these data: {error}"),
        other => format!("the key cannot be used: {other}"),
    })
}

/// `signet` under the configuration directory of the user that runs the program.
fn default_directory() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("signet")).ok_or_else(|| {
        Failure::config(
            "neither XDG_CONFIG_HOME nor HOME says where the key is: name it by --master-key-file",
        )
    })
}

/// What the command prints.
fn ask(command: &[String]) -> Result<Secret<String>, Failure> {
    let failed = |why: &str| Failure::config(format!("`master_key_command` {why}"));
    let (program, arguments) = command.split_first().ok_or_else(|| failed("names no program"))?;
    let run = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = run.map_err(|error| failed(&format!("did not start: {error}")))?;
    if !output.status.success() {
        return Err(failed(&format!("failed: {}", output.status)));
    }
    match String::from_utf8(output.stdout) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Err(failed("printed no text")),
    }
}

/// Says where the key is and what losing it means.
pub fn announce(key: Option<&Path>, epochs: &Path) {
    match key {
        Some(path) => println!("The master key is in {}", shown(path)),
        None => println!("The master key is the one that was given"),
    }
    println!("and the epoch keys are in {}", shown(epochs));
    println!("Copy both to another place now: whoever loses them has lost the mail.");
}

fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

#[cfg(test)]
mod tests;
