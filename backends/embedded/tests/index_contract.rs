//! The embedded index does what every search index must do.

#![allow(clippy::unwrap_used)]

use embedded::index::{Index, keyspace_options};
use fjall::Database;

macro_rules! contract {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let directory = tempfile::tempdir().unwrap();
            let database = Database::builder(directory.path()).open().unwrap();
            let keyspace = database.keyspace("index", keyspace_options).unwrap();
            let index = Index::new(database, keyspace, 32 * 1024 * 1024);
            schema::contract::index::$name(&index).await.unwrap();
        }
    )*};
}

schema::index_contract!(contract);
