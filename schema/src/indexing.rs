//! From a message to what the index sees of it, and how far the index has read.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use mail::terms::{Field, Form, Term};

use crate::index::{IndexedMessage, Posting, Token};
use crate::instance::Unindexed;
use crate::{Account, Durability, Job, ListPosition, MessageId, Millis, Result, RowKey, Scan, Table, Write};

/// How far the index has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Everything received up to then is found.
    pub indexed_through: Millis,
    /// Whether everything is found.
    pub complete: bool,
}

impl Account {
    /// The blinded form of a term.
    pub fn token(&self, field: Field, form: Form, text: &str) -> Token {
        self.keys.token(field as u8, form as u8, text)
    }

    /// What the index is to see of a message; `None` if there is none with this id. Opens and analyses the bytes: it
    /// takes CPU time in proportion to the size.
    pub async fn indexed_message(&self, id: MessageId) -> Result<Option<IndexedMessage>> {
        let (row, raw) = tokio::try_join!(self.message_row(id), self.raw(id))?;
        let (Some(row), Some(raw)) = (row, raw) else { return Ok(None) };
        let terms = mail::parse(&raw, &self.instance.settings.limits).terms();
        self.count_language(id, terms.language()).await?;
        let words = terms.iter().filter(|term| term.form == Form::Word).count();
        Ok(Some(IndexedMessage {
            id,
            received_at: row.received_at,
            size: row.size,
            has_attachment: row.head.has_attachment,
            words: u32::try_from(words).unwrap_or(u32::MAX),
            postings: self.postings(&terms),
        }))
    }

    /// The terms as the index sees them, by token.
    fn postings(&self, terms: &mail::terms::Terms) -> Vec<Posting> {
        // A word that comes again is the same slice of the same buffer: it needs only one token.
        let place = |term: &Term<'_>| (term.field, term.form, term.text.as_ptr() as usize, term.text.len());
        let mut terms: Vec<_> = terms.iter().collect();
        terms.sort_unstable_by_key(|term| (place(term), term.position));
        let mut postings: Vec<Posting> = terms
            .chunk_by(|a, b| place(a) == place(b))
            .map(|same| Posting {
                token: self.token(same[0].field, same[0].form, same[0].text),
                stream: same[0].field as u8,
                frequency: u32::try_from(same.len()).unwrap_or(u32::MAX),
                positions: match same[0].form {
                    Form::Word => same.iter().map(|term| term.position).collect(),
                    _ => vec![],
                },
            })
            .collect();
        postings.sort_unstable_by_key(|posting| posting.token);
        // The same word from another slice, or two words whose tokens collide.
        postings.dedup_by(|next, kept| {
            let is_same = next.token == kept.token;
            if is_same {
                kept.frequency = kept.frequency.saturating_add(next.frequency);
                kept.positions.append(&mut next.positions);
                kept.positions.sort_unstable();
                kept.positions.dedup();
            }
            is_same
        });
        postings
    }

    /// Notes that the index holds these messages. It is durable with the next durable write.
    pub async fn note_indexed(&self, messages: &[(Millis, MessageId)]) -> Result<()> {
        let rows = messages.iter().map(|&(received_at, id)| {
            Write::Delete(self.unindexed_row(ListPosition::new(received_at, id.0)))
        });
        self.backend().store.write(rows.collect(), Durability::Later).await
    }

    /// How far the index has read.
    pub async fn index_progress(&self) -> Result<Progress> {
        let known = self.unindexed();
        let (additions, first) = {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            (known.additions, known.first)
        };
        let mut scan = Scan::all(Table::Unindexed, *self.id.as_bytes(), 1);
        // Where other processes add to it too, what this one knows says nothing.
        if let (Some(first), false) = (first, self.backend().is_shared) {
            scan.lower = Bound::Included(first.clustering());
        }
        let row = self.backend().store.scan(&scan).await?.pop();
        let found = row.and_then(|(clustering, _)| ListPosition::from_clustering(&clustering));
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.additions == additions {
            known.first = Some(found.unwrap_or(ListPosition { at: Millis::MAX, id: [u8::MAX; 16] }));
        }
        Ok(match found {
            Some(at) => Progress { indexed_through: at.at.saturating_sub(1), complete: false },
            None => Progress { indexed_through: self.instance.now(), complete: true },
        })
    }

    fn unindexed(&self) -> Arc<Mutex<Unindexed>> {
        self.instance.unindexed.get_with(self.id, Arc::default)
    }

    /// Has a message put into the index once more, which waits for it until then.
    pub async fn index_again(&self, id: MessageId, received_at: Millis) -> Result<()> {
        let at = ListPosition::new(received_at, id.0);
        let waits = Write::Put(self.unindexed_row(at), vec![]);
        self.backend().store.write(vec![waits], Durability::Later).await?;
        self.note_unindexed(at);
        self.backend().queue.publish(vec![Job::IndexMessage { account: self.id, message: id }]).await
    }

    /// Notes that the row of a message that waits to be indexed has been written.
    pub(crate) fn note_unindexed(&self, at: ListPosition) {
        let known = self.unindexed();
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.additions += 1;
        known.first = known.first.map(|first| first.min(at));
    }

    /// Counts a message and its language. Counts may be off by what is counted at the same time: they only tell which
    /// languages an account uses at all.
    async fn count_language(&self, id: MessageId, language: Option<mail::Language>) -> Result<()> {
        let codes = [Some(ALL_LANGUAGES), language.map(|language| language as u8)];
        let keys = codes.into_iter().flatten();
        let keys: Vec<_> =
            keys.map(|code| RowKey::new(Table::Languages, *self.id.as_bytes(), [code])).collect();
        let counts = self.backend().store.get(&keys).await?;
        // Each count is one more version of the row until the store compacts: many messages are sampled by their ids.
        let all = counts.first().and_then(|count| count.as_deref()).map_or(0, read_count);
        if all >= COUNTED_ALL && !id.0[0].is_multiple_of(SAMPLED) {
            return Ok(());
        }
        let writes = keys.into_iter().zip(counts).map(|(key, count)| {
            let count = count.map_or(0, |count| read_count(&count)).saturating_add(1);
            Write::Put(key, count.to_be_bytes().to_vec())
        });
        self.backend().store.write(writes.collect(), Durability::Later).await
    }

    /// The languages that the account's messages use: those of at least one message in twenty. One that is rarer is as
    /// likely a mistake, and its stems would find words that have nothing in common.
    pub async fn languages(&self) -> Result<Vec<mail::Language>> {
        let rows = self.instance.account_rows(Table::Languages, self.id).await?;
        let count =
            |code: u8| rows.iter().find(|(key, _)| key == &[code]).map_or(0, |(_, count)| read_count(count));
        let is_used = |language: &mail::Language| {
            let used = count(*language as u8);
            used > 0 && u64::from(used) * 20 >= u64::from(count(ALL_LANGUAGES))
        };
        Ok(mail::Language::ALL.into_iter().filter(is_used).collect())
    }
}

/// The code under which all messages are counted.
const ALL_LANGUAGES: u8 = u8::MAX;

/// So many messages are all counted.
const COUNTED_ALL: u32 = 200;
/// Of those after them, one in so many is.
const SAMPLED: u8 = 16;

fn read_count(value: &[u8]) -> u32 {
    value.try_into().map_or(0, u32::from_be_bytes)
}
