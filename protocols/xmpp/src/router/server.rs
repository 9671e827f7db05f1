//! The stream towards one server, up to the features it offers over TLS (RFC 6120 §4, §5).
//!
//! ```text
//!  connecting ─▶ header ─▶ features ─▶ proceed ─▶ securing ─▶ header ─▶ features ─▶ ready
//!       └────────────────────────(direct TLS)───────────────────▲
//! ```
//! Credentials are never sent in clear: without STARTTLS a server counts as down. What a server says before TLS is
//! believed only so far that TLS is begun.

use edgeway_model::Moment;

use super::exchange::Down;
use super::reader::{Item, Reader};
use crate::element::{Element, Header};
use crate::features::Offer;
use crate::limits::SERVER_READY_WITHIN;
use crate::ns;
use crate::scan::Bounds;

/// One server's stream.
pub(super) struct Server {
    /// Its place among the candidates.
    pub(super) place: usize,
    /// When it must be ready.
    pub(super) deadline: Moment,
    /// The id of its stream.
    pub(super) id: String,
    /// What it offers, once it is ready.
    pub(super) offer: Offer,
    direct_tls: bool,
    step: Step,
    reader: Reader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connecting,
    Header,
    Features,
    Proceed,
    Securing,
    SecuredHeader,
    SecuredFeatures,
    Ready,
}

/// What comes of something a server did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing yet.
    Nothing,
    /// It is to be told this.
    Say(String),
    /// TLS is to begin.
    StartTls,
    /// It has got as far as its features.
    Ready,
    /// It names another server: a host, and perhaps a port.
    SeeOther(String),
    /// It counts as down.
    Down(Down),
}

impl Server {
    pub(super) fn new(place: usize, direct_tls: bool, now: Moment) -> Self {
        Self {
            place,
            deadline: now + SERVER_READY_WITHIN,
            id: String::new(),
            offer: Offer::default(),
            direct_tls,
            step: Step::Connecting,
            reader: Reader::new(Bounds::SERVER),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.step == Step::Ready
    }

    /// TCP is there; with direct TLS, TLS is.
    pub(super) fn connected(&mut self, domain: &str) -> Heard {
        if self.step != Step::Connecting {
            return Heard::Nothing;
        }
        self.step = if self.direct_tls { Step::SecuredHeader } else { Step::Header };
        Heard::Say(header(domain))
    }

    /// TLS is there.
    pub(super) fn secured(&mut self, domain: &str) -> Heard {
        if self.step != Step::Securing {
            return Heard::Nothing;
        }
        // RFC 6120 §5.4.3.3: what was said before is forgotten.
        self.reader = Reader::new(Bounds::SERVER);
        self.step = Step::SecuredHeader;
        Heard::Say(header(domain))
    }

    /// Bytes came before it was ready. They are used up unless it is ready now.
    pub(super) fn negotiate(&mut self, bytes: &mut &[u8]) -> Heard {
        while !self.is_ready() {
            if self.step == Step::Securing || self.step == Step::Connecting {
                // Bytes behind `<proceed/>` would be taken for what comes over TLS.
                return if bytes.is_empty() { Heard::Nothing } else { Heard::Down(Down::Malformed) };
            }
            let heard = match self.reader.next(bytes) {
                Ok(None) => return Heard::Nothing,
                Ok(Some(item)) => self.item(item),
                Err(_) => Heard::Down(Down::Malformed),
            };
            if heard == Heard::StartTls && !bytes.is_empty() {
                return Heard::Down(Down::Malformed);
            }
            if heard != Heard::Nothing {
                return heard;
            }
        }
        Heard::Nothing
    }

    /// The next item after it was ready.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Item>, Down> {
        self.reader.next(bytes).map_err(|_| Down::Malformed)
    }

    fn item(&mut self, item: Item) -> Heard {
        let element = match (self.step, item) {
            (Step::Header | Step::SecuredHeader, Item::Header(header, _)) => {
                // RFC 6120 §4.7.5: no version is 0.9, which knows neither features nor TLS.
                if header.version.as_deref() != Some("1.0") {
                    return Heard::Down(Down::Malformed);
                }
                self.id = header.id.unwrap_or_default();
                self.step = if self.step == Step::Header { Step::Features } else { Step::SecuredFeatures };
                return Heard::Nothing;
            }
            (_, Item::Header(..)) => return Heard::Down(Down::Malformed),
            (_, Item::Close) => return Heard::Down(Down::Refused),
            (_, Item::Element(element)) => element,
        };
        if let Some(end) = stream_error(&element) {
            return match end {
                StreamEnd::SeeOther(host) => Heard::SeeOther(host),
                StreamEnd::HostUnknown => Heard::Down(Down::HostUnknown),
                StreamEnd::Other => Heard::Down(Down::Refused),
            };
        }
        match self.step {
            Step::Features => match Offer::read(&element) {
                Some(offer) if offer.starttls => {
                    self.step = Step::Proceed;
                    Heard::Say(format!("<starttls xmlns='{}'/>", ns::TLS))
                }
                Some(_) => Heard::Down(Down::NoTls),
                None => Heard::Down(Down::Malformed),
            },
            Step::Proceed if element.is("proceed", ns::TLS) => {
                self.step = Step::Securing;
                Heard::StartTls
            }
            Step::Proceed if element.is("failure", ns::TLS) => Heard::Down(Down::NoTls),
            Step::SecuredFeatures => match Offer::read(&element) {
                Some(offer) if offer.mechanisms.is_empty() => Heard::Down(Down::NoMechanism),
                Some(offer) => {
                    self.offer = offer;
                    self.step = Step::Ready;
                    Heard::Ready
                }
                None => Heard::Down(Down::Malformed),
            },
            Step::Connecting | Step::Header | Step::Proceed | Step::Securing | Step::SecuredHeader | Step::Ready => {
                Heard::Down(Down::Malformed)
            }
        }
    }

    /// Its bytes from the header after sign-in on.
    pub(super) fn signed_in(mut self) -> Reader {
        self.reader.restart(Bounds::SERVER);
        self.reader
    }
}

/// Our header, of which nothing is the client's: before its rate allows it, a server hears nothing of a client.
fn header(domain: &str) -> String {
    let (to, version, lang) = (domain.to_owned(), "1.0".to_owned(), "en".to_owned());
    Header { to: Some(to), version: Some(version), lang: Some(lang), ..Header::default() }.to_xml()
}

/// What a stream error of a server means here.
pub(super) enum StreamEnd {
    /// Another server is to be asked (RFC 6120 §4.9.3.19).
    SeeOther(String),
    /// Not this domain.
    HostUnknown,
    /// Any other.
    Other,
}

/// Reads `<stream:error/>`; `None` if it is another element.
pub(super) fn stream_error(element: &Element) -> Option<StreamEnd> {
    if !element.is("error", ns::STREAMS) {
        return None;
    }
    let condition = element.children.iter().find(|child| child.namespace == ns::STREAM_ERRORS && child.name != "text");
    Some(match condition.map(|condition| (condition.name.as_str(), condition.text.trim())) {
        Some(("see-other-host", host)) => StreamEnd::SeeOther(host.to_owned()),
        Some(("host-unknown" | "host-gone", _)) => StreamEnd::HostUnknown,
        Some(_) | None => StreamEnd::Other,
    })
}
