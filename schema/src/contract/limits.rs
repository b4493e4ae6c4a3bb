//! What an account holds at most, told on any backend.

use std::path::Path;

use serde::Serialize;

use super::stories::{instance, new_account};
use crate::directory::ADDRESSES;
use crate::mailbox::MailboxRow;
use crate::mailboxes::MAILBOXES;
use crate::{
    Account, Backend, Durability, Error, MailboxDeleted, MailboxId, Role, RowKey, Table, Write, value,
};

/// Writes rows of an account as the calls do that make them, but all at once.
async fn fill<T: Serialize>(account: &Account, table: Table, rows: impl Iterator<Item = (Vec<u8>, T)>) {
    let writes = rows.map(|(clustering, row)| {
        let key = RowKey::new(table, *account.id.as_bytes(), clustering);
        Write::Put(key.clone(), value::seal(&account.keys, &key, &row))
    });
    account.backend().store.write(writes.collect(), Durability::Now).await.unwrap();
}

/// An account has 1,000 mailboxes and no more; at the limit they are still renamed, and where one goes another comes.
pub async fn an_account_has_so_many_mailboxes_and_no_more(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let row = |number| MailboxRow { name: format!("Box {number}"), role: None };
    let rows = Role::ALL.len()..MAILBOXES - 1;
    let rows = rows.map(|number| (MailboxId::random().as_bytes().to_vec(), row(number)));
    fill(&bob, Table::Mailboxes, rows).await;

    let last = bob.create_mailbox("Last").await.unwrap();
    let refused = bob.create_mailbox("One more").await;
    assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    assert_eq!(bob.mailboxes().await.unwrap().len(), MAILBOXES);
    assert!(bob.rename_mailbox(last.id, "Renamed").await.unwrap().is_some());
    assert_eq!(bob.delete_mailbox(last.id).await.unwrap(), MailboxDeleted::Done);
    bob.create_mailbox("One more").await.unwrap();
}

/// An account has 1,000 addresses and no more, however many are added at once; where one goes another comes.
pub async fn an_account_has_so_many_addresses_and_no_more(backend: Backend, keys: &Path) {
    let (instance, _) = instance(backend, keys).await;
    let bob = new_account(&instance, "bob@one.example").await;
    let rows = 1..ADDRESSES - 2;
    let rows = rows.map(|number| (number.to_be_bytes().to_vec(), format!("bob{number}@one.example")));
    fill(&bob, Table::AddressesByAccount, rows).await;

    let mut adding = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let (instance, id) = (instance.clone(), bob.id());
        adding.push(tokio::spawn(
            async move { instance.add_address(&format!("{name}@one.example"), id).await },
        ));
    }
    let (mut added, mut refused) = (Vec::new(), 0);
    for task in adding {
        match task.await.unwrap() {
            Ok(address) => added.push(address),
            Err(Error::Limit { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((added.len(), refused), (2, 2));
    assert_eq!(instance.addresses(bob.id()).await.unwrap().len(), ADDRESSES);
    // What was refused is still free, and another account's limit is its own.
    let eve = new_account(&instance, "eve@one.example").await.id();
    instance.add_address("e@one.example", eve).await.unwrap();
    assert!(instance.remove_address(&added[0]).await.unwrap());
    instance.add_address(&added[0], bob.id()).await.unwrap();
}
