//! What an account sees, on the servers.

mod support;

use schema::contract::{faults, limits, listings, progress, races, shared, stories};

macro_rules! stories {
    ($of:ident: $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                support::on_servers_of_its_own(async |backend, keys| $of::$name(backend, keys).await).await;
            }
        )*
    };
}

schema::contract_of_stories!(stories);
