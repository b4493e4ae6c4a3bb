//! From a configuration to an open instance, on one directory or on servers.

mod directory;
pub mod migration;
pub mod servers;

use std::sync::Arc;

use cluster::Cluster;
use schema::{Backend, Instance, SystemClock};
use seal::KeyFile;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::directory::Directory;
use crate::failure::Failure;
use crate::key_copy::KeyCopy;
use crate::storage::Storage;

pub use directory::open_backend;

/// Where everything is kept, before it is opened.
pub enum Place {
    /// In a directory.
    Data(DataDirectory),
    /// On servers that answer.
    Servers {
        /// The node's own directory.
        node: Directory,
        /// The connections.
        cluster: Cluster,
    },
}

/// What is open when the roles begin.
pub struct Started {
    /// What everything is kept on, held until the end.
    pub storage: Storage,
    /// What the roles share.
    pub instance: Arc<Instance>,
}

/// Takes the directory and, on the cluster, waits for the servers; `None` if the program is stopped meanwhile.
///
/// # Errors
/// See [`Failure`]; 78 where something has to be changed, 69 where servers do not answer.
pub async fn find(config: &Config, stop: &CancellationToken) -> Result<Option<Place>, Failure> {
    if !config.is_cluster() {
        return DataDirectory::take(&config.data()).map(|data| Some(Place::Data(data)));
    }
    let node = Directory::take_for_node(&config.data())?;
    tokio::select! {
        () = stop.cancelled() => Ok(None),
        connected = servers::connect(config) => Ok(Some(Place::Servers { node, cluster: connected? })),
    }
}

/// Opens the key, the backend and the instance: without their key, data stay closed.
///
/// # Errors
/// See [`Failure`]; 78 where data or key are not what they have to be.
pub async fn open(config: &Config, place: Place) -> Result<Started, Failure> {
    match place {
        Place::Data(data) => directory::open(config, data).await,
        Place::Servers { node, cluster } => servers::open(config, node, cluster).await,
    }
}

/// What is shared by whoever uses `backend` with the keys in `key_file`.
///
/// # Errors
/// 78 if they do not open it.
pub async fn instance(
    config: &Config,
    mut backend: Backend,
    key_file: KeyFile,
    id: [u8; 16],
) -> Result<Arc<Instance>, Failure> {
    backend.store = KeyCopy::around(backend.store, key_file.epochs_path());
    let opened = Instance::open(backend, key_file, id, Arc::new(SystemClock), settings(config));
    opened.await.map_err(|error| match error {
        schema::Error::Sealed { .. } => Failure::config(
            "the key does not open these data: it is that of others, or the epochs file beside it is not the newest",
        ),
        error => unreadable(&error),
    })
}

fn unreadable(error: &schema::Error) -> Failure {
    let failure = Failure::of("the data cannot be opened", error);
    if error.is_transient() { Failure::unavailable(failure) } else { failure }
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
