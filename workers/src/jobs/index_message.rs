//! Puts messages into the search index: blob, text, terms, blind tokens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use schema::index::{IndexedMessage, SearchIndex};
use schema::{Account, AccountId, Instance, Language, MessageId, Millis, Source};
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
pub(crate) type Wanted = (AccountId, MessageId);

/// What became of messages.
type Outcomes = HashMap<Wanted, Outcome>;

/// Where messages are read, and where they are put.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where they are read.
    pub(crate) instance: Arc<Instance>,
    /// Where they are put.
    pub(crate) index: Arc<dyn SearchIndex>,
    /// Whether searches read that index: then it is noted what it holds.
    pub(crate) serves: bool,
}

/// Puts the messages in; one outcome for each that was begun. A message that is gone, or whose account is, needs nothing.
/// Once `stop` is cancelled no other message is begun.
pub(crate) async fn run(
    target: &Target,
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
        .map(|(account, messages)| analyse(&target.instance, account, messages))
        .buffered(GROUPS_AT_ONCE);
    let mut ready = Vec::new();
    let mut postings = 0;
    while let Some(group) = analysing.next().await {
        for (wanted, analysed) in group {
            match analysed {
                Ok(Some(message)) => {
                    postings += message.indexed.postings.len();
                    ready.push(message);
                }
                Ok(None) => drop(outcomes.insert(wanted, Outcome::Done)),
                Err(outcome) => drop(outcomes.insert(wanted, outcome)),
            }
        }
        if postings >= settings.postings {
            put(target, std::mem::take(&mut ready), &mut outcomes).await;
            postings = 0;
        }
    }
    if !ready.is_empty() {
        put(target, ready, &mut outcomes).await;
    }
    outcomes
}

/// A message as the index is to see it.
struct Ready {
    account: Account,
    indexed: IndexedMessage,
    language: Option<Language>,
}

/// `None` is for one that needs nothing.
type Analysed = Result<Option<Ready>, Outcome>;

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
    let mut all = Vec::with_capacity(messages.len());
    while let [_, ..] = &messages[all.len()..] {
        let (reader, left) = (account.clone(), messages[all.len()..].to_vec());
        let read = caught(async move { reader.sources(&left, OCTETS_TOGETHER).await }).await?;
        let sources = read.map_err(|error| Outcome::of_error(&error))?;
        let begun = &messages[all.len()..];
        let given = begun.iter().copied().zip(sources);
        let analysing = given.map(|(message, source)| analyse_source(account.clone(), message, source));
        let analysed: Vec<_> = stream::iter(analysing).buffered(ANALYSED_AT_ONCE).collect().await;
        all.extend(begun.iter().map(|&message| (id, message)).zip(analysed));
    }
    Ok(all)
}

/// Each by itself, so that one that ends badly is the only one.
async fn analyse_source(
    account: Account,
    message: MessageId,
    source: schema::Result<Option<Source>>,
) -> Analysed {
    let Some(source) = source.map_err(|error| Outcome::of_error(&error))? else { return Ok(None) };
    let ready = caught(async move {
        let (indexed, language) = account.analyse(message, source)?;
        Ok(Ready { account, indexed, language })
    });
    ready.await?.map(Some).map_err(|error| Outcome::of_error(&error))
}

/// Puts messages in together; where that fails for good, one by one, so that one message's fault is its own.
async fn put(target: &Target, messages: Vec<Ready>, outcomes: &mut Outcomes) {
    let all: Vec<Wanted> =
        messages.iter().map(|message| (message.account.id(), message.indexed.id)).collect();
    match put_caught(target, messages).await {
        Outcome::Bury(_) if all.len() > 1 => {
            for wanted in all {
                let outcome = match analyse_one(&target.instance, wanted.0, wanted.1).await {
                    Ok(Some(message)) => put_caught(target, vec![message]).await,
                    Ok(None) => Outcome::Done,
                    Err(outcome) => outcome,
                };
                outcomes.insert(wanted, outcome);
            }
        }
        outcome => outcomes.extend(all.into_iter().map(|wanted| (wanted, outcome.clone()))),
    }
}

async fn put_caught(target: &Target, messages: Vec<Ready>) -> Outcome {
    let target = target.clone();
    match caught(async move { put_and_note(&target, messages).await }).await {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error)) => Outcome::of_error(&error),
        Err(outcome) => outcome,
    }
}

/// What was put in of one account.
struct Held {
    account: Account,
    places: Vec<(Millis, MessageId)>,
    languages: Vec<(MessageId, Option<Language>)>,
}

async fn put_and_note(target: &Target, messages: Vec<Ready>) -> schema::Result<()> {
    let mut by_account: BTreeMap<AccountId, (Held, Vec<IndexedMessage>)> = BTreeMap::new();
    for Ready { account, indexed, language } in messages {
        let held = |account| Held { account, places: vec![], languages: vec![] };
        let (held, all) = by_account.entry(account.id()).or_insert_with(|| (held(account), vec![]));
        held.places.push((indexed.received_at, indexed.id));
        held.languages.push((indexed.id, language));
        all.push(indexed);
    }
    let (mut noted, mut all) = (Vec::new(), Vec::new());
    for (id, (held, messages)) in by_account {
        noted.push(held);
        all.push((id, messages));
    }
    target.index.put_all(all).await?;
    schema::step!("indexing.put");
    let noting = noted.into_iter().map(|held| note(target, held));
    let results: Vec<_> = stream::iter(noting).buffer_unordered(NOTED_AT_ONCE).collect().await;
    results.into_iter().collect::<schema::Result<()>>()?;
    schema::step!("indexing.noted");
    Ok(())
}

/// Takes out again what has gone meanwhile, and notes what the index holds of an account.
async fn note(target: &Target, Held { account, places, languages }: Held) -> schema::Result<()> {
    let ids: Vec<MessageId> = places.iter().map(|(_, id)| *id).collect();
    // One that was finally deleted meanwhile may have been taken out before it was put in.
    let states = account.states(&ids).await?;
    let gone: Vec<MessageId> =
        ids.iter().zip(states).filter_map(|(id, state)| state.is_none().then_some(*id)).collect();
    if !gone.is_empty() {
        target.index.remove(account.id(), &gone).await?;
    }
    if target.serves {
        account.count_languages(&languages).await?;
        account.note_indexed(&places).await?;
    }
    Ok(())
}
