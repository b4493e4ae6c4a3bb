//! From a message to what the index sees of it, and how far the index has read.

use std::collections::HashMap;

use mail::terms::{Field, Form};

use crate::index::{IndexedMessage, Posting, Token};
use crate::{Account, Durability, ListPosition, MessageId, Millis, Result, RowKey, Scan, Table, Write};

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
        let Some(row) = self.message_row(id).await? else { return Ok(None) };
        let Some(raw) = self.raw(id).await? else { return Ok(None) };
        let message = mail::parse(&raw, &self.instance.settings.limits);
        if let Some(language) = message.language() {
            self.note_language(language).await?;
        }
        let terms = message.terms();
        let mut words = 0;
        let mut postings: HashMap<(Field, Form, &str), Posting> = HashMap::new();
        for term in terms.iter() {
            let posting = postings.entry((term.field, term.form, term.text)).or_insert_with(|| Posting {
                token: self.token(term.field, term.form, term.text),
                frequency: 0,
                positions: Vec::new(),
            });
            posting.frequency += 1;
            if term.form == Form::Word {
                words += 1;
                posting.positions.push(term.position);
            }
        }
        Ok(Some(IndexedMessage {
            id,
            received_at: row.received_at,
            size: row.size,
            has_attachment: row.head.has_attachment,
            words,
            postings: postings.into_values().collect(),
        }))
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
        let first = Scan::all(Table::Unindexed, *self.id.as_bytes(), 1);
        let first = self.backend().store.scan(&first).await?.pop();
        Ok(match first.and_then(|(clustering, _)| ListPosition::from_clustering(&clustering)) {
            Some(at) => Progress { indexed_through: at.at.saturating_sub(1), complete: false },
            None => Progress { indexed_through: self.instance.now(), complete: true },
        })
    }

    async fn note_language(&self, language: mail::Language) -> Result<()> {
        let key = RowKey::new(Table::Languages, *self.id.as_bytes(), [language as u8]);
        if self.backend().store.get(std::slice::from_ref(&key)).await?[0].is_none() {
            self.backend().store.write(vec![Write::Put(key, vec![])], Durability::Later).await?;
        }
        Ok(())
    }

    /// The languages that the account's messages use.
    pub async fn languages(&self) -> Result<Vec<mail::Language>> {
        let rows = self.instance.account_rows(Table::Languages, self.id).await?;
        let is_used = |language: &mail::Language| rows.iter().any(|(code, _)| code == &[*language as u8]);
        Ok(mail::Language::ALL.into_iter().filter(is_used).collect())
    }
}
