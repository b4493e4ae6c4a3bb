//! Copies of messages that were delivered.

use std::ops::Range;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schema::index::IndexedMessage;
use schema::{
    Account, Durability, Entry, List, ListFilter, ListPosition, Message, MessageId, MessageRow, Millis, Role,
    RowKey, Table, ThreadId, Write, uuid_v8,
};
use seal::Place;

use crate::Failure;

/// Copies are spread over so many milliseconds, before what was delivered: ten years.
const SPAN: Millis = 10 * 365 * DAY;
const DAY: Millis = 24 * 3_600_000;
/// For each template so many messages are looked at.
const CHOICE: usize = 4;
/// Messages of a page.
const PAGE: usize = 200;
/// Blobs and messages that are read or written at once.
const AT_ONCE: usize = 32;

/// What copies are made of.
struct Template {
    message: Message,
    indexed: IndexedMessage,
    /// The message, compressed.
    packed: Vec<u8>,
}

/// Makes copies for one mailbox.
pub(crate) struct Copies {
    account: Account,
    templates: Vec<Template>,
    tokens: usize,
    newest: Millis,
    interval: Millis,
    /// What a sealed row begins with: the version of its form.
    version: u8,
}

/// What was written together.
pub(crate) struct Lot {
    pub(crate) messages: u64,
    pub(crate) tokens: u64,
}

impl Copies {
    /// Up to `count` copies of the `templates` messages of the inbox with the fewest tokens, each with `tokens` at most.
    pub(crate) async fn of(
        account: Account,
        templates: usize,
        tokens: usize,
        count: u64,
    ) -> Result<Self, Failure> {
        let mut messages = Vec::new();
        let mut from = None;
        while messages.len() < templates * CHOICE {
            let page = account.list(List::Account, &ListFilter::default(), from, PAGE).await?;
            messages.extend(page.items);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        // What was delivered came within hours.
        let oldest = messages.last().ok_or("the mailbox is empty")?.row.received_at;
        let newest = oldest.saturating_sub(DAY);
        let version = version(&account, &messages[0]).await?;
        let found = stream::iter(messages).map(|message| template(&account, message)).buffered(AT_ONCE);
        let mut found: Vec<Template> = found.try_collect().await?;
        found.sort_by_key(|template| template.indexed.postings.len());
        found.truncate(templates);
        let interval = (SPAN / count.max(1)).max(1);
        Ok(Self { account, templates: found, tokens, newest, interval, version })
    }

    /// Writes the copies of these numbers.
    pub(crate) async fn put(&self, numbers: Range<u64>) -> Result<Lot, Failure> {
        let (mut writes, mut blobs, mut documents) = (Vec::new(), Vec::new(), Vec::new());
        for number in numbers {
            let id = MessageId(uuid_v8(&seal::random_bytes()));
            let template = &self.templates[number as usize % self.templates.len()];
            let received_at = self.newest.saturating_sub((number + 1) * self.interval);
            self.rows(template, id, received_at, &mut writes)?;
            blobs.push((id, self.account.keys().seal_blob(id.as_bytes(), &template.packed)));
            documents.push(self.document(template, id, received_at, number));
        }
        let (messages, account) = (documents.len() as u64, self.account.id());
        let tokens = documents.iter().map(|document| document.postings.len() as u64).sum();
        let backend = &self.account.instance().backend;
        // Bytes, rows, index: in the order of a delivery.
        stream::iter(blobs.into_iter().map(Ok::<_, Failure>))
            .try_for_each_concurrent(AT_ONCE, |(id, chunks)| async move {
                Ok(backend.blobs.put(account, id, chunks, Durability::Later).await?)
            })
            .await?;
        backend.store.write(writes, Durability::Later).await?;
        backend.index.put(account, documents).await?;
        Ok(Lot { messages, tokens })
    }

    fn rows(
        &self,
        template: &Template,
        id: MessageId,
        received_at: Millis,
        writes: &mut Vec<Write>,
    ) -> Result<(), Failure> {
        let account = self.account.id();
        let Message { row, state, .. } = &template.message;
        // A thread by itself.
        let row = MessageRow { received_at, thread: ThreadId(id.0), ..(**row).clone() };
        let key = RowKey::of_message(Table::Messages, account, id);
        let octets = postcard::to_extend(&row, vec![self.version])?;
        let sealed =
            self.account.keys().seal(place(&key, &[&*key.partition, &key.clustering].concat()), &octets);
        writes.push(Write::PutAsOf(key, sealed, received_at));
        let entry = Entry::new(state, row.size).to_bytes();
        for list in [List::Account, List::Mailbox(self.account.role_mailbox(Role::Inbox))] {
            let listed = list.row(account, ListPosition::new(received_at, id.0));
            writes.push(Write::PutAsOf(listed, entry.clone(), received_at));
        }
        Ok(())
    }

    /// A draw of the template's tokens, another one for each copy.
    fn document(
        &self,
        template: &Template,
        id: MessageId,
        received_at: Millis,
        number: u64,
    ) -> IndexedMessage {
        let all = &template.indexed.postings;
        let mut dice = number;
        let drawn = all.iter().filter(|_| {
            dice = mixed(dice);
            dice % (all.len() as u64) < self.tokens as u64
        });
        let postings = drawn.take(self.tokens).cloned().collect();
        IndexedMessage { id, received_at, postings, ..template.indexed.clone() }
    }
}

/// The next of a row of numbers that seem random (SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn place<'a>(key: &RowKey, octets: &'a [u8]) -> Place<'a> {
    Place { table: key.table.name(), key: octets, field: "value" }
}

/// The version of the form that message rows have, seen from one of them: another form than the one written here is
/// refused.
async fn version(account: &Account, message: &Message) -> Result<u8, Failure> {
    let key = RowKey::of_message(Table::Messages, account.id(), message.id);
    let sealed = account.instance().backend.store.get(std::slice::from_ref(&key)).await?.pop().flatten();
    let sealed = sealed.ok_or("a message has no row")?;
    let octets = account.keys().open(place(&key, &[&*key.partition, &key.clustering].concat()), &sealed)?;
    let row = postcard::to_stdvec(&*message.row)?;
    match octets.split_first() {
        Some((version, fields)) if fields == row => Ok(*version),
        _ => Err("message rows have another form".into()),
    }
}

async fn template(account: &Account, message: Message) -> Result<Template, Failure> {
    let indexed = account.indexed_message(message.id).await?.ok_or("a message is gone")?;
    let chunks = account.instance().backend.blobs.get(account.id(), message.id).await?;
    let packed = account.keys().open_blob(message.id.as_bytes(), &chunks.ok_or("a message has no bytes")?)?;
    Ok(Template { message, indexed, packed })
}
