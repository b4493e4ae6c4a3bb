//! What an account sees, on the embedded backend.

use embedded::{Embedded, Options};
use schema::contract::{faults, limits, listings, progress, races, shared, stories};

macro_rules! stories {
    ($of:ident: $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let embedded = Embedded::open(&dir.path().join("data"), Options::default()).unwrap();
                $of::$name(embedded.backend(), dir.path()).await;
            }
        )*
    };
}

schema::contract_of_stories!(stories);
