//! Cassandra does what every store of rows and blobs must do.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use schema::{BlobStore, MailStore};

macro_rules! contract {
    (store as $field:ident: $trait:ty; $($name:ident)* ; shared: $($shared:ident)*) => {
        contract! { @ store, 0, $trait; $($name)* ; $($shared)* }
    };
    (blobs as $field:ident: $trait:ty; $($name:ident)* ; shared: $($shared:ident)*) => {
        contract! { @ blobs, 1, $trait; $($name)* ; $($shared)* }
    };
    (@ $part:ident, $index:tt, $trait:ty; $($name:ident)* ; $($shared:ident)*) => {
        mod $part {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    let rows = support::rows().await;
                    let part: &$trait = &*rows.$index;
                    schema::contract::$part::$name(part).await;
                }
            )*
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $shared() {
                    let part: Arc<$trait> = support::rows().await.$index;
                    schema::contract::$part::$shared(part).await;
                }
            )*
        }
    };
    ($($other:tt)*) => {};
}

schema::contract_of_parts!(contract);
