//! Puts messages into the search index: blob, text, terms, blind tokens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use schema::index::IndexedMessage;
use schema::{Account, AccountId, Instance, MessageId};
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::batch::caught;
use crate::outcome::Outcome;

/// Messages that are read at once: one is analysed while others are on their way from the store.
const READ_AT_ONCE: usize = 4;
/// Accounts at once in which it is noted what the index holds.
const NOTED_AT_ONCE: usize = 8;

/// A message and whose it is.
type Wanted = (AccountId, MessageId);

/// What became of messages.
type Outcomes = HashMap<Wanted, Outcome>;

/// Puts the messages in and notes that the index holds them; one outcome for each that was begun. A message that is gone,
/// or whose account is, needs nothing. Once `stop` is cancelled no other message is begun.
pub(crate) async fn run(
    instance: &Arc<Instance>,
    settings: &Settings,
    wanted: &[Wanted],
    stop: &CancellationToken,
) -> Outcomes {
    let mut outcomes = Outcomes::new();
    // Each once, and those of an account together.
    let wanted: BTreeSet<Wanted> = wanted.iter().copied().collect();
    let analysing = wanted.into_iter().take_while(|_| !stop.is_cancelled());
    let mut analysing = stream::iter(analysing)
        .map(|wanted| async move { (wanted, analyse(instance, wanted).await) })
        .buffered(READ_AT_ONCE);
    let mut ready = Vec::new();
    let mut postings = 0;
    while let Some((wanted, analysed)) = analysing.next().await {
        match analysed {
            Ok(Some((account, message))) => {
                postings += message.postings.len();
                ready.push((account, message));
                if postings >= settings.postings {
                    put(instance, std::mem::take(&mut ready), &mut outcomes).await;
                    postings = 0;
                }
            }
            Ok(None) => drop(outcomes.insert(wanted, Outcome::Done)),
            Err(outcome) => drop(outcomes.insert(wanted, outcome)),
        }
    }
    if !ready.is_empty() {
        put(instance, ready, &mut outcomes).await;
    }
    outcomes
}

async fn analyse(
    instance: &Arc<Instance>,
    (account, message): Wanted,
) -> Result<Option<(Account, IndexedMessage)>, Outcome> {
    let instance = instance.clone();
    let analysed = caught(async move {
        let Some(account) = instance.account(account).await? else { return Ok(None) };
        let message = account.indexed_message(message).await?;
        Ok(message.map(|message| (account, message)))
    });
    analysed.await?.map_err(|error| Outcome::of_error(&error))
}

/// Puts messages in together; where that fails for good, one by one, so that one message's fault is its own.
async fn put(instance: &Arc<Instance>, messages: Vec<(Account, IndexedMessage)>, outcomes: &mut Outcomes) {
    let all: Vec<Wanted> = messages.iter().map(|(account, message)| (account.id(), message.id)).collect();
    match put_caught(instance, messages).await {
        Outcome::Bury(_) if all.len() > 1 => {
            for wanted in all {
                let outcome = match analyse(instance, wanted).await {
                    Ok(Some(message)) => put_caught(instance, vec![message]).await,
                    Ok(None) => Outcome::Done,
                    Err(outcome) => outcome,
                };
                outcomes.insert(wanted, outcome);
            }
        }
        outcome => outcomes.extend(all.into_iter().map(|wanted| (wanted, outcome.clone()))),
    }
}

async fn put_caught(instance: &Arc<Instance>, messages: Vec<(Account, IndexedMessage)>) -> Outcome {
    let instance = instance.clone();
    match caught(async move { put_and_note(&instance, messages).await }).await {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error)) => Outcome::of_error(&error),
        Err(outcome) => outcome,
    }
}

async fn put_and_note(instance: &Instance, messages: Vec<(Account, IndexedMessage)>) -> schema::Result<()> {
    let mut by_account: BTreeMap<AccountId, (Account, Vec<IndexedMessage>)> = BTreeMap::new();
    for (account, message) in messages {
        by_account.entry(account.id()).or_insert_with(|| (account, vec![])).1.push(message);
    }
    let (mut noted, mut all) = (Vec::new(), Vec::new());
    for (id, (account, messages)) in by_account {
        let places: Vec<_> = messages.iter().map(|message| (message.received_at, message.id)).collect();
        noted.push((account, places));
        all.push((id, messages));
    }
    instance.backend.index.put_all(all).await?;
    schema::step!("indexing.put");
    let noting = noted.into_iter().map(|(account, places)| note(account, places));
    let results: Vec<_> = stream::iter(noting).buffer_unordered(NOTED_AT_ONCE).collect().await;
    results.into_iter().collect::<schema::Result<()>>()?;
    schema::step!("indexing.noted");
    Ok(())
}

/// Notes what the index holds of an account.
async fn note(account: Account, places: Vec<(schema::Millis, MessageId)>) -> schema::Result<()> {
    let ids: Vec<MessageId> = places.iter().map(|(_, id)| *id).collect();
    // One that was finally deleted meanwhile may have been taken out before it was put in.
    let states = account.states(&ids).await?;
    let gone: Vec<MessageId> =
        ids.iter().zip(states).filter_map(|(id, state)| state.is_none().then_some(*id)).collect();
    if !gone.is_empty() {
        account.instance().backend.index.remove(account.id(), &gone).await?;
    }
    account.note_indexed(&places).await
}
