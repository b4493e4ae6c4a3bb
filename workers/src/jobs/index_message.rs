//! Puts messages of one account into the search index: blob, text, terms, blind tokens.

use std::collections::HashMap;
use std::sync::Arc;

use schema::index::IndexedMessage;
use schema::{Account, AccountId, Instance, MessageId};
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::batch::caught;
use crate::outcome::Outcome;

/// Puts the messages in and notes that the index holds them; one outcome for each of `ids`. A message that is gone, or
/// whose account is, needs nothing. Once `stop` is cancelled no other message is begun.
pub(crate) async fn run(
    instance: &Arc<Instance>,
    settings: &Settings,
    account: AccountId,
    ids: &[MessageId],
    stop: &CancellationToken,
) -> Vec<Outcome> {
    let account = match instance.account(account).await {
        Ok(Some(account)) => account,
        Ok(None) => return vec![Outcome::Done; ids.len()],
        Err(error) => return vec![Outcome::of_error(&error); ids.len()],
    };
    let mut outcomes: HashMap<MessageId, Outcome> = HashMap::new();
    let mut ready = Vec::new();
    let mut postings = 0;
    for &id in ids {
        if stop.is_cancelled() {
            break;
        }
        if outcomes.contains_key(&id) || ready.iter().any(|message: &IndexedMessage| message.id == id) {
            continue;
        }
        match analyse(&account, id).await {
            Ok(Some(message)) => {
                postings += message.postings.len();
                ready.push(message);
                if postings >= settings.postings {
                    put(&account, std::mem::take(&mut ready), &mut outcomes).await;
                    postings = 0;
                }
            }
            Ok(None) => {
                outcomes.insert(id, Outcome::Done);
            }
            Err(outcome) => {
                outcomes.insert(id, outcome);
            }
        }
    }
    if !ready.is_empty() {
        put(&account, ready, &mut outcomes).await;
    }
    ids.iter().map(|id| outcomes.get(id).cloned().unwrap_or(Outcome::Release)).collect()
}

async fn analyse(account: &Account, id: MessageId) -> Result<Option<IndexedMessage>, Outcome> {
    let account = account.clone();
    let analysed = caught(async move { account.indexed_message(id).await }).await?;
    analysed.map_err(|error| Outcome::of_error(&error))
}

/// Puts messages in together; where that fails for good, one by one, so that one message's fault is its own.
async fn put(account: &Account, messages: Vec<IndexedMessage>, outcomes: &mut HashMap<MessageId, Outcome>) {
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    match put_caught(account, messages).await {
        Outcome::Bury(_) if ids.len() > 1 => {
            for id in ids {
                let outcome = match analyse(account, id).await {
                    Ok(Some(message)) => put_caught(account, vec![message]).await,
                    Ok(None) => Outcome::Done,
                    Err(outcome) => outcome,
                };
                outcomes.insert(id, outcome);
            }
        }
        outcome => outcomes.extend(ids.into_iter().map(|id| (id, outcome.clone()))),
    }
}

async fn put_caught(account: &Account, messages: Vec<IndexedMessage>) -> Outcome {
    let account = account.clone();
    match caught(async move { put_and_note(&account, messages).await }).await {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error)) => Outcome::of_error(&error),
        Err(outcome) => outcome,
    }
}

async fn put_and_note(account: &Account, messages: Vec<IndexedMessage>) -> schema::Result<()> {
    let index = &account.instance().backend.index;
    let noted: Vec<_> = messages.iter().map(|message| (message.received_at, message.id)).collect();
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    index.put(account.id(), messages).await?;
    schema::step!("indexing.put");
    // One that was finally deleted meanwhile may have been taken out before it was put in.
    let states = account.states(&ids).await?;
    let gone: Vec<MessageId> =
        ids.iter().zip(states).filter_map(|(id, state)| state.is_none().then_some(*id)).collect();
    if !gone.is_empty() {
        index.remove(account.id(), &gone).await?;
    }
    account.note_indexed(&noted).await?;
    schema::step!("indexing.noted");
    Ok(())
}
