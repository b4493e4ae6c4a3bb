//! What every [`BlobStore`] must do.

use std::sync::Arc;

use crate::{AccountId, BlobStore, Durability, MessageId};

fn chunks(octets: &[&[u8]]) -> Vec<Vec<u8>> {
    octets.iter().map(|chunk| chunk.to_vec()).collect()
}

async fn put(blobs: &dyn BlobStore, account: AccountId, message: u8, of: &[&[u8]]) {
    blobs.put(account, MessageId([message; 16]), chunks(of), Durability::Later).await.unwrap();
}

async fn get(blobs: &dyn BlobStore, account: AccountId, message: u8) -> Option<Vec<Vec<u8>>> {
    blobs.get(account, MessageId([message; 16])).await.unwrap()
}

/// `get`: all chunks in order, or `None` if there is no such blob.
pub async fn chunks_come_back_in_order(blobs: &dyn BlobStore) {
    let account = AccountId::random();
    assert_eq!(get(blobs, account, 1).await, None);
    put(blobs, account, 1, &[b"only"]).await;
    put(blobs, account, 2, &[b"first", b"", b"third"]).await;
    put(blobs, account, 3, &[b""]).await;
    assert_eq!(get(blobs, account, 1).await, Some(chunks(&[b"only"])));
    assert_eq!(get(blobs, account, 2).await, Some(chunks(&[b"first", b"", b"third"])));
    assert_eq!(get(blobs, account, 3).await, Some(chunks(&[b""])));
}

/// `get_all`: each of several as `get` gives it, in the order of their ids.
pub async fn several_come_back_in_the_order_of_their_ids(blobs: &dyn BlobStore) {
    let (account, other) = (AccountId::random(), AccountId::random());
    let large = vec![7; 600 * 1024];
    put(blobs, account, 1, &[b"only"]).await;
    put(blobs, account, 2, &[b"first", b"", b"third"]).await;
    put(blobs, account, 3, &[&large]).await;
    put(blobs, other, 4, &[b"another's"]).await;
    let mut ids: Vec<u8> = vec![3, 9, 1, 4, 2];
    for more in 10..50 {
        put(blobs, account, more, &[&[more]]).await;
        ids.push(more);
    }
    let messages: Vec<_> = ids.iter().map(|&id| MessageId([id; 16])).collect();
    let found = blobs.get_all(account, &messages).await.unwrap();
    assert_eq!(found.len(), ids.len());
    for (id, found) in ids.into_iter().zip(found) {
        assert!(found.unwrap() == get(blobs, account, id).await, "{id}");
    }
    assert!(blobs.get_all(account, &[]).await.unwrap().is_empty());
}

/// `put`: a message of 25 MB in chunks of 1 MiB comes back as it was.
pub async fn a_large_blob_comes_back_whole(blobs: &dyn BlobStore) {
    let account = AccountId::random();
    let large: Vec<Vec<u8>> = (0..25_u8).map(|number| vec![number; 1024 * 1024]).collect();
    blobs.put(account, MessageId([1; 16]), large.clone(), Durability::Now).await.unwrap();
    assert!(get(blobs, account, 1).await == Some(large), "the chunks are not those that were put");
}

/// `put`: 300 chunks are 300, in order.
pub async fn many_chunks_stay_in_order(blobs: &dyn BlobStore) {
    let account = AccountId::random();
    let many: Vec<Vec<u8>> = (0..300_u16).map(|number| number.to_be_bytes().to_vec()).collect();
    blobs.put(account, MessageId([1; 16]), many.clone(), Durability::Later).await.unwrap();
    assert_eq!(get(blobs, account, 1).await, Some(many));
}

/// `put`: repeated, it changes nothing.
pub async fn a_repeated_put_changes_nothing(blobs: &dyn BlobStore) {
    let account = AccountId::random();
    for _ in 0..2 {
        put(blobs, account, 1, &[b"one", b"two"]).await;
    }
    assert_eq!(get(blobs, account, 1).await, Some(chunks(&[b"one", b"two"])));
    assert_eq!(blobs.ids(account, None, 10).await.unwrap(), [MessageId([1; 16])]);
}

/// `put`: chunks sealed anew replace the old ones as a whole, whether there are more or fewer.
pub async fn new_chunks_replace_the_old_as_a_whole(blobs: &dyn BlobStore) {
    let account = AccountId::random();
    for of in [[b"1".as_slice(), b"2", b"3"].as_slice(), &[b"4"], &[b"5", b"6"], &[b"7"]] {
        put(blobs, account, 1, of).await;
        assert_eq!(get(blobs, account, 1).await, Some(chunks(of)));
    }
}

/// `put`: of racing puts one wins as a whole, also for those who read meanwhile.
pub async fn racing_puts_never_mix_their_chunks(blobs: Arc<dyn BlobStore>) {
    let (account, message) = (AccountId::random(), MessageId([1; 16]));
    let check = |found: Option<Vec<Vec<u8>>>| {
        let Some(found) = found else { return };
        let writer = found[0][0];
        assert_eq!(found.len(), usize::from(writer) + 1);
        assert!(found.iter().all(|chunk| chunk.iter().all(|octet| *octet == writer)));
    };
    let writers: Vec<_> = (0..6_u8)
        .map(|writer| {
            let blobs = Arc::clone(&blobs);
            tokio::spawn(async move {
                for _ in 0..20 {
                    let chunks = vec![vec![writer; 2000]; usize::from(writer) + 1];
                    blobs.put(account, message, chunks, Durability::Later).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    while !writers.iter().all(|writer| writer.is_finished()) {
        check(blobs.get(account, message).await.unwrap());
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    check(blobs.get(account, message).await.unwrap());
}

/// A message id means nothing outside its account.
pub async fn blobs_of_other_accounts_are_others(blobs: &dyn BlobStore) {
    let (one, two) = (AccountId::random(), AccountId::random());
    put(blobs, one, 1, &[b"one"]).await;
    assert_eq!(get(blobs, two, 1).await, None);
    put(blobs, two, 1, &[b"two"]).await;
    blobs.remove(two, MessageId([1; 16]), i64::MAX, Durability::Now).await.unwrap();
    assert_eq!(get(blobs, one, 1).await, Some(chunks(&[b"one"])));
}

/// `remove`: takes a message's chunks away; an unknown one is ignored.
pub async fn a_removed_blob_is_gone(blobs: &dyn BlobStore) {
    let account = AccountId::random();
    put(blobs, account, 1, &[b"one", b"two"]).await;
    put(blobs, account, 2, &[b"stays"]).await;
    assert_eq!(blobs.written(account, MessageId([3; 16])).await.unwrap(), None);
    let written = blobs.written(account, MessageId([1; 16])).await.unwrap().unwrap();
    blobs.remove(account, MessageId([1; 16]), written.at - 1, Durability::Later).await.unwrap();
    assert_eq!(get(blobs, account, 1).await, Some(chunks(&[b"one", b"two"])), "it was written later");
    blobs.remove(account, MessageId([1; 16]), written.at, Durability::Later).await.unwrap();
    blobs.remove(account, MessageId([3; 16]), i64::MAX, Durability::Now).await.unwrap();
    assert_eq!(blobs.written(account, MessageId([1; 16])).await.unwrap(), None);
    assert_eq!(get(blobs, account, 1).await, None);
    assert_eq!(get(blobs, account, 2).await, Some(chunks(&[b"stays"])));
    assert_eq!(blobs.ids(account, None, 10).await.unwrap(), [MessageId([2; 16])]);
    // Put again, it is as new: no chunk of before stays behind it.
    put(blobs, account, 1, &[b"new"]).await;
    assert_eq!(get(blobs, account, 1).await, Some(chunks(&[b"new"])));
}

/// `remove_account`: takes away all chunks of the account, and of no other.
pub async fn removing_an_account_removes_its_blobs_only(blobs: &dyn BlobStore) {
    let (gone, stays) = (AccountId::random(), AccountId::random());
    for message in 0..20 {
        put(blobs, gone, message, &[b"one", b"two"]).await;
    }
    put(blobs, stays, 1, &[b"stays"]).await;
    blobs.remove_account(gone).await.unwrap();
    assert_eq!(blobs.ids(gone, None, 100).await.unwrap(), []);
    assert_eq!(get(blobs, gone, 7).await, None);
    assert_eq!(get(blobs, stays, 1).await, Some(chunks(&[b"stays"])));
    blobs.remove_account(gone).await.unwrap();
}

/// `ids`: ids that have a blob, ascending, strictly after `after`, at most `limit`.
pub async fn ids_come_in_pages_in_order(blobs: &dyn BlobStore) {
    let (account, other) = (AccountId::random(), AccountId::random());
    for message in [5, 1, 255, 3, 0] {
        put(blobs, account, message, &[b"one", b"two", b"three"]).await;
        put(blobs, other, message, &[b"not this one"]).await;
    }
    let all: Vec<_> = [0, 1, 3, 5, 255].map(|message| MessageId([message; 16])).into();
    for limit in 1..=6 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = blobs.ids(account, after, limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(*last);
            found.extend(page);
        }
        assert_eq!(found, all, "limit {limit}");
    }
    // What comes after need not be there.
    assert_eq!(blobs.ids(account, Some(MessageId([4; 16])), 10).await.unwrap(), all[3..]);
}

/// Every account is an account, the one of the greatest octets too.
pub async fn an_account_of_the_greatest_octets_has_blobs(blobs: &dyn BlobStore) {
    let account = AccountId([0xff; 16]);
    put(blobs, account, 0xff, &[b"one"]).await;
    assert_eq!(blobs.ids(account, None, 10).await.unwrap(), [MessageId([0xff; 16])]);
    blobs.remove_account(account).await.unwrap();
    assert_eq!(get(blobs, account, 0xff).await, None);
}
