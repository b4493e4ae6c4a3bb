//! The message of a probe.

use jiff::Zoned;
use lettre::Address;

/// How the subjects of all probes begin.
const SUBJECT: &str = "Signet probe ";
/// Letters of the word that tells a probe from every other.
const LETTERS: usize = 32;

/// A message that no other is like.
pub struct Message {
    word: String,
    /// The envelope's sender, and the author.
    pub from: Address,
    /// Its recipient.
    pub to: Address,
    /// As it is sent.
    pub text: String,
}

impl Message {
    /// A new one, written now.
    pub fn new(from: &Address, to: &Address) -> Self {
        // Letters only: no analyser takes them apart.
        let letter = |octet: u8| [octet >> 4, octet & 15].map(|half| char::from(b'a' + half));
        let word: String = seal::random_bytes::<{ LETTERS / 2 }>().into_iter().flat_map(letter).collect();
        let date = jiff::fmt::rfc2822::to_string(&Zoned::now()).unwrap_or_default();
        let text = format!(
            "From: {from}\n\
             To: {to}\n\
             Subject: {SUBJECT}{word}\n\
             Date: {date}\n\
             Message-ID: <{word}@{}>\n\
             Auto-Submitted: auto-generated\n\
             MIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\n\
             \n\
             This message tries the way that all mail takes. Whoever sent it deletes it once it is found.\n",
            from.domain()
        );
        Self { word, from: from.clone(), to: to.clone(), text: text.replace('\n', "\r\n") }
    }

    /// Its subject.
    pub fn subject(&self) -> String {
        format!("{SUBJECT}{}", self.word)
    }

    /// A search that finds it and nothing else.
    pub fn query(&self) -> String {
        format!("subject:{}", self.word)
    }

    /// A search for the messages of all probes.
    pub fn query_for_all() -> String {
        format!("subject:\"{}\"", SUBJECT.trim_end())
    }

    /// Whether a message with this subject is one of a probe.
    pub fn is_of_a_probe(subject: &str) -> bool {
        subject
            .strip_prefix(SUBJECT)
            .is_some_and(|word| word.len() == LETTERS && word.bytes().all(|octet| octet.is_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_a_word_of_its_own_and_is_known_by_its_subject() {
        let address: Address = "probe@example.org".parse().unwrap();
        let (one, other) = (Message::new(&address, &address), Message::new(&address, &address));
        assert_ne!(one.word, other.word);
        assert!(Message::is_of_a_probe(&one.subject()));
        for subject in ["Signet probe", "Signet probe results", "Re: Signet probe abc", ""] {
            assert!(!Message::is_of_a_probe(subject), "{subject}");
        }
        assert!(!Message::is_of_a_probe(&one.subject().to_uppercase()));
    }

    #[test]
    fn its_text_is_a_message_of_rfc_5322() {
        let from: Address = "monitor@example.net".parse().unwrap();
        let to: Address = "probe@example.org".parse().unwrap();
        let message = Message::new(&from, &to);
        let (header, body) = message.text.split_once("\r\n\r\n").unwrap();
        assert!(header.contains(&format!("Subject: {}\r\n", message.subject())), "{header}");
        for field in
            ["From: monitor@", "To: probe@", "Date: ", "Message-ID: <", "Auto-Submitted: auto-generated"]
        {
            assert!(header.lines().any(|line| line.starts_with(field)), "{field}");
        }
        assert!(header.lines().all(|line| line.split_once(": ").is_some_and(|(_, value)| !value.is_empty())));
        assert!(message.text.is_ascii() && body.ends_with("\r\n") && !body.contains("\n."));
        assert_eq!(message.text.matches('\n').count(), message.text.matches("\r\n").count());
    }
}
