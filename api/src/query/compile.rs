//! Tree to what the index is asked, and what the store is asked about each hit.

use mail::Language;
use mail::terms::{Field, Form as TermForm, query_address, query_phrase, query_prefix, query_words};
use schema::index::{Hit, Query};
use schema::{Account, MailboxId, State};

use super::parse::{Fact, Form, Node, SyntaxError, Test, Text};

/// The fields of a text without a field, and how much a hit in each counts.
const ANYWHERE: [(Field, f32); 6] = [
    (Field::Subject, 3.0),
    (Field::From, 2.0),
    (Field::To, 1.5),
    (Field::Cc, 1.2),
    (Field::FileName, 1.5),
    (Field::Body, 1.0),
];
/// The fields that prefixes are found in.
const WITH_PREFIXES: [(Field, f32); 5] =
    [(Field::Subject, 3.0), (Field::From, 2.0), (Field::To, 1.5), (Field::Cc, 1.2), (Field::FileName, 1.5)];
/// How much less a stem counts than the word itself.
const STEM: f32 = 0.6;

/// What to ask.
pub(crate) struct Plan {
    /// What finds every message that the query finds, and others where there is a filter.
    pub query: Query,
    /// What a hit has to pass.
    pub filter: Option<Filter>,
}

/// What is checked for each hit, with its marks and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    Mark(u8),
    Unread(bool),
    Keyword(String, bool),
    In(MailboxId, bool),
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

impl Filter {
    /// Whether a hit passes.
    pub(crate) fn admits(&self, hit: &Hit, state: &State) -> bool {
        match self {
            Self::Mark(bit) => hit.marks >> bit & 1 == 1,
            Self::Unread(wanted) => state.is_unread() == *wanted,
            Self::Keyword(keyword, wanted) => state.keywords.contains(keyword) == *wanted,
            Self::In(mailbox, wanted) => state.mailboxes.contains(mailbox) == *wanted,
            Self::And(all) => all.iter().all(|filter| filter.admits(hit, state)),
            Self::Or(any) => any.iter().any(|filter| filter.admits(hit, state)),
        }
    }
}

/// A part of the query: what the index alone can say, or what it cannot.
enum Part {
    Index(Query),
    Mixed { superset: Query, filter: Filter },
}

/// Turns a tree into what is asked. `mailbox` gives the mailbox that an `in:` names.
pub(crate) fn compile(
    node: &Node,
    account: &Account,
    languages: &[Language],
    mailbox: &dyn Fn(&str) -> Option<MailboxId>,
) -> Result<Plan, SyntaxError> {
    let mut compiler = Compiler { account, languages, mailbox, marks: 0 };
    Ok(match compiler.part(node, false)? {
        Part::Index(query) => Plan { query, filter: None },
        Part::Mixed { superset, filter } => Plan { query: superset, filter: Some(filter) },
    })
}

struct Compiler<'a> {
    account: &'a Account,
    languages: &'a [Language],
    mailbox: &'a dyn Fn(&str) -> Option<MailboxId>,
    marks: u8,
}

impl Compiler<'_> {
    /// A node, or its opposite. Negations are pushed down to the leaves, so that what the index is asked instead of a
    /// test always finds more, never less.
    fn part(&mut self, node: &Node, negated: bool) -> Result<Part, SyntaxError> {
        Ok(match node {
            Node::Not(node) => self.part(node, !negated)?,
            Node::And(nodes) => self.join(nodes, negated, !negated)?,
            Node::Or(nodes) => self.join(nodes, negated, negated)?,
            Node::Text(text) => Part::Index(opposite(self.text(text)?, negated)),
            Node::Fact(fact) => Part::Index(opposite(fact_query(*fact), negated)),
            Node::Test(test) => Part::Mixed { superset: Query::All, filter: self.test(test, !negated)? },
        })
    }

    fn test(&self, test: &Test, wanted: bool) -> Result<Filter, SyntaxError> {
        Ok(match test {
            Test::Unread => Filter::Unread(wanted),
            Test::Keyword(keyword) => Filter::Keyword(keyword.clone(), wanted),
            Test::In { mailbox, position } => match (self.mailbox)(mailbox) {
                Some(id) => Filter::In(id, wanted),
                None => {
                    let reason = "there is no mailbox with this role, id or name".to_owned();
                    return Err(SyntaxError { position: *position, reason });
                }
            },
        })
    }

    /// Parts joined by and (`all`) or by or. What the index alone can say becomes one marked query.
    fn join(&mut self, nodes: &[Node], negated: bool, all: bool) -> Result<Part, SyntaxError> {
        let (mut queries, mut supersets, mut filters) = (Vec::new(), Vec::new(), Vec::new());
        for node in nodes {
            match self.part(node, negated)? {
                Part::Index(query) => queries.push(query),
                Part::Mixed { superset, filter } => {
                    supersets.push(superset);
                    filters.push(filter);
                }
            }
        }
        let join = if all { Query::And } else { Query::Or };
        if filters.is_empty() {
            return Ok(Part::Index(join(queries)));
        }
        if !queries.is_empty() {
            let mark = self.marks;
            // Fewer terms are allowed than there are marks.
            self.marks += 1;
            supersets.push(Query::Marked { mark, query: Box::new(join(queries)) });
            filters.push(Filter::Mark(mark));
        }
        let filter = if all { Filter::And(filters) } else { Filter::Or(filters) };
        Ok(Part::Mixed { superset: join(supersets), filter })
    }

    fn text(&self, text: &Text) -> Result<Query, SyntaxError> {
        let given = text.field.map(|field| [(field, 1.0)]);
        let fields = match (&given, text.form) {
            (Some(field), _) => field.as_slice(),
            (None, Form::Prefix) => WITH_PREFIXES.as_slice(),
            (None, _) => ANYWHERE.as_slice(),
        };
        let wrong = |reason: &str| SyntaxError { position: text.position, reason: reason.to_owned() };
        let token = |field, form, text: &str| self.account.token(field, form, text);
        let queries: Vec<Query> = match text.form {
            Form::Prefix => {
                let prefix = query_prefix(&text.text).ok_or_else(|| {
                    wrong("a prefix is one word of 2 to 12 letters or digits before the star")
                })?;
                let of = |&(field, weight)| Query::Token {
                    token: token(field, TermForm::Prefix, &prefix),
                    weight,
                };
                fields.iter().map(of).collect()
            }
            Form::Phrase => {
                let words = query_phrase(&text.text);
                if words.is_empty() {
                    return Err(wrong("there is no word in the phrase"));
                }
                let of = |&(field, weight): &(Field, f32)| {
                    slots(words.iter().map(|word| vec![token(field, TermForm::Word, word)]).collect(), weight)
                };
                fields.iter().map(of).collect()
            }
            Form::Word => {
                let words = query_words(&text.text, self.languages);
                if words.is_empty() {
                    return Err(wrong("there is no letter or digit in the word"));
                }
                let address = query_address(&text.text);
                fields
                    .iter()
                    .map(|&(field, weight)| self.word(field, weight, &words, address.as_deref()))
                    .collect()
            }
        };
        Ok(if queries.len() == 1 { Query::And(queries) } else { Query::Or(queries) })
    }

    /// A word in one field: as an address where that field has those, as a word and its stem, or as a phrase where the
    /// analyser sees several words in it.
    fn word(&self, field: Field, weight: f32, words: &[mail::terms::Slot], address: Option<&str>) -> Query {
        let has_addresses = matches!(field, Field::From | Field::To | Field::Cc | Field::Bcc);
        if let Some(address) = address.filter(|_| has_addresses) {
            return Query::Token { token: self.account.token(field, TermForm::Address, address), weight };
        }
        if let [slot] = words {
            let alternatives = slot.alternatives.iter().map(|(form, text)| Query::Token {
                token: self.account.token(field, *form, text),
                weight: if *form == TermForm::Stem { weight * STEM } else { weight },
            });
            return Query::Or(alternatives.collect());
        }
        let tokens = |slot: &mail::terms::Slot| {
            let exact = slot.alternatives.iter().filter(|(form, _)| *form == TermForm::Word);
            exact.map(|(form, text)| self.account.token(field, *form, text)).collect()
        };
        slots(words.iter().map(tokens).collect(), weight)
    }
}

fn slots(slots: Vec<Vec<u64>>, weight: f32) -> Query {
    match slots.as_slice() {
        [slot] => Query::Or(slot.iter().map(|&token| Query::Token { token, weight }).collect()),
        _ => Query::Phrase(slots),
    }
}

fn opposite(query: Query, negated: bool) -> Query {
    if negated { Query::Not(Box::new(query)) } else { query }
}

fn fact_query(fact: Fact) -> Query {
    match fact {
        Fact::HasAttachment => Query::HasAttachment,
        Fact::After(from) => Query::Received { from: Some(from), until: None },
        Fact::Before(until) => Query::Received { from: None, until: Some(until) },
        Fact::Larger(above) => Query::Size { above: Some(above), below: None },
        Fact::Smaller(below) => Query::Size { above: None, below: Some(below) },
    }
}
