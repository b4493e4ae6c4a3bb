//! A start on a directory; the first one makes what a new instance needs.

use std::sync::Arc;

use embedded::{Embedded, Options};
use jiff::Timestamp;
use schema::Instance;

use super::Started;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::failure::Failure;
use crate::storage::Storage;
use crate::{keys, welcome};

/// Opens the key, the backend and the instance, in this order.
pub(super) async fn open(config: &Config, mut data: DataDirectory) -> Result<Started, Failure> {
    let id = data.instance();
    let source = keys::Source::find(config, &id)?;
    let key_file = if data.is_new() { source.create(&id)? } else { source.open(&id)? };
    if data.is_new() {
        keys::announce(key_file.key_path(), key_file.epochs_path());
    }
    let embedded = Arc::new(open_backend(config, &data)?);
    let instance = super::instance(config, embedded.backend(), key_file, id).await?;
    match data.is_new() {
        true if config.text("welcome") == Some("on") => first_start(&instance, &mut data).await?,
        true => data.finish()?,
        false => {}
    }
    Ok(Started { storage: Storage::Embedded { data, embedded }, instance })
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
