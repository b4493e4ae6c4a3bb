//! Languages that words are stemmed in, and how one is recognised.

use std::{cell::RefCell, collections::HashMap, sync::LazyLock};

use foldhash::fast::RandomState;
use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};
use whatlang::{Detector, Lang};

use super::fold;

/// Characters of a text that its language is recognised by.
const SAMPLE: usize = 1_000;
/// Shorter words are not stemmed.
const STEMMED: usize = 3;
/// Words whose stems a thread remembers, in each language: a message's words are mostly those of the ones before it, and
/// finding a stem costs more than all else that is done to a word.
const REMEMBERED: usize = 16_384;
/// Octets of a word that is remembered.
const REMEMBERED_LENGTH: usize = 24;

/// A language that words are stemmed in. The numbers are stored: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Language {
    Arabic = 0,
    Danish = 1,
    Dutch = 2,
    English = 3,
    Finnish = 4,
    French = 5,
    German = 6,
    Greek = 7,
    Hungarian = 8,
    Italian = 9,
    Norwegian = 10,
    Portuguese = 11,
    Romanian = 12,
    Russian = 13,
    Spanish = 14,
    Swedish = 15,
    Tamil = 16,
    Turkish = 17,
}

/// Each language with its ISO 639-1 code, its stemmer and its name in whatlang.
const TABLE: [(Language, &str, Algorithm, Lang); 18] = [
    (Language::Arabic, "ar", Algorithm::Arabic, Lang::Ara),
    (Language::Danish, "da", Algorithm::Danish, Lang::Dan),
    (Language::Dutch, "nl", Algorithm::Dutch, Lang::Nld),
    (Language::English, "en", Algorithm::English, Lang::Eng),
    (Language::Finnish, "fi", Algorithm::Finnish, Lang::Fin),
    (Language::French, "fr", Algorithm::French, Lang::Fra),
    (Language::German, "de", Algorithm::German, Lang::Deu),
    (Language::Greek, "el", Algorithm::Greek, Lang::Ell),
    (Language::Hungarian, "hu", Algorithm::Hungarian, Lang::Hun),
    (Language::Italian, "it", Algorithm::Italian, Lang::Ita),
    (Language::Norwegian, "no", Algorithm::Norwegian, Lang::Nob),
    (Language::Portuguese, "pt", Algorithm::Portuguese, Lang::Por),
    (Language::Romanian, "ro", Algorithm::Romanian, Lang::Ron),
    (Language::Russian, "ru", Algorithm::Russian, Lang::Rus),
    (Language::Spanish, "es", Algorithm::Spanish, Lang::Spa),
    (Language::Swedish, "sv", Algorithm::Swedish, Lang::Swe),
    (Language::Tamil, "ta", Algorithm::Tamil, Lang::Tam),
    (Language::Turkish, "tr", Algorithm::Turkish, Lang::Tur),
];

/// Frequent words that hardly stand in another of these languages: counting them settles most texts for a
/// fraction of what trigrams cost.
const FREQUENT: [(Language, &[&str]); 7] = [
    (
        Language::English,
        &["the", "and", "that", "this", "with", "you", "are", "have", "of", "it", "for", "was"],
    ),
    (
        Language::German,
        &["der", "und", "das", "nicht", "ist", "ein", "mit", "auf", "für", "sich", "wir", "ich"],
    ),
    (
        Language::French,
        &["les", "est", "dans", "pour", "pas", "vous", "nous", "une", "sur", "avec", "je", "et"],
    ),
    (Language::Spanish, &["el", "los", "las", "una", "por", "con", "del", "es", "para", "y", "su", "pero"]),
    (
        Language::Italian,
        &["il", "che", "non", "per", "della", "sono", "di", "gli", "nel", "più", "questo", "è"],
    ),
    (
        Language::Portuguese,
        &["não", "uma", "com", "os", "em", "você", "mais", "ao", "pela", "dos", "são", "isso"],
    ),
    (Language::Dutch, &["het", "een", "van", "niet", "voor", "zijn", "dat", "ik", "je", "op", "ook", "maar"]),
];

impl Language {
    /// Every language, in the order of their numbers.
    pub const ALL: [Language; 18] = {
        let mut all = [Language::Arabic; 18];
        let mut i = 0;
        while i < all.len() {
            all[i] = TABLE[i].0;
            i += 1;
        }
        all
    };

    /// The ISO 639-1 code.
    pub fn code(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The language of an ISO 639-1 code, in lower case.
    pub fn from_code(code: &str) -> Option<Self> {
        TABLE.iter().find(|(_, c, _, _)| *c == code).map(|(language, _, _, _)| *language)
    }

    fn stemmer(self) -> Stemmer {
        let (_, _, algorithm, _) = &TABLE[self as usize];
        Stemmer::create(match algorithm {
            Algorithm::Arabic => Algorithm::Arabic,
            Algorithm::Danish => Algorithm::Danish,
            Algorithm::Dutch => Algorithm::Dutch,
            Algorithm::English => Algorithm::English,
            Algorithm::Finnish => Algorithm::Finnish,
            Algorithm::French => Algorithm::French,
            Algorithm::German => Algorithm::German,
            Algorithm::Greek => Algorithm::Greek,
            Algorithm::Hungarian => Algorithm::Hungarian,
            Algorithm::Italian => Algorithm::Italian,
            Algorithm::Norwegian => Algorithm::Norwegian,
            Algorithm::Portuguese => Algorithm::Portuguese,
            Algorithm::Romanian => Algorithm::Romanian,
            Algorithm::Russian => Algorithm::Russian,
            Algorithm::Spanish => Algorithm::Spanish,
            Algorithm::Swedish => Algorithm::Swedish,
            Algorithm::Tamil => Algorithm::Tamil,
            Algorithm::Turkish => Algorithm::Turkish,
        })
    }

    /// The language of a message, from its subject and the start of its text.
    pub(crate) fn detect(subject: &str, text: &str) -> Option<Self> {
        let mut sample = String::with_capacity(2 * SAMPLE);
        let mut push = |line: &str| {
            // Quotes are in somebody else's language as likely as not; addresses and URLs are in none.
            if !line.starts_with('>') && sample.len() < 2 * SAMPLE {
                for word in line.split_whitespace().filter(|w| w.len() < 64 && !w.contains(['@', '/', '='])) {
                    if sample.len() >= 2 * SAMPLE {
                        break;
                    }
                    sample.push_str(word);
                    sample.push(' ');
                }
            }
        };
        push(subject);
        text.lines().take(100).for_each(&mut push);
        let end = sample.char_indices().nth(SAMPLE).map_or(sample.len(), |(i, _)| i);
        sample.truncate(end);
        if sample.chars().filter(|c| c.is_alphabetic()).count() < 12 {
            return None;
        }
        by_frequent_words(&sample).or_else(|| by_trigrams(&sample))
    }
}

fn by_frequent_words(sample: &str) -> Option<Language> {
    static LANGUAGES: LazyLock<HashMap<&'static str, u8>> = LazyLock::new(|| {
        let mut languages = HashMap::new();
        for (i, (_, words)) in FREQUENT.iter().enumerate() {
            for word in *words {
                *languages.entry(*word).or_default() |= 1 << i;
            }
        }
        languages
    });
    let mut counts = [0u32; FREQUENT.len()];
    let mut lower = String::with_capacity(16);
    let mut total = 0;
    for word in sample.split(' ') {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        if word.is_empty() || word.len() > 8 {
            continue;
        }
        total += 1;
        lower.clear();
        lower.push_str(word);
        lower.make_ascii_lowercase();
        if let Some(of) = LANGUAGES.get(lower.as_str()) {
            for (i, count) in counts.iter_mut().enumerate() {
                *count += u32::from(of >> i & 1);
            }
        }
    }
    let best = (0..counts.len()).max_by_key(|i| counts[*i])?;
    let next = (0..counts.len()).filter(|i| *i != best).map(|i| counts[i]).max()?;
    (counts[best] >= 3 && counts[best] >= 3 * next && counts[best] * 12 >= total).then(|| FREQUENT[best].0)
}

fn by_trigrams(sample: &str) -> Option<Language> {
    let info = Detector::new().detect(sample)?;
    // Of the languages in Cyrillic, only Russian is stemmed: what is taken for it by a hair does no harm.
    if info.confidence() < 0.15 && info.script() != whatlang::Script::Cyrillic {
        return None;
    }
    TABLE.iter().find(|(_, _, _, lang)| *lang == info.lang()).map(|(language, _, _, _)| *language)
}

/// Finds stems in one language, and remembers some.
struct Stems {
    stemmer: Stemmer,
    known: HashMap<Box<str>, Option<Box<str>>, RandomState>,
}

thread_local! {
    static STEMS: RefCell<[Option<Stems>; Language::ALL.len()]> = const { RefCell::new([const { None }; Language::ALL.len()]) };
}

/// The folded stem of a lower-cased word; `None` where stems make no sense.
pub(crate) fn stem(language: Language, lower: &str) -> Option<String> {
    if lower.len() < STEMMED || lower.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    STEMS.with_borrow_mut(|stems| {
        let stems = stems[language as usize]
            .get_or_insert_with(|| Stems { stemmer: language.stemmer(), known: HashMap::default() });
        if let Some(known) = stems.known.get(lower) {
            return known.as_deref().map(str::to_owned);
        }
        let found = folded_stem(&stems.stemmer, lower);
        if lower.len() <= REMEMBERED_LENGTH {
            if stems.known.len() == REMEMBERED {
                stems.known.clear();
            }
            stems.known.insert(lower.into(), found.as_deref().map(Box::from));
        }
        found
    })
}

fn folded_stem(stemmer: &Stemmer, lower: &str) -> Option<String> {
    let stem = stemmer.stem(lower);
    let mut folded = String::with_capacity(stem.len());
    fold(&stem, &mut folded);
    folded.retain(char::is_alphanumeric);
    (!folded.is_empty()).then_some(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_keep_their_numbers() {
        for (i, language) in Language::ALL.iter().enumerate() {
            assert_eq!(*language as usize, i);
            assert_eq!(Language::from_code(language.code()), Some(*language));
        }
    }

    #[test]
    fn a_stem_remembered_is_the_stem_found() {
        let words: Vec<String> = (0..REMEMBERED + 100)
            .map(|number| {
                let letter = |place: u32| char::from(b'a' + (number / 26usize.pow(place) % 26) as u8);
                format!("{}{}{}{}ings", letter(0), letter(1), letter(2), letter(3))
            })
            .collect();
        let stemmer = Language::English.stemmer();
        for _ in 0..2 {
            for word in &words {
                assert_eq!(stem(Language::English, word), folded_stem(&stemmer, word), "{word}");
            }
        }
        assert_ne!(stem(Language::English, "meetings"), stem(Language::German, "meetings"));
    }

    #[test]
    fn the_language_of_a_text_is_recognised() {
        let cases: &[(&str, Option<Language>)] = &[
            (
                "The notes of the meeting are in the file that I sent to you with this message.",
                Some(Language::English),
            ),
            (
                "Die Unterlagen liegen bei und ich bitte um eine Antwort, denn das ist mir nicht klar.",
                Some(Language::German),
            ),
            (
                "Vous trouverez les documents dans le dossier, et nous sommes à votre disposition pour en parler.",
                Some(Language::French),
            ),
            ("Документы находятся в папке, пожалуйста посмотрите их до встречи.", Some(Language::Russian)),
            (
                "Los documentos están en la carpeta y por favor revísalos con el equipo para la reunión.",
                Some(Language::Spanish),
            ),
            ("ok", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Language::detect("", text), *expected, "{text}");
        }
    }
}
