//! The door of an edge: a client's stream up to TLS, and the header behind it (RFC 6120 §4, §5).
//!
//! ```text
//!  client                                       edge
//!   │ <stream:stream to='example.com' …> ────────▶ │
//!   │ ◀──── <stream:stream id='…' …>, <features><starttls><required/> │
//!   │ <starttls/> ───────────────────────────────▶ │
//!   │ ◀──────────────────────────────── <proceed/> │
//!   │ ═══════════════════ TLS ════════════════════ │  with direct TLS (XEP-0368) it begins here
//!   │ <stream:stream to='example.com' …> ────────▶ │  the first bytes that a core is given
//! ```
//! Nothing else is understood here. What follows the last header is not the door's any more.

use std::fmt::Write as _;

use edgeway_model::chat::DOMAIN_BYTES_MAX;

use crate::element::{Element, Header};
use crate::limits::PLAIN_BYTES_MAX;
use crate::scan::{Boundary, Bounds, Scanner};
use crate::{Condition, StreamFault, ns};

/// What the door wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: there must be more first.
    More,
    /// These words to the client.
    Say(String),
    /// These words to the client, and after them TLS.
    Secure(String),
    /// A stream to a core.
    Open(Opening),
    /// These words to the client, and the end: it has ended its stream.
    Part(String),
    /// These words to the client, and the end: it cannot go on.
    Refuse(StreamFault, String),
}

/// A stream that a core is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The domain it is for.
    pub domain: String,
    /// Whose it is, if the client says so: the bare address, in lower case. A hint, and nothing more.
    pub user: Option<String>,
    /// What came behind TLS so far: the header, and perhaps more.
    pub bytes: Vec<u8>,
    /// How many of these bytes are the header: the door's scanner has read so far.
    pub scanned: usize,
    /// The header that has to go before a stream error, for as long as the core has said nothing.
    pub greeting: String,
}

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before TLS.
    Outside,
    /// TLS has been agreed on.
    Inside,
}

/// One client at the door.
#[derive(Debug)]
pub struct Door {
    scanner: Scanner,
    stage: Stage,
    /// Bytes of what is not complete yet; behind TLS, all there are.
    held: Vec<u8>,
    /// Bytes so far, before TLS.
    heard: usize,
    /// Why no header is taken.
    closed: Option<StreamFault>,
    /// Our own header has been said in the stream at hand.
    greeted: bool,
    /// The client's header in the stream at hand.
    header: Header,
    /// For the ids of the streams before and behind TLS.
    random: [u128; 2],
}

impl Door {
    /// A client without TLS. `random` must not be foreseeable (RFC 6120 §4.7.3).
    #[must_use]
    pub fn outside(random: [u128; 2]) -> Self {
        Self::at(Stage::Outside, random)
    }

    /// A client that begins with TLS.
    #[must_use]
    pub fn inside(random: [u128; 2]) -> Self {
        Self::at(Stage::Inside, random)
    }

    fn at(stage: Stage, random: [u128; 2]) -> Self {
        let scanner = Scanner::new(Bounds::STRANGER);
        Self {
            scanner,
            stage,
            held: Vec::new(),
            heard: 0,
            closed: None,
            greeted: false,
            header: Header::default(),
            random,
        }
    }

    /// Takes what the client has sent. `closed` is why no header is taken now, if none is. After [`Wish::Open`],
    /// [`Wish::Part`] and [`Wish::Refuse`] nothing more is for the door.
    pub fn hear(&mut self, bytes: &[u8], closed: Option<StreamFault>) -> Wish {
        self.closed = closed;
        let mut words = String::new();
        let heard = match self.stage {
            Stage::Outside => self.hear_outside(bytes, &mut words),
            Stage::Inside => self.hear_inside(bytes),
        };
        heard.unwrap_or_else(|fault| {
            words.push_str(&self.refuse(fault));
            Wish::Refuse(fault, words)
        })
    }

    /// The words that end the stream for a reason that the door does not know of.
    pub fn refuse(&mut self, fault: StreamFault) -> String {
        let mut words = if self.greeted { String::new() } else { self.greeting() };
        words.push_str(&fault.to_xml());
        words
    }

    /// The scanner, to read on behind [`Opening::scanned`].
    #[must_use]
    pub fn into_scanner(self) -> Scanner {
        self.scanner
    }

    fn hear_outside(&mut self, mut bytes: &[u8], words: &mut String) -> Result<Wish, StreamFault> {
        self.heard = self.heard.saturating_add(bytes.len());
        if self.heard > PLAIN_BYTES_MAX {
            return Err(StreamFault::new(Condition::PolicyViolation, "Too many bytes before TLS."));
        }
        while let Some((boundary, rest)) = self.next(bytes)? {
            bytes = rest;
            let piece = std::mem::take(&mut self.held);
            match boundary {
                Boundary::Whitespace => {}
                Boundary::Header => {
                    self.take_header(&piece)?;
                    words.push_str(&self.greeting());
                    write_starttls(words);
                }
                Boundary::Stanza => {
                    wants_tls(&piece, &self.header)?;
                    // Whoever can write into the stream before TLS must not be able to write into what comes behind
                    // it (RFC 6120 §5.4.3.3, CVE-2011-0411).
                    if !bytes.is_empty() {
                        return Err(StreamFault::new(
                            Condition::PolicyViolation,
                            "Nothing may come with the wish for TLS.",
                        ));
                    }
                    self.stage = Stage::Inside;
                    self.scanner = Scanner::new(Bounds::STRANGER);
                    self.greeted = false;
                    self.header = Header::default();
                    let _ = write!(words, "<proceed xmlns='{}'/>", ns::TLS);
                    return Ok(Wish::Secure(std::mem::take(words)));
                }
                Boundary::Close => {
                    words.push_str("</stream:stream>");
                    return Ok(Wish::Part(std::mem::take(words)));
                }
            }
        }
        Ok(if words.is_empty() { Wish::More } else { Wish::Say(std::mem::take(words)) })
    }

    fn hear_inside(&mut self, mut bytes: &[u8]) -> Result<Wish, StreamFault> {
        while let Some((boundary, rest)) = self.next(bytes)? {
            bytes = rest;
            let mut piece = std::mem::take(&mut self.held);
            if boundary == Boundary::Header {
                let user = self.take_header(&piece)?;
                let scanned = piece.len();
                piece.extend_from_slice(rest);
                let greeting = self.greeting();
                self.greeted = false;
                let domain = self.header.to.clone().unwrap_or_default();
                return Ok(Wish::Open(Opening { domain, user, bytes: piece, scanned, greeting }));
            }
            // White space before it: a core has no use for it.
        }
        Ok(Wish::More)
    }

    /// Reads up to the next boundary, and holds what was read.
    fn next<'a>(&mut self, mut bytes: &'a [u8]) -> Result<Option<(Boundary, &'a [u8])>, StreamFault> {
        while !bytes.is_empty() {
            let step = self.scanner.step(bytes)?;
            let (read, rest) = bytes.split_at_checked(step.consumed).unwrap_or((bytes, &[]));
            self.held.extend_from_slice(read);
            bytes = rest;
            match step.event {
                Some(boundary) => return Ok(Some((boundary, bytes))),
                None if read.is_empty() => break,
                None => {}
            }
        }
        Ok(None)
    }

    /// Looks at a complete header; who its user is, if it says so.
    fn take_header(&mut self, bytes: &[u8]) -> Result<Option<String>, StreamFault> {
        let mut header = Header::parse(bytes)?;
        // Nobody is answered in the name of something that is no domain.
        header.to = header.to.filter(|domain| is_domain(domain));
        self.header = header;
        if self.header.to.is_none() {
            return Err(StreamFault::new(Condition::HostUnknown, "The header names no domain."));
        }
        if !self.header.is_version_one() {
            return Err(StreamFault::new(Condition::UnsupportedVersion, "Only version 1.0 is spoken here."));
        }
        if let Some(fault) = self.closed {
            return Err(fault);
        }
        let bare = |from: &String| from.split_once('/').map_or(from.as_str(), |(bare, _)| bare).to_lowercase();
        Ok(self.header.from.as_ref().map(bare).filter(|bare| !bare.is_empty()))
    }

    /// Our own header in the stream at hand.
    fn greeting(&mut self) -> String {
        self.greeted = true;
        let [outside, inside] = self.random;
        let id = if self.stage == Stage::Outside { outside } else { inside };
        let to = self.header.to.as_deref().and_then(|domain| self.header.answered_to(domain));
        let own = Header {
            from: self.header.to.clone(),
            to: to.map(str::to_owned),
            id: Some(format!("{id:032x}")),
            version: Some("1.0".to_owned()),
            lang: Some("en".to_owned()),
            ..Header::default()
        };
        own.to_xml()
    }
}

/// The only feature before TLS.
fn write_starttls(words: &mut String) {
    let _ = write!(words, "<stream:features><starttls xmlns='{}'><required/></starttls></stream:features>", ns::TLS);
}

/// Whether an element asks for TLS (stray attributes are fine: a client in use sends one), or why it cannot be taken.
fn wants_tls(bytes: &[u8], header: &Header) -> Result<(), StreamFault> {
    let element = Element::parse_within(bytes, header)?;
    match (element.namespace.as_str(), element.name.as_str()) {
        (ns::TLS, "starttls") => Ok(()),
        (ns::SASL, _) => Err(StreamFault::new(Condition::PolicyViolation, "TLS comes before sign-in.")),
        (ns::CLIENT, "message" | "presence" | "iq") => {
            Err(StreamFault::new(Condition::NotAuthorized, "TLS and sign-in come first."))
        }
        _ => Err(StreamFault::new(Condition::UnsupportedFeature, "Only TLS was offered.")),
    }
}

/// Whether this can be the domain of an address (RFC 7622 §3.2), as far as it must be known to pass it on: neither a
/// part of an address that is no domain, nor anything that reads differently elsewhere.
fn is_domain(domain: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "@/\\<>&'\"".contains(c);
    !domain.is_empty() && domain.len() <= DOMAIN_BYTES_MAX && !domain.contains(bad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
    const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

    fn door() -> Door {
        Door::outside([1, 2])
    }

    /// All that is said to a client that says `text` in pieces of `size` bytes, and the last wish.
    fn heard(door: &mut Door, text: &str, size: usize) -> (String, Wish) {
        let mut words = String::new();
        let mut last = Wish::More;
        for piece in text.as_bytes().chunks(size) {
            last = door.hear(piece, None);
            match &last {
                Wish::Say(said) | Wish::Secure(said) | Wish::Part(said) | Wish::Refuse(_, said) => words.push_str(said),
                Wish::More | Wish::Open(_) => {}
            }
            if matches!(last, Wish::Secure(_) | Wish::Part(_) | Wish::Refuse(..) | Wish::Open(_)) {
                break;
            }
        }
        (words, last)
    }

    #[test]
    fn a_client_is_greeted_and_gets_tls_and_then_a_core_however_its_bytes_are_cut() {
        for size in 1..HEADER.len() + STARTTLS.len() {
            let mut door = door();
            let (words, wish) = heard(&mut door, &format!("{HEADER} {STARTTLS}"), size);
            assert!(matches!(wish, Wish::Secure(_)), "{size}: {wish:?}");
            let greeting = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                 from='example.com' id='00000000000000000000000000000001' version='1.0' xml:lang='en'>";
            assert!(words.contains(greeting) && words.ends_with("/>"), "{words}");
            assert_eq!(words.matches("<proceed ").count(), 1);
            let (words, wish) = heard(&mut door, HEADER, size);
            let Wish::Open(opening) = wish else { panic!("{size}: {wish:?}") };
            assert_eq!((words.as_str(), opening.domain.as_str(), &opening.user), ("", "example.com", &None));
            assert_eq!(opening.bytes.get(..opening.scanned), Some(HEADER.as_bytes()));
            assert!(opening.greeting.contains("id='00000000000000000000000000000002'"), "{}", opening.greeting);
        }
    }

    #[test]
    fn nothing_that_came_before_tls_is_there_behind_it() {
        for more in [HEADER, " ", "<auth/>"] {
            let wish = door().hear(format!("{HEADER}{STARTTLS}{more}").as_bytes(), None);
            let Wish::Refuse(fault, words) = wish else { panic!("{wish:?}") };
            assert_eq!(fault.condition, Condition::PolicyViolation);
            assert!(!words.contains("<proceed"), "{words}");
        }
    }

    #[test]
    fn what_follows_the_header_behind_tls_goes_with_it() {
        let mut door = Door::inside([1, 2]);
        assert_eq!(door.hear(b" \n", None), Wish::More);
        let header =
            HEADER.split_once("?>").expect("a declaration").1.replace(" to=", " from='Alice@Example.com/x' to=");
        let Wish::Open(opening) = door.hear(format!("{header}<auth").as_bytes(), None) else { panic!("a core") };
        assert_eq!(opening.user.as_deref(), Some("alice@example.com"));
        assert!(opening.greeting.contains(" to='Alice@Example.com' from='example.com'"), "{}", opening.greeting);
        assert_eq!((opening.bytes, opening.scanned), (format!("{header}<auth").into_bytes(), header.len()));
    }

    #[test]
    fn a_closed_door_says_why_in_a_stream_of_its_own() {
        let why = StreamFault::new(Condition::SystemShutdown, "Not now.");
        for mut door in [Door::outside([1, 2]), Door::inside([1, 2])] {
            let Wish::Refuse(fault, words) = door.hear(HEADER.as_bytes(), Some(why)) else { panic!("closed") };
            assert_eq!(fault, why);
            assert!(words.starts_with("<?xml version='1.0'?><stream:stream "), "{words}");
            assert!(words.contains("<system-shutdown ") && words.ends_with("</stream:stream>"), "{words}");
        }
    }

    #[test]
    fn versions_and_domains() {
        for (version, good) in
            [("1.0", true), ("1.1", true), ("01.00", true), ("2.0", false), ("1", false), ("1.", false)]
        {
            let header = Header { version: Some(version.to_owned()), ..Header::default() };
            assert_eq!(header.is_version_one(), good, "{version}");
        }
        let domains = ["example.com", "[2001:db8::1]", "b\u{fc}cher.example"];
        assert!(domains.into_iter().all(is_domain));
        assert!(["", "a@b", "a/b", "a b", "a\nb", "a<b", "a'b"].into_iter().all(|domain| !is_domain(domain)));
        assert!(is_domain(&"a".repeat(DOMAIN_BYTES_MAX)) && !is_domain(&"a".repeat(DOMAIN_BYTES_MAX + 1)));
    }

    proptest! {
        /// Whatever comes: no panic, no core before TLS, and nothing is held beyond the bound.
        #[test]
        fn anything_may_come(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..40), head in any::<bool>()) {
            let mut door = door();
            if head {
                prop_assert!(matches!(door.hear(HEADER.as_bytes(), None), Wish::Say(_)));
            }
            for piece in pieces {
                let wish = door.hear(&piece, None);
                prop_assert!(!matches!(wish, Wish::Open(_)));
                prop_assert!(door.held.len() <= PLAIN_BYTES_MAX);
                if matches!(wish, Wish::Refuse(..) | Wish::Part(_)) {
                    break;
                }
            }
        }
    }
}
