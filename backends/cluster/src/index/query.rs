//! From our queries to those of Elasticsearch.
//!
//! What counts nothing stands where Elasticsearch computes no score. A marked query is a named one: Elasticsearch tells
//! for each hit which of them find it, wherever they stand.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schema::index::{Query, Token};
use schema::{Error, Result};
use serde_json::{Value, json};

use super::document::{LAYERS, TOKEN_FIELDS, long, word};

/// How deep a query may be nested.
const DEPTH_LIMIT: usize = 128;
/// Elasticsearch nests up to 20 deep (30 since 8.0); what is deeper is handed over as a text of its own, which is counted anew.
const NESTED: usize = 12;

/// What differs between versions of Elasticsearch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// How the query is called that looks into one field as if it were another.
    masking: &'static str,
}

impl Dialect {
    /// That of nodes of which the oldest is of this major version.
    pub(super) fn of(major: u32) -> Self {
        Self { masking: if major < 8 { "field_masking_span" } else { "span_field_masking" } }
    }

    /// The query in Elasticsearch's words; `scored` where its score is asked for, `marked` where its marks are.
    ///
    /// # Errors
    /// [`Error::Refused`] for a query nested more than 128 deep, and for a mark above 63.
    pub(super) fn compile(self, query: &Query, scored: bool, marked: bool) -> Result<Value> {
        Compiler { dialect: self, marked, names: 0 }.compile(query, scored, 0)
    }

    /// Tokens one after the other, each in whichever layer.
    fn phrase(self, slots: &[Vec<Token>]) -> Value {
        if slots.is_empty() || slots.iter().any(Vec::is_empty) {
            return nothing();
        }
        let mut slots: Vec<Value> = slots.iter().map(|slot| self.any_of(slot)).collect();
        match slots.len() {
            1 => slots.remove(0),
            _ => json!({"span_near": {"clauses": slots, "slop": 0, "in_order": true}}),
        }
    }

    fn any_of(self, tokens: &[Token]) -> Value {
        let [first, others @ ..] = LAYERS;
        let clauses = tokens.iter().map(|&token| word(token)).flat_map(|word| {
            let beside = others
                .map(|layer| json!({self.masking: {"query": {"span_term": {layer: word}}, "field": first}}));
            [json!({"span_term": {first: word}})].into_iter().chain(beside)
        });
        json!({"span_or": {"clauses": clauses.collect::<Vec<_>>()}})
    }
}

/// The mark of a named query.
pub(super) fn mark(name: &str) -> Option<u8> {
    name.split_once(':')?.0.parse().ok().filter(|&mark| mark < 64)
}

struct Compiler {
    dialect: Dialect,
    marked: bool,
    /// Names so far: two queries of one mark have two.
    names: usize,
}

impl Compiler {
    fn compile(&mut self, query: &Query, scored: bool, depth: usize) -> Result<Value> {
        if depth >= DEPTH_LIMIT {
            return Err(Error::Refused { what: "a query nested too deep" });
        }
        let compiled = self.plain(query, scored, depth + 1)?;
        Ok(match depth % NESTED {
            0 if depth > 0 => json!({"wrapper": {"query": BASE64_STANDARD.encode(compiled.to_string())}}),
            _ => compiled,
        })
    }

    fn plain(&mut self, query: &Query, scored: bool, depth: usize) -> Result<Value> {
        Ok(match query {
            Query::All => uncounted(json!({"match_all": {}}), scored),
            Query::Nothing => nothing(),
            Query::Token { token, weight } => {
                json!({"multi_match": {"query": word(*token), "fields": TOKEN_FIELDS, "boost": weight}})
            }
            Query::Phrase(slots) => self.dialect.phrase(slots),
            Query::And(queries) => self.and(queries, scored, depth)?,
            Query::Or(queries) => match queries.as_slice() {
                [] => nothing(),
                [query] => self.compile(query, scored, depth)?,
                queries => {
                    let any = queries.iter().map(|query| self.compile(query, scored, depth));
                    json!({"bool": {"should": any.collect::<Result<Vec<_>>>()?, "minimum_should_match": 1}})
                }
            },
            Query::Not(_) => self.and(std::slice::from_ref(query), scored, depth - 1)?,
            Query::Received { from, until } => {
                range("receivedAt", [("gte", from.map(long)), ("lt", until.map(long))], scored)
            }
            Query::Size { above, below } => {
                range("size", [("gt", above.map(long)), ("lt", below.map(long))], scored)
            }
            Query::HasAttachment => uncounted(json!({"term": {"hasAttachment": true}}), scored),
            Query::Marked { mark, query } => {
                if *mark > 63 {
                    return Err(Error::Refused { what: "a mark above 63" });
                }
                let name = format!("{mark}:{}", self.names);
                self.names += 1;
                let inner = self.compile(query, scored, depth)?;
                match self.marked {
                    true => json!({"bool": {if scored { "must" } else { "filter" }: inner, "_name": name}}),
                    false => inner,
                }
            }
        })
    }

    fn and(&mut self, queries: &[Query], scored: bool, depth: usize) -> Result<Value> {
        if let [query] = queries
            && !matches!(query, Query::Not(_))
        {
            return self.compile(query, scored, depth);
        }
        let (mut all, mut none) = (Vec::new(), Vec::new());
        for query in queries {
            match query {
                Query::Not(query) => none.push(self.compile(query, false, depth + 1)?),
                query => all.push(self.compile(query, scored, depth)?),
            }
        }
        if all.is_empty() {
            all.push(uncounted(json!({"match_all": {}}), scored));
        }
        let counted = if scored { "must" } else { "filter" };
        Ok(json!({"bool": {counted: all, "must_not": none}}))
    }
}

/// What finds as `query` does, and counts nothing.
fn uncounted(query: Value, scored: bool) -> Value {
    if scored { json!({"bool": {"filter": query}}) } else { query }
}

/// What finds nothing: no size is below 0. Elasticsearch leaves out whole parts of a query that say so more plainly, the
/// names in them too.
fn nothing() -> Value {
    json!({"range": {"size": {"lt": 0}}})
}

fn range(field: &str, bounds: [(&str, Option<i64>); 2], scored: bool) -> Value {
    let bounds: serde_json::Map<_, _> = bounds
        .into_iter()
        // Nothing is greater than the greatest number kept.
        .filter(|&(side, bound)| side != "lt" || bound != Some(i64::MAX))
        .filter_map(|(side, bound)| Some((side.to_owned(), bound?.into())))
        .collect();
    let query = if bounds.is_empty() { json!({"match_all": {}}) } else { json!({"range": {field: bounds}}) };
    uncounted(query, scored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(query: &Query, scored: bool, marked: bool) -> Result<Value> {
        Dialect::of(8).compile(query, scored, marked)
    }

    fn token(token: Token) -> Query {
        Query::Token { token, weight: 1.0 }
    }

    #[test]
    fn a_query_too_deep_or_a_mark_too_great_is_refused() {
        let deep = |depth| (0..depth).fold(Query::All, |query, _| Query::Not(Box::new(query)));
        assert!(compile(&deep(127), true, true).is_ok());
        assert!(matches!(compile(&deep(128), true, true), Err(Error::Refused { .. })));
        let deep = |depth| (0..depth).fold(Query::All, |query, _| Query::Or(vec![query, token(1)]));
        assert!(compile(&deep(127), true, true).is_ok());
        assert!(matches!(compile(&deep(128), true, true), Err(Error::Refused { .. })));
        let marked = |mark| Query::Marked { mark, query: Box::new(Query::All) };
        assert!(compile(&marked(63), true, true).is_ok());
        assert!(matches!(compile(&marked(64), true, true), Err(Error::Refused { .. })));
        assert!(matches!(compile(&marked(64), true, false), Err(Error::Refused { .. })));
    }

    #[test]
    fn what_is_negated_or_no_word_counts_nothing() {
        let query = Query::And(vec![token(1), Query::Not(Box::new(token(2))), Query::HasAttachment]);
        let compiled = compile(&query, true, true).unwrap();
        let one = json!({"multi_match": {"query": word(1), "fields": TOKEN_FIELDS, "boost": 1.0}});
        let two = json!({"multi_match": {"query": word(2), "fields": TOKEN_FIELDS, "boost": 1.0}});
        let attached = json!({"bool": {"filter": {"term": {"hasAttachment": true}}}});
        assert_eq!(compiled, json!({"bool": {"must": [one, attached], "must_not": [two]}}));
    }

    #[test]
    fn bounds_beyond_what_is_kept_are_none() {
        let until =
            |until| compile(&Query::Received { from: None, until: Some(until) }, false, true).unwrap();
        assert_eq!(until(u64::MAX), json!({"match_all": {}}));
        assert_eq!(until(7), json!({"range": {"receivedAt": {"lt": 7}}}));
    }

    #[test]
    fn a_query_that_was_renamed_is_called_as_the_oldest_node_knows_it() {
        for (major, name) in [(7, "field_masking_span"), (8, "span_field_masking"), (9, "span_field_masking")]
        {
            let compiled = Dialect::of(major).compile(&Query::Phrase(vec![vec![1]]), true, true).unwrap();
            assert_eq!(compiled["span_or"]["clauses"][1][name]["field"], "words");
        }
    }

    #[test]
    fn a_name_tells_its_mark() {
        assert_eq!(
            [mark("63:0"), mark("0:17"), mark("64:0"), mark("x"), mark("")],
            [Some(63), Some(0), None, None, None]
        );
    }
}
