//! What everything is kept on while the program runs.

use std::sync::Arc;

use cluster::Cluster;
use embedded::Embedded;

use crate::data::DataDirectory;
use crate::directory::Directory;
use crate::failure::Failure;

/// One directory, or servers.
pub enum Storage {
    /// One directory.
    Embedded {
        /// The directory.
        data: DataDirectory,
        /// The backend in it.
        embedded: Arc<Embedded>,
    },
    /// Servers.
    Cluster {
        /// The node's own directory.
        node: Directory,
        /// The connections.
        cluster: Cluster,
    },
}

impl Storage {
    /// By which the commands find the process.
    pub fn directory(&self) -> &Directory {
        match self {
            Self::Embedded { data, .. } => data.directory(),
            Self::Cluster { node, .. } => node,
        }
    }

    /// The embedded backend, if it is that.
    pub fn embedded(&self) -> Option<&Arc<Embedded>> {
        match self {
            Self::Embedded { embedded, .. } => Some(embedded),
            Self::Cluster { .. } => None,
        }
    }

    /// The data directory, if there is one.
    pub fn data(&self) -> Option<&DataDirectory> {
        match self {
            Self::Embedded { data, .. } => Some(data),
            Self::Cluster { .. } => None,
        }
    }

    /// Makes everything durable, gives jobs back, and closes what is open. The directory is free only then.
    ///
    /// # Errors
    /// If the data do not close.
    pub async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Embedded { data: _data, embedded } => close(embedded).await,
            Self::Cluster { node: _node, cluster } => {
                cluster.close().await;
                Ok(())
            }
        }
    }
}

/// Makes everything durable, and the next start quick.
async fn close(embedded: Arc<Embedded>) -> Result<(), Failure> {
    let failed = |error: schema::Error| Failure::of("the data did not close", &error);
    match Arc::try_unwrap(embedded) {
        Ok(embedded) => {
            let closed = tokio::task::spawn_blocking(move || embedded.close()).await;
            closed.map_err(|error| Failure::of("the data did not close", &error))?.map_err(failed)
        }
        // A call that did not end in time still holds it.
        Err(embedded) => embedded.sync().await.map_err(failed),
    }
}
