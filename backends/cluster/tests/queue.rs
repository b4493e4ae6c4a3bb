//! Jobs on a real RabbitMQ: what every queue must do, and what becomes of jobs when the line is bad.

#![allow(clippy::unwrap_used)]

mod proxy;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::queue::{RabbitQueue, apply_schema};
use cluster::{Login, RabbitmqOptions, StartError};
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use proxy::Proxy;
use schema::{AccountId, Depth, Job, JobQueue, LOST_LEASES, Lease, MessageId};
use zeroize::Zeroizing;

const LONG: Duration = Duration::from_secs(600);
const NO_TIME: Duration = Duration::ZERO;
const DEADLINE: Duration = Duration::from_secs(30);
const REQUEST_TIME: Duration = Duration::from_secs(3);

fn urls() -> Vec<String> {
    let urls = std::env::var("SIGNET_TEST_RABBITMQ");
    let urls = urls.expect("SIGNET_TEST_RABBITMQ names no RabbitMQ: amqp://host:port,…");
    urls.split(',').map(str::to_owned).collect()
}

/// Queues of a test's own, which go with it.
struct Queues {
    options: RabbitmqOptions,
}

impl Queues {
    fn unmade() -> Self {
        let prefix = format!("test-{}", AccountId::random());
        Self { options: RabbitmqOptions { urls: urls(), prefix, copies: 1, ..RabbitmqOptions::default() } }
    }

    async fn new() -> Self {
        let queues = Self::unmade();
        apply_schema(&queues.options).await.unwrap();
        queues
    }

    async fn connect(&self) -> RabbitQueue {
        RabbitQueue::connect(&self.options).await.unwrap()
    }

    /// The same queues by a bad line.
    async fn by(&self, proxy: &Proxy) -> RabbitQueue {
        RabbitQueue::connect(&through(&self.options, proxy)).await.unwrap()
    }

    fn name(&self, own: &str) -> String {
        format!("{}.{own}", self.options.prefix)
    }

    /// Publishes as a version would that is not ours.
    async fn publish_raw(&self, body: &[u8], headers: FieldTable) {
        let (_connection, channel) = channel(&self.options.urls[0]).await;
        let properties = BasicProperties::default().with_headers(headers);
        let name = self.name("jobs").into();
        channel
            .basic_publish("".into(), name, BasicPublishOptions::default(), body, properties)
            .await
            .unwrap();
    }

    async fn delete(&self, own: &str) {
        let (_connection, channel) = channel(&self.options.urls[0]).await;
        channel.queue_delete(self.name(own).into(), QueueDeleteOptions::default()).await.unwrap();
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        let topology: serde_json::Value =
            serde_json::from_str(include_str!("../../../schema/rabbitmq/topology-1.json")).unwrap();
        let queues = topology["queues"].as_array().unwrap().clone();
        let (url, prefix) = (self.options.urls[0].clone(), self.options.prefix.clone());
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (_connection, channel) = channel(&url).await;
                for queue in queues {
                    let name = queue["name"].as_str().unwrap().replace("{prefix}", &prefix);
                    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
                }
            });
        });
        deleting.join().unwrap();
    }
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

fn through(options: &RabbitmqOptions, proxy: &Proxy) -> RabbitmqOptions {
    let urls = vec![format!("amqp://{}", proxy.address())];
    RabbitmqOptions { urls, request_time: REQUEST_TIME, ..options.clone() }
}

async fn bad_line() -> Proxy {
    let url = urls().remove(0);
    let server = url.rsplit_once("//").unwrap().1;
    let server = server.rsplit_once('@').map_or(server, |(_, server)| server);
    Proxy::to(server.trim_end_matches('/').to_owned()).await
}

fn job(number: u16) -> Job {
    let mut message = [0; 16];
    message[..2].copy_from_slice(&number.to_be_bytes());
    Job::IndexMessage { account: AccountId([1; 16]), message: MessageId(message) }
}

fn jobs(leases: &[Lease]) -> Vec<Job> {
    leases.iter().map(|lease| lease.job).collect()
}

fn ids(leases: &[Lease]) -> Vec<u64> {
    leases.iter().map(|lease| lease.id).collect()
}

async fn publish(queue: &dyn JobQueue, numbers: std::ops::Range<u16>) {
    queue.publish(numbers.map(job).collect()).await.unwrap();
}

/// Publishes until it succeeds: it must within the deadline.
async fn publish_at_last(queue: &dyn JobQueue, number: u16) {
    let began = Instant::now();
    while let Err(error) = queue.publish(vec![job(number)]).await {
        assert!(error.is_transient(), "{error}");
        assert!(began.elapsed() < DEADLINE, "{error}");
    }
}

/// Leases and acknowledges until every one of these jobs came; how often each came.
async fn take_all(queue: &dyn JobQueue, numbers: std::ops::Range<u16>) -> HashMap<Job, u32> {
    let (began, mut came) = (Instant::now(), HashMap::new());
    while !numbers.clone().all(|number| came.contains_key(&job(number))) {
        assert!(began.elapsed() < DEADLINE, "{} jobs came", came.len());
        let Ok(leases) = queue.lease(10, LONG, Duration::from_millis(100)).await else { continue };
        queue.ack(&ids(&leases)).await.unwrap();
        for lease in leases {
            *came.entry(lease.job).or_insert(0) += 1;
        }
    }
    came
}

macro_rules! contract {
    ($part:ident as $field:ident: $trait:ty; $($name:ident)* ; shared: $($shared:ident)*) => {
        mod contract {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    let queues = Queues::new().await;
                    let part = queues.connect().await;
                    schema::contract::$part::$name(&part).await;
                    part.close().await;
                }
            )*
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $shared() {
                    let queues = Queues::new().await;
                    let part: Arc<$trait> = Arc::new(queues.connect().await);
                    schema::contract::$part::$shared(part).await;
                }
            )*
        }
    };
}

schema::queue_contract!(contract);

#[tokio::test]
async fn the_queues_are_made_once_however_often_and_by_how_many() {
    let queues = Queues::unmade();
    let (one, two) = tokio::join!(apply_schema(&queues.options), apply_schema(&queues.options));
    one.unwrap();
    two.unwrap();
    apply_schema(&queues.options).await.unwrap();
    publish(&queues.connect().await, 0..1).await;
}

#[tokio::test]
async fn queues_that_were_made_otherwise_are_refused_with_what_differs() {
    let queues = Queues::new().await;
    let other = RabbitmqOptions { copies: 2, ..queues.options.clone() };
    match apply_schema(&other).await {
        Err(StartError::Unusable { reason, .. }) => assert!(reason.contains("group-size"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_queue_that_is_missing_is_named_with_what_makes_it() {
    let queues = Queues::new().await;
    queues.delete("dead").await;
    match RabbitQueue::connect(&queues.options).await {
        Err(StartError::Unusable { reason, .. }) => {
            assert!(reason.contains(".dead") && reason.contains("signet schema apply"), "{reason}");
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it connects"),
    }
}

#[tokio::test]
async fn what_keeps_us_from_using_rabbitmq_is_told_at_the_start() {
    let queues = Queues::new().await;
    let login = |password: &str| {
        let password = Zeroizing::new(password.to_owned());
        Some(Login { name: "guest".into(), password })
    };
    for options in [
        RabbitmqOptions { login: login("wrong"), ..queues.options.clone() },
        RabbitmqOptions { virtual_host: "nowhere".into(), ..queues.options.clone() },
        RabbitmqOptions { urls: vec!["nonsense".into()], ..queues.options.clone() },
        RabbitmqOptions { urls: Vec::new(), ..queues.options.clone() },
        // It does not speak TLS there.
        RabbitmqOptions {
            urls: vec![queues.options.urls[0].replace("amqp:", "amqps:")],
            ..queues.options.clone()
        },
        RabbitmqOptions { ca_file: Some("nowhere.pem".into()), ..queues.options.clone() },
        RabbitmqOptions { ca_file: Some("Cargo.toml".into()), ..queues.options.clone() },
    ] {
        let told = RabbitQueue::connect(&options).await.err();
        assert!(matches!(told, Some(StartError::Unusable { .. })), "{told:?}");
    }
    RabbitQueue::connect(&RabbitmqOptions { login: login("guest"), ..queues.options.clone() }).await.unwrap();
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_passed_over() {
    let queues = Queues::new().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = bad_line().await;
    closed.cut();
    let silent_url = format!("amqp://{}", silent.local_addr().unwrap());
    let bad = vec![silent_url, format!("amqp://{}", closed.address()), "amqp://127.0.0.1:1".into()];
    let request_time = Duration::from_millis(500);
    let good = [bad.clone(), queues.options.urls.clone()].concat();
    let options = RabbitmqOptions { urls: good, request_time, ..queues.options.clone() };
    publish(&RabbitQueue::connect(&options).await.unwrap(), 0..1).await;
    let began = Instant::now();
    let told = RabbitQueue::connect(&RabbitmqOptions { urls: bad, ..options }).await.err();
    assert!(matches!(told, Some(StartError::Unreachable { .. })), "{told:?}");
    assert!(began.elapsed() < 8 * request_time, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_answers_nonsense_is_no_rabbitmq() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", listener.local_addr().unwrap());
    let _server = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let queues = Queues::unmade();
    let options = RabbitmqOptions { urls: vec![url], request_time: REQUEST_TIME, ..queues.options.clone() };
    let began = Instant::now();
    assert!(RabbitQueue::connect(&options).await.is_err());
    assert!(began.elapsed() < 2 * REQUEST_TIME);
}

#[tokio::test]
async fn the_queue_survives_a_broken_connection() {
    let queues = Queues::new().await;
    let proxy = bad_line().await;
    let queue = queues.by(&proxy).await;
    publish(&queue, 0..20).await;
    let leased = queue.lease(10, LONG, DEADLINE).await.unwrap();
    assert_eq!(leased.len(), 10);
    proxy.cut();
    // What is not there fails clearly and in time.
    let began = Instant::now();
    assert!(queue.publish(vec![job(20)]).await.unwrap_err().is_transient());
    assert!(began.elapsed() < 2 * REQUEST_TIME);
    let began = Instant::now();
    assert!(queue.lease(1, LONG, Duration::from_millis(200)).await.is_err());
    assert!(began.elapsed() < REQUEST_TIME);
    assert!(queue.depth().await.unwrap_err().is_transient());
    proxy.open();
    publish_at_last(&queue, 21).await;
    // The old leases are over, and nobody minds.
    queue.ack(&ids(&leased)).await.unwrap();
    queue.retry(leased[0].id, NO_TIME).await.unwrap();
    queue.bury(leased[1].id, "no reason").await.unwrap();
    let mut came = take_all(&queue, 0..20).await;
    came.extend(take_all(&queue, 21..22).await);
    assert!(came.values().all(|times| *times == 1), "{came:?}");
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

#[tokio::test]
async fn a_job_whose_confirm_is_lost_is_not() {
    let queues = Queues::new().await;
    let proxy = bad_line().await;
    let queue = queues.by(&proxy).await;
    publish(&queue, 0..1).await;
    proxy.mute();
    let began = Instant::now();
    let unconfirmed = queue.publish(vec![job(1)]).await;
    assert!(unconfirmed.unwrap_err().is_transient());
    assert!(began.elapsed() < 2 * REQUEST_TIME);
    proxy.cut();
    proxy.open();
    publish_at_last(&queue, 1).await;
    publish_at_last(&queue, 2).await;
    let came = take_all(&queue, 0..3).await;
    assert!(came.values().all(|times| (1..=2).contains(times)), "{came:?}");
}

#[tokio::test]
async fn a_job_whose_connection_ends_before_its_confirm_goes_by_the_next_one() {
    let queues = Queues::new().await;
    let proxy = bad_line().await;
    let (queue, other) = (queues.by(&proxy).await, queues.connect().await);
    publish(&queue, 0..1).await;
    take_all(&other, 0..1).await;
    proxy.mute();
    let breaking = async {
        // It is there, and its confirm is lost.
        take_all(&other, 1..2).await;
        proxy.cut();
        proxy.open();
    };
    let (published, ()) = tokio::join!(queue.publish(vec![job(1)]), breaking);
    published.unwrap();
    take_all(&other, 1..2).await;
}

#[tokio::test]
async fn a_worker_that_waits_gets_the_jobs_of_the_next_connection() {
    let queues = Queues::new().await;
    let proxy = bad_line().await;
    let queue = Arc::new(queues.by(&proxy).await);
    let worker = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move {
            let began = Instant::now();
            loop {
                assert!(began.elapsed() < DEADLINE, "no job comes");
                match queue.lease(1, LONG, Duration::from_secs(1)).await {
                    Ok(leases) if leases.is_empty() => {}
                    Ok(leases) => return jobs(&leases),
                    // As a worker rests.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }
    });
    for _ in 0..3 {
        proxy.cut();
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.open();
    }
    publish_at_last(&*queue, 7).await;
    assert_eq!(worker.await.unwrap(), [job(7)]);
}

#[tokio::test]
async fn a_queue_that_is_deleted_behind_our_back_takes_jobs_once_it_is_made_again() {
    let queues = Queues::new().await;
    let queue = queues.connect().await;
    publish(&queue, 0..1).await;
    queues.delete("jobs").await;
    let error = queue.publish(vec![job(1)]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(queue.lease(1, LONG, NO_TIME).await.unwrap_err().is_transient());
    assert!(queue.depth().await.unwrap_err().is_transient());
    apply_schema(&queues.options).await.unwrap();
    publish(&queue, 2..3).await;
    assert_eq!(jobs(&queue.lease(1, LONG, DEADLINE).await.unwrap()), [job(2)]);
}

#[tokio::test]
async fn a_retry_to_a_queue_that_is_missing_keeps_the_lease() {
    let queues = Queues::new().await;
    let queue = queues.connect().await;
    publish(&queue, 0..1).await;
    let lease = queue.lease(1, LONG, DEADLINE).await.unwrap().remove(0);
    queues.delete("delay.1000").await;
    assert!(queue.retry(lease.id, Duration::from_secs(1)).await.unwrap_err().is_transient());
    queue.retry(lease.id, NO_TIME).await.unwrap();
    let again = queue.lease(1, LONG, DEADLINE).await.unwrap().remove(0);
    assert_eq!((again.job, again.attempts), (job(0), 1));
    apply_schema(&queues.options).await.unwrap();
}

#[tokio::test]
async fn a_queue_that_is_missing_fails_nobody_who_publishes_to_another() {
    const JOBS: u16 = 50;
    let queues = Queues::new().await;
    let queue = queues.connect().await;
    publish(&queue, 0..JOBS).await;
    let mut leases = Vec::new();
    while leases.len() < usize::from(JOBS) {
        leases.extend(queue.lease(50, LONG, DEADLINE).await.unwrap());
    }
    queues.delete("delay.1000").await;
    let retries = leases.iter().map(|lease| queue.retry(lease.id, Duration::from_secs(1)));
    let publishes = (JOBS..2 * JOBS).map(|number| queue.publish(vec![job(number)]));
    let (retried, published) =
        tokio::join!(futures_util::future::join_all(retries), futures_util::future::join_all(publishes));
    assert!(retried.iter().all(Result::is_err), "a retry went nowhere");
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    queue.release(&ids(&leases)).await.unwrap();
    take_all(&queue, 0..2 * JOBS).await;
    apply_schema(&queues.options).await.unwrap();
}

/// The process dies whenever it gets the job that kills it; RabbitMQ sees its connection break.
#[tokio::test]
async fn a_job_that_ends_every_process_is_given_up_and_takes_no_other_with_it() {
    const JOBS: u16 = 60;
    let killer = job(17);
    let queues = Queues::new().await;
    let proxy = bad_line().await;
    let mut queue = queues.by(&proxy).await;
    publish(&queue, 0..JOBS).await;
    let (mut deaths, mut done) = (0, HashSet::new());
    let began = Instant::now();
    while done.len() < usize::from(JOBS) - 1 || queue.depth().await.unwrap().dead == 0 {
        assert!(began.elapsed() < 4 * DEADLINE, "{deaths} deaths, {} done", done.len());
        // Two workers share the process.
        let mut leases = queue.lease(10, LONG, Duration::from_millis(200)).await.unwrap();
        leases.extend(queue.lease(10, LONG, NO_TIME).await.unwrap());
        if leases.iter().any(|lease| lease.job == killer) {
            deaths += 1;
            drop(queue);
            proxy.cut();
            proxy.open();
            queue = queues.by(&proxy).await;
            continue;
        }
        queue.ack(&ids(&leases)).await.unwrap();
        for lease in leases {
            assert!(lease.attempts <= 4, "{lease:?}");
            done.insert(lease.job);
        }
    }
    assert_eq!((deaths, done.len()), (LOST_LEASES, usize::from(JOBS) - 1));
    let letters = queue.dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.job).collect::<Vec<_>>(), [killer]);
    assert_eq!(letters[0].attempts, LOST_LEASES);
}

#[tokio::test]
async fn what_nobody_leased_does_not_count_when_the_process_ends() {
    let queues = Queues::new().await;
    let proxy = bad_line().await;
    let queue = queues.by(&proxy).await;
    publish(&queue, 0..100).await;
    let leased = queue.lease(5, LONG, DEADLINE).await.unwrap();
    drop(queue);
    proxy.cut();
    let queue = queues.connect().await;
    let (began, mut came) = (Instant::now(), HashMap::new());
    while came.len() < 100 {
        assert!(began.elapsed() < DEADLINE, "{} jobs came", came.len());
        for lease in queue.lease(50, LONG, Duration::from_millis(100)).await.unwrap() {
            came.insert(lease.job, lease.attempts);
        }
    }
    let lost = jobs(&leased);
    assert!(came.iter().all(|(job, attempts)| *attempts == u32::from(lost.contains(job))), "{came:?}");
}

#[tokio::test]
async fn two_processes_share_the_jobs_and_see_each_others_dead_letters() {
    let queues = Queues::new().await;
    let (one, two) = (queues.connect().await, queues.connect().await);
    publish(&one, 0..10).await;
    let first = one.lease(5, LONG, DEADLINE).await.unwrap();
    let second = two.lease(10, LONG, DEADLINE).await.unwrap();
    let all: HashSet<_> = jobs(&first).into_iter().chain(jobs(&second)).collect();
    assert_eq!((first.len(), second.len(), all.len()), (5, 5, 10));
    one.bury(first[0].id, "no reason").await.unwrap();
    two.bury(second[0].id, "no reason").await.unwrap();
    for _ in 0..5 {
        let (left, right) = tokio::join!(one.dead_letters(0, 10), two.dead_letters(0, 10));
        assert_eq!((left.unwrap().len(), right.unwrap().len()), (2, 2));
    }
    let letter = one.dead_letters(0, 1).await.unwrap().remove(0);
    assert!(two.requeue(letter.id).await.unwrap());
    assert!(!one.requeue(letter.id).await.unwrap());
}

#[tokio::test]
async fn a_job_of_an_unknown_kind_waits_for_a_version_that_knows_it() {
    let queues = Queues::new().await;
    let queue = queues.connect().await;
    queues.publish_raw(&[0xff, 1, 2], FieldTable::default()).await;
    let began = Instant::now();
    while queue.depth().await.unwrap().delayed == 0 {
        assert!(began.elapsed() < DEADLINE, "it does not wait");
        assert_eq!(queue.lease(1, LONG, NO_TIME).await.unwrap(), []);
    }
    assert_eq!(queue.depth().await.unwrap(), Depth { delayed: 1, ..Depth::default() });
}

#[tokio::test]
async fn the_rest_of_a_long_delay_is_waited_for_too() {
    let queues = Queues::new().await;
    let queue = queues.connect().await;
    let mut headers = FieldTable::default();
    for (name, value) in [("signet-id", 5), ("signet-published-at", 1_700_000_000_000), ("signet-left", 90)] {
        headers.insert(name.into(), AMQPValue::LongLongInt(value));
    }
    let began = Instant::now();
    // As it comes from the longest delay queue.
    queues.publish_raw(&postcard::to_stdvec(&job(3)).unwrap(), headers).await;
    let lease = queue.lease(1, LONG, DEADLINE).await.unwrap().remove(0);
    assert!(began.elapsed() >= Duration::from_millis(90));
    assert_eq!((lease.job, lease.attempts, lease.published_at), (job(3), 0, 1_700_000_000_000));
}

#[tokio::test]
async fn many_dead_letters_are_read_in_pages_and_stay() {
    const LETTERS: u16 = 300;
    let queues = Queues::new().await;
    let queue = queues.connect().await;
    publish(&queue, 0..LETTERS).await;
    let mut buried = 0;
    while buried < LETTERS {
        for lease in queue.lease(100, LONG, DEADLINE).await.unwrap() {
            queue.bury(lease.id, "no reason").await.unwrap();
            buried += 1;
        }
    }
    let (mut after, mut found) = (0, HashSet::new());
    loop {
        let page = queue.dead_letters(after, 64).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        found.extend(page.iter().map(|letter| letter.job));
    }
    assert_eq!(found.len(), usize::from(LETTERS));
    assert_eq!(queue.depth().await.unwrap().dead, u64::from(LETTERS));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_leased() {
    let queues = Queues::new().await;
    let queue = queues.connect().await;
    for _ in 0..20 {
        // Nobody takes what comes of it.
        let leasing = queue.lease(5, LONG, DEADLINE);
        let _ = tokio::time::timeout(Duration::from_millis(1), leasing).await;
    }
    publish(&queue, 0..5).await;
    take_all(&queue, 0..5).await;
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

/// Jobs of one account are put into the index together; and RabbitMQ loses no acknowledgement however many come at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_takes_all_that_waits_and_what_is_acknowledged_does_not_come_again() {
    let queues = Queues::new().await;
    let publisher = queues.connect().await;
    for number in 0..1_000 {
        publish(&publisher, number..number + 1).await;
    }
    // Every third one goes elsewhere, so that not all of a lease can be acknowledged by one command.
    let queue = queues.connect().await;
    let (mut sizes, mut taken) = (Vec::new(), Vec::new());
    while taken.len() < 1_000 {
        let leases = queue.lease(100, LONG, DEADLINE).await.unwrap();
        sizes.push(leases.len());
        taken.extend(jobs(&leases));
        for lease in leases.iter().filter(|lease| lease.id % 3 == 0) {
            queue.bury(lease.id, "it is the third").await.unwrap();
        }
        let done: Vec<_> = leases.into_iter().filter(|lease| lease.id % 3 != 0).collect();
        let (later, first): (Vec<_>, Vec<_>) = done.iter().map(|lease| lease.id).partition(|id| id % 3 == 1);
        queue.ack(&first).await.unwrap();
        queue.ack(&later).await.unwrap();
    }
    assert!(sizes.len() <= 12, "{sizes:?}");
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 1_000, "{sizes:?}");
    assert_eq!(queue.lease(100, LONG, Duration::from_secs(2)).await.unwrap(), []);
    assert_eq!(publisher.lease(100, LONG, NO_TIME).await.unwrap(), []);
}
