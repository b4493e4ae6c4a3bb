//! What is attached to a message: names of files, text attachments, and messages in the message.

use super::{ATTACHED_TEXT, Collector, Field, POSITION_GAP};
use crate::{
    address, attachment, field, head,
    structure::Tree,
    text::{self, Body},
};

impl Collector<'_> {
    /// Adds what is attached, from text of at most `room` octets.
    pub(super) fn attached(&mut self, tree: &Tree<'_>, body: &Body, mut room: usize) {
        let nested: Vec<usize> = tree.messages().collect();
        let mut at = 0;
        for id in [0].iter().chain(&nested).flat_map(|root| attachment::ids(tree, *root)) {
            if let Some(name) = tree.nodes[id].name() {
                at = self.words(Field::FileName, name, at, true).saturating_add(POSITION_GAP);
            }
        }
        self.end_field(Field::FileName);
        let mut at = ATTACHED_TEXT;
        let is_attached = |id: &usize| !body.contains(*id);
        self.texts(tree, tree.leaves(0).into_iter().filter(is_attached), &mut at, &mut room);
        for root in nested {
            let body = Body::of(tree, root);
            self.nested_head(tree, root, &mut at, &mut room);
            // HTML that says what a text beside it says is passed over.
            let is_read = |id: &usize| body.text.contains(id) || !body.contains(*id);
            self.texts(tree, tree.leaves(root).into_iter().filter(is_read), &mut at, &mut room);
        }
    }

    /// Adds the text of those parts that are text.
    fn texts(&mut self, tree: &Tree<'_>, ids: impl Iterator<Item = usize>, at: &mut u32, room: &mut usize) {
        for id in ids.filter(|id| tree.nodes[*id].main_type() == "text") {
            if *room == 0 {
                return;
            }
            self.attached_words(&text::plain(tree, id, self.limits, *room), at, room);
        }
    }

    /// Adds what the fields of a message in the message say of its subject and of whom it is from and to.
    fn nested_head(&mut self, tree: &Tree<'_>, root: usize, at: &mut u32, room: &mut usize) {
        let charset = head::charset(tree, root);
        for name in ["subject", "from", "to", "cc"] {
            let Some(value) = tree.field(root, name).filter(|value| value.len() <= *room) else { continue };
            if name == "subject" {
                self.attached_words(&field::text(value, charset), at, room);
                continue;
            }
            let mut list = Vec::new();
            address::addresses(value, charset, self.limits.addresses, &mut list);
            for address in list {
                let name = address.name.as_deref().unwrap_or_default();
                self.attached_words(name, at, room);
                self.attached_words(&address.email, at, room);
            }
        }
    }

    fn attached_words(&mut self, text: &str, at: &mut u32, room: &mut usize) {
        if !text.is_empty() {
            *room = room.saturating_sub(text.len());
            *at = self.words(Field::Body, text, *at, false).saturating_add(POSITION_GAP);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Limits, parse,
        terms::{ATTACHED_TEXT, Field, Form, Terms},
    };

    const FORWARDED: &str = "From: ada@example.org\nSubject: Outer\nContent-Type: multipart/mixed; boundary=o\n\n\
        --o\n\nSee below.\n--o\nContent-Type: message/rfc822\n\n\
        From: \"Grace Hopper\" <grace.h@navy.example>\nTo: Team <team@navy.example>\nSubject: =?utf-8?Q?Caf=C3=A9?= moth\n\
        Content-Type: multipart/mixed; boundary=i\n\n--i\nContent-Type: multipart/alternative; boundary=a\n\n\
        --a\n\nTaped into the logbook.\n--a\nContent-Type: text/html\n\n<p>Markup only</p>\n--a--\n\
        --i\nContent-Type: text/csv; name=relays.csv\n\npanel;seventy\n\
        --i\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n\
        U3ViamVjdDogSW5uZXJtb3N0CgpkZWVwZXN0IHdvcmRz\n--i--\n--o--\n";

    fn terms_of(raw: &str, limits: &Limits) -> Terms {
        parse(raw.as_bytes(), limits).terms()
    }

    fn has(terms: &Terms, field: Field, text: &str) -> bool {
        terms.iter().any(|t| t.field == field && t.form == Form::Word && t.text == text)
    }

    #[test]
    fn a_forwarded_message_is_found_by_what_is_in_it() {
        let terms = terms_of(FORWARDED, &Limits::default());
        let words =
            ["grace", "hopper", "navy", "team", "cafe", "moth", "logbook", "seventy", "innermost", "deepest"];
        for word in words {
            assert!(has(&terms, Field::Body, word), "{word}");
            let is_behind = |t: &crate::terms::Term<'_>| t.text != word || t.position >= ATTACHED_TEXT;
            assert!(terms.iter().filter(|t| t.form == Form::Word).all(|t| is_behind(&t)), "{word}");
        }
        for field in [Field::Subject, Field::From, Field::To] {
            assert!(!words.iter().any(|word| has(&terms, field, word)), "{field:?} is the outer message's");
        }
        assert!(has(&terms, Field::FileName, "relays"));
        assert!(!has(&terms, Field::Body, "markup"), "HTML beside a text says the same");
        let prefixes = |field| terms.iter().filter(|t| t.field == field && t.form == Form::Prefix).count();
        assert_eq!(prefixes(Field::Body), 0);
        assert!(prefixes(Field::FileName) > 0);
    }

    #[test]
    fn a_bounce_is_found_by_the_message_that_came_back() {
        let raw = "From: MAILER-DAEMON\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
            --b\n\nIt came back.\n--b\nContent-Type: message/delivery-status\n\nAction: failed\n\
            --b\nContent-Type: message/rfc822\n\nSubject: Invitation\nTo: gone@example.net\n\nPicnic on Sunday\n--b--\n";
        let terms = terms_of(raw, &Limits::default());
        for word in ["invitation", "gone", "picnic"] {
            assert!(has(&terms, Field::Body, word), "{word}");
        }
    }

    #[test]
    fn a_message_that_is_nothing_but_another_is_found_by_it() {
        let terms =
            terms_of("Content-Type: message/rfc822\n\nSubject: inner\n\nwords within\n", &Limits::default());
        assert!(has(&terms, Field::Body, "inner") && has(&terms, Field::Body, "within"));
    }

    #[test]
    fn messages_in_messages_keep_to_the_limits() {
        let shallow = Limits { depth: 2, ..Limits::default() };
        let terms = terms_of(FORWARDED, &shallow);
        assert!(has(&terms, Field::Body, "moth") && !has(&terms, Field::Body, "innermost"));
        let short = Limits { text_bytes: 24, ..Limits::default() };
        let terms = terms_of(FORWARDED, &short);
        assert!(has(&terms, Field::Body, "below") && !has(&terms, Field::Body, "logbook"));
        let few = Limits { terms: 20, ..Limits::default() };
        assert_eq!(terms_of(FORWARDED, &few).len(), 20);
        let one = Limits { parts: 2, ..Limits::default() };
        assert!(!has(&terms_of(FORWARDED, &one), Field::Body, "moth"));
    }
}
