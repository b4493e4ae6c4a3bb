//! The embedded backend does what every backend must do: on a fresh directory, and on one that was opened again.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use embedded::{Embedded, Options};
use schema::{BlobStore, Cache, JobQueue, MailStore};

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).unwrap()
}

/// A directory that has been in use, was left without being closed, and is opened again.
fn reopened(dir: &Path) -> Embedded {
    drop(open(dir));
    open(dir)
}

/// A directory that has been in use, was closed cleanly, and is opened again.
fn closed(dir: &Path) -> Embedded {
    open(dir).close().unwrap();
    open(dir)
}

/// One test for each function and each way to open, on a runtime of several threads and on one of a single thread.
macro_rules! contract {
    ($part:ident as $field:ident: $trait:ty; $($name:ident)* ; shared: $($shared:ident)*) => {
        mod $part {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    for open in [open, reopened, closed] {
                        let dir = tempfile::tempdir().unwrap();
                        let backend = open(dir.path()).backend();
                        let part: &$trait = &*backend.$field;
                        schema::contract::$part::$name(part).await;
                    }
                }
            )*
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $shared() {
                    for open in [open, reopened, closed] {
                        let dir = tempfile::tempdir().unwrap();
                        let part: Arc<$trait> = open(dir.path()).backend().$field;
                        schema::contract::$part::$shared(part).await;
                    }
                }
            )*
        }
    };
}

schema::contract_of_parts!(contract);
