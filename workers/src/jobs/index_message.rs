//! Puts messages into the search index: blob, text, terms, blind tokens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use schema::index::IndexedMessage;
use schema::{Account, AccountId, Instance, Language, MessageId, Source};
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::batch::caught;
use crate::outcome::Outcome;

/// Messages of an account that are read together, at most.
const READ_TOGETHER: usize = 32;
/// Octets of messages that are read together; a larger message is read alone.
const OCTETS_TOGETHER: u64 = 1 << 20;
/// Groups of messages at once: one is analysed while another is on its way from the store.
const GROUPS_AT_ONCE: usize = 2;
/// Messages of a group that are analysed at once: others want the processor too.
const ANALYSED_AT_ONCE: usize = 2;
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
    let mut groups: BTreeMap<AccountId, BTreeSet<MessageId>> = BTreeMap::new();
    for &(account, message) in wanted {
        groups.entry(account).or_default().insert(message);
    }
    let groups = groups.into_iter().flat_map(|(account, messages)| {
        let messages: Vec<_> = messages.into_iter().collect();
        messages.chunks(READ_TOGETHER).map(|some| (account, some.to_vec())).collect::<Vec<_>>()
    });
    let mut analysing = stream::iter(groups.take_while(|_| !stop.is_cancelled()))
        .map(|(account, messages)| analyse(instance, account, messages))
        .buffered(GROUPS_AT_ONCE);
    let mut ready = Vec::new();
    let mut postings = 0;
    while let Some(group) = analysing.next().await {
        for (wanted, analysed) in group {
            match analysed {
                Ok(Some((account, message))) => {
                    postings += message.postings.len();
                    ready.push((account, message));
                }
                Ok(None) => drop(outcomes.insert(wanted, Outcome::Done)),
                Err(outcome) => drop(outcomes.insert(wanted, outcome)),
            }
        }
        if postings >= settings.postings {
            put(instance, std::mem::take(&mut ready), &mut outcomes).await;
            postings = 0;
        }
    }
    if !ready.is_empty() {
        put(instance, ready, &mut outcomes).await;
    }
    outcomes
}

/// A message as the index is to see it; `None` if it needs nothing.
type Analysed = Result<Option<(Account, IndexedMessage)>, Outcome>;

/// Reads and analyses messages of one account; where they cannot be read together, one by one.
async fn analyse(
    instance: &Arc<Instance>,
    account: AccountId,
    messages: Vec<MessageId>,
) -> Vec<(Wanted, Analysed)> {
    match analyse_together(instance, account, &messages).await {
        Ok(analysed) => analysed,
        Err(Outcome::Bury(_)) if messages.len() > 1 => {
            let mut all = Vec::with_capacity(messages.len());
            for message in messages {
                all.push(((account, message), analyse_one(instance, account, message).await));
            }
            all
        }
        Err(outcome) => messages.iter().map(|id| ((account, *id), Err(outcome.clone()))).collect(),
    }
}

async fn analyse_one(instance: &Arc<Instance>, account: AccountId, message: MessageId) -> Analysed {
    let analysed = analyse_together(instance, account, &[message]).await?.pop();
    analysed.map_or(Ok(None), |(_, analysed)| analysed)
}

async fn analyse_together(
    instance: &Arc<Instance>,
    id: AccountId,
    messages: &[MessageId],
) -> Result<Vec<(Wanted, Analysed)>, Outcome> {
    let opened = instance.account(id).await.map_err(|error| Outcome::of_error(&error))?;
    let Some(account) = opened else {
        return Ok(messages.iter().map(|message| ((id, *message), Ok(None))).collect());
    };
    let (mut all, mut languages) = (Vec::with_capacity(messages.len()), Vec::new());
    while let [_, ..] = &messages[all.len()..] {
        let (reader, left) = (account.clone(), messages[all.len()..].to_vec());
        let read = caught(async move { reader.sources(&left, OCTETS_TOGETHER).await }).await?;
        let sources = read.map_err(|error| Outcome::of_error(&error))?;
        let begun = &messages[all.len()..];
        let given = begun.iter().copied().zip(sources);
        let analysing = given.map(|(message, source)| analyse_source(account.clone(), message, source));
        let analysed: Vec<_> = stream::iter(analysing).buffered(ANALYSED_AT_ONCE).collect().await;
        for (&message, analysed) in begun.iter().zip(analysed) {
            let note = |(indexed, language)| {
                languages.push((message, language));
                (account.clone(), indexed)
            };
            all.push(((id, message), analysed.map(|found| found.map(note))));
        }
    }
    if !languages.is_empty() {
        let counted = account.count_languages(&languages).await;
        counted.map_err(|error| Outcome::of_error(&error))?;
    }
    Ok(all)
}

/// Each by itself, so that one that ends badly is the only one.
async fn analyse_source(
    account: Account,
    message: MessageId,
    source: schema::Result<Option<Source>>,
) -> Result<Option<(IndexedMessage, Option<Language>)>, Outcome> {
    let Some(source) = source.map_err(|error| Outcome::of_error(&error))? else { return Ok(None) };
    let analysed = caught(async move { account.analyse(message, source) }).await?;
    analysed.map(Some).map_err(|error| Outcome::of_error(&error))
}

/// Puts messages in together; where that fails for good, one by one, so that one message's fault is its own.
async fn put(instance: &Arc<Instance>, messages: Vec<(Account, IndexedMessage)>, outcomes: &mut Outcomes) {
    let all: Vec<Wanted> = messages.iter().map(|(account, message)| (account.id(), message.id)).collect();
    match put_caught(instance, messages).await {
        Outcome::Bury(_) if all.len() > 1 => {
            for wanted in all {
                let outcome = match analyse_one(instance, wanted.0, wanted.1).await {
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
