//! Who has signed in: the vocabulary that HTTP, SIP and chat share.
//!
//! A user signs in at a core, over HTTPS. What follows from it (which SIP identities are theirs, which
//! tokens hold) is carried between nodes as [`SignInFact`]s: in memory only, never to a file, and what
//! holds secrets never to an edge.

use std::fmt;
use std::sync::Arc;

use crate::{NodeId, Secret};

mod proofs;

/// Longest name of a user, bytes.
pub const USER_BYTES_MAX: usize = 128;
/// Longest name of a deployment, bytes.
pub const DEPLOYMENT_BYTES_MAX: usize = 64;

/// A deployment: a boundary around domains and the UC servers their users may reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deployment(Arc<str>);

impl Deployment {
    /// The name of the one that always exists.
    pub const DEFAULT: &'static str = "default";

    /// The one that always exists.
    #[must_use]
    pub fn default_one() -> Self {
        Self(Self::DEFAULT.into())
    }

    /// `None` unless it is 1 to [`DEPLOYMENT_BYTES_MAX`] of `[A-Za-z0-9._-]`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        ((1..=DEPLOYMENT_BYTES_MAX).contains(&name.len()) && name.bytes().all(legal)).then(|| Self(name.into()))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a user, in lower case: call managers do not tell cases apart, so neither do we.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

impl UserName {
    /// `None` if it is empty, longer than [`USER_BYTES_MAX`], or not plain: printable ASCII but a colon, a slash or a
    /// backslash, and composed letters of the scripts of `is_plain_letter`; no two spaces in a row. A domain behind
    /// `@` stays part of it.
    ///
    /// Directories take several spellings for one user (fullwidth letters, ligatures, runs of spaces, letters with
    /// their accents apart: RFC 4518 §2). Here each would be a user with a rate window, a cache entry and identities of
    /// its own, so only one spelling is a name at all.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let name = name.trim_matches(' ');
        let legal = |c: char| match c {
            ':' | '/' | '\\' => false,
            ' '..='~' => true,
            _ => is_plain_letter(c),
        };
        let spaced = name.contains("  ");
        let fits = !name.is_empty() && name.len() <= USER_BYTES_MAX && !spaced && name.chars().all(legal);
        // The two small sigmas are one letter.
        let folded = name.to_lowercase().replace('\u{3c2}', "\u{3c3}");
        (fits && folded.len() <= USER_BYTES_MAX).then(|| Self(folded.into()))
    }

    /// In lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Letters beyond ASCII of which there is one spelling only: composed Latin, Greek, Cyrillic, kana, Hangul syllables and
/// Han, without what Unicode keeps for compatibility (normalisation form KC would change it) and without letters
/// whose lower case is more than one character.
fn is_plain_letter(c: char) -> bool {
    let compatible = matches!(
        c,
        // Ordinals; ligatures and digraphs; long s; n with an apostrophe; letters with a middle dot.
        '\u{aa}' | '\u{ba}' | '\u{132}' | '\u{133}' | '\u{13f}' | '\u{140}' | '\u{149}' | '\u{17f}' | '\u{1c4}'..='\u{1cc}'
            | '\u{1f1}'..='\u{1f3}'
            // I with a dot: its lower case is two characters.
            | '\u{130}'
            // Greek symbols.
            | '\u{374}' | '\u{37a}' | '\u{3d0}'..='\u{3d6}' | '\u{3f0}'..='\u{3f2}' | '\u{3f4}' | '\u{3f5}' | '\u{3f9}'
            // Iteration marks and digraphs of kana.
            | '\u{309b}'..='\u{309f}' | '\u{30ff}'
    );
    let script = matches!(
        c,
        '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1e99}' | '\u{1ea0}'..='\u{1eff}' | '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{481}' | '\u{48a}'..='\u{52f}'
            | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
    );
    script && c.is_alphabetic() && !compatible
}

/// Names of people stay out of logs above `debug`: printed by purpose only.
impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<user>")
    }
}

/// A user of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The deployment.
    pub deployment: Deployment,
    /// The user.
    pub user: UserName,
}

/// The hash of user, realm and password (RFC 7616 §3.4.2), raw: as good as the password for that realm.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestSecret {
    /// The user's name as spelled: the hash tells cases apart.
    pub user: String,
    /// The realm it was made for.
    pub realm: String,
    /// With MD5.
    pub md5: Secret<16>,
    /// With SHA-256.
    pub sha256: Secret<32>,
}

/// Names of people stay out of logs above `debug`.
impl fmt::Debug for DigestSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestSecret").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// An access token a user has signed in with (RFC 6750), as much of it as it takes to know it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenProof {
    /// Its SHA-256: tokens are long and random, or signed, so nobody finds one that fits.
    pub hash: Secret<32>,
    /// When the authority was asked about it, Unix milliseconds.
    pub since_ms: u64,
    /// When it ends, Unix milliseconds.
    pub until_ms: u64,
}

/// A user who has signed in with a password or a token, as cores know them: in memory, and on links
/// between cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub subject: Subject,
    /// Until when what was shown first holds, Unix milliseconds: the password, else the token. Other tokens
    /// may last longer ([`Session::ends_ms`]).
    pub until_ms: u64,
    /// When the authority was asked, Unix milliseconds: of two sessions of one user the later counts.
    pub since_ms: u64,
    /// A keyed hash of the password (see `policy::credentials`): equal for equal passwords at all cores
    /// that share their keys. `None` for sign-ins by token, which are not cached.
    pub verifier: Option<Secret<32>>,
    /// For SIP digest, one for each spelling of the name, at most [`limits::SPELLINGS_MAX`]; none where nobody
    /// will ask, or nobody knows the password.
    ///
    /// [`limits::SPELLINGS_MAX`]: crate::limits::SPELLINGS_MAX
    pub digests: Vec<DigestSecret>,
    /// Access tokens of the user's devices, at most [`limits::ACCESS_TOKENS_MAX`]; none where nobody will ask.
    ///
    /// [`limits::ACCESS_TOKENS_MAX`]: crate::limits::ACCESS_TOKENS_MAX
    pub tokens: Vec<TokenProof>,
    /// Device names of the user (`CSFALICE`), perhaps none; `None` where the authority knows nothing of devices.
    pub devices: Option<Vec<String>>,
    /// User parts of SIP addresses the user may act as (directory numbers, the user's own name).
    pub numbers: Vec<String>,
    /// What the authority told besides, for the edge configuration.
    pub profile: Profile,
}

/// What an authority knows of a user besides the password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// UDS servers of the user's home cluster, best first, host names or addresses.
    pub uds_servers: Vec<String>,
    /// IM and Presence servers of the user, best first.
    pub im_servers: Vec<String>,
}

/// The public half of a key that signs session tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    /// Which key: the first bytes of the hash of the public key.
    pub id: [u8; 8],
    /// Ed25519 public key (RFC 8032 §5.1.5).
    pub public: [u8; 32],
}

/// Tokens of a user that were issued before a moment hold no longer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revocation {
    /// Whose.
    pub subject: Subject,
    /// Issued before this, Unix milliseconds.
    pub before_ms: u64,
}

/// An edge as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeContact {
    /// Its name.
    pub node: NodeId,
    /// Host clients connect to.
    pub host: String,
    /// SIP over TLS.
    pub sip_port: u16,
    /// HTTPS; 0 where it serves none.
    pub https_port: u16,
    /// XMPP; 0 where it serves none.
    pub xmpp_port: u16,
}

/// A core as the Routes of clients name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreContact {
    /// Its name.
    pub node: NodeId,
    /// The pre-loaded Route of its clients: `<sip:host:port;transport=tls;zone-id=1;directed;lr>`.
    pub route: String,
}

/// Something about sign-in that nodes tell each other, or that a node and its HTTP side tell each other.
///
/// As an `Input` it is what this node's HTTP side has learnt or decided; as an `Output`, what a peer
/// has told over a link, for the HTTP side.
#[derive(Clone, Debug)]
pub enum SignInFact {
    /// The keys that tokens may be signed with. From a core's HTTP side; goes to edges and cores.
    Keys(Vec<TokenKey>),
    /// Keys that a peer (a core) has told; replaces what it told before. Output only.
    PeerKeys {
        /// The core.
        peer: NodeId,
        /// Its keys.
        keys: Vec<TokenKey>,
    },
    /// A user has signed in. Between cores only.
    SignedIn(Arc<Session>),
    /// Tokens and cached credentials of a user hold no longer. Goes to edges and cores.
    Revoked(Revocation),
    /// Which edges are linked to this core, and which cores there are, this one first. Output of a core only.
    Contacts {
        /// The edges.
        edges: Vec<EdgeContact>,
        /// The cores.
        cores: Vec<CoreContact>,
    },
    /// The links of this node have changed: these peers have one now, and are not being taken out of service. Output
    /// only.
    Linked(Vec<NodeId>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_the_same_in_any_case() {
        assert_eq!(UserName::new("Alice"), UserName::new("aLICE "));
        for bad in ["", "  ", "a:b", "a/b", "a\\b", "a\u{0}b", "a\r\nb"] {
            assert_eq!(UserName::new(bad), None, "{bad:?}");
        }
        for good in ["o'brien", "a b", "alice@example.com", "j\u{fc}rgen", "\u{0130}"] {
            assert_eq!(UserName::new(good).is_some(), good != "\u{0130}", "{good:?}");
        }
        for good in [
            "\u{3b1}\u{3bb}\u{3b5}\u{3be}",
            "\u{430}\u{43d}\u{43d}\u{430}",
            "\u{5c71}\u{7530}",
            "\u{3084}\u{307e}",
            "\u{ae40}",
        ] {
            assert!(UserName::new(good).is_some(), "{good:?}");
        }
        assert_eq!(UserName::new("\u{3c3}\u{3c2}"), UserName::new("\u{3a3}\u{3a3}"));
        // What a directory takes for one of the above, or for nothing at all.
        for other in [
            "\u{ff41}lice",
            "a  b",
            "a\u{a0}b",
            "a\u{3000}b",
            "\u{a0}alice",
            "ju\u{308}rgen",
            "\u{fb01}n",
            "\u{1c6}",
            "\u{17f}am",
            "a\u{200b}lice",
            "a\u{ad}lice",
            "alice\u{fe0f}",
            "\u{2460}",
            "x\u{b2}",
            "\u{aa}",
            "\u{212b}",
            "\u{2168}",
            "\u{ff94}\u{ff8f}",
            "\u{1d41a}",
            "\u{f900}",
            "\u{e000}",
        ] {
            assert_eq!(UserName::new(other), None, "{other:?}");
        }
        assert_eq!(UserName::new(&"x".repeat(USER_BYTES_MAX + 1)), None);
        assert_eq!(format!("{:?}", UserName::new("alice")), "Some(<user>)");
    }

    #[test]
    fn deployments_are_plain_words() {
        assert!(Deployment::new(Deployment::DEFAULT).is_some_and(|one| one == Deployment::default_one()));
        for bad in ["", "a b", "a/b", "ü"] {
            assert_eq!(Deployment::new(bad), None, "{bad:?}");
        }
    }
}
