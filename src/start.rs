//! From a data directory to an open instance; the first start makes what a new one needs.

use std::sync::Arc;

use embedded::{Embedded, Options};
use jiff::Timestamp;
use schema::{Instance, SystemClock};

use crate::config::Config;
use crate::data::DataDirectory;
use crate::failure::Failure;
use crate::key_copy::KeyCopy;
use crate::{keys, welcome};

/// What is open when the roles begin.
pub struct Started {
    /// The data directory, held until the end.
    pub data: DataDirectory,
    /// The backend.
    pub embedded: Embedded,
    /// What the roles share.
    pub instance: Arc<Instance>,
}

/// Opens the key, the backend and the instance, in this order: without their key, data stay closed.
///
/// # Errors
/// See [`Failure`]; 78 where data or key are not what they have to be.
pub async fn open(config: &Config, mut data: DataDirectory) -> Result<Started, Failure> {
    let instance_id = data.instance();
    let source = keys::Source::find(config, &instance_id)?;
    let key_file = if data.is_new() { source.create(&instance_id)? } else { source.open(&instance_id)? };
    if data.is_new() {
        keys::announce(&key_file);
    }
    let embedded = open_backend(config, &data)?;
    let mut backend = embedded.backend();
    backend.store = KeyCopy::around(backend.store, key_file.epochs_path());
    let opened = Instance::open(backend, key_file, instance_id, Arc::new(SystemClock), settings(config));
    let instance = opened.await.map_err(|error| match error {
        schema::Error::Sealed { .. } => Failure::config("the key does not open these data"),
        other => Failure::of("the data cannot be opened", &other),
    })?;
    if data.is_new() {
        first_start(&instance, &mut data).await?;
    }
    Ok(Started { data, embedded, instance })
}

/// Opens the backend with the memory it is given.
pub fn open_backend(config: &Config, data: &DataDirectory) -> Result<Embedded, Failure> {
    let options = Options {
        block_cache_bytes: config.integer("storage.block_cache_bytes"),
        cache_bytes: config.integer("storage.cache_bytes"),
        journal_bytes: config.integer("storage.journal_bytes"),
        worker_threads: config.size("storage.threads"),
        open_files: config.size("storage.open_files"),
        ..Options::default()
    };
    Embedded::open(data.path(), options).map_err(|error| Failure::of("the data cannot be opened", &error))
}

/// What can be set of the instance.
pub fn settings(config: &Config) -> schema::Settings {
    let narrow = |key| u32::try_from(config.integer(key)).unwrap_or(u32::MAX);
    let limits = mail::Limits {
        depth: u16::try_from(config.integer("messages.depth")).unwrap_or(u16::MAX),
        parts: narrow("messages.parts"),
        headers: narrow("messages.headers"),
        header_bytes: config.size("messages.header_bytes"),
        text_bytes: config.size("messages.text_bytes"),
        html_bytes: config.size("messages.html_bytes"),
        addresses: config.size("messages.addresses"),
        terms: config.size("messages.terms"),
    };
    schema::Settings {
        limits,
        quota: config.integer_if_set("accounts.quota_bytes"),
        session_hours: narrow("accounts.session_hours"),
    }
}

/// Makes the domain and the account of a first start. Each step may have been done by a start that was cut short.
async fn first_start(instance: &Arc<Instance>, data: &mut DataDirectory) -> Result<(), Failure> {
    let failed = |error: schema::Error| Failure::of("the first start failed", &error);
    match instance.add_domain(welcome::DOMAIN).await {
        Ok(_) | Err(schema::Error::Conflict { .. }) => {}
        Err(error) => return Err(failed(error)),
    }
    let password = seal::random_password();
    match instance.account_by_address(welcome::ACCOUNT).await.map_err(failed)? {
        // Its password was never shown, or the start that showed it was cut short after that.
        Some(account) => {
            if !instance.set_password(account, password.expose()).await.map_err(failed)? {
                return Err(failed(schema::Error::Damaged { what: "accounts" }));
            }
        }
        None => {
            instance.create_account(welcome::ACCOUNT, password.expose(), None).await.map_err(failed)?;
        }
    }
    let written_at = jiff::fmt::rfc2822::to_string(&Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|error| Failure::of("the clock", &error))?;
    data.note_welcome(&written_at)?;
    data.finish()?;
    println!();
    println!("Account:  {}", welcome::ACCOUNT);
    println!("Password: {}   (shown this once)", password.expose());
    println!();
    Ok(())
}
