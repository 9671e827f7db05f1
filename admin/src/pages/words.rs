//! What pages say, in English and Japanese.
//!
//! All words are in two catalogues that are part of the program; a template names them by key. What a node says in its
//! own English words (states, notes of services, alarms) is found again in the English catalogue's `said` section and
//! shown in the reader's language; what is not found there is shown as it was said, marked as English.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::LazyLock;

/// A language pages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// English.
    English,
    /// Japanese.
    Japanese,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::Japanese];

    /// Its tag: `en`, `ja`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }

    /// What speakers of it call it.
    #[must_use]
    pub const fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Japanese => "日本語",
        }
    }

    /// By its tag.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(tag))
    }

    /// The one an `Accept-Language` header likes best (RFC 9110 §12.5.4); English where it likes none.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let mut best = (Self::English, 0_u32);
        for range in header.split(',').take(ACCEPTED_RANGES_MAX) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let primary = tag.split('-').next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
            let Some((language, quality)) = Self::of_tag(primary).zip(quality) else { continue };
            let weight = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }

    /// Its catalogue.
    #[must_use]
    pub fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::Japanese => &JAPANESE,
        }
    }
}

/// Ranges of an `Accept-Language` header that are looked at. Browsers send fewer.
const ACCEPTED_RANGES_MAX: usize = 16;

/// How deep sentences are within sentences: an alarm's cause has a fault, and that its reason.
const NESTED_MAX: usize = 2;

/// What stands between several sentences in one place.
const SENTENCES_BETWEEN: &str = "; ";

static ENGLISH: LazyLock<Words> =
    LazyLock::new(|| Words::read(Language::English, include_str!("../../catalogues/en.toml")));
static JAPANESE: LazyLock<Words> =
    LazyLock::new(|| Words::read(Language::Japanese, include_str!("../../catalogues/ja.toml")));

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Plain(String),
    /// For one, and for any other number.
    Counted(String, String),
}

/// One catalogue.
#[derive(Debug)]
pub struct Words {
    language: Language,
    entries: BTreeMap<String, Entry>,
}

impl Words {
    fn read(language: Language, text: &str) -> Self {
        let table: toml::Table = text.parse().expect("the catalogues are part of the program, and a test reads them");
        let mut entries = BTreeMap::new();
        collect(&mut entries, "", &table);
        Self { language, entries }
    }

    /// What stands under a key; the key itself where nothing does, which a test rules out.
    #[must_use]
    pub fn say<'w>(&'w self, key: &'w str) -> &'w str {
        match self.entries.get(key) {
            Some(Entry::Plain(text) | Entry::Counted(_, text)) => text,
            None => key,
        }
    }

    /// The same with `{name}`s filled in.
    pub fn fill(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        filled(self.say(key), values)
    }

    /// The same with one of them.
    pub fn with(&self, key: &str, name: &str, value: impl Display) -> String {
        self.fill(key, &[(name, &value)])
    }

    /// The form that goes with a number, which is `{n}`.
    #[must_use]
    pub fn count(&self, key: &str, n: u64) -> String {
        let text = match self.entries.get(key) {
            Some(Entry::Counted(one, _)) if n == 1 => one,
            Some(Entry::Plain(text) | Entry::Counted(_, text)) => text,
            None => key,
        };
        filled(text, &[("n", &number(n))])
    }

    /// What a node said, in this language.
    #[must_use]
    pub fn said(&self, text: &str) -> Said {
        match self.found(text, NESTED_MAX) {
            Some(text) => Said { text, is_foreign: false },
            None => Said { text: text.to_owned(), is_foreign: self.language != Language::English },
        }
    }

    /// A sentence of the catalogue, with what fills its holes: a name, a number, an address, as it is; or sentences of the
    /// catalogue themselves.
    fn found(&self, text: &str, nested: usize) -> Option<String> {
        let (key, values) = PHRASES.iter().find_map(|phrase| Some((&phrase.key, phrase.values_of(text)?)))?;
        if self.language == Language::English {
            return Some(text.to_owned());
        }
        let within = |value: &str| match nested.checked_sub(1) {
            Some(nested) => value
                .split(SENTENCES_BETWEEN)
                .map(|part| self.found(part, nested).unwrap_or_else(|| part.to_owned()))
                .collect::<Vec<_>>()
                .join(SENTENCES_BETWEEN),
            None => value.to_owned(),
        };
        let values: Vec<_> = values.into_iter().map(|(name, value)| (name, within(value))).collect();
        let values: Vec<(&str, &dyn Display)> =
            values.iter().map(|(name, value)| (*name, value as &dyn Display)).collect();
        Some(self.fill(key, &values))
    }

    /// Which keys there are.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

fn collect(entries: &mut BTreeMap<String, Entry>, within: &str, table: &toml::Table) {
    for (name, value) in table {
        let key = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        match value {
            toml::Value::String(text) => drop(entries.insert(key, Entry::Plain(text.clone()))),
            toml::Value::Table(inner) => {
                let form = |name: &str| inner.get(name).and_then(toml::Value::as_str).map(str::to_owned);
                match (form("one"), form("other")) {
                    (one, Some(other)) => {
                        let one = one.unwrap_or_else(|| other.clone());
                        entries.insert(key, Entry::Counted(one, other));
                    }
                    (_, None) => collect(entries, &key, inner),
                }
            }
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_) => {}
        }
    }
}

/// Values are put in once and not looked at again: a `{n}` within a value stays.
fn filled(text: &str, values: &[(&str, &dyn Display)]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for piece in pieces(text) {
        match piece {
            Piece::Literal(literal) => out.push_str(literal),
            Piece::Hole(name) => match values.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => out.push_str(&value.to_string()),
                None => out.push_str(name),
            },
        }
    }
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'t> {
    Literal(&'t str),
    Hole(&'t str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        if !before.is_empty() {
            pieces.push(Piece::Literal(before));
        }
        pieces.push(Piece::Hole(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    pieces
}

/// What a node said, in the reader's language or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The words.
    pub text: String,
    /// They are English, and the page is not.
    pub is_foreign: bool,
}

/// Sentences that nodes say, out of the English catalogue: those with the most words of their own first, so that a
/// general one does not take the place of a particular one.
static PHRASES: LazyLock<Vec<Phrase>> = LazyLock::new(|| {
    let said = ENGLISH.entries.iter().filter(|(key, _)| key.starts_with("said."));
    let mut phrases: Vec<_> = said
        .filter_map(|(key, entry)| match entry {
            Entry::Plain(text) => Some(Phrase { key: key.clone(), pieces: pieces(text) }),
            Entry::Counted(..) => None,
        })
        .collect();
    phrases.sort_by_key(|phrase| std::cmp::Reverse(phrase.literal_bytes()));
    phrases
});

#[derive(Debug)]
struct Phrase {
    key: String,
    pieces: Vec<Piece<'static>>,
}

impl Phrase {
    fn literal_bytes(&self) -> usize {
        let lengths = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => literal.len(),
            Piece::Hole(_) => 0,
        });
        lengths.sum()
    }

    /// What stands in the holes if a text is this sentence. Each hole takes as little as it can, the last one the rest;
    /// nothing is tried twice, so that no text is slow to read.
    fn values_of<'t>(&self, text: &'t str) -> Option<Vec<(&'static str, &'t str)>> {
        let mut values = Vec::new();
        let mut rest = text;
        let mut hole = None;
        for piece in &self.pieces {
            match (piece, hole.take()) {
                (Piece::Literal(literal), None) => rest = rest.strip_prefix(literal)?,
                (Piece::Literal(literal), Some(name)) => {
                    let at = rest.find(literal)?;
                    values.push((name, &rest[..at]));
                    rest = &rest[at + literal.len()..];
                }
                (Piece::Hole(name), before) => {
                    if let Some(before) = before {
                        values.push((before, ""));
                    }
                    hole = Some(*name);
                }
            }
        }
        match hole {
            Some(name) => values.push((name, rest)),
            None if rest.is_empty() => {}
            None => return None,
        }
        Some(values)
    }
}

/// A number as people read it: 12,345.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn holes(entry: &Entry) -> BTreeSet<&str> {
        let texts = match entry {
            Entry::Plain(text) => vec![text],
            Entry::Counted(one, other) => vec![one, other],
        };
        let holes = texts.into_iter().flat_map(|text| pieces(text)).filter_map(|piece| match piece {
            Piece::Hole(name) => Some(name),
            Piece::Literal(_) => None,
        });
        holes.collect()
    }

    #[test]
    fn both_catalogues_say_the_same_things() {
        let (english, japanese): (BTreeSet<_>, BTreeSet<_>) = (ENGLISH.keys().collect(), JAPANESE.keys().collect());
        let only: Vec<_> = english.symmetric_difference(&japanese).collect();
        assert!(only.is_empty(), "in one language only: {only:?}");
        for (key, entry) in &ENGLISH.entries {
            assert_eq!(holes(entry), holes(&JAPANESE.entries[key]), "{key}: the same {{names}} in both");
            assert!(!ENGLISH.say(key).trim().is_empty() && !JAPANESE.say(key).trim().is_empty(), "{key} says nothing");
        }
    }

    #[test]
    fn what_a_node_says_is_found_again() {
        let japanese = Language::Japanese.words();
        let said = |text: &str| japanese.said(text);
        assert_eq!(said("Draining (12)").text, japanese.with("said.draining", "n", 12));
        assert_eq!(said("Inactive (Maintenance mode)").text, "非アクティブ（メンテナンスモード）");
        let fault = "Unified CM cucm1.example.com: its certificate or its TLS is refused: x; what was known of it goes on being used";
        assert_eq!(
            said(fault).text,
            "Unified CM cucm1.example.com：証明書または TLS を受け入れられません：x。以前に読み取った内容を引き続き使用します"
        );
        let unknown = said("something <new>");
        assert_eq!((unknown.text.as_str(), unknown.is_foreign), ("something <new>", true));
        assert_eq!(ENGLISH.said("Draining (12)"), Said { text: "Draining (12)".to_owned(), is_foreign: false });
        assert!(!ENGLISH.said("something new").is_foreign);
    }

    #[test]
    fn every_phrase_is_its_own_and_no_other() {
        for phrase in PHRASES.iter() {
            let text = ENGLISH.say(&phrase.key);
            let first = PHRASES.iter().find(|other| other.values_of(text).is_some()).expect("at least itself");
            assert_eq!(first.key, phrase.key, "{text}");
            assert_eq!(ENGLISH.said(text).text, text, "{text}");
        }
    }

    #[test]
    fn holes_are_filled_once() {
        assert_eq!(filled("{a} and {b}", &[("a", &"{b}"), ("b", &1)]), "{b} and 1");
        assert_eq!(filled("open { brace", &[]), "open { brace");
        assert_eq!(number(0) + &number(999) + &number(1000) + &number(1_234_567), "09991,0001,234,567");
    }

    #[test]
    fn the_language_is_what_the_browser_likes_best() {
        for (header, language) in [
            ("", Language::English),
            ("ja", Language::Japanese),
            ("ja-JP,en;q=0.8", Language::Japanese),
            ("en-GB,ja;q=0.9", Language::English),
            ("fr, ja;q=0.2, en;q=0.1", Language::Japanese),
            ("fr;q=x, *;q=1", Language::English),
            ("en;q=0, ja;q=0.001", Language::Japanese),
        ] {
            assert_eq!(Language::accepted(header), language, "{header}");
        }
    }
}
