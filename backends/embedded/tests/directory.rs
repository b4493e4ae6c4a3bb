//! The data directory: one owner, few syncs, copies while it is in use, and no more disk than needed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use embedded::{BackupError, Embedded, OpenError, Options};
use schema::index::{IndexedMessage, Posting, Query, Sort};
use schema::{
    AccountId, Backend, Change, ChangeKind, Durability, Error, Job, ManualClock, MessageId, Position, RowKey,
    Scan, Table, Write,
};

const ACCOUNT: AccountId = AccountId([7; 16]);
const LONG: Duration = Duration::from_secs(600);
const DEADLINE: Duration = Duration::from_secs(30);

fn quiet() -> Options {
    Options { sync_within: LONG, settle_after: Duration::ZERO, ..Options::default() }
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, quiet()).unwrap()
}

fn row(number: u32) -> RowKey {
    RowKey::new(Table::MessagesByAccount, *ACCOUNT.as_bytes(), number.to_be_bytes())
}

fn change(number: u32) -> Write {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Write::Change(ACCOUNT, Change { kind: ChangeKind::MessageCreated, id })
}

async fn put(backend: &Backend, number: u32, durability: Durability) {
    let writes = vec![Write::Put(row(number), number.to_be_bytes().to_vec()), change(number)];
    backend.store.write(writes, durability).await.unwrap();
}

async fn rows(backend: &Backend) -> Vec<u32> {
    let rows = backend
        .store
        .scan(&Scan::all(Table::MessagesByAccount, *ACCOUNT.as_bytes(), usize::MAX))
        .await
        .unwrap();
    rows.iter().map(|(clustering, _)| u32::from_be_bytes(clustering.as_slice().try_into().unwrap())).collect()
}

async fn feed(backend: &Backend) -> Vec<u32> {
    let page = backend.store.changes(ACCOUNT, Position(0), usize::MAX).await.unwrap();
    page.changes.iter().map(|(_, change)| u32::from_be_bytes(*change.id.first_chunk().unwrap())).collect()
}

fn journals(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut journals: Vec<_> = std::fs::read_dir(dir.join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    journals.sort();
    journals
}

fn journal_bytes(dir: &Path) -> u64 {
    journals(dir).iter().map(|path| path.metadata().unwrap().blocks() * 512).sum()
}

/// All files below `dir`, with their sizes and when they were last written.
fn written(dir: &Path) -> BTreeMap<std::path::PathBuf, (u64, i64, i64)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let data = entry.metadata().unwrap();
        if data.is_dir() {
            files.append(&mut written(&entry.path()));
        } else {
            files.insert(entry.path(), (data.len(), data.mtime(), data.mtime_nsec()));
        }
    }
    files
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_directory_is_made_for_its_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/data");
    let _embedded = open(&dir);
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(dir.join("owner.lock").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let refused = Embedded::open(dir.path(), quiet()).err().unwrap();
    assert!(matches!(refused, OpenError::InUse), "{refused:?}");
    assert!(refused.to_string().contains("another process"));
    let backend = embedded.backend();
    drop(embedded);
    // What was handed out still writes.
    assert!(matches!(Embedded::open(dir.path(), quiet()).err().unwrap(), OpenError::InUse));
    drop(backend);
    open(dir.path());
}

#[tokio::test]
async fn the_backend_outlives_the_handle_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path()).backend();
    put(&backend, 1, Durability::Now).await;
    assert_eq!(rows(&backend).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_wait_share_syncs() {
    const WRITERS: u32 = 64;
    const EACH: u32 = 10;
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let before = embedded.syncs();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let backend = embedded.backend();
            tokio::spawn(async move {
                for number in 0..EACH {
                    put(&backend, writer * EACH + number, Durability::Now).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let syncs = embedded.syncs() - before;
    assert!(syncs >= u64::from(EACH), "{syncs} syncs are too few to be true");
    assert!(syncs <= u64::from(WRITERS * EACH / 4), "{syncs} syncs for {} writes", WRITERS * EACH);
    assert_eq!(rows(&embedded.backend()).await.len(), (WRITERS * EACH) as usize);
}

#[tokio::test]
async fn one_who_waits_alone_pays_for_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let backend = embedded.backend();
    for number in 0..10 {
        let before = embedded.syncs();
        backend.blobs.put(ACCOUNT, MessageId([1; 16]), vec![vec![1; 5000]], Durability::Later).await.unwrap();
        put(&backend, number, Durability::Later).await;
        assert_eq!(embedded.syncs(), before);
        backend.queue.publish(vec![Job::PurgeAccount { account: ACCOUNT }]).await.unwrap();
        assert_eq!(embedded.syncs(), before + 1);
    }
}

#[tokio::test]
async fn a_change_is_not_shown_before_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let backend = embedded.backend();
    put(&backend, 1, Durability::Later).await;
    assert_eq!(rows(&backend).await, [1]);
    assert_eq!(feed(&backend).await, [0; 0]);
    assert_eq!(backend.store.position(ACCOUNT).await.unwrap(), Position(0));
    embedded.sync().await.unwrap();
    assert_eq!(feed(&backend).await, [1]);
}

#[tokio::test]
async fn what_nobody_waits_for_becomes_durable_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { sync_within: Duration::from_millis(20), ..quiet() };
    let backend = Embedded::open(dir.path(), options).unwrap().backend();
    put(&backend, 1, Durability::Later).await;
    let began = Instant::now();
    while feed(&backend).await.is_empty() {
        assert!(began.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn positions_go_on_above_all_that_were_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = Position(0);
    for round in 0..4_u32 {
        let embedded = open(dir.path());
        let backend = embedded.backend();
        for number in 0..3 {
            put(&backend, round * 3 + number, Durability::Now).await;
            let position = backend.store.position(ACCOUNT).await.unwrap();
            assert!(position > last);
            last = position;
        }
        assert_eq!(feed(&backend).await, (0..round * 3 + 3).collect::<Vec<_>>());
        drop(backend);
        if round % 2 == 0 {
            embedded.close().unwrap();
        }
    }
}

#[tokio::test]
async fn a_clean_end_leaves_an_empty_journal_and_everything_in_place() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3_u32 {
        let embedded = open(dir.path());
        let backend = embedded.backend();
        assert_eq!(rows(&backend).await, (0..round).collect::<Vec<_>>());
        put(&backend, round, Durability::Later).await;
        let message = MessageId([round as u8; 16]);
        backend.blobs.put(ACCOUNT, message, vec![vec![1; 9000]; 2], Durability::Later).await.unwrap();
        backend.queue.publish(vec![Job::PurgeAccount { account: ACCOUNT }]).await.unwrap();
        assert_eq!(backend.queue.depth().await.unwrap().ready, u64::from(round) + 1);
        assert_eq!(backend.blobs.ids(ACCOUNT, None, 10).await.unwrap().len(), round as usize + 1);
        drop(backend);
        embedded.close().unwrap();
        assert_eq!(journals(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>(), 0);
    }
}

#[tokio::test]
async fn a_database_whose_making_was_cut_short_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let unfinished = dir.path().join("db.unfinished");
    std::fs::create_dir_all(unfinished.join("keyspaces/1")).unwrap();
    std::fs::write(unfinished.join("0.jnl"), b"torn").unwrap();
    let embedded = open(dir.path());
    put(&embedded.backend(), 1, Durability::Now).await;
    assert_eq!(rows(&embedded.backend()).await, [1]);
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn calls_after_the_end_fail() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let backend = embedded.backend();
    put(&backend, 1, Durability::Now).await;
    embedded.close().unwrap();
    let refused = backend.store.write(vec![Write::Delete(row(1))], Durability::Now).await.err().unwrap();
    assert!(refused.is_transient());
    assert!(backend.store.get(&[row(1)]).await.is_err());
    assert!(backend.queue.publish(Vec::new()).await.is_err());
    drop(backend);
    assert_eq!(rows(&open(dir.path()).backend()).await, [1]);
}

#[tokio::test]
async fn settling_lets_the_journal_go() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        settle_after: Duration::from_millis(50),
        settle_journal_bytes: 1 << 20,
        ..Options::default()
    };
    let embedded = Embedded::open(dir.path(), options).unwrap();
    let backend = embedded.backend();
    for number in 0..40_u8 {
        let chunks = vec![vec![number; 100_000]];
        backend.blobs.put(ACCOUNT, MessageId([number; 16]), chunks, Durability::Now).await.unwrap();
        put(&backend, u32::from(number), Durability::Now).await;
    }
    let began = Instant::now();
    while journal_bytes(dir.path()) > 1 << 20 || embedded.disk_bytes().unwrap() > 6_000_000 {
        assert!(began.elapsed() < DEADLINE, "{} octets on disk", embedded.disk_bytes().unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    put(&backend, 40, Durability::Now).await;
    drop((backend, embedded));
    let backend = open(dir.path()).backend();
    assert_eq!(rows(&backend).await, (0..=40).collect::<Vec<_>>());
    for number in 0..40_u8 {
        let blob = backend.blobs.get(ACCOUNT, MessageId([number; 16])).await.unwrap();
        assert_eq!(blob, Some(vec![vec![number; 100_000]]));
    }
}

#[tokio::test]
async fn settling_drops_what_merges_of_the_index_have_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { settle_after: Duration::from_secs(1), settle_journal_bytes: 1 << 20, ..Options::default() };
    let embedded = Embedded::open(dir.path(), options).unwrap();
    let index = embedded.backend().index;
    let message = |number: u32| IndexedMessage {
        id: MessageId(u128::from(number).to_be_bytes()),
        received_at: u64::from(number),
        size: 1,
        has_attachment: false,
        words: 300,
        postings: (0..300)
            .map(|word| Posting {
                token: u64::from(number * 300 + word).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8,
                stream: 0,
                frequency: 1,
                positions: vec![word],
            })
            .collect(),
    };
    // Written some four times over by merges; at the end a message's 300 tokens take at least 8 octets each.
    for number in 0..2_000 {
        index.put(ACCOUNT, vec![message(number)]).await.unwrap();
    }
    let began = Instant::now();
    while embedded.disk_bytes().unwrap() > 2_000 * 300 * 12 {
        assert!(began.elapsed() < DEADLINE, "{} octets on disk", embedded.disk_bytes().unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let found = index.search(ACCOUNT, &Query::All, Sort::Date, 0, 1).await.unwrap();
    assert_eq!(found.total, 2_000);
}

/// A directory with one row that has let its journal go by itself.
async fn settled() -> (Embedded, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { settle_after: Duration::from_millis(200), settle_journal_bytes: 1, ..Options::default() };
    let embedded = Embedded::open(dir.path(), options).unwrap();
    put(&embedded.backend(), 1, Durability::Now).await;
    let began = Instant::now();
    while journals(dir.path()).iter().any(|journal| journal.ends_with("0.jnl")) {
        assert!(began.elapsed() < DEADLINE, "the first journal was not let go");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (embedded, dir)
}

#[tokio::test]
async fn settling_by_hand_lets_the_journal_go() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    put(&embedded.backend(), 1, Durability::Now).await;
    embedded.settle().unwrap();
    let bytes = embedded.disk_bytes().unwrap();
    assert!(bytes < 1 << 20, "{bytes} octets for one row");
}

#[tokio::test]
async fn an_open_directory_without_work_writes_nothing() {
    let (embedded, dir) = settled().await;
    // Other directories tell the time: what one needed to settle, this one had as well, first to come to its end and
    // then to begin again.
    let _elsewhere = settled().await;
    let before = (written(dir.path()), embedded.syncs());
    let _elsewhere = settled().await;
    assert_eq!((written(dir.path()), embedded.syncs()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_taken_while_writing_is_of_one_moment() {
    let (dir, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let embedded = open(dir.path());
    let backend = embedded.backend();
    for number in 0..500 {
        put(&backend, number, Durability::Later).await;
    }
    backend.queue.publish(vec![Job::PurgeAccount { account: ACCOUNT }]).await.unwrap();
    backend.blobs.put(ACCOUNT, MessageId([1; 16]), vec![vec![1; 300_000]; 3], Durability::Now).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (backend, done) = (backend.clone(), Arc::clone(&done));
        async move {
            let mut number = 500;
            while !done.load(Ordering::SeqCst) {
                put(&backend, number, Durability::Later).await;
                number += 1;
            }
            number
        }
    });
    let file = away.path().join("backup");
    let entries = tokio::task::block_in_place(|| embedded.backup(&file)).unwrap();
    done.store(true, Ordering::SeqCst);
    let written = writer.await.unwrap();
    backend.store.flush().await.unwrap();
    let late = backend.store.position(ACCOUNT).await.unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!away.path().join("backup.part").exists());
    let again = embedded.backup(&file).err().unwrap();
    assert!(matches!(again, BackupError::Io(error) if error.kind() == std::io::ErrorKind::AlreadyExists));

    let restored = away.path().join("restored");
    assert_eq!(Embedded::restore(&file, &restored).unwrap(), entries);
    let copy = open(&restored).backend();
    let found = rows(&copy).await;
    assert!((500..=written as usize).contains(&found.len()));
    assert_eq!(found, (0..found.len() as u32).collect::<Vec<_>>());
    assert_eq!(feed(&copy).await, found);
    assert_eq!(copy.queue.depth().await.unwrap().ready, 1);
    let blob = copy.blobs.get(ACCOUNT, MessageId([1; 16])).await.unwrap();
    assert!(blob == Some(vec![vec![1; 300_000]; 3]));
    // A cursor from before the copy goes on; one from after it may have seen what the copy does not know.
    let end = copy.store.position(ACCOUNT).await.unwrap();
    if late > end {
        assert!(matches!(copy.store.changes(ACCOUNT, late, 10).await, Err(Error::CursorExpired)));
    }
    put(&copy, 1_000_000, Durability::Now).await;
    let page = copy.store.changes(ACCOUNT, end, 10).await.unwrap();
    assert_eq!(page.changes.len(), 1);
    assert!(page.cursor > late);
    assert!(matches!(
        Embedded::restore(&file, dir.path()).err().unwrap(),
        BackupError::Open(OpenError::InUse)
    ));
}

#[tokio::test]
async fn a_backup_that_is_not_whole_is_refused() {
    let away = tempfile::tempdir().unwrap();
    let file = away.path().join("backup");
    {
        let embedded = open(&away.path().join("data"));
        for number in 0..200 {
            put(&embedded.backend(), number, Durability::Later).await;
        }
        embedded.backup(&file).unwrap();
    }
    let whole = std::fs::read(&file).unwrap();
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let longer = [whole.as_slice(), &[0; 8]].concat();
    let cases = [
        &whole[..0],
        &whole[..7],
        &whole[..8],
        &whole[..middle],
        &whole[..whole.len() - 1],
        &changed,
        &longer,
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let (file, dir) = (away.path().join(format!("case{number}")), away.path().join("restored"));
        std::fs::write(&file, case).unwrap();
        let refused = embedded::restore(&file, &dir).err();
        assert!(matches!(refused, Some(BackupError::Damaged)), "case {number}: {refused:?}");
        assert!(!dir.join("db").exists());
    }
    // What a refused one left behind is no hindrance.
    let dir = away.path().join("restored");
    embedded::restore(&file, &dir).unwrap();
    assert_eq!(rows(&open(&dir).backend()).await.len(), 200);
    assert!(matches!(embedded::restore(&file, &dir), Err(BackupError::NotEmpty)));
}

#[tokio::test]
async fn a_journal_torn_by_a_power_cut_is_cut_at_the_last_whole_write() {
    let (dir, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let embedded = open(dir.path());
    let backend = embedded.backend();
    for number in 0..10 {
        put(&backend, number, Durability::Now).await;
    }
    let journal = journals(dir.path()).pop().unwrap();
    let used = |bytes: &[u8]| bytes.len() - bytes.iter().rev().take_while(|octet| **octet == 0).count();
    let start = used(&std::fs::read(&journal).unwrap());
    backend.blobs.put(ACCOUNT, MessageId([9; 16]), vec![vec![0xAB; 20_000]], Durability::Now).await.unwrap();
    put(&backend, 10, Durability::Now).await;
    let whole = std::fs::read(&journal).unwrap();
    let end = used(&whole);
    // A page of the blob that never reached the disk, then some of its head, then only its end.
    let zeroed = |range: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[range].fill(0);
        bytes
    };
    let cases =
        [zeroed(start + 4096..start + 8192), zeroed(start + 5..start + 40), whole[..start + 10_000].to_vec()];
    for (number, bytes) in cases.into_iter().enumerate() {
        let torn = away.path().join(number.to_string());
        copy(dir.path(), &torn);
        std::fs::write(torn.join("db").join(journal.file_name().unwrap()), bytes).unwrap();
        for round in 0..2 {
            let backend = open(&torn).backend();
            let expected: Vec<u32> = (0..10).chain((0..round).map(|_| 77)).collect();
            assert_eq!(rows(&backend).await, expected, "case {number}");
            assert_eq!(backend.blobs.get(ACCOUNT, MessageId([9; 16])).await.unwrap(), None, "case {number}");
            put(&backend, 77, Durability::Now).await;
        }
    }
    assert!(end > start);
}

#[tokio::test]
async fn jobs_survive_with_their_attempts_and_their_times() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(1_000_000);
    let options = || Options { clock: Arc::clone(&clock) as _, ..quiet() };
    let job = |number: u8| Job::IndexMessage { account: ACCOUNT, message: MessageId([number; 16]) };
    {
        let backend = Embedded::open(dir.path(), options()).unwrap().backend();
        backend.queue.publish((0..5).map(job).collect()).await.unwrap();
        let leases = backend.queue.lease(5, LONG, Duration::ZERO).await.unwrap();
        backend.queue.ack(&[leases[0].id]).await.unwrap();
        backend.queue.retry(leases[1].id, Duration::from_secs(60)).await.unwrap();
        backend.queue.retry(leases[2].id, Duration::from_secs(3600)).await.unwrap();
        backend.queue.bury(leases[3].id, "no reason").await.unwrap();
    }
    clock.advance(61_000);
    let backend = Embedded::open(dir.path(), options()).unwrap().backend();
    let depth = backend.queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.delayed, depth.leased, depth.dead), (2, 1, 0, 1));
    assert_eq!(depth.oldest, Some(1_000_000));
    // The last one's lease ended with the process; such a job is not leased together with others.
    let mut found = Vec::new();
    for _ in 0..2 {
        let leases = backend.queue.lease(5, LONG, Duration::ZERO).await.unwrap();
        found.extend(leases.iter().map(|lease| (lease.job, lease.attempts, lease.published_at)));
    }
    assert_eq!(found, [(job(1), 1, 1_000_000), (job(4), 1, 1_000_000)]);
    let letters = backend.queue.dead_letters(0, 10).await.unwrap();
    assert_eq!((letters[0].job, letters[0].attempts, letters[0].buried_at), (job(3), 1, 1_000_000));
}

#[tokio::test]
async fn more_jobs_than_memory_holds_are_all_leased_once_and_in_order() {
    const JOBS: u32 = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let job = |number: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Job::IndexMessage { account: ACCOUNT, message: MessageId(id) }
    };
    let open = || Embedded::open(dir.path(), quiet()).unwrap().backend();
    let backend = open();
    for part in 0..JOBS / 1000 {
        backend.queue.publish((part * 1000..part * 1000 + 1000).map(job).collect()).await.unwrap();
    }
    assert_eq!(backend.queue.depth().await.unwrap().ready, u64::from(JOBS));
    let mut found = Vec::new();
    let mut backend = backend;
    loop {
        let leases = backend.queue.lease(777, LONG, Duration::ZERO).await.unwrap();
        if leases.is_empty() {
            break;
        }
        found.extend(leases.iter().map(|lease| lease.job));
        backend.queue.ack(&leases.iter().map(|lease| lease.id).collect::<Vec<_>>()).await.unwrap();
        let depth = backend.queue.depth().await.unwrap();
        assert_eq!(depth.ready, u64::from(JOBS) - found.len() as u64);
        assert_eq!(depth.oldest.is_some(), depth.ready > 0);
        // In the middle of it, the process starts again.
        if found.len() == 777 * 10 {
            drop(backend);
            backend = open();
        }
    }
    assert!(found == (0..JOBS).map(job).collect::<Vec<_>>());
}

#[tokio::test]
async fn positions_begin_above_those_that_others_gave_out() {
    let dir = tempfile::tempdir().unwrap();
    let account = AccountId([1; 16]);
    let change = Change { kind: ChangeKind::MessageCreated, id: [1; 16] };
    let mut last = Position(0);
    // What was asked for before holds; less than what was given out changes nothing.
    for (above, least) in [(0, 0), (1 << 50, 1 << 50), (0, 1 << 50), (1 << 60, 1 << 60), (1 << 50, 1 << 60)] {
        let options = Options { positions_above: above, ..Options::default() };
        let store = Embedded::open(dir.path(), options).unwrap().backend().store;
        store.write(vec![Write::Change(account, change)], Durability::Now).await.unwrap();
        let position = store.position(account).await.unwrap();
        assert!(position > last && position.0 > least, "{position:?} above {above}");
        last = position;
        store.forget_changes(account, position).await.unwrap();
    }
}
