//! What the servers say of a migration: nothing is served from them before one into them is at its end, nor once their
//! data have gone to a directory.

use schema::{Durability, MailStore, RowKey, Table, Write};

use super::servers::id_row;
use super::unreadable;
use crate::directory::hex;
use crate::failure::Failure;
use crate::key_copy::instance_row;

/// What stands before the id of an instance that is on its way here.
const COMING: &[u8] = b"coming ";
const GONE: &[u8] = b"gone";

/// How far a migration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// One of this instance into the servers is not at its end.
    Coming(Vec<u8>),
    /// One into a directory is: the servers have what was there before it.
    Gone,
}

/// What the servers hold.
#[derive(Debug)]
pub struct Held {
    /// The id of the instance.
    pub id: Option<[u8; 16]>,
    /// Whether its key was made.
    pub has_key: bool,
    /// Whether it is served.
    pub mark: Option<Mark>,
}

fn mark_row() -> RowKey {
    RowKey::new(Table::Instance, [], *b"migration")
}

/// Looks at what the servers hold.
///
/// # Errors
/// 69 if they do not answer; 78 if a row of theirs is damaged.
pub async fn look(store: &dyn MailStore) -> Result<Held, Failure> {
    let rows =
        store.get(&[id_row(), instance_row(), mark_row()]).await.map_err(|error| unreadable(&error))?;
    let [id, key, mark] = <[Option<Vec<u8>>; 3]>::try_from(rows).unwrap_or_default();
    let damaged = || Failure::config("a row that says which instance the servers hold is damaged");
    Ok(Held {
        id: id.map(|id| id.try_into().map_err(|_| damaged())).transpose()?,
        has_key: key.is_some(),
        mark: match mark.as_deref() {
            None => None,
            Some(GONE) => Some(Mark::Gone),
            Some(mark) => Some(Mark::Coming(mark.strip_prefix(COMING).ok_or_else(damaged)?.to_vec())),
        },
    })
}

impl Held {
    /// Refuses to serve what is on its way.
    ///
    /// # Errors
    /// 78.
    pub fn check(&self) -> Result<(), Failure> {
        match &self.mark {
            None => Ok(()),
            Some(Mark::Coming(_)) => Err(Failure::config(
                "a migration into these servers is not at its end: run `signet migrate` again",
            )),
            Some(Mark::Gone) => Err(Failure::config(
                "the data on these servers were migrated into a directory, which has what came since: \
                 `signet migrate --to cluster` brings them back",
            )),
        }
    }
}

async fn put(store: &dyn MailStore, key: RowKey, value: Vec<u8>) -> Result<(), Failure> {
    let written = store.write(vec![Write::Put(key, value)], Durability::Now).await;
    written.map_err(|error| unreadable(&error))
}

/// Marks that the instance is on its way to the servers, and makes its id theirs.
///
/// # Errors
/// 78 if they hold another instance, or this one already.
pub async fn begin(store: &dyn MailStore, id: [u8; 16]) -> Result<(), Failure> {
    let held = look(store).await?;
    let is_ours = match (&held.mark, held.id) {
        (Some(Mark::Coming(coming)), _) => coming[..] == id,
        (_, Some(there)) if held.has_key => there == id,
        // An id without a key is what a first `signet schema apply` that was cut short has left.
        _ => true,
    };
    if !is_ours {
        let there = match &held.mark {
            Some(Mark::Coming(coming)) => hex(coming),
            _ => hex(&held.id.unwrap_or_default()),
        };
        return Err(Failure::config(format!(
            "the servers hold another instance, {there}: this one, {}, needs a keyspace of its own",
            hex(&id)
        )));
    }
    if held.has_key && held.mark.is_none() {
        return Err(Failure::config(format!("the servers hold this instance, {}, already", hex(&id))));
    }
    put(store, mark_row(), [COMING, &id].concat()).await?;
    put(store, id_row(), id.to_vec()).await
}

/// From now on the servers are served from.
///
/// # Errors
/// 69 if they do not answer.
pub async fn end(store: &dyn MailStore) -> Result<(), Failure> {
    let written = store.write(vec![Write::Delete(mark_row())], Durability::Now).await;
    written.map_err(|error| unreadable(&error))
}

/// From now on nothing is served from the servers.
///
/// # Errors
/// 69 if they do not answer.
pub async fn leave(store: &dyn MailStore) -> Result<(), Failure> {
    put(store, mark_row(), GONE.to_vec()).await
}

#[cfg(test)]
mod tests {
    use embedded::{Embedded, Options};

    use super::*;

    const OURS: [u8; 16] = [1; 16];
    const OTHERS: [u8; 16] = [2; 16];

    async fn refused(store: &dyn MailStore, id: [u8; 16], word: &str) {
        let refused = begin(store, id).await.err().unwrap();
        assert!(refused.to_string().contains(word), "{refused}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn servers_take_one_instance_and_serve_it_after_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(directory.path(), Options::default()).unwrap();
        let store = &*embedded.backend().store;
        // An id that nothing was made for is no instance.
        put(store, id_row(), OTHERS.to_vec()).await.unwrap();
        for _ in 0..2 {
            begin(store, OURS).await.unwrap();
            let held = look(store).await.unwrap();
            assert_eq!((held.id, &held.mark), (Some(OURS), &Some(Mark::Coming(OURS.to_vec()))));
            assert!(held.check().is_err());
            refused(store, OTHERS, &hex(&OURS)).await;
            put(store, instance_row(), vec![7]).await.unwrap();
        }
        end(store).await.unwrap();
        look(store).await.unwrap().check().unwrap();
        refused(store, OURS, "already").await;
        refused(store, OTHERS, &hex(&OURS)).await;
        // Once it has gone it may come back, and no other in its place.
        leave(store).await.unwrap();
        assert!(look(store).await.unwrap().check().is_err());
        refused(store, OTHERS, &hex(&OURS)).await;
        begin(store, OURS).await.unwrap();
    }
}
