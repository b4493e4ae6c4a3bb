//! What is done once in a while, by one process of all those that have the role of a worker.

use std::time::Duration;

use schema::{Counts, Due};
use workers::Periodic;

use crate::check;
use crate::config::Config;
use crate::storage::Storage;

const HOUR: Duration = Duration::from_secs(3600);
/// How often what dead processes have left half done is looked for.
const SETTLING: Duration = Duration::from_secs(30);

/// All of it.
pub fn jobs(config: &Config, storage: &Storage) -> Vec<Periodic> {
    let mut jobs = vec![
        Periodic::new("house", Due::Every(HOUR), async |instance| instance.keep_house().await.map(Some)),
        Periodic::new("forgotten", Due::Every(HOUR), async |instance| {
            let found = workers::requeue_forgotten(&instance).await?;
            Ok(found.map(|found| one("requeued", found)))
        })
        .also_at_start(),
    ];
    let hours = config.integer("workers.scrub_hours");
    if hours > 0 {
        let every = HOUR * u32::try_from(hours).unwrap_or(u32::MAX);
        jobs.push(Periodic::new("scrub", Due::After(every), async |instance| {
            Ok(Some(check::run(&instance, true).await?.counts()))
        }));
    }
    if let Storage::Cluster { cluster, .. } = storage {
        let settling = cluster.settling();
        jobs.push(Periodic::new("settle", Due::Every(SETTLING), move |_| {
            let settling = settling.clone();
            async move { Ok(Some(one("settled", settling.settle().await?))) }
        }));
    }
    jobs
}

fn one(name: &str, count: u64) -> Counts {
    Counts::from([(name.to_owned(), count)])
}
