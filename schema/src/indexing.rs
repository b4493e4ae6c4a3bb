//! From a message to what the index sees of it.

use std::collections::BTreeSet;

use mail::Language;
use mail::terms::{Field, Form, Term};

use crate::index::{IndexedMessage, Posting, Token};
use crate::messages::NO_BYTES;
use crate::{Account, Chunks, Durability, MessageId, MessageRow, Result, RowKey, Table, Write, value};

/// What an entry of the index is made from.
pub struct Source {
    row: MessageRow,
    chunks: Vec<Vec<u8>>,
}

impl Account {
    /// The blinded form of a term.
    pub fn token(&self, field: Field, form: Form, text: &str) -> Token {
        self.keys.token(field as u8, form as u8, text)
    }

    /// What the index is made from, of the first of these messages, in their order: of as many as have `octets` together,
    /// of one at least. `None` for one that is not there.
    ///
    /// # Errors
    /// What keeps any of them from being read; what is wrong with one of them is said in its place.
    pub async fn sources(&self, ids: &[MessageId], octets: u64) -> Result<Vec<Result<Option<Source>>>> {
        let keys: Vec<_> = ids.iter().map(|&id| RowKey::of_message(Table::Messages, self.id, id)).collect();
        let sealed = self.backend().store.get(&keys).await?;
        let (mut rows, mut sum) = (Vec::new(), 0);
        for (key, sealed) in keys.iter().zip(sealed) {
            let row = sealed.map(|sealed| value::open::<MessageRow>(&self.keys, key, &sealed)).transpose();
            sum += row.as_ref().ok().and_then(Option::as_ref).map_or(0, |row| row.size);
            if sum > octets && !rows.is_empty() {
                break;
            }
            rows.push(row);
        }
        let there: Vec<_> =
            ids.iter().zip(&rows).filter(|(_, row)| matches!(row, Ok(Some(_)))).map(|(id, _)| *id).collect();
        let mut blobs = self.backend().blobs.get_all(self.id, &there).await?.into_iter();
        let mut sources = Vec::with_capacity(rows.len());
        for (&id, row) in ids.iter().zip(rows) {
            sources.push(match row {
                Ok(Some(row)) => self.source(id, row, blobs.next().unwrap_or(Ok(None))).await?,
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            });
        }
        Ok(sources)
    }

    /// What the index is made from, of a message with this row and these `chunks`; the inner error is what is wrong with them.
    async fn source(
        &self,
        id: MessageId,
        row: MessageRow,
        chunks: Result<Chunks>,
    ) -> Result<Result<Option<Source>>> {
        Ok(match chunks {
            Ok(Some(chunks)) => Ok(Some(Source { row, chunks })),
            // It may have been deleted in between.
            Ok(None) => self.message_row(id).await?.map_or(Ok(None), |_| Err(NO_BYTES)),
            Err(error) => Err(error),
        })
    }

    /// What the index is to see of a message, and its language. Opens and analyses the bytes: it takes CPU time in proportion
    /// to the size.
    ///
    /// # Errors
    /// [`crate::Error::Sealed`] and [`crate::Error::Damaged`] where the bytes are not those that were kept.
    pub fn analyse(&self, id: MessageId, source: Source) -> Result<(IndexedMessage, Option<Language>)> {
        let Source { row, chunks } = source;
        let raw = self.unpack(id, chunks)?;
        let terms = mail::parse(&raw, &self.instance.settings.limits).terms();
        let words = terms.iter().filter(|term| term.form == Form::Word).count();
        let message = IndexedMessage {
            id,
            received_at: row.received_at,
            size: row.size,
            has_attachment: row.head.has_attachment,
            words: u32::try_from(words).unwrap_or(u32::MAX),
            postings: self.postings(&terms),
        };
        Ok((message, terms.language()))
    }

    /// What the index is to see of a message; `None` if there is none with this id.
    pub async fn indexed_message(&self, id: MessageId) -> Result<Option<IndexedMessage>> {
        let source = self.sources(&[id], 0).await?.pop().transpose()?.flatten();
        let Some(source) = source else { return Ok(None) };
        let (message, language) = self.analyse(id, source)?;
        self.count_languages(&[(id, language)]).await?;
        Ok(Some(message))
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

    /// Counts messages and their languages. Counts may be off by what is counted at the same time: they only tell which
    /// languages an account uses at all.
    pub async fn count_languages(&self, messages: &[(MessageId, Option<Language>)]) -> Result<()> {
        let codes: BTreeSet<u8> =
            messages.iter().filter_map(|(_, language)| language.map(|language| language as u8)).collect();
        let codes: Vec<u8> = [ALL_LANGUAGES].into_iter().chain(codes).collect();
        let keys: Vec<_> =
            codes.iter().map(|&code| RowKey::new(Table::Languages, *self.id.as_bytes(), [code])).collect();
        let counts = self.backend().store.get(&keys).await?;
        let counts: Vec<u32> = counts.iter().map(|count| count.as_deref().map_or(0, read_count)).collect();
        // Each count is one more version of the row until the store compacts: many messages are sampled by their ids.
        let is_sampled = counts[0] >= COUNTED_ALL;
        let counted: Vec<_> =
            messages.iter().filter(|(id, _)| !is_sampled || id.0[0].is_multiple_of(SAMPLED)).collect();
        let of = |code: u8| {
            let is_of = |language: Option<Language>| {
                code == ALL_LANGUAGES || language.is_some_and(|own| own as u8 == code)
            };
            counted.iter().filter(|(_, language)| is_of(*language)).count()
        };
        let mut writes = Vec::new();
        for ((key, code), count) in keys.into_iter().zip(codes).zip(counts) {
            if let more @ 1.. = u32::try_from(of(code)).unwrap_or(u32::MAX) {
                writes.push(Write::Put(key, count.saturating_add(more).to_be_bytes().to_vec()));
            }
        }
        match writes.is_empty() {
            true => Ok(()),
            false => self.backend().store.write(writes, Durability::Later).await,
        }
    }

    /// The languages that the account's messages use: those of at least one message in twenty. One that is rarer is as
    /// likely a mistake, and its stems would find words that have nothing in common.
    pub async fn languages(&self) -> Result<Vec<Language>> {
        let rows = self.instance.account_rows(Table::Languages, self.id).await?;
        let count =
            |code: u8| rows.iter().find(|(key, _)| key == &[code]).map_or(0, |(_, count)| read_count(count));
        let is_used = |language: &Language| {
            let used = count(*language as u8);
            used > 0 && u64::from(used) * 20 >= u64::from(count(ALL_LANGUAGES))
        };
        Ok(Language::ALL.into_iter().filter(is_used).collect())
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
