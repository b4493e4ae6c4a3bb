//! Text to tree.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mail::terms::Field;
use schema::Millis;

use super::{CHARACTERS, DEPTH, TERMS};
use crate::json::Time;

/// Why and where a query does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// In characters from 0.
    pub position: usize,
    pub reason: String,
}

/// A query as a tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Text(Text),
    Fact(Fact),
    Test(Test),
}

/// How a text is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Word,
    Phrase,
    Prefix,
}

/// A text to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// `None`: anywhere.
    pub field: Option<Field>,
    pub form: Form,
    pub text: String,
    pub position: usize,
}

/// What never changes about a message, and the index knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    HasAttachment,
    After(Millis),
    Before(Millis),
    Larger(u64),
    Smaller(u64),
}

/// What a client changes about a message, and only the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    Unread,
    Keyword(String),
    /// A role, an id or a name, not yet looked up.
    In {
        mailbox: String,
        position: usize,
    },
}

/// Reads a query.
pub(crate) fn parse(query: &str) -> Result<Node, SyntaxError> {
    let characters: Vec<char> = query.chars().collect();
    if characters.len() > CHARACTERS {
        return Err(SyntaxError {
            position: CHARACTERS,
            reason: format!("a query has at most {CHARACTERS} characters"),
        });
    }
    let mut parser = Parser { characters, at: 0, terms: 0, within: None };
    parser.skip_blanks();
    if parser.peek().is_none() {
        return Err(parser.error("the query is empty"));
    }
    let node = parser.either(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.error("there is no opening parenthesis for this one")),
    }
}

/// The fields that take a value of their own instead of a text.
const VALUE_FIELDS: [&str; 8] = ["has", "is", "keyword", "in", "after", "before", "larger", "smaller"];
const NO_FIELD: &str = "there is no such field; those there are: from, to, cc, subject, body, filename, list, has, is, \
                        keyword, in, before, after, larger, smaller";
const NOTHING_NEGATED: &str = "what is not to be found is missing after the minus";

struct Parser {
    characters: Vec<char>,
    at: usize,
    terms: usize,
    /// The field whose parentheses are open.
    within: Option<Field>,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn error(&self, reason: impl Into<String>) -> SyntaxError {
        SyntaxError { position: self.at, reason: reason.into() }
    }

    fn error_at(position: usize, reason: impl Into<String>) -> SyntaxError {
        SyntaxError { position, reason: reason.into() }
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Whether `OR` stands here as a word of its own.
    fn at_or(&self) -> bool {
        self.characters[self.at..].starts_with(&['O', 'R'])
            && self.characters.get(self.at + 2).is_none_or(|c| c.is_whitespace() || is_delimiter(*c))
    }

    /// all ("OR" all)*
    fn either(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let mut nodes = vec![self.all(depth)?];
        while self.peek().is_some() && self.at_or() {
            self.at += 2;
            self.skip_blanks();
            nodes.push(self.all(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::Or(nodes) })
    }

    /// one one*
    fn all(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let mut nodes = Vec::new();
        loop {
            self.skip_blanks();
            match self.peek() {
                None | Some(')') => break,
                Some('O') if self.at_or() => break,
                Some(_) => nodes.push(self.one(depth)?),
            }
        }
        match nodes.len() {
            0 => Err(self.error("a word, a phrase or a field is missing here")),
            1 => Ok(nodes.swap_remove(0)),
            _ => Ok(Node::And(nodes)),
        }
    }

    /// "-" one | group | term
    fn one(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        if depth == DEPTH {
            return Err(self.error(format!("a query is at most {DEPTH} levels deep")));
        }
        match self.peek() {
            Some('-') => {
                self.at += 1;
                match self.peek() {
                    Some('-') => {
                        Err(self.error("one minus is enough; quotes find a text that begins with two"))
                    }
                    None | Some(')') => Err(self.error(NOTHING_NEGATED)),
                    Some(c) if c.is_whitespace() || self.at_or() => Err(self.error(NOTHING_NEGATED)),
                    Some(_) => Ok(Node::Not(Box::new(self.one(depth + 1)?))),
                }
            }
            Some('(') => self.group(depth),
            _ => self.term(depth),
        }
    }

    /// "(" either ")"
    fn group(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let open = self.at;
        self.at += 1;
        let node = self.either(depth + 1)?;
        if self.peek() != Some(')') {
            return Err(Self::error_at(open, "the parenthesis is not closed"));
        }
        self.at += 1;
        Ok(node)
    }

    /// text | field ":" (text | value) | field ":" group
    fn term(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let start = self.at;
        let Some(name) = self.field_name() else {
            self.count(start)?;
            return self.text(self.within);
        };
        let field = text_field(&name);
        if !is_field(&name) {
            return Err(self.error(NO_FIELD));
        }
        if self.within.is_some() {
            return Err(self.error("a field cannot stand in the parentheses of another"));
        }
        self.at += name.len() + 1;
        match (field, self.peek()) {
            (Some(_), Some('(')) => {
                self.within = field;
                let node = self.group(depth)?;
                self.within = None;
                Ok(node)
            }
            (None, Some('(')) => {
                Err(self.error("only from, to, cc, subject, body, filename and list take parentheses"))
            }
            (_, None | Some(')')) => Err(self.error(format!("a value is missing after {name}:"))),
            (_, Some(c)) if c.is_whitespace() => Err(self.error(format!("a value is missing after {name}:"))),
            (Some(_), Some('-')) => Err(self.error(format!("a minus stands before the field: -{name}:"))),
            (Some(_), _) if self.field_name().is_some_and(|inner| is_field(&inner)) => {
                Err(self.error("a field cannot be the value of another; quotes find it as a text"))
            }
            (Some(_), _) => {
                self.count(start)?;
                self.text(field)
            }
            (None, _) => {
                self.count(start)?;
                self.predicate(&name)
            }
        }
    }

    fn count(&mut self, start: usize) -> Result<(), SyntaxError> {
        self.terms += 1;
        match self.terms > TERMS {
            true => Err(Self::error_at(start, format!("a query has at most {TERMS} terms"))),
            false => Ok(()),
        }
    }

    /// The name of a field in small letters, if what stands here is written like one.
    fn field_name(&self) -> Option<String> {
        let letters = self.characters[self.at..].iter().take_while(|c| c.is_ascii_alphabetic());
        let name: String = letters.map(char::to_ascii_lowercase).collect();
        let colon = self.at + name.len();
        let is_field = !name.is_empty()
            && self.characters.get(colon) == Some(&':')
            // An address of the Web is a text like any other.
            && self.characters.get(colon + 1) != Some(&'/');
        is_field.then_some(name)
    }

    /// A phrase, a word or, with a star at its end, a prefix.
    fn text(&mut self, field: Option<Field>) -> Result<Node, SyntaxError> {
        let position = self.at;
        let is_phrase = self.peek() == Some('"');
        let mut text = if is_phrase { self.phrase()? } else { self.word() };
        let star = self.characters[position..self.at].iter().position(|&c| c == '*').map(|at| position + at);
        let form = match star {
            None if is_phrase => Form::Phrase,
            None => Form::Word,
            Some(star) if is_phrase => return Err(Self::error_at(star, "a star cannot stand in quotes")),
            Some(star) if star == position || star + 1 < self.at => {
                return Err(Self::error_at(star, "a star stands at the end of a word only"));
            }
            Some(_) if matches!(field, Some(Field::Body | Field::List)) => {
                let reason = "prefixes are found in from, to, cc, subject and filename only";
                return Err(Self::error_at(position, reason));
            }
            Some(_) => {
                text.pop();
                Form::Prefix
            }
        };
        Ok(Node::Text(Text { field, form, text, position }))
    }

    /// What is not looked for among the words of a message.
    fn predicate(&mut self, name: &str) -> Result<Node, SyntaxError> {
        let position = self.at;
        let value = if self.peek() == Some('"') { self.phrase()? } else { self.word() };
        let wrong = |reason: &str| Self::error_at(position, reason);
        if value.is_empty() {
            return Err(wrong("there is nothing in the quotes"));
        }
        let time =
            || read_time(&value).ok_or_else(|| wrong("a time looks like 2026-01-31 or 2026-01-31T09:30:00Z"));
        let size = || read_size(&value).ok_or_else(|| wrong("a size looks like 500, 20k, 5m or 1g"));
        Ok(match (name, value.to_ascii_lowercase().as_str()) {
            ("has", "attachment") => Node::Fact(Fact::HasAttachment),
            ("has", _) => return Err(wrong("has: takes attachment")),
            ("is", "unread") => Node::Test(Test::Unread),
            ("is", "read") => Node::Not(Box::new(Node::Test(Test::Unread))),
            ("is", "flagged") => Node::Test(Test::Keyword("$flagged".into())),
            ("is", "answered") => Node::Test(Test::Keyword("$answered".into())),
            ("is", "draft") => Node::Test(Test::Keyword("$draft".into())),
            ("is", _) => return Err(wrong("is: takes unread, read, flagged, answered or draft")),
            ("keyword", keyword) if schema::is_keyword(keyword) => Node::Test(Test::Keyword(keyword.into())),
            ("keyword", _) => return Err(wrong("this is no keyword")),
            ("in", _) => Node::Test(Test::In { mailbox: value, position }),
            ("after", _) => Node::Fact(Fact::After(time()?)),
            ("before", _) => Node::Fact(Fact::Before(time()?)),
            ("larger", _) => Node::Fact(Fact::Larger(size()?)),
            _ => Node::Fact(Fact::Smaller(size()?)),
        })
    }

    /// What stands up to a blank, a quote or a parenthesis.
    fn word(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(|c| !c.is_whitespace() && !is_delimiter(c)) {
            self.at += 1;
        }
        self.characters[start..self.at].iter().collect()
    }

    fn phrase(&mut self) -> Result<String, SyntaxError> {
        let open = self.at;
        self.at += 1;
        let start = self.at;
        while let Some(c) = self.peek() {
            self.at += 1;
            if c == '"' {
                return Ok(self.characters[start..self.at - 1].iter().collect());
            }
        }
        Err(Self::error_at(open, "the quote is not closed"))
    }
}

/// Whether a word ends before it, as it does before a blank.
fn is_delimiter(c: char) -> bool {
    matches!(c, '(' | ')' | '"')
}

/// The field of this name that texts are looked for in.
fn text_field(name: &str) -> Option<Field> {
    Some(match name {
        "from" => Field::From,
        "to" => Field::To,
        "cc" => Field::Cc,
        "subject" => Field::Subject,
        "body" => Field::Body,
        "filename" => Field::FileName,
        "list" => Field::List,
        _ => return None,
    })
}

fn is_field(name: &str) -> bool {
    text_field(name).is_some() || VALUE_FIELDS.contains(&name)
}

fn read_time(text: &str) -> Option<Millis> {
    if let Some(time) = Time::parse(text) {
        return Some(time.0);
    }
    let is_date = text.len() == 10 && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'-');
    let date: Date = text.parse().ok().filter(|_| is_date)?;
    u64::try_from(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond()).ok()
}

fn read_size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (digits, unit) = match text.strip_suffix(['k', 'm', 'g']) {
        Some(digits) => (digits, text.as_bytes()[text.len() - 1]),
        None => (text.as_str(), b' '),
    };
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let shift = match unit {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        _ => 0,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(node: &Node) -> String {
        let all = |nodes: &[Node], with: &str| nodes.iter().map(shown).collect::<Vec<_>>().join(with);
        match node {
            Node::And(nodes) => format!("({})", all(nodes, " ")),
            Node::Or(nodes) => format!("({})", all(nodes, " | ")),
            Node::Not(node) => format!("-{}", shown(node)),
            Node::Text(Text { field, form, text, .. }) => {
                let field = field.map(|field| format!("{field:?}:")).unwrap_or_default();
                match form {
                    Form::Word => format!("{field}{text}"),
                    Form::Phrase => format!("{field}\"{text}\""),
                    Form::Prefix => format!("{field}{text}*"),
                }
            }
            Node::Fact(fact) => format!("{fact:?}"),
            Node::Test(Test::In { mailbox, .. }) => format!("In({mailbox})"),
            Node::Test(test) => format!("{test:?}"),
        }
    }

    #[test]
    fn queries_parse_as_the_language_says() {
        let table = [
            ("word", "word"),
            ("  two   words ", "(two words)"),
            ("\"a phrase\" x", "(\"a phrase\" x)"),
            ("pre* x", "(pre* x)"),
            ("a OR b", "(a | b)"),
            // Words that stand together bind closer than OR.
            ("a b OR c d", "((a b) | (c d))"),
            ("a (b OR c) d", "(a (b | c) d)"),
            ("a OR(b c)", "(a | (b c))"),
            ("-a", "-a"),
            ("-(a b)", "-(a b)"),
            ("-(-a)", "--a"),
            // What stands in quotes is no operator.
            ("\"--a\" \"OR\"", "(\"--a\" \"OR\")"),
            ("a OR\"b c\"", "(a | \"b c\")"),
            ("-from:anna", "-From:anna"),
            // Inside a word a minus is a part of it; a small or is a word.
            ("e-mail or OReilly", "(e-mail or OReilly)"),
            ("from:anna@example.org", "From:anna@example.org"),
            ("FROM:\"Anna K\"", "From:\"Anna K\""),
            (
                "to:x cc:y subject:z* filename:a.pdf list:l body:b",
                "(To:x Cc:y Subject:z* FileName:a.pdf List:l Body:b)",
            ),
            // A field holds for all that stands in its parentheses.
            ("from:(a OR b)", "(From:a | From:b)"),
            ("from:(a b) c", "((From:a From:b) c)"),
            ("-to:(a OR -\"b c\")", "-(To:a | -To:\"b c\")"),
            ("cc:(a (b OR c*))", "(Cc:a (Cc:b | Cc:c*))"),
            ("subject:(x) body:(x) filename:(x) list:(x)", "(Subject:x Body:x FileName:x List:x)"),
            ("subject:(12:30 http://a.b)", "(Subject:12:30 Subject:http://a.b)"),
            ("has:attachment", "HasAttachment"),
            ("is:unread is:read", "(Unread -Unread)"),
            (
                "is:flagged is:answered is:draft",
                "(Keyword(\"$flagged\") Keyword(\"$answered\") Keyword(\"$draft\"))",
            ),
            ("keyword:Work", "Keyword(\"work\")"),
            // A mailbox can have any name.
            ("in:\"My box\" in:trash in:-a*b", "(In(My box) In(trash) In(-a*b))"),
            ("after:1970-01-02 before:1970-01-01T00:00:01Z", "(After(86400000) Before(1000))"),
            ("larger:10 smaller:2K", "(Larger(10) Smaller(2048))"),
            // Neither a field nor a mistake.
            ("12:30", "12:30"),
            ("subject:re:x", "Subject:re:x"),
            ("https://example.org/a", "https://example.org/a"),
            ("a\"b\"", "(a \"b\")"),
        ];
        for (query, expected) in table {
            assert_eq!(shown(&parse(query).unwrap()), expected, "{query}");
        }
    }

    #[test]
    fn what_does_not_parse_says_where() {
        let long = "x".repeat(CHARACTERS + 1);
        let many = "x ".repeat(TERMS + 1);
        let deep = "(".repeat(DEPTH + 1) + "x";
        let minus = "-(".repeat(DEPTH) + "x";
        let group = "(".repeat(DEPTH - 1) + "from:(x)";
        let table = [
            ("", 0),
            ("   ", 3),
            ("a (b", 2),
            ("a b)", 3),
            ("a \"b", 2),
            ("é \"b", 2),
            ("()", 1),
            ("OR a", 0),
            ("a OR", 4),
            ("a OR OR b", 5),
            ("(a OR) b", 5),
            ("a (OR b)", 3),
            ("-OR b", 1),
            ("--", 1),
            ("a --linux", 3),
            ("-(--a)", 3),
            // A star stands at the end of a word, and of nothing else.
            ("*", 0),
            ("-*", 1),
            ("*x", 0),
            ("a co*v", 4),
            ("x**", 1),
            ("\"conv* x\"", 5),
            ("from:\"x*\"", 7),
            ("\"a b\"*", 5),
            ("(a b)*", 5),
            ("filename:*.jpg", 9),
            ("from:*", 5),
            ("subject:(a *b)", 11),
            ("-", 1),
            ("a - b", 3),
            ("nope:x", 0),
            ("from:", 5),
            ("from: x", 5),
            ("subject:\"", 8),
            ("(from:)", 6),
            ("in:\"\"", 3),
            ("from:-anna", 5),
            ("from:to:anna", 5),
            ("from:()", 6),
            ("from:(", 6),
            ("from:(a", 5),
            ("from:(a OR)", 10),
            ("from:(a to:b)", 8),
            ("from:(a is:unread)", 8),
            ("from:(to:(a))", 6),
            ("from:(nope:x)", 6),
            ("is:(unread OR flagged)", 3),
            ("body:x*", 5),
            ("body:(a x*)", 8),
            ("list:x*", 5),
            ("has:money", 4),
            ("is:late", 3),
            ("keyword:a%", 8),
            ("after:soon", 6),
            ("after:2026-13-01", 6),
            ("before:1969-01-01", 7),
            ("larger:-1", 7),
            ("larger:5t", 7),
            ("larger:99999999999999999999", 7),
            ("larger:99999999999g", 7),
            (&long, CHARACTERS),
            (&many, 2 * TERMS),
            (&deep, DEPTH),
            (&minus, DEPTH),
            (&group, DEPTH + 5),
        ];
        for (query, position) in table {
            assert_eq!(parse(query).unwrap_err().position, position, "{query}");
        }
    }

    #[test]
    fn a_query_at_the_limits_parses() {
        let deepest = "(".repeat(DEPTH - 1) + "x" + &")".repeat(DEPTH - 1);
        let grouped = "(".repeat(DEPTH - 2) + "from:(x)" + &")".repeat(DEPTH - 2);
        // The field of a group is no term of its own.
        let most = "x ".repeat(TERMS - 1) + "from:(x)";
        for query in ["x".repeat(CHARACTERS), deepest, grouped, most] {
            assert!(parse(&query).is_ok(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_says_where_not(query: String) {
            if let Err(error) = parse(&query) {
                prop_assert!(error.position <= query.chars().count());
                prop_assert!(!error.reason.is_empty());
            }
        }

        #[test]
        fn any_sequence_of_the_languages_pieces_parses_or_says_where_not(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("("), Just(")"), Just("\""), Just("-"), Just(" OR "), Just(" "), Just("*"), Just("from:"), Just("body:("), Just("in:"),
                    Just("is:unread"), Just("a"), Just("é"), Just("after:2026-01-01"), Just(":")
                ],
                0..40,
            )
        ) {
            let query: String = pieces.concat();
            if let Err(error) = parse(&query) {
                prop_assert!(error.position <= query.chars().count());
            }
        }
    }
}
