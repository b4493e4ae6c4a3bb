//! Why the program ends, and with what.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

/// An end that is not a success: what is said, and the exit code (sysexits.h).
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    /// What a program can make more of than of the message.
    details: Map<String, Value>,
}

/// The configuration, the data or the key is not what it has to be: starting again would not help.
const CONFIG: u8 = 78;
/// A server that is needed is away: starting again may help.
const UNAVAILABLE: u8 = 69;

impl Failure {
    /// The configuration, the data directory or the key is wrong: exit 78.
    pub fn config(message: impl ToString) -> Self {
        Self::new(CONFIG, message)
    }

    /// A server that is needed is away: exit 69.
    pub fn unavailable(message: impl ToString) -> Self {
        Self::new(UNAVAILABLE, message)
    }

    /// Anything else: exit 1.
    pub fn other(message: impl ToString) -> Self {
        Self::new(1, message)
    }

    /// The command line is none: exit 2.
    pub fn usage(message: impl ToString) -> Self {
        Self::new(2, message)
    }

    /// The same with exit 69, unless a code of its own says more.
    pub fn or_unavailable(self) -> Self {
        Self { code: if self.code == 1 { UNAVAILABLE } else { self.code }, ..self }
    }

    fn new(code: u8, message: impl ToString) -> Self {
        Self { code, message: message.to_string(), details: Map::new() }
    }

    /// The same with a detail that stands beside the message where JSON is asked for; null is none.
    pub fn with(mut self, name: &str, detail: Value) -> Self {
        if !detail.is_null() {
            self.details.insert(name.to_owned(), detail);
        }
        self
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

    /// Says it on standard error, as one JSON object if `json` is set, and gives the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            eprintln!("{}", self.to_json());
        } else {
            eprintln!("signet: {}", self.message);
        }
        ExitCode::from(self.code)
    }

    /// `{"error": {"message": …}}` with the details.
    fn to_json(&self) -> Value {
        let mut error = self.details.clone();
        error.insert("message".to_owned(), json!(self.message));
        json!({ "error": error })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_json_a_failure_is_one_object_with_its_details() {
        let plain = Failure::other("it is \"gone\"\n");
        assert_eq!(plain.to_json().to_string(), r#"{"error":{"message":"it is \"gone\"\n"}}"#);
        let detailed = Failure::config("no").with("status", json!(404)).with("code", Value::Null);
        assert_eq!(detailed.to_json(), json!({ "error": { "message": "no", "status": 404 } }));
    }
}
