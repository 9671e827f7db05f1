//! What became of somebody's attempt to sign in, to register, to call: the answer to "why was this refused?".
//!
//! Each tier records what it decides itself. A refusal has a [`Code`], which the client is told, too, so that whoever is
//! refused can read it to a help desk, and the help desk finds this very attempt.

use std::fmt;
use std::net::IpAddr;

use crate::{NodeId, Pii};

/// The handle of one refusal, as people read it to each other: `EW-7K2F`. It says nothing about whom it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u32);

/// Crockford's base 32: no letter that looks like a digit or another letter.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: u32 = 4;
const BITS: u32 = 5;

impl Code {
    /// Out of random bits, which should be nobody's to guess.
    #[must_use]
    pub const fn from_random(bits: u64) -> Self {
        // The mask leaves 20 bits.
        Self((bits & ((1 << (DIGITS * BITS)) - 1)) as u32)
    }

    /// As somebody has written it down: in any case, with or without `EW-`, with letters that look like digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = match text.get(..2) {
            Some(prefix) if prefix.eq_ignore_ascii_case("ew") => text.get(2..)?.trim_start_matches(['-', ' ']),
            Some(_) | None => text,
        };
        if text.len() != 4 {
            return None;
        }
        text.bytes()
            .try_fold(0, |number, character| {
                let character = match character.to_ascii_uppercase() {
                    b'O' => b'0',
                    b'I' | b'L' => b'1',
                    other => other,
                };
                let digit = ALPHABET.iter().position(|known| *known == character)?;
                Some(number << BITS | u32::try_from(digit).ok()?)
            })
            .map(Self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EW-")?;
        (0..DIGITS).rev().try_for_each(|place| {
            let digit = (self.0 >> (place * BITS)) & 31;
            write!(f, "{}", char::from(ALPHABET[digit as usize]))
        })
    }
}

/// What was attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Signing in over HTTPS, or asking an HTTP server inside for something.
    SignIn,
    /// REGISTER.
    Register,
    /// INVITE.
    Call,
    /// SUBSCRIBE.
    Subscribe,
    /// Signing in to chat.
    Chat,
    /// Any other request.
    Request,
    /// A connection, before anything was asked.
    Connection,
}

impl Kind {
    /// Of a SIP method.
    #[must_use]
    pub fn of_method(method: &str) -> Self {
        match method {
            "REGISTER" => Self::Register,
            "INVITE" => Self::Call,
            "SUBSCRIBE" => Self::Subscribe,
            _ => Self::Request,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Register => "register",
            Self::Call => "call",
            Self::Subscribe => "subscribe",
            Self::Chat => "chat",
            Self::Request => "request",
            Self::Connection => "connection",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $words:literal;)*) => {
        /// Why. The names ([`Reason::id`]) are stable; the manual's page of refusals says what each means and what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// In few words, for the client and for lists.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

reasons! {
    /// It was not refused.
    Accepted = "accepted", "accepted";
    /// It breaks a rule of its protocol.
    Malformed = "malformed", "a request that breaks the rules";
    /// Larger than the stated bound.
    TooLarge = "too_large", "too large";
    /// It led nowhere that exists.
    NoSuchPlace = "no_such_place", "no such place";
    /// The handshake of TLS failed.
    TlsFailed = "tls_failed", "TLS failed";
    /// Neither credentials nor a token.
    NoCredentials = "no_credentials", "no credentials";
    /// A session token that does not hold (any more), and no credentials beside it.
    BadToken = "bad_token", "the session has expired";
    /// A password, digest or access token that is wrong.
    WrongCredentials = "wrong_credentials", "wrong credentials";
    /// One user's credentials were supplied too often.
    SignInLimit = "sign_in_limit", "sign-in limit";
    /// One address has tried too often.
    AddressLimit = "address_limit", "too many attempts from this address";
    /// One user has too many requests under way.
    UserBusy = "user_busy", "too many requests at a time";
    /// Whoever could say whether the credentials are right cannot be asked now.
    AuthorityUnreachable = "authority_unreachable", "sign-in cannot be checked now";
    /// The domain is none of ours, or nobody signs in there.
    NoSuchDomain = "no_such_domain", "this domain is not served";
    /// Neither the allow list nor the user's own devices cover it.
    NotAllowed = "not_allowed", "not on the allow list";
    /// In the name of somebody else.
    Identity = "identity", "not this user's to say";
    /// A connection without a registration.
    NotRegistered = "not_registered", "register on this connection first";
    /// A stranger has asked too often.
    TooManyRequests = "too_many_requests", "too many requests";
    /// A table or budget is full.
    Overloaded = "overloaded", "overloaded";
    /// The node is taken out of service.
    Maintenance = "maintenance", "maintenance mode";
    /// No core is linked with the edge.
    NoCore = "no_core", "no core is connected";
    /// The core, or the link to it, was lost on the way.
    CoreLost = "core_lost", "the core was lost on the way";
    /// No answer came in time.
    TimedOut = "timed_out", "no answer in time";
    /// The registrar or server inside cannot be reached.
    NextHop = "next_hop_unreachable", "next hop not reachable";
    /// Not for a domain, registrar or party that may be asked.
    Policy = "policy", "that leads nowhere from here";
    /// A dialog that is not known here.
    NoDialog = "no_such_dialog", "no such dialog here";
    /// The client's connection is gone.
    ClientGone = "client_gone", "the client's connection is gone";
    /// Media without encryption, or with none in common.
    NoEncryption = "no_encryption", "media is not encrypted";
    /// The media that was offered cannot be relayed.
    Media = "media", "the media cannot be relayed";
    /// No media port was free.
    NoPorts = "no_ports", "no media port is free";
    /// The registrar, or whoever was called, has refused.
    Refused = "refused_inside", "refused by the server inside";
    /// The stream of chat broke a rule.
    ChatRules = "chat_rules", "a stream that breaks the rules";
    /// There is no server for this user's chat.
    NoChatServer = "no_chat_server", "no chat server can be reached";
    /// What none of the others says.
    Other = "other", "refused";
}

impl Reason {
    /// Of an answer that a node gives to a SIP request by itself.
    #[must_use]
    pub fn of_answer(status: u16, warning: Option<(u16, &str)>) -> Self {
        match (status, warning) {
            (_, Some((382, _))) => Self::Maintenance,
            (_, Some((383, _))) => Self::NextHop,
            (404, Some((_, "Policy Response"))) => Self::Policy,
            (401, _) | (403, Some((_, "too many wrong passwords"))) => Self::WrongCredentials,
            (403, Some((_, "register on this connection first"))) => Self::NotRegistered,
            (503, Some((_, "too many requests"))) => Self::TooManyRequests,
            (503, Some((_, "no core is connected"))) => Self::NoCore,
            (503, Some((_, "the core restarted"))) => Self::CoreLost,
            (430, Some(_)) => Self::ClientGone,
            (403, Some(_)) => Self::Identity,
            (408, _) => Self::TimedOut,
            (481, _) => Self::NoDialog,
            (488, Some((_, text))) if text.contains("encrypt") => Self::NoEncryption,
            (415 | 488, _) => Self::Media,
            (503, Some((_, text))) if text.contains("port") => Self::NoPorts,
            (503, Some((_, "no way to the registrar"))) => Self::NextHop,
            (503, _) => Self::Overloaded,
            (413, _) => Self::TooLarge,
            (400 | 414 | 416 | 420 | 483, _) => Self::Malformed,
            (_, _) => Self::Other,
        }
    }
}

/// One attempt, as the node that decided about it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was attempted.
    pub kind: Kind,
    /// What became of it.
    pub reason: Reason,
    /// Who, as far as they said.
    pub user: Option<Pii<String>>,
    /// From where, as far as is known.
    pub client: Option<Pii<IpAddr>>,
    /// The edge it came through, where it was not the node itself.
    pub edge: Option<NodeId>,
    /// What the client was told to find it by; `None` where it was told nothing by us.
    pub code: Option<Code>,
    /// More words, with numbers; no secret and no identity.
    pub detail: String,
    /// What edge and core know it by.
    pub trace: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        for (text, is) in [
            ("EW-7K2F", Some("EW-7K2F")),
            ("ew-7k2f", Some("EW-7K2F")),
            (" 7K2F ", Some("EW-7K2F")),
            ("ew 0123", Some("EW-0123")),
            ("EW-OIL2", Some("EW-0112")),
            ("EW-7K2U", None),
            ("EW-7K2", None),
            ("EW-7K2FF", None),
            ("", None),
            ("EWé-", None),
        ] {
            assert_eq!(Code::parse(text).map(|code| code.to_string()).as_deref(), is, "{text:?}");
        }
        for bits in [0, 1, 31, 32, 0xf_ffff, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let code = Code::from_random(bits);
            assert_eq!(Code::parse(&code.to_string()), Some(code));
        }
    }

    /// The page says of each what it means and what to do, in this order, and of nothing else.
    #[test]
    fn every_reason_is_in_the_manual() {
        let page = include_str!("../../docs/manual/refusals.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let documented: Vec<_> = rows
            .map(|(id, rest)| {
                let (meaning, to_do) = rest.trim_end_matches(" |").split_once(" | ").expect("three columns");
                assert!(meaning.len() > 10 && to_do.len() > 5, "{id}");
                id
            })
            .collect();
        let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.id()).collect();
        assert_eq!(documented, reasons);
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.id()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
