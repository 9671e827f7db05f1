//! The four steps of offer and answer (RFC 3264) between a client outside and a party inside.
//!
//! Bytes in, bytes out, no memory of their own: a body may come in an INVITE or, where that had
//! none, in the 200 and its answer in the ACK. The first usable audio section is relayed, every
//! other section is refused by port 0 in what is passed on.
//!
//! Whoever calls these must pass the same address, ports and key again when a dialog is merely
//! refreshed: a description whose `o=` version has not changed must not change either.

use std::net::{IpAddr, SocketAddr};

use edgeway_model::media::{PortPair, SrtpKey};

use super::edit::Edit;
use super::{Crypto, Description, Direction, MediaKind, Profile, SdpFault, Section};

/// The tag of the one crypto attribute we offer.
const OUR_TAG: u32 = 1;

/// How the client's leg is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// SDES SRTP.
    Srtp,
    /// None, where the operator allows it.
    Plain,
}

/// What a client's description says about its leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMedia {
    /// Where it receives: RTP, then RTCP. `None`: nowhere now (hold the old way, stream ended).
    pub described: Option<(SocketAddr, SocketAddr)>,
    /// The crypto attribute chosen, its key always present. `None`: plain, or the stream ended
    /// (port 0).
    pub crypto: Option<Crypto>,
    /// The profile it speaks; our answer must repeat it.
    pub profile: Profile,
    /// The direction as the client sees it.
    pub direction: Direction,
}

impl ClientMedia {
    /// The key the client sends with.
    #[must_use]
    pub fn key(&self) -> Option<&SrtpKey> {
        self.crypto.as_ref().and_then(|crypto| crypto.key.as_ref())
    }
}

/// Result of [`offer_from_outside`].
#[derive(Clone, Debug)]
pub struct OutsideOffer {
    /// The offer for the inside: RTP/AVP at our inside address.
    pub body: Vec<u8>,
    /// The client's leg.
    pub client: ClientMedia,
    /// The direction as the client sees it.
    pub direction: Direction,
}

/// Result of [`answer_to_outside`].
#[derive(Clone, Debug)]
pub struct AnswerToOutside {
    /// The answer for the client, in its profile, with our key.
    pub body: Vec<u8>,
    /// Where the inside party receives.
    pub inside_described: Option<(SocketAddr, SocketAddr)>,
    /// The direction as the inside party sees it.
    pub direction: Direction,
}

/// Result of [`offer_to_outside`].
#[derive(Clone, Debug)]
pub struct OfferToOutside {
    /// The offer for the client.
    pub body: Vec<u8>,
    /// Where the inside party receives.
    pub inside_described: Option<(SocketAddr, SocketAddr)>,
    /// The direction as the inside party sees it.
    pub direction: Direction,
}

/// Result of [`answer_from_outside`].
#[derive(Clone, Debug)]
pub struct AnswerFromOutside {
    /// The answer for the inside.
    pub body: Vec<u8>,
    /// The client's leg.
    pub client: ClientMedia,
}

/// Why a description is not passed on, in words fit for a Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No session description.
    #[error("session description cannot be read")]
    Malformed(#[source] SdpFault),
    /// The client offers or answers without encryption, and that is not allowed.
    #[error("media must be encrypted: SDES SRTP (RTP/SAVP with a=crypto) is required")]
    NoEncryption,
    /// Encryption is offered, but with no suite or parameters we speak.
    #[error("no supported crypto suite: AES_CM_128_HMAC_SHA1_80 without MKI is required")]
    UnsupportedSuite,
    /// The audio section speaks another profile (DTLS-SRTP, or SRTP inside).
    #[error("unsupported media profile")]
    UnsupportedProfile,
    /// There is no audio section.
    #[error("no audio in the session description")]
    NoAudio,
}

impl Refusal {
    /// The SIP status that says so: 400 or 488.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::NoEncryption | Self::UnsupportedSuite | Self::UnsupportedProfile | Self::NoAudio => 488,
        }
    }

    /// The Warning code that says so (RFC 3261 §20.43).
    #[must_use]
    pub const fn warning(self) -> u16 {
        match self {
            Self::NoEncryption | Self::UnsupportedSuite | Self::UnsupportedProfile => 302,
            Self::NoAudio => 304,
            Self::Malformed(_) => 399,
        }
    }
}

/// A client's offer, for the inside.
///
/// # Errors
/// [`Refusal`]: answer the request with [`Refusal::status`].
pub fn offer_from_outside(body: &[u8], inside: (IpAddr, PortPair), allow_plain: bool) -> Result<OutsideOffer, Refusal> {
    let description = Description::parse(body).map_err(Refusal::Malformed)?;
    let (relayed, section) = choose(&description, |section| allow_plain || chosen_crypto(section).is_some())?;
    let client = offered_leg(section, allow_plain)?;
    // RTP/AVP whatever the client spoke: parties inside that know no feedback profile are many,
    // and audio gains nothing from it.
    let body = edit(inside, relayed, Profile::Avp, None).apply(&description);
    Ok(OutsideOffer { body, direction: client.direction, client })
}

/// The inside's answer to it, for the client. `our_key` is not used on a plain leg.
///
/// # Errors
/// [`Refusal`]: the inside broke the protocol; end the call.
pub fn answer_to_outside(
    body: &[u8],
    client: &ClientMedia,
    our_key: &SrtpKey,
    outside: (IpAddr, PortPair),
) -> Result<AnswerToOutside, Refusal> {
    let description = Description::parse(body).map_err(Refusal::Malformed)?;
    let (relayed, section) = choose(&description, |_| true)?;
    let crypto = client.crypto.as_ref().map(|crypto| (crypto.tag, our_key));
    let body = edit(outside, relayed, client.profile, crypto).apply(&description);
    Ok(AnswerToOutside { body, inside_described: section.described(), direction: section.direction })
}

/// The inside's offer, for the client: `RTP/SAVP` with our key, or plain.
///
/// # Errors
/// [`Refusal`]: answer the request with [`Refusal::status`].
pub fn offer_to_outside(
    body: &[u8],
    our_key: &SrtpKey,
    outside: (IpAddr, PortPair),
    security: Security,
) -> Result<OfferToOutside, Refusal> {
    let description = Description::parse(body).map_err(Refusal::Malformed)?;
    let (relayed, section) = choose(&description, |section| !section.profile.is_secure())?;
    if section.port != 0 && section.profile.is_secure() {
        return Err(Refusal::UnsupportedProfile);
    }
    let (profile, crypto) = match security {
        Security::Srtp => (section.profile.secure(), Some((OUR_TAG, our_key))),
        Security::Plain => (section.profile.plain(), None),
    };
    let body = edit(outside, relayed, profile, crypto).apply(&description);
    Ok(OfferToOutside { body, inside_described: section.described(), direction: section.direction })
}

/// The client's answer to it, for the inside. `expected` is what was offered.
///
/// # Errors
/// [`Refusal`]: the client broke the protocol or will not encrypt; end the call.
pub fn answer_from_outside(
    body: &[u8],
    inside: (IpAddr, PortPair),
    expected: Security,
) -> Result<AnswerFromOutside, Refusal> {
    let description = Description::parse(body).map_err(Refusal::Malformed)?;
    let (relayed, section) = choose(&description, |_| true)?;
    let client = match expected {
        Security::Srtp => offered_leg(section, false)?,
        Security::Plain => leg(section, None),
    };
    let body = edit(inside, relayed, section.profile.plain(), None).apply(&description);
    Ok(AnswerFromOutside { body, client })
}

fn edit(place: (IpAddr, PortPair), relayed: usize, profile: Profile, crypto: Option<(u32, &SrtpKey)>) -> Edit<'_> {
    Edit { address: place.0, port: place.1.rtp, relayed, profile, crypto }
}

/// The audio section to relay: the first open one that suits, else the first open one, else the
/// first one at all.
fn choose(description: &Description, suits: impl Fn(&Section) -> bool) -> Result<(usize, &Section), Refusal> {
    let audio = || description.sections().iter().enumerate().filter(|(_, s)| s.kind == MediaKind::Audio);
    let open = || audio().filter(|(_, section)| section.port != 0);
    let rtp = || open().filter(|(_, section)| section.profile != Profile::Other);
    let chosen = rtp().find(|(_, section)| suits(section)).or_else(|| rtp().next());
    let (number, section) = chosen.or_else(|| open().next()).or_else(|| audio().next()).ok_or(Refusal::NoAudio)?;
    if section.port != 0 && section.profile == Profile::Other {
        return Err(Refusal::UnsupportedProfile);
    }
    if section.port != 0 && !section.has_connection {
        return Err(Refusal::Malformed(SdpFault::NoConnection));
    }
    Ok((number, section))
}

/// The first attribute of a suite and parameters we speak. It counts in an `RTP/AVP` section too
/// (`X-cisco-srtp-fallback`: encryption if the other side can).
fn chosen_crypto(section: &Section) -> Option<&Crypto> {
    section.crypto.iter().find(|crypto| crypto.key.is_some())
}

fn offered_leg(section: &Section, allow_plain: bool) -> Result<ClientMedia, Refusal> {
    let crypto = chosen_crypto(section);
    let may_be_plain = section.port == 0 || (allow_plain && !section.profile.is_secure());
    if crypto.is_none() && !may_be_plain {
        return Err(if section.crypto.is_empty() { Refusal::NoEncryption } else { Refusal::UnsupportedSuite });
    }
    Ok(leg(section, crypto.filter(|_| section.port != 0).cloned()))
}

fn leg(section: &Section, crypto: Option<Crypto>) -> ClientMedia {
    ClientMedia { described: section.described(), crypto, profile: section.profile, direction: section.direction }
}
