//! Offer and answer (RFC 3264) between a client outside and a party inside, whichever of them
//! offers.
//!
//! Bytes in, bytes out, no memory of their own: a body may come in an INVITE or, where that had
//! none, in the 200 and its answer in the ACK. Whoever drives this holds one [`Anchor`] per media
//! section that is relayed, in the order of the sections:
//!
//! 1. [`survey`] says which sections of an offer need a relay;
//! 2. [`pass_offer`] turns it into the offer for the other side and remembers what was offered;
//! 3. [`pass_answer`] turns an answer into the answer for the offerer and says for each section
//!    how both legs of its relay are to run. Several answers to one offer (forks) are passed one by
//!    one.
//!
//! Nothing changes for a relay before the answer: what an offer asks for may yet be refused, and
//! then everything stays as it was.
//!
//! RTP sections are relayed and protected per leg; BFCP and iX over UDP are relayed as they come,
//! unprotected (nothing in their sections could agree on a key). What cannot be carried (TCP,
//! DTLS-SRTP, a leg without encryption where that is not allowed) is refused by port 0 in what is
//! passed on, its other lines left alone; if no RTP section is left, the whole offer is refused.
//!
//! Whoever calls these must pass the same addresses, ports and keys again when a dialog is merely
//! refreshed: a description whose `o=` version has not changed must not change either.

use std::net::{IpAddr, SocketAddr};

use edgeway_model::Random;
use edgeway_model::media::{Carriage, CryptoSuite, LegSecurity, PortPair, SrtpKey};

use super::edit::{Edit, SectionEdit};
use super::{Crypto, Description, Direction, MediaKind, Profile, SdpFault, Section};
use crate::limits::SDP_SECTIONS_CARRIED_MAX;

/// One of the two sides of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The client's.
    Outside,
    /// That of the party inside.
    Inside,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Outside => Self::Inside,
            Self::Inside => Self::Outside,
        }
    }
}

/// What we offer to a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// RTP in clear.
    Plain,
    /// SDES SRTP if the other side can: keys in an `RTP/AVP` section, and
    /// `a=X-cisco-srtp-fallback`.
    Optional,
    /// SDES SRTP.
    Srtp,
}

/// How one side is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideRules {
    /// Our address there.
    pub address: IpAddr,
    /// What we offer there.
    pub offer: Protection,
    /// Whether an offer from there may be without encryption.
    pub allow_plain: bool,
}

/// How both sides are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The clients' side.
    pub outside: SideRules,
    /// The inside.
    pub inside: SideRules,
}

impl Rules {
    const fn of(&self, side: Side) -> &SideRules {
        match side {
            Side::Outside => &self.outside,
            Side::Inside => &self.inside,
        }
    }
}

/// The keys we may send with on one leg: one for each suite, so that none is used by two suites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurKeys([SrtpKey; CryptoSuite::ALL.len()]);

impl OurKeys {
    /// Fresh ones. Never for more than one leg: two senders under one key repeat keystream.
    pub fn generate(random: &mut Random) -> Self {
        Self(CryptoSuite::ALL.map(|suite| SrtpKey::generate(suite, random)))
    }

    /// The one of a suite.
    #[must_use]
    pub fn of(&self, suite: CryptoSuite) -> &SrtpKey {
        self.0.iter().find(|key| key.suite() == suite).expect("there is one for each suite")
    }

    /// The one of this suite is offered first from now on. An offer within a call begins with the suite in use:
    /// who takes the first suite keeps it, and clients that cannot change suites in a call (baresip) go on.
    pub fn prefer(&mut self, suite: CryptoSuite) {
        if let Some(at) = self.0.iter().position(|key| key.suite() == suite) {
            self.0[..=at].rotate_right(1);
        }
    }

    /// All of them with the tags they are offered under.
    pub(super) fn offered(&self) -> Vec<(u32, &SrtpKey)> {
        (1..).zip(&self.0).collect()
    }
}

/// Where a section is anchored on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Our ports there.
    pub ports: PortPair,
    /// The keys we send with.
    pub keys: OurKeys,
}

/// What one relayed section holds on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// On the clients' side.
    pub outside: Place,
    /// Inside.
    pub inside: Place,
}

impl Anchor {
    const fn of(&self, side: Side) -> &Place {
        match side {
            Side::Outside => &self.outside,
            Side::Inside => &self.inside,
        }
    }
}

/// What one party has said about its leg of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegMedia {
    /// Where it receives: RTP, then RTCP. `None`: nowhere now (hold the old way).
    pub described: Option<(SocketAddr, SocketAddr)>,
    /// How the leg is protected.
    pub security: LegSecurity,
    /// RTCP shares the RTP port.
    pub mux: bool,
    /// The direction as the party sees it.
    pub direction: Direction,
}

/// One relayed section after its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionMedia {
    /// What is sent.
    pub kind: MediaKind,
    /// The codecs of the answer, the preferred one first, for whoever reads it.
    pub codecs: Box<str>,
    /// What the relay carries.
    pub carriage: Carriage,
    /// The client's leg.
    pub outside: LegMedia,
    /// The leg inside.
    pub inside: LegMedia,
}

/// What was offered, until its last answer.
#[derive(Clone, Debug)]
pub struct Offered {
    from: Side,
    sections: Vec<OfferedSection>,
}

#[derive(Clone, Debug)]
struct OfferedSection {
    /// The profile of the offer, which the answer must repeat.
    profile: Profile,
    /// `None`: refused, or ended by the offerer.
    carried: Option<Carried>,
}

#[derive(Clone, Debug)]
struct Carried {
    carriage: Carriage,
    kind: MediaKind,
    offerer: LegMedia,
    /// The tag of the offerer's crypto attribute we have chosen.
    tag: Option<u32>,
    /// What was offered to the other side.
    passed: Protection,
}

impl Offered {
    /// Who offered.
    #[must_use]
    pub const fn from(&self) -> Side {
        self.from
    }

    /// How many sections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sections.len()
    }

    /// Whether there is no section at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// The offerer's leg of a section that is carried.
    #[must_use]
    pub fn offerer(&self, section: usize) -> Option<&LegMedia> {
        self.sections.get(section)?.carried.as_ref().map(|carried| &carried.offerer)
    }
}

/// Result of [`pass_offer`].
#[derive(Clone, Debug)]
pub struct PassedOffer {
    /// The offer for the other side.
    pub body: Vec<u8>,
    /// What [`pass_answer`] needs.
    pub offered: Offered,
}

/// Result of [`pass_answer`].
#[derive(Clone, Debug)]
pub struct PassedAnswer {
    /// The answer for the offerer.
    pub body: Vec<u8>,
    /// How each section runs from now on, in the order of the offer. `None`: refused or ended; its
    /// relay may be closed.
    pub sections: Vec<Option<SectionMedia>>,
}

/// Why a description is not passed on, in words fit for a Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No session description.
    #[error("session description cannot be read")]
    Malformed(#[source] SdpFault),
    /// Nothing but streams without encryption, and that is not allowed.
    #[error("media must be encrypted: SDES SRTP (RTP/SAVP with a=crypto) is required")]
    NoEncryption,
    /// Encryption is offered, but with no suite or parameters we speak.
    #[error("no supported crypto suite: AES_CM_128_HMAC_SHA1_80/32 or AEAD_AES_128/256_GCM without MKI is required")]
    UnsupportedSuite,
    /// Every stream speaks another profile (DTLS-SRTP, TCP), or one that was not offered.
    #[error("unsupported media profile")]
    UnsupportedProfile,
}

impl Refusal {
    /// The SIP status that says so: 400 or 488.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::NoEncryption | Self::UnsupportedSuite | Self::UnsupportedProfile => 488,
        }
    }

    /// The Warning code that says so (RFC 3261 §20.43).
    #[must_use]
    pub const fn warning(self) -> u16 {
        match self {
            Self::NoEncryption | Self::UnsupportedSuite | Self::UnsupportedProfile => 302,
            Self::Malformed(_) => 399,
        }
    }
}

/// Which sections of an offer need a relay, and of what kind. `None`: refused or ended.
///
/// # Errors
/// [`Refusal`]: answer the request with [`Refusal::status`].
pub fn survey(body: &[u8], from: Side, rules: &Rules) -> Result<Vec<Option<Carriage>>, Refusal> {
    let description = Description::parse(body).map_err(Refusal::Malformed)?;
    let judged = judge_all(&description, |section, _| judge_offer(section, rules.of(from)))?;
    Ok(judged.iter().map(|judged| judged.as_ref().map(|judged| judged.carriage)).collect())
}

/// An offer, for the other side. A section without an anchor is refused.
///
/// # Errors
/// [`Refusal`]: answer the request with [`Refusal::status`].
pub fn pass_offer(body: &[u8], from: Side, rules: &Rules, anchors: &[Option<Anchor>]) -> Result<PassedOffer, Refusal> {
    let description = Description::parse(body).map_err(Refusal::Malformed)?;
    let judged = judge_all(&description, |section, _| judge_offer(section, rules.of(from)))?;
    let target = rules.of(from.other());
    let mut edits = Vec::with_capacity(judged.len());
    let mut sections = Vec::with_capacity(judged.len());
    for ((section, judged), number) in description.sections().iter().zip(judged).zip(0..) {
        let anchor = anchors.get(number).and_then(Option::as_ref);
        let Some((judged, anchor)) = judged.zip(anchor) else {
            edits.push(SectionEdit::refused(Profile::Other));
            sections.push(OfferedSection { profile: section.profile, carried: None });
            continue;
        };
        edits.push(offer_edit(section, from, target.offer, anchor.of(from.other())));
        let carried = Carried {
            carriage: judged.carriage,
            kind: section.kind,
            tag: judged.crypto.map(|crypto| crypto.tag),
            offerer: leg(section, judged.crypto, section.rtcp_mux, anchor.of(from)),
            passed: target.offer,
        };
        sections.push(OfferedSection { profile: section.profile, carried: Some(carried) });
    }
    let body = Edit { address: target.address, sections: edits }.apply(&description);
    Ok(PassedOffer { body, offered: Offered { from, sections } })
}

/// An answer to what was offered, for the offerer. `anchors` are those of the offer.
///
/// # Errors
/// [`Refusal`]: the answerer broke the protocol or will not encrypt; end the call.
pub fn pass_answer(
    body: &[u8],
    offered: &Offered,
    rules: &Rules,
    anchors: &[Option<Anchor>],
) -> Result<PassedAnswer, Refusal> {
    let description = Description::parse(body).map_err(Refusal::Malformed)?;
    let judged = judge_all(&description, |section, number| {
        let offered = offered.sections.get(number);
        judge_answer(section, offered.and_then(|offered| offered.carried.as_ref()))
    })?;
    let (from, mut edits, mut sections) = (offered.from, Vec::new(), Vec::new());
    for ((section, judged), number) in description.sections().iter().zip(judged).zip(0..) {
        let (offered, anchor) = (offered.sections.get(number), anchors.get(number).and_then(Option::as_ref));
        let carried = offered.and_then(|offered| offered.carried.as_ref());
        let (Some(judged), Some(carried), Some(anchor)) = (judged, carried, anchor) else {
            // RFC 3264 §6: even a refused stream keeps the profile of its offer.
            let profile = carried.and(offered).map_or(Profile::Other, |offered| offered.profile);
            edits.push(SectionEdit::refused(profile));
            sections.push(None);
            continue;
        };
        edits.push(answer_edit(carried, offered.map_or(section.profile, |offered| offered.profile), anchor.of(from)));
        let mux = section.rtcp_mux && carried.offerer.mux;
        let answerer = leg(section, judged.crypto, mux, anchor.of(from.other()));
        sections.push(Some(carried.agreed(from, answerer, description.codecs(section))));
    }
    // RFC 3264 §6: an answer has as many sections as its offer; one that is missing is refused.
    sections.resize(offered.sections.len(), None);
    let body = Edit { address: rules.of(from).address, sections: edits }.apply(&description);
    Ok(PassedAnswer { body, sections })
}

impl Carried {
    fn agreed(&self, from: Side, answerer: LegMedia, codecs: String) -> SectionMedia {
        let (outside, inside) = match from {
            Side::Outside => (self.offerer.clone(), answerer),
            Side::Inside => (answerer, self.offerer.clone()),
        };
        SectionMedia { kind: self.kind, codecs: codecs.into(), carriage: self.carriage, outside, inside }
    }
}

fn offer_edit<'a>(section: &Section, from: Side, protection: Protection, place: &'a Place) -> SectionEdit<'a> {
    if section.profile == Profile::Datagrams {
        return SectionEdit { port: place.ports.rtp, ..SectionEdit::refused(Profile::Datagrams) };
    }
    // Parties inside that know no feedback profile are many, and audio gains nothing from it.
    let known =
        if from == Side::Outside && section.kind != MediaKind::Video { Profile::Avp } else { section.profile.plain() };
    let (profile, crypto) = match protection {
        Protection::Plain => (known, Vec::new()),
        Protection::Optional => (known, place.keys.offered()),
        Protection::Srtp => (known.secure(), place.keys.offered()),
    };
    let fallback = protection == Protection::Optional;
    SectionEdit { port: place.ports.rtp, profile, crypto, mux: section.rtcp_mux, fallback }
}

fn answer_edit<'a>(carried: &Carried, profile: Profile, place: &'a Place) -> SectionEdit<'a> {
    let crypto = match (&carried.offerer.security, carried.tag) {
        (LegSecurity::Srtp { send, .. }, Some(tag)) => vec![(tag, place.keys.of(send.suite()))],
        (LegSecurity::Srtp { .. } | LegSecurity::Plain | LegSecurity::Awaited, _) => Vec::new(),
    };
    SectionEdit { port: place.ports.rtp, profile, crypto, mux: carried.offerer.mux, fallback: false }
}

fn leg(section: &Section, crypto: Option<&Crypto>, mux: bool, place: &Place) -> LegMedia {
    let security = match crypto.and_then(|crypto| crypto.key.as_ref()) {
        Some(key) => LegSecurity::Srtp { receive: key.clone(), send: place.keys.of(key.suite()).clone() },
        None => LegSecurity::Plain,
    };
    let described = if mux { section.rtp.map(|rtp| (rtp, rtp)) } else { section.described() };
    LegMedia { described, security, mux, direction: section.direction }
}

/// A section that can be carried.
struct Judged<'a> {
    carriage: Carriage,
    crypto: Option<&'a Crypto>,
}

/// What becomes of every section.
///
/// # Errors
/// The first reason, if RTP was open and none of it can be carried.
fn judge_all<'a>(
    description: &'a Description,
    judge: impl Fn(&'a Section, usize) -> Result<Judged<'a>, Refusal>,
) -> Result<Vec<Option<Judged<'a>>>, Refusal> {
    let (mut first, mut carried, mut rtp) = (None, 0, false);
    let mut judged = Vec::with_capacity(description.sections().len());
    for (section, number) in description.sections().iter().zip(0..) {
        let outcome = if section.port == 0 || carried == SDP_SECTIONS_CARRIED_MAX {
            None
        } else {
            match judge(section, number) {
                Ok(_) if !section.has_connection => return Err(Refusal::Malformed(SdpFault::NoConnection)),
                Ok(judged) => Some(judged),
                Err(refusal) => {
                    first.get_or_insert(refusal);
                    None
                }
            }
        };
        carried += usize::from(outcome.is_some());
        rtp |= outcome.as_ref().is_some_and(|judged| judged.carriage == Carriage::Rtp);
        judged.push(outcome);
    }
    match first {
        Some(refusal) if !rtp => Err(refusal),
        Some(_) | None => Ok(judged),
    }
}

/// The first attribute of a suite and parameters we speak, in the order of the party that wrote
/// them. It counts in an `RTP/AVP` section too (`X-cisco-srtp-fallback`: encryption if the other
/// side can).
fn chosen_crypto(section: &Section) -> Option<&Crypto> {
    section.crypto.iter().find(|crypto| crypto.key.is_some())
}

fn missing_crypto(section: &Section) -> Refusal {
    if section.crypto.is_empty() { Refusal::NoEncryption } else { Refusal::UnsupportedSuite }
}

fn judge_offer<'a>(section: &'a Section, rules: &SideRules) -> Result<Judged<'a>, Refusal> {
    match section.profile {
        Profile::Datagrams => return Ok(Judged { carriage: Carriage::Datagrams, crypto: None }),
        Profile::Other => return Err(Refusal::UnsupportedProfile),
        Profile::Avp | Profile::Savp | Profile::Avpf | Profile::Savpf => {}
    }
    let crypto = chosen_crypto(section);
    // A profile that demands encryption cannot do without a key, whatever is allowed.
    if crypto.is_none() && (section.profile.is_secure() || !rules.allow_plain) {
        return Err(missing_crypto(section));
    }
    Ok(Judged { carriage: Carriage::Rtp, crypto })
}

fn judge_answer<'a>(section: &'a Section, carried: Option<&Carried>) -> Result<Judged<'a>, Refusal> {
    let carried = carried.ok_or(Refusal::UnsupportedProfile)?;
    let fits = match carried.carriage {
        Carriage::Datagrams => section.profile == Profile::Datagrams,
        Carriage::Rtp => section.profile.token().is_some(),
    };
    if !fits {
        return Err(Refusal::UnsupportedProfile);
    }
    let crypto = match (carried.carriage, carried.passed) {
        (Carriage::Datagrams, _) => None,
        // Nothing was offered that a key could answer.
        (Carriage::Rtp, Protection::Plain) if section.profile.is_secure() => return Err(Refusal::UnsupportedProfile),
        (Carriage::Rtp, Protection::Plain) => None,
        (Carriage::Rtp, Protection::Optional | Protection::Srtp) => chosen_crypto(section),
    };
    let must = carried.carriage == Carriage::Rtp
        && (carried.passed == Protection::Srtp || section.profile.is_secure() || !section.crypto.is_empty());
    if must && crypto.is_none() && carried.passed != Protection::Plain {
        return Err(missing_crypto(section));
    }
    Ok(Judged { carriage: carried.carriage, crypto })
}
