//! Where hits match.

use std::sync::Arc;

use schema::{Account, Message, MessageId};
use tokio_util::task::AbortOnDropHandle;

use super::Found;
use crate::error::{Answer, Problem};
use crate::query::{self, Snippet, Wanted};
use crate::router::Api;
use crate::routes::messages::{APART, Head, apart};

/// Hits whose snippets are found by one task, one after the other.
const AT_A_TIME: usize = 10;

/// Adds to each message where it matches. Bodies have to be opened for that, so it is done some at a time on whatever
/// threads are free.
pub(super) async fn with_snippets(
    api: &Arc<Api>,
    account: &Account,
    wanted: &Arc<Wanted>,
    messages: Vec<Message>,
) -> Answer<Vec<Found>> {
    let mut messages = messages.into_iter().peekable();
    let mut running = Vec::new();
    while messages.peek().is_some() {
        let some: Vec<_> = messages.by_ref().take(AT_A_TIME).collect();
        let (api, account, wanted) = (api.clone(), account.clone(), wanted.clone());
        running.push(AbortOnDropHandle::new(tokio::spawn(async move {
            let snippets = find_snippets(&api, &account, &wanted, &some).await?;
            let found = some.into_iter().zip(snippets);
            let found = found.map(|(message, snippet)| Found { head: Head::new(message), snippet });
            Ok::<_, Problem>(found.collect::<Vec<_>>())
        })));
    }
    let mut found = Vec::new();
    for some in running {
        found.extend(some.await.map_err(|_| Problem::internal())??);
    }
    Ok(found)
}

/// Where messages match: in the head if one does there, else in its text, which has to be opened.
async fn find_snippets(
    api: &Arc<Api>,
    account: &Account,
    wanted: &Arc<Wanted>,
    messages: &[Message],
) -> Answer<Vec<Snippet>> {
    let in_head = |message: &Message| {
        let head = &message.row.head;
        query::in_head(wanted, &head.subject, &head.preview)
    };
    let mut snippets: Vec<_> = messages.iter().map(in_head).collect();
    if wanted.skips_body() {
        return Ok(snippets);
    }
    let mut open: Vec<_> = messages.iter().zip(&mut snippets).collect();
    open.retain(|(_, snippet)| snippet.preview.is_none() && snippet.subject.is_none());
    open.retain_mut(|(message, snippet)| {
        let text = api.texts.get(account.id(), message.id);
        snippet.preview = text.as_ref().and_then(|text| query::in_body(wanted, text));
        text.is_none()
    });
    // Small ones come together, for what each costs is mostly the way.
    let (small, large): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|(message, _)| message.row.size <= APART as u64);
    find_in_bodies(api, account, wanted, small).await?;
    for one in large {
        find_in_bodies(api, account, wanted, vec![one]).await?;
    }
    Ok(snippets)
}

async fn find_in_bodies(
    api: &Arc<Api>,
    account: &Account,
    wanted: &Arc<Wanted>,
    messages: Vec<(&Message, &mut Snippet)>,
) -> Answer<()> {
    if messages.is_empty() {
        return Ok(());
    }
    // A hit is shown without where it matches rather than not at all.
    let octets = messages.iter().map(|(message, _)| message.row.size).sum();
    let Ok(held) = api.memory.hold(octets).await else { return Ok(()) };
    let held = Arc::new(held);
    let ids: Vec<MessageId> = messages.iter().map(|(message, _)| message.id).collect();
    let limits = account.instance().settings.limits;
    for ((message, snippet), raw) in messages.into_iter().zip(account.raws(&ids).await?) {
        let Ok(Some(raw)) = raw else { continue };
        let (wanted, held) = (wanted.clone(), held.clone());
        let (api, account, id) = (api.clone(), account.id(), message.id);
        let find = move || {
            let _held = held;
            let text = mail::parse(&raw, &limits).text_body();
            api.texts.keep(account, id, query::looked_at(&text));
            query::in_body(&wanted, &text)
        };
        snippet.preview = apart(message.row.size as usize, find).await?;
    }
    Ok(())
}
