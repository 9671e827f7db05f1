//! One SIP message (RFC 3261 §7): bytes, and an index of its lines.

use std::sync::Arc;

use bytes::Bytes;

use crate::edit::Edit;
use crate::fault::Fault;
use crate::header::{Name, same_other};
use crate::multipart::{self, Descriptions};
use crate::parse::{self, Index, Line, Span, Start};
use crate::respond::ResponseBuilder;
use crate::uri::{NameAddr, Uri};
use crate::value::{self, Values};
use crate::via::Via;

/// A request or response. The bytes are never rewritten: reading borrows from them, editing
/// ([`Message::edit`]) copies the unchanged stretches. Cloning costs two reference counts.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    index: Arc<Index>,
}

impl Message {
    /// Parses one whole message, as cut by [`crate::Framer`], or one datagram. In a datagram,
    /// bytes beyond Content-Length are dropped, and without Content-Length the rest is the body.
    ///
    /// # Errors
    ///
    /// [`Fault`] if the structure or a field this crate interprets is malformed, a mandatory field
    /// is missing, or a bound of [`crate::limits`] is exceeded. The fault carries the answer.
    pub fn parse(bytes: Bytes) -> Result<Self, Fault> {
        match parse::index(&bytes) {
            Ok(index) => {
                let bytes = bytes.slice(..index.body.range().end);
                Ok(Self { bytes, index: Arc::new(index) })
            }
            Err(problem) => Err(problem.into_fault(&bytes)),
        }
    }

    /// The message as it came.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Whether this is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.index.start, Start::Request { .. })
    }

    /// The method of a request. Methods compare with case.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        match self.index.start {
            Start::Request { method, .. } => Some(method.text(&self.bytes)),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI of a request.
    #[must_use]
    pub fn request_uri(&self) -> Option<&str> {
        self.uri_span().map(|uri| uri.text(&self.bytes))
    }

    pub(crate) fn uri_span(&self) -> Option<Span> {
        match self.index.start {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI of a request, taken apart.
    #[must_use]
    pub fn parsed_request_uri(&self) -> Option<Uri<'_>> {
        self.request_uri().and_then(Uri::parse)
    }

    /// The SIP version of a request, `SIP/2.0` in every honest one. Responses of other versions
    /// do not parse.
    #[must_use]
    pub fn version(&self) -> &str {
        match self.index.start {
            Start::Request { version, .. } => version.text(&self.bytes),
            Start::Response { .. } => "SIP/2.0",
        }
    }

    /// The status code of a response, 100 to 699.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.index.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase of a response; may be empty, or in any encoding.
    #[must_use]
    pub fn reason(&self) -> Option<&[u8]> {
        match self.index.start {
            Start::Request { .. } => None,
            Start::Response { reason, .. } => Some(reason.of(&self.bytes)),
        }
    }

    pub(crate) fn lines_of(&self, name: Name) -> impl Iterator<Item = &Line> {
        self.index.lines.iter().filter(move |line| line.name == name)
    }

    /// The value of the first line of that name, trimmed; folds inside it are kept.
    #[must_use]
    pub fn header(&self, name: Name) -> Option<&[u8]> {
        self.lines(name).next()
    }

    /// The values of all lines of that name in order, trimmed. For [`Name::Other`] all lines
    /// without a name of their own.
    pub fn lines(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.lines_of(name).map(|line| line.value.of(&self.bytes))
    }

    /// Those of these names that have lines, found in one pass.
    pub fn names_among<const N: usize>(&self, names: [Name; N]) -> impl Iterator<Item = Name> {
        let mut there = [false; N];
        for line in &self.index.lines {
            if let Some(at) = names.iter().position(|name| *name == line.name) {
                there[at] = true;
            }
        }
        names.into_iter().zip(there).filter_map(|(name, there)| there.then_some(name))
    }

    /// The comma-separated values over all lines of that name in order, trimmed, empty ones left
    /// out. Commas in quoted strings and angle brackets do not separate.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.value_spans(name).map(|(_, span)| span.of(&self.bytes))
    }

    pub(crate) fn value_spans(&self, name: Name) -> impl Iterator<Item = (&Line, Span)> {
        self.lines_of(name).flat_map(|line| {
            let base = line.value.start as usize;
            Values::new(line.value.of(&self.bytes))
                .map(move |range| (line, Span::new(base + range.start, base + range.end)))
        })
    }

    /// The value of the first line of that name, whatever its case; compact and long forms are one.
    #[must_use]
    pub fn other(&self, name: &str) -> Option<&[u8]> {
        self.lines_named(name).next().map(|line| line.value.of(&self.bytes))
    }

    pub(crate) fn lines_named(&self, name: &str) -> impl Iterator<Item = &Line> {
        let known = Name::recognise(name.as_bytes());
        self.index.lines.iter().filter(move |line| {
            line.name == known && (known != Name::Other || same_other(line.spelled.of(&self.bytes), name.as_bytes()))
        })
    }

    /// Every header line in order: its name as written, and its value, trimmed.
    pub fn all_lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.index.lines.iter().map(|line| (line.spelled.text(&self.bytes), line.value.of(&self.bytes)))
    }

    /// The Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.index.call_id.text(&self.bytes)
    }

    /// The CSeq: number and method.
    #[must_use]
    pub fn cseq(&self) -> (u32, &str) {
        let (number, method) = self.index.cseq;
        (number, method.text(&self.bytes))
    }

    /// The From address.
    #[must_use]
    pub fn from(&self) -> NameAddr<'_> {
        NameAddr::read(self.index.from.of(&self.bytes)).unwrap_or(NameAddr::NONE)
    }

    /// The To address.
    #[must_use]
    pub fn to(&self) -> NameAddr<'_> {
        NameAddr::read(self.index.to.of(&self.bytes)).unwrap_or(NameAddr::NONE)
    }

    /// The tag of From.
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        self.from().tag()
    }

    /// The tag of To.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        self.to().tag()
    }

    /// The topmost Via.
    #[must_use]
    pub fn top_via(&self) -> Via<'_> {
        Via::read(self.index.via.of(&self.bytes)).unwrap_or(Via::NONE)
    }

    /// All Vias, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Via<'_>> {
        self.values(Name::Via).filter_map(Via::read)
    }

    /// How many Via values there are, over all lines.
    #[must_use]
    pub fn via_count(&self) -> usize {
        self.value_spans(Name::Via).count()
    }

    /// Max-Forwards, 0 to 255.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u32> {
        self.index.max_forwards.map(u32::from)
    }

    /// The Expires header in seconds. Too large values saturate; a malformed one counts as absent.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        let seconds = value::digits(self.header(Name::Expires)?)?;
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// The Contact values, topmost first. `*` appears as an address for which
    /// [`NameAddr::is_star`] holds.
    pub fn contacts(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.values(Name::Contact).filter_map(NameAddr::read)
    }

    /// The Route values, topmost first.
    pub fn routes(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.values(Name::Route).filter_map(NameAddr::read)
    }

    /// The values of a field whose values are addresses (Record-Route, Path, Service-Route,
    /// P-Asserted-Identity …), topmost first. Of fields that are not checked when parsing,
    /// malformed values are left out.
    pub fn addresses(&self, name: Name) -> impl Iterator<Item = NameAddr<'_>> {
        self.values(name).filter_map(NameAddr::parse)
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.index.body.of(&self.bytes)
    }

    /// Whether the body is said to be a session description, or to contain one: Content-Type
    /// `application/sdp`, or multipart with a part of that type.
    #[must_use]
    pub fn has_sdp(&self) -> bool {
        let Some(content_type) = self.header(Name::ContentType) else { return false };
        multipart::is_sdp(content_type) || !Descriptions::find(content_type, self.body()).is_empty()
    }

    /// The session description: the body, or the one part of a multipart body that is one. Empty if
    /// there is none, and if there are several, so that nobody acts on one of them.
    #[must_use]
    pub fn sdp(&self) -> &[u8] {
        let Some(content_type) = self.header(Name::ContentType) else { return &[] };
        if multipart::is_sdp(content_type) {
            return self.body();
        }
        Descriptions::find(content_type, self.body()).only().map_or(&[], |range| &self.body()[range])
    }

    /// Starts an edit: a list of patches against this message.
    #[must_use]
    pub fn edit(&self) -> Edit<'_> {
        Edit::new(self)
    }

    /// Starts a response to this request. Copies all Via lines, From, To, Call-ID and CSeq, and
    /// Timestamp into a 100 (RFC 3261 §8.2.6).
    pub fn respond(&self, status: u16, reason: &str) -> ResponseBuilder<'_> {
        debug_assert!(self.is_request(), "a response answers a request");
        ResponseBuilder::new(self, status, reason)
    }
}
