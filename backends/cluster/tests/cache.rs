//! What may be forgotten on a real Redis: what every cache must do, and what becomes of it when Redis is gone.

#![allow(clippy::unwrap_used)]

mod proxy;

use std::time::{Duration, Instant};

use cluster::cache::RedisCache;
use cluster::{Login, RedisOptions, StartError};
use proxy::Proxy;
use schema::{AccountId, Cache, Change, ChangeKind};
use zeroize::Zeroizing;

const LONG: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(30);

fn url() -> String {
    std::env::var("SIGNET_TEST_REDIS").expect("SIGNET_TEST_REDIS names no Redis: redis://host:port")
}

/// Keys of a test's own.
fn options() -> RedisOptions {
    let prefix = format!("test-{}:", AccountId::random());
    // A machine that builds may be slow: where the time counts the test says so.
    RedisOptions { url: url(), prefix, request_time: Duration::from_secs(2), ..RedisOptions::default() }
}

async fn line() -> Proxy {
    let url = url();
    let server = url.rsplit_once("//").unwrap().1;
    let server = server.rsplit_once('@').map_or(server, |(_, server)| server);
    Proxy::to(server.trim_end_matches('/').to_owned()).await
}

fn through(options: &RedisOptions, proxy: &Proxy) -> RedisOptions {
    RedisOptions { url: format!("redis://{}", proxy.address()), ..options.clone() }
}

/// What is under `key`, once Redis is back.
async fn get_at_last(cache: &RedisCache, key: &[u8]) -> Vec<u8> {
    let began = Instant::now();
    loop {
        if let Some(value) = cache.get(key).await.unwrap() {
            return value;
        }
        assert!(began.elapsed() < DEADLINE, "Redis does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Keeps a value once Redis is back.
async fn put_at_last(cache: &RedisCache, key: &[u8]) {
    let began = Instant::now();
    while cache.get(key).await.unwrap().is_none() {
        assert!(began.elapsed() < DEADLINE, "Redis does not come back");
        cache.put(key, b"value".to_vec(), LONG).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

macro_rules! contract {
    ($part:ident as $field:ident: $trait:ty; $($name:ident)* ; shared: $($shared:ident)*) => {
        mod contract {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    let part = RedisCache::connect(&options()).await.unwrap();
                    schema::contract::$part::$name(&part).await;
                }
            )*
        }
    };
}

schema::cache_contract!(contract);

#[tokio::test]
async fn keys_of_any_octets_are_kept_apart() {
    let cache = RedisCache::connect(&options()).await.unwrap();
    let keys: [&[u8]; 4] = [b"", b"\0\r\n", b"\xff\xfe*?", b"c:"];
    for key in keys {
        cache.put(key, key.to_vec(), LONG).await.unwrap();
        assert_eq!(cache.count(key, LONG).await.unwrap(), 1);
    }
    for key in keys {
        assert_eq!(cache.get(key).await.unwrap().as_deref(), Some(key));
        cache.remove(key).await.unwrap();
    }
}

#[tokio::test]
async fn two_processes_count_together_and_see_each_others_values() {
    let options = options();
    let (one, two) = tokio::join!(RedisCache::connect(&options), RedisCache::connect(&options));
    let (one, two) = (one.unwrap(), two.unwrap());
    for count in [1, 3, 5] {
        assert_eq!(one.count(b"key", LONG).await.unwrap(), count);
        assert_eq!(two.count(b"key", LONG).await.unwrap(), count + 1);
    }
    one.put(b"key", b"value".to_vec(), LONG).await.unwrap();
    assert_eq!(two.get(b"key").await.unwrap().as_deref(), Some(b"value".as_slice()));
    two.remove(b"key").await.unwrap();
    assert_eq!(one.get(b"key").await.unwrap(), None);
}

/// Tells of a change again and again until it is heard. Others may be heard late, and before it.
async fn tell_until_heard(one: &RedisCache, other: &RedisCache, account: AccountId) {
    let mut heard = other.watch(account);
    let change = Change { kind: ChangeKind::MessageCreated, id: AccountId::random().0 };
    let began = Instant::now();
    loop {
        one.tell(account, change);
        if let Ok(first) = tokio::time::timeout(Duration::from_millis(20), heard.recv()).await
            && first.unwrap() == change
        {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "nothing is heard");
    }
}

#[tokio::test]
async fn what_one_process_tells_another_hears_also_after_redis_was_gone() {
    let line = line().await;
    let direct = options();
    let account = AccountId::random();
    let one = RedisCache::connect(&direct).await.unwrap();
    let other = RedisCache::connect(&through(&direct, &line)).await.unwrap();
    let stranger = RedisCache::connect(&options()).await.unwrap();
    let mut of_stranger = stranger.watch(account);
    tell_until_heard(&one, &other, account).await;
    tell_until_heard(&other, &one, account).await;
    line.cut();
    line.open();
    tell_until_heard(&one, &other, account).await;
    tell_until_heard(&other, &one, account).await;
    assert!(of_stranger.try_recv().is_err(), "other keys, other news");
}

#[tokio::test]
async fn many_count_at_once_and_every_use_is_counted() {
    let options = options();
    let caches = [RedisCache::connect(&options).await.unwrap(), RedisCache::connect(&options).await.unwrap()];
    let uses = (0..100).map(|number| caches[number % 2].count(b"key", LONG));
    let mut counts: Vec<_> =
        futures_util::future::join_all(uses).await.into_iter().map(|count| count.unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_redis_held_is_not_known_while_it_is_gone_and_known_when_it_is_back() {
    let proxy = line().await;
    let options = RedisOptions { request_time: Duration::from_millis(500), ..through(&options(), &proxy) };
    let cache = RedisCache::connect(&options).await.unwrap();
    cache.put(b"key", b"value".to_vec(), LONG).await.unwrap();
    assert_eq!(get_at_last(&cache, b"key").await, b"value");
    proxy.cut();
    let began = Instant::now();
    assert_eq!(cache.get(b"key").await.unwrap(), None);
    assert!(began.elapsed() < 2 * options.request_time, "{:?}", began.elapsed());
    cache.put(b"other", b"value".to_vec(), LONG).await.unwrap();
    cache.remove(b"another").await.unwrap();
    proxy.open();
    assert_eq!(get_at_last(&cache, b"key").await, b"value");
}

#[tokio::test]
async fn a_redis_that_does_not_answer_holds_up_one_call_and_no_more() {
    let proxy = line().await;
    let options = RedisOptions { request_time: Duration::from_millis(500), ..through(&options(), &proxy) };
    let cache = RedisCache::connect(&options).await.unwrap();
    put_at_last(&cache, b"key").await;
    proxy.mute();
    let began = Instant::now();
    assert_eq!(cache.get(b"key").await.unwrap(), None);
    assert!(began.elapsed() < 2 * options.request_time, "{:?}", began.elapsed());
    let began = Instant::now();
    for number in 0..100 {
        assert_eq!(cache.get(b"key").await.unwrap(), None);
        cache.put(b"other", vec![number], LONG).await.unwrap();
        assert_eq!(cache.count(b"count", LONG).await.unwrap(), u64::from(number) + 1);
    }
    assert!(began.elapsed() < options.request_time, "{:?}", began.elapsed());
    proxy.open();
    assert_eq!(get_at_last(&cache, b"key").await, b"value");
}

#[tokio::test]
async fn limits_hold_on_each_node_while_redis_is_gone() {
    let proxy = line().await;
    let options = options();
    let (cut_off, other) = (through(&options, &proxy), options);
    let cut_off = RedisCache::connect(&cut_off).await.unwrap();
    let other = RedisCache::connect(&other).await.unwrap();
    assert_eq!(cut_off.count(b"key", LONG).await.unwrap(), 1);
    proxy.cut();
    for count in 1..=10 {
        assert_eq!(cut_off.count(b"key", LONG).await.unwrap(), count);
    }
    let short = Duration::from_millis(50);
    let began = Instant::now();
    cut_off.count(b"short", short).await.unwrap();
    while cut_off.count(b"short", short).await.unwrap() != 1 {
        assert!(began.elapsed() < DEADLINE, "it never starts anew");
    }
    assert!(began.elapsed() >= short);
    assert_eq!(other.count(b"key", LONG).await.unwrap(), 2);
    proxy.open();
    put_at_last(&cut_off, b"back").await;
    assert_eq!(cut_off.count(b"key", LONG).await.unwrap(), 3);
}

#[tokio::test]
async fn what_was_changed_while_redis_was_gone_does_not_come_back() {
    let proxy = line().await;
    let options = options();
    let other = RedisCache::connect(&options).await.unwrap();
    let cache = RedisCache::connect(&through(&options, &proxy)).await.unwrap();
    for key in [b"removed", b"renewed", b"as-is--"] {
        cache.put(key, b"old".to_vec(), LONG).await.unwrap();
    }
    proxy.cut();
    cache.remove(b"removed").await.unwrap();
    cache.put(b"renewed", b"new".to_vec(), LONG).await.unwrap();
    assert_eq!(other.get(b"removed").await.unwrap().as_deref(), Some(b"old".as_slice()));
    proxy.open();
    assert_eq!(get_at_last(&cache, b"as-is--").await, b"old");
    for cache in [&cache, &other] {
        assert_eq!(cache.get(b"removed").await.unwrap(), None);
        assert_eq!(cache.get(b"renewed").await.unwrap(), None);
    }
}

#[tokio::test]
async fn when_too_much_was_changed_while_redis_was_gone_all_is_forgotten() {
    let proxy = line().await;
    let options = options();
    let neighbour =
        RedisCache::connect(&RedisOptions { prefix: "test-[*".into(), ..options.clone() }).await.unwrap();
    let cache = RedisCache::connect(&through(&options, &proxy)).await.unwrap();
    cache.put(b"as-is", b"old".to_vec(), LONG).await.unwrap();
    cache.count(b"count", LONG).await.unwrap();
    neighbour.put(b"as-is", b"old".to_vec(), LONG).await.unwrap();
    proxy.cut();
    for number in 0..20_000_u32 {
        cache.remove(&number.to_be_bytes()).await.unwrap();
    }
    proxy.open();
    put_at_last(&cache, b"back").await;
    assert_eq!(cache.get(b"as-is").await.unwrap(), None);
    assert_eq!(cache.count(b"count", LONG).await.unwrap(), 2);
    assert_eq!(neighbour.get(b"as-is").await.unwrap().as_deref(), Some(b"old".as_slice()));
}

#[tokio::test]
async fn a_redis_that_is_gone_at_the_start_is_used_once_it_is_there() {
    let proxy = line().await;
    proxy.cut();
    let began = Instant::now();
    let cache = RedisCache::connect(&through(&options(), &proxy)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(cache.get(b"key").await.unwrap(), None);
    assert_eq!(cache.count(b"key", LONG).await.unwrap(), 1);
    assert_eq!(cache.count(b"key", LONG).await.unwrap(), 2);
    proxy.open();
    put_at_last(&cache, b"key").await;
    assert_eq!(cache.count(b"key", LONG).await.unwrap(), 1);
}

#[tokio::test]
async fn what_cannot_be_a_redis_for_us_is_told() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nonsense = format!("redis://{}", listener.local_addr().unwrap());
    let _server = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let wrong = Login { name: "nobody".into(), password: Zeroizing::new("wrong".into()) };
    for options in [
        RedisOptions { login: Some(wrong), ..options() },
        RedisOptions { url: "nonsense".into(), ..options() },
        RedisOptions { url: nonsense, ..options() },
        RedisOptions { ca_file: Some("nowhere.pem".into()), ..options() },
        RedisOptions { ca_file: Some("Cargo.toml".into()), ..options() },
    ] {
        let told = RedisCache::connect(&options).await.err();
        assert!(matches!(told, Some(StartError::Unusable { .. })), "{:?}: {told:?}", options.url);
    }
}
