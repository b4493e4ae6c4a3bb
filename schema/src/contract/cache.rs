//! What every [`Cache`] must do. It may forget at any time, so what is asked for is asked for soon.

use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::TryRecvError;

use crate::{AccountId, Cache, Change, ChangeKind};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(20);

fn key(name: &str) -> Vec<u8> {
    [AccountId::random().as_bytes().as_slice(), name.as_bytes()].concat()
}

/// `get`: the value under the key, if it is there.
pub async fn a_kept_value_is_found(cache: &dyn Cache) {
    let (one, two) = (key("one"), key("two"));
    assert_eq!(cache.get(&one).await.unwrap(), None);
    cache.put(&one, b"value".to_vec(), LONG).await.unwrap();
    cache.put(&two, Vec::new(), LONG).await.unwrap();
    assert_eq!(cache.get(&one).await.unwrap().as_deref(), Some(b"value".as_slice()));
    assert_eq!(cache.get(&two).await.unwrap().as_deref(), Some(b"".as_slice()));
}

/// `put`: a new value takes the place of the old.
pub async fn a_new_value_replaces_the_old(cache: &dyn Cache) {
    let key = key("value");
    for value in [b"old", b"new"] {
        cache.put(&key, value.to_vec(), LONG).await.unwrap();
        assert_eq!(cache.get(&key).await.unwrap().as_deref(), Some(value.as_slice()));
    }
}

/// `remove`: the value is forgotten; an unknown one is ignored.
pub async fn a_removed_value_is_forgotten(cache: &dyn Cache) {
    let key = key("value");
    cache.remove(&key).await.unwrap();
    cache.put(&key, b"value".to_vec(), LONG).await.unwrap();
    cache.remove(&key).await.unwrap();
    assert_eq!(cache.get(&key).await.unwrap(), None);
}

/// `put`: the value is kept for at most its time, and a new one for the new time.
pub async fn a_value_is_kept_for_its_time_at_most(cache: &dyn Cache) {
    let (short, long) = (key("short"), key("long"));
    cache.put(&short, b"short".to_vec(), SHORT).await.unwrap();
    cache.put(&long, b"long".to_vec(), SHORT).await.unwrap();
    cache.put(&long, b"long".to_vec(), LONG).await.unwrap();
    let began = Instant::now();
    while cache.get(&short).await.unwrap().is_some() {
        assert!(began.elapsed() < DEADLINE, "the value outlives its time");
        tokio::task::yield_now().await;
    }
    assert_eq!(cache.get(&long).await.unwrap().as_deref(), Some(b"long".as_slice()));
}

/// `count`: starts at 0 and adds one each time, each key for itself.
pub async fn a_count_grows_by_one(cache: &dyn Cache) {
    let (one, two) = (key("one"), key("two"));
    for count in 1..=5 {
        assert_eq!(cache.count(&one, LONG).await.unwrap(), count);
    }
    assert_eq!(cache.count(&two, LONG).await.unwrap(), 1);
}

/// `count`: a count and a value under one key are two things.
pub async fn a_count_is_no_value(cache: &dyn Cache) {
    let key = key("both");
    cache.count(&key, LONG).await.unwrap();
    assert_eq!(cache.get(&key).await.unwrap(), None);
    cache.put(&key, b"value".to_vec(), LONG).await.unwrap();
    assert_eq!(cache.count(&key, LONG).await.unwrap(), 2);
    assert_eq!(cache.get(&key).await.unwrap().as_deref(), Some(b"value".as_slice()));
}

/// `count`: starts anew `time` after its first use, however often it was used meanwhile.
pub async fn a_count_starts_anew_after_its_time(cache: &dyn Cache) {
    let key = key("count");
    let began = Instant::now();
    let mut last = cache.count(&key, SHORT).await.unwrap();
    assert_eq!(last, 1);
    loop {
        assert!(began.elapsed() < DEADLINE, "the count never starts anew");
        let count = cache.count(&key, SHORT).await.unwrap();
        if count == 1 {
            break;
        }
        assert_eq!(count, last + 1);
        last = count;
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() >= SHORT);
}

/// `tell`, `watch`: who watches an account hears what is told of it, in order, and nothing of others.
pub async fn who_watches_an_account_hears_of_its_changes(cache: &dyn Cache) {
    let (one, two) = (AccountId::random(), AccountId::random());
    let change = |number| Change { kind: ChangeKind::MessageCreated, id: [number; 16] };
    cache.tell(one, change(0));
    let (mut first, mut second, mut other) = (cache.watch(one), cache.watch(one), cache.watch(two));
    for number in 1..=10 {
        cache.tell(one, change(number));
    }
    for watcher in [&mut first, &mut second] {
        for number in 1..=10 {
            let heard = tokio::time::timeout(DEADLINE, watcher.recv()).await;
            assert_eq!(heard.unwrap().unwrap(), change(number));
        }
    }
    assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
    drop(first);
    cache.tell(one, change(11));
    let heard = tokio::time::timeout(DEADLINE, second.recv()).await;
    assert_eq!(heard.unwrap().unwrap(), change(11));
}
