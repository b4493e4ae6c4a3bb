//! What Elasticsearch is given of a message, as JSON.
//!
//! A token is eleven characters. Tokens with positions stand in `words` in the order of their positions, one value of the
//! field for each run without a gap, so that no phrase runs from one into the next. Where several tokens share a position
//! (pairs and single characters of a script without spaces), the second and the third stand in `words2` and `words3` at
//! the position that the first has in `words`; [`FILLER`] stands where they have none. Tokens without positions stand in
//! `terms`, as often as they stand in the message.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use schema::index::{IndexedMessage, Posting, Token};
use schema::{AccountId, MessageId};

/// The fields that hold tokens with positions, by how many tokens come before at the same position.
pub(super) const LAYERS: [&str; 3] = ["words", "words2", "words3"];
/// All fields that hold tokens.
pub(super) const TOKEN_FIELDS: [&str; 4] = ["words", "words2", "words3", "terms"];
/// Stands where a layer has no token; no token is one character long.
const FILLER: char = '-';
/// So often at most a token without positions is repeated: beyond that it counts hardly more.
const REPEATED: u32 = 255;

/// An account as Elasticsearch routes by it.
pub(super) fn routing(account: AccountId) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(account.as_bytes())
}

/// The key of a document.
pub(super) fn document_id(account: AccountId, message: MessageId) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([*account.as_bytes(), *message.as_bytes()].concat())
}

/// A token as a word.
pub(super) fn word(token: Token) -> String {
    let mut word = String::with_capacity(11);
    push(&mut word, token);
    word
}

fn push(text: &mut String, token: Token) {
    BASE64_URL_SAFE_NO_PAD.encode_string(token.to_be_bytes(), text);
}

/// An id as two numbers that sort as it does.
pub(super) fn halves(id: MessageId) -> [i64; 2] {
    let both = u128::from_be_bytes(id.0);
    [(both >> 64) as u64, both as u64].map(|half| (half ^ 1 << 63) as i64)
}

/// The id whose halves these are.
pub(super) fn whole([high, low]: [i64; 2]) -> MessageId {
    let [high, low] = [high, low].map(|half| u128::from(half as u64 ^ 1 << 63));
    MessageId((high << 64 | low).to_be_bytes())
}

/// A number as Elasticsearch keeps it: the greatest ones count as one.
pub(super) fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The document of a message.
pub(super) fn document(message: &IndexedMessage) -> String {
    let [high, low] = halves(message.id);
    let mut json = format!(
        r#"{{"messageHigh":{high},"messageLow":{low},"receivedAt":{},"size":{},"hasAttachment":{}"#,
        long(message.received_at),
        long(message.size),
        message.has_attachment,
    );
    let placed = Layers::of(&message.postings);
    // Nothing in a token has to be escaped.
    for (field, values) in LAYERS.iter().zip(placed.values) {
        if !values.is_empty() {
            json.push_str(&format!(r#","{field}":["{values}"]"#));
        }
    }
    let mut terms = String::new();
    for posting in message.postings.iter().filter(|posting| posting.positions.is_empty()) {
        for _ in 0..posting.frequency.clamp(1, REPEATED) {
            separate(&mut terms);
            push(&mut terms, posting.token);
        }
    }
    if !terms.is_empty() {
        json.push_str(&format!(r#","terms":"{terms}""#));
    }
    json.push('}');
    json
}

fn separate(text: &mut String) {
    if !text.is_empty() {
        text.push(' ');
    }
}

/// The values of each layer, as they stand between the first and the last quote of a JSON array.
#[derive(Default)]
struct Layers {
    values: [String; LAYERS.len()],
    /// How many positions each layer has so far.
    lengths: [u32; LAYERS.len()],
}

impl Layers {
    fn of(postings: &[Posting]) -> Self {
        let mut places: Vec<(u8, u32, Token)> = postings
            .iter()
            .flat_map(|posting| posting.positions.iter().map(|&at| (posting.stream, at, posting.token)))
            .collect();
        places.sort_unstable();
        places.dedup();
        let mut layers = Self::default();
        let mut alone = Vec::new();
        let mut before = None;
        for together in places.chunk_by(|(a, b, _), (c, d, _)| (a, b) == (c, d)) {
            let (stream, at, first) = together[0];
            let follows = before.is_some_and(|(same, last)| same == stream && at - 1 == last);
            before = Some((stream, at));
            layers.add_first(first, follows);
            let (seconds, rest) = together[1..].split_at((together.len() - 1).min(LAYERS.len() - 1));
            for (layer, &(_, _, token)) in (1..).zip(seconds) {
                layers.add_beside(layer, token);
            }
            // More than a script has: a collision of tokens. They are found alone, and have no neighbours.
            alone.extend(rest.iter().map(|&(_, _, token)| token));
        }
        alone.into_iter().for_each(|token| layers.add_first(token, false));
        layers
    }

    fn add_first(&mut self, token: Token, follows: bool) {
        let [values, ..] = &mut self.values;
        let [length, ..] = &mut self.lengths;
        if !values.is_empty() {
            values.push_str(if follows { " " } else { "\",\"" });
            // The gap between two values, as the mapping has it.
            *length += u32::from(!follows);
        }
        push(values, token);
        *length += 1;
    }

    /// Adds a token at the last position of the first layer.
    fn add_beside(&mut self, layer: usize, token: Token) {
        let (values, length) = (&mut self.values[layer], self.lengths[0]);
        for _ in self.lengths[layer] + 1..length {
            separate(values);
            values.push(FILLER);
        }
        separate(values);
        push(values, token);
        self.lengths[layer] = length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posting(token: Token, stream: u8, positions: &[u32]) -> Posting {
        Posting { token, stream, frequency: positions.len().max(1) as u32, positions: positions.to_vec() }
    }

    fn layers(postings: &[Posting]) -> [String; 3] {
        let mut values = Layers::of(postings).values;
        for (token, name) in [(1, "one"), (2, "two"), (3, "three"), (4, "four"), (5, "five")] {
            values = values.map(|value| value.replace(&word(token), name));
        }
        values
    }

    #[test]
    fn ids_sort_as_their_halves_do() {
        let ids = [[0; 16], [0x7f; 16], [0x80; 16], [0xff; 16], *b"0123456789abcdef"].map(MessageId);
        for left in ids {
            assert_eq!(whole(halves(left)), left);
            for right in ids {
                assert_eq!(halves(left).cmp(&halves(right)), left.cmp(&right));
            }
        }
    }

    #[test]
    fn a_token_is_eleven_characters_that_need_no_escape() {
        for token in [0, 1, u64::MAX, 0x0011_2233_4455_6677] {
            let word = word(token);
            assert_eq!(word.len(), 11);
            assert!(word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'), "{word}");
        }
    }

    #[test]
    fn words_stand_in_the_order_of_their_positions_and_apart_where_there_is_a_gap() {
        let [words, second, third] = layers(&[
            posting(1, 0, &[0, 2]),
            posting(2, 0, &[1, 9]),
            posting(3, 1, &[3]),
            posting(4, 0, &[u32::MAX]),
        ]);
        assert_eq!(words, r#"one two one","two","four","three"#);
        assert_eq!((second, third), (String::new(), String::new()));
    }

    #[test]
    fn what_shares_a_position_stands_beside_it() {
        // Positions in `words`: 0, 1 and, after a gap, 3.
        let [words, second, third] = layers(&[
            posting(1, 0, &[0, 1, 7]),
            posting(2, 0, &[1, 7]),
            posting(3, 0, &[7]),
            posting(4, 0, &[7]),
        ]);
        assert_eq!(words, r#"one one","one","four"#);
        assert_eq!(second, "- two - two");
        assert_eq!(third, "- - - three");
    }

    #[test]
    fn a_token_without_positions_is_repeated_up_to_a_bound() {
        let message = |frequency| IndexedMessage {
            id: MessageId([0x80; 16]),
            received_at: u64::MAX,
            size: 7,
            has_attachment: true,
            words: 0,
            postings: vec![Posting { token: 1, stream: 0, frequency, positions: vec![] }],
        };
        let [half, _] = halves(MessageId([0x80; 16]));
        let json = document(&message(2)).replace(&word(1), "one");
        let wanted = format!(
            r#"{{"messageHigh":{half},"messageLow":{half},"receivedAt":9223372036854775807,"size":7,"hasAttachment":true,"terms":"one one"}}"#
        );
        assert_eq!(json, wanted);
        assert_eq!(document(&message(u32::MAX)).matches(&word(1)).count(), 255);
        assert_eq!(document(&message(0)).matches(&word(1)).count(), 1);
    }
}
