//! The rules a node gives its media threads. Packets never pass through a node; these do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::{NodeId, Random, RelayId, Secret};

/// Which of the two packet streams of a relay (RFC 3550 §11): RTP on the even port, RTCP on the
/// next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Media packets.
    Rtp,
    /// Control packets.
    Rtcp,
}

/// What a relay carries, as far as the network's quality of service asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaClass {
    /// Voice.
    #[default]
    Audio,
    /// Moving pictures.
    Video,
    /// Anything else: marked as nothing special.
    Other,
}

/// How media reaches the node at the other end of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaPath {
    /// Not at all: there is no media.
    #[default]
    None,
    /// Over UDP, as it should be.
    Udp,
    /// Over a TCP connection of its own, because UDP is blocked between the two: media passes, and
    /// every packet the path loses delays those behind it.
    Tcp,
}

impl MediaPath {
    /// Whether datagrams pass at all.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::None)
    }

    /// As an operator reads it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Udp => "UDP",
            Self::Tcp => "TCP fallback",
        }
    }
}

/// What protects an SRTP stream (RFC 4568 §6.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CryptoSuite {
    /// `AEAD_AES_256_GCM`: key of 32 bytes, salt of 12.
    AeadAes256Gcm,
    /// `AEAD_AES_128_GCM`: key of 16 bytes, salt of 12.
    AeadAes128Gcm,
    /// `AES_CM_128_HMAC_SHA1_80`: key of 16 bytes, salt of 14.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: the same with a short tag on RTP (RTCP keeps the long one).
    AesCm128HmacSha1_32,
}

impl CryptoSuite {
    /// All, in the order we offer them: strong and fast first.
    pub const ALL: [Self; 4] =
        [Self::AeadAes256Gcm, Self::AeadAes128Gcm, Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32];

    /// The name in `a=crypto`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of that name. Case counts not: RFC 4568 §9.2 leaves it to ABNF.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of the master key.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16,
        }
    }

    /// Bytes of the master salt.
    #[must_use]
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
        }
    }
}

/// Bytes of the longest master key and salt.
pub const SRTP_KEY_BYTES_MAX: usize = 44;

/// Suite, master key and master salt of one direction of an SRTP stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKey {
    suite: CryptoSuite,
    /// Key, then salt, then zeroes. Boxed, so that moving a key about leaves no copies behind.
    bytes: Box<Secret<SRTP_KEY_BYTES_MAX>>,
}

impl SrtpKey {
    /// `key_and_salt` as `inline:` carries them (RFC 4568 §6.1); `None` if their length is not the
    /// suite's.
    #[must_use]
    pub fn new(suite: CryptoSuite, key_and_salt: &[u8]) -> Option<Self> {
        if key_and_salt.len() != suite.key_bytes() + suite.salt_bytes() {
            return None;
        }
        let mut bytes = [0; SRTP_KEY_BYTES_MAX];
        bytes[..key_and_salt.len()].copy_from_slice(key_and_salt);
        Some(Self { suite, bytes: Box::new(Secret::new(bytes)) })
    }

    /// A fresh one.
    pub fn generate(suite: CryptoSuite, random: &mut Random) -> Self {
        let mut bytes = [0; SRTP_KEY_BYTES_MAX];
        random.fill(&mut bytes[..suite.key_bytes() + suite.salt_bytes()]);
        Self { suite, bytes: Box::new(Secret::new(bytes)) }
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> CryptoSuite {
        self.suite
    }

    /// The master key.
    #[must_use]
    pub fn master_key(&self) -> &[u8] {
        &self.bytes.expose()[..self.suite.key_bytes()]
    }

    /// The master salt.
    #[must_use]
    pub fn master_salt(&self) -> &[u8] {
        &self.key_and_salt()[self.suite.key_bytes()..]
    }

    /// Both, as `inline:` carries them.
    #[must_use]
    pub fn key_and_salt(&self) -> &[u8] {
        &self.bytes.expose()[..self.suite.key_bytes() + self.suite.salt_bytes()]
    }
}

/// How one leg of a relay is protected. The same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegSecurity {
    /// In clear: RTP, or datagrams that are no RTP.
    Plain,
    /// SRTP was offered; the answer will tell suite and keys. Until then packets are dropped and
    /// counted, both ways.
    Awaited,
    /// SDES SRTP.
    Srtp {
        /// The key the party sends with.
        receive: SrtpKey,
        /// The key we send with; never shared with any other relay.
        send: SrtpKey,
    },
}

/// What a relay carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carriage {
    /// RTP and RTCP.
    #[default]
    Rtp,
    /// Datagrams of a protocol that is not RTP (BFCP and iX over UDP), on the RTP component,
    /// unread. Nothing protects them on either side.
    Datagrams,
}

/// A pair of bound ports: `rtp` is even, RTCP is `rtp + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortPair {
    /// The even port of the pair.
    pub rtp: u16,
}

/// What the edge must do for one relay: ciphertext between the client and the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideRelay {
    /// The core that anchors this relay. A link may break and return meanwhile; the relay stays.
    pub peer: NodeId,
    /// The core's number for it (unique per core).
    pub relay: RelayId,
    /// The client-side ports, one of the pairs reported as bound.
    pub ports: PortPair,
    /// The address of the TLS connection the signalling came on: before the latch, media is sent
    /// to the address in the SDP only if that is this one.
    pub signalling_peer: IpAddr,
    /// Where the client's SDP says it receives: RTP, then RTCP.
    pub described: Option<(SocketAddr, SocketAddr)>,
    /// SRTP: a source is proven by the core. Plain: by being the described address or, behind a
    /// NAT, the signalling peer's.
    pub srtp: bool,
    /// The client sends RTCP to the RTP port and expects it there (RFC 5761).
    pub mux: bool,
    /// What comes. [`Carriage::Datagrams`] is never SRTP.
    pub carriage: Carriage,
}

/// A party inside, as its session description shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsideParty {
    /// Where it receives: RTP, then RTCP. Its packets must come from there; nothing is sent before
    /// it is known.
    pub described: Option<(SocketAddr, SocketAddr)>,
    /// Protection of its leg.
    pub security: LegSecurity,
    /// It sends RTCP to the RTP port and expects it there (RFC 5761).
    pub mux: bool,
}

/// What the core must do for one relay: the client's leg, by way of the link, on one side, RTP or
/// SRTP inside on the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsideRelay {
    /// The edge that owns the client-side ports.
    pub peer: NodeId,
    /// Our number for it.
    pub relay: RelayId,
    /// The inside ports, one of the pairs reported as bound.
    pub ports: PortPair,
    /// The party that gets what the client sends.
    pub party: InsideParty,
    /// Other parties that are heard as well: early dialogs of forks. Each party's sources are kept
    /// apart. At most [`crate::limits::EARLY_PARTIES_MAX`]; what is over that is not heard.
    pub early: Vec<InsideParty>,
    /// Protection of the client's leg.
    pub outside: LegSecurity,
    /// What is carried.
    pub carriage: Carriage,
    /// Report [`MediaEvent::ClientTimedOut`] once no authentic packet came from the client for this
    /// long while the relay was complete. `None`: never (a client on hold may be silent).
    pub client_timeout: Option<Duration>,
}

/// A command to the media threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaCommand {
    /// Bind `pairs` more port pairs and report them ([`MediaEvent::PortsBound`]).
    BindPorts {
        /// How many pairs.
        pairs: u16,
    },
    /// Edge: start or change a relay.
    SetOutside(OutsideRelay),
    /// Core: start or change a relay. A key that is unchanged keeps its cryptographic context.
    SetInside(InsideRelay),
    /// Core: what a relay carries from now on, if not [`MediaClass::Audio`]. The edge learns it from
    /// the packets.
    SetClass {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
        /// What it carries.
        class: MediaClass,
    },
    /// End a relay. Its ports stay bound and quiet, then come back as [`MediaEvent::PortsBound`].
    Close {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
    },
}

/// Packet counters of one relay since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounters {
    /// Packets relayed from the outside inwards.
    pub inward: u64,
    /// Packets relayed from the inside outwards.
    pub outward: u64,
    /// Packets dropped because they could not be authenticated.
    pub unauthenticated: u64,
    /// Packets dropped as replays or as older than the window.
    pub replayed: u64,
    /// Packets dropped because no key or no address was known yet.
    pub too_early: u64,
    /// Packets dropped because of their source address.
    pub wrong_source: u64,
    /// Packets dropped for any other reason (malformed, over a bound, send failed).
    pub other_drops: u64,
    /// RTP packets of the client that never came, as their sequence numbers tell (core only).
    pub lost_inward: u64,
    /// The same of the inside.
    pub lost_outward: u64,
}

impl RelayCounters {
    /// Packets that were dropped here, by reason.
    #[must_use]
    pub const fn drops(&self) -> [(&'static str, u64); 5] {
        [
            ("unauthenticated", self.unauthenticated),
            ("replayed", self.replayed),
            ("too_early", self.too_early),
            ("wrong_source", self.wrong_source),
            ("other", self.other_drops),
        ]
    }
}

/// A fact from the media threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// These pairs are bound and free to use.
    PortsBound {
        /// The pairs.
        ports: Vec<PortPair>,
    },
    /// No pair could be bound: the range is used up or taken by other programs.
    BindFailed {
        /// How many of the pairs asked for could not be bound.
        missing: u16,
    },
    /// Counters, about once a second while a relay lives, and once when it is closed.
    Report {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
        /// Counters since its start.
        counters: RelayCounters,
    },
    /// No packet came from the client within 3 s of the relay being complete: the call is
    /// one-way until it sends.
    ClientSilent {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
    },
    /// Nothing authentic came from the client for [`InsideRelay::client_timeout`]. Said again only
    /// after it was heard in between.
    ClientTimedOut {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_as_long_as_its_suite_says() {
        for suite in CryptoSuite::ALL {
            let bytes = suite.key_bytes() + suite.salt_bytes();
            let key = SrtpKey::new(suite, &vec![7; bytes]).unwrap();
            assert_eq!((key.master_key().len(), key.master_salt().len()), (suite.key_bytes(), suite.salt_bytes()));
            assert_eq!(SrtpKey::new(suite, &vec![7; bytes + 1]), None);
            assert_eq!(CryptoSuite::of_name(&suite.name().to_lowercase()), Some(suite));
        }
    }
}
