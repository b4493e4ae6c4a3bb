//! A query made flat: nodes that name the nodes below them by number, each after those, and each token once.

use std::collections::HashMap;

use schema::index::{Query, Token};
use schema::{Error, Millis, Result};

/// How deep a query may be nested.
const DEPTH_LIMIT: usize = 128;

/// One step of a query. Numbers are of nodes, or of [`Plan::tokens`] where they say so.
#[derive(Debug, PartialEq)]
pub enum Node {
    All,
    Nothing,
    Token {
        token: usize,
        weight: f32,
    },
    /// The tokens of each slot, and which of [`Plan::phrases`] it is.
    Phrase {
        slots: Vec<Vec<usize>>,
        phrase: usize,
    },
    And(Vec<usize>),
    Or(Vec<usize>),
    Not(usize),
    Received {
        from: Option<Millis>,
        until: Option<Millis>,
    },
    Size {
        above: Option<u64>,
        below: Option<u64>,
    },
    HasAttachment,
}

/// A query ready to be carried out.
#[derive(Debug, Default)]
pub struct Plan {
    /// The last one is the whole query.
    pub nodes: Vec<Node>,
    pub tokens: Vec<Token>,
    pub phrases: usize,
    /// A bit, and the node whose messages have it.
    pub marks: Vec<(u8, usize)>,
    numbers: HashMap<Token, usize>,
}

impl Plan {
    /// # Errors
    /// [`Error::Refused`] for a query nested more than 128 deep, and for a mark above 63.
    pub fn of(query: &Query) -> Result<Self> {
        let mut plan = Self::default();
        let root = plan.add(query, DEPTH_LIMIT)?;
        debug_assert_eq!(root + 1, plan.nodes.len());
        Ok(plan)
    }

    fn add(&mut self, query: &Query, depth: usize) -> Result<usize> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Error::Refused { what: "a query nested too deep" });
        };
        let node = match query {
            Query::All => Node::All,
            Query::Nothing => Node::Nothing,
            Query::Token { token, weight } => Node::Token { token: self.token(*token), weight: *weight },
            Query::Phrase(slots) => {
                self.phrases += 1;
                let slots =
                    slots.iter().map(|slot| slot.iter().map(|&token| self.token(token)).collect()).collect();
                Node::Phrase { slots, phrase: self.phrases - 1 }
            }
            Query::And(queries) => Node::And(self.add_all(queries, depth)?),
            Query::Or(queries) => Node::Or(self.add_all(queries, depth)?),
            Query::Not(query) => Node::Not(self.add(query, depth)?),
            Query::Received { from, until } => Node::Received { from: *from, until: *until },
            Query::Size { above, below } => Node::Size { above: *above, below: *below },
            Query::HasAttachment => Node::HasAttachment,
            Query::Marked { mark, query } => {
                if *mark > 63 {
                    return Err(Error::Refused { what: "a mark above 63" });
                }
                let marked = self.add(query, depth)?;
                self.marks.push((*mark, marked));
                return Ok(marked);
            }
        };
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn add_all(&mut self, queries: &[Query], depth: usize) -> Result<Vec<usize>> {
        queries.iter().map(|query| self.add(query, depth)).collect()
    }

    fn token(&mut self, token: Token) -> usize {
        *self.numbers.entry(token).or_insert_with(|| {
            self.tokens.push(token);
            self.tokens.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_too_deep_or_a_mark_too_great_is_refused() {
        let deep = |depth| (0..depth).fold(Query::All, |query, _| Query::Not(Box::new(query)));
        assert!(Plan::of(&deep(127)).is_ok());
        assert!(matches!(Plan::of(&deep(128)), Err(Error::Refused { .. })));
        let marked = |mark| Query::Marked { mark, query: Box::new(Query::All) };
        assert!(Plan::of(&marked(63)).is_ok());
        assert!(matches!(Plan::of(&marked(64)), Err(Error::Refused { .. })));
    }

    #[test]
    fn a_token_that_stands_twice_is_looked_up_once() {
        let token = Query::Token { token: 7, weight: 1.0 };
        let plan =
            Plan::of(&Query::And(vec![token.clone(), Query::Phrase(vec![vec![7, 8]]), token])).unwrap();
        assert_eq!(plan.tokens, [7, 8]);
    }
}
