//! Why the program ends, and with what.

use std::process::ExitCode;

/// An end that is not a success: what is said, and the exit code (sysexits.h).
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

/// The configuration, the data or the key is not what it has to be: starting again would not help.
const CONFIG: u8 = 78;

impl Failure {
    /// The configuration, the data directory or the key is wrong: exit 78.
    pub fn config(message: impl ToString) -> Self {
        Self { code: CONFIG, message: message.to_string() }
    }

    /// Anything else: exit 1.
    pub fn other(message: impl ToString) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// What went wrong and, as far as they say more, its causes.
    pub fn of(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = format!("{what}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self::other(message)
    }

    /// Says it on standard error and gives the exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("signet: {}", self.message);
        ExitCode::from(self.code)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::config(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::other(error)
    }
}
