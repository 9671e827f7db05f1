//! Cuts one direction of a stream where its elements end, and lets nothing pass that somebody else could cut elsewhere.
//!
//! The XML of XMPP (RFC 6120 §11): XML 1.0 with namespaces, without comments, processing instructions, document types and
//! entities but the five everybody knows. CDATA is allowed, as in every server. All rules of well-formedness are enforced,
//! so that whatever passes here means the same to the parser of a server; where parsers differ the narrower reading holds
//! (names of XML's fourth edition, no byte order mark, no white space in the name of a namespace).
//!
//! Bytes come in any pieces; how they were cut makes no difference. Nothing of them is kept but the names of what is open.

mod declaration;
mod letters;
mod machine;
mod name;
mod open;

use crate::condition::{Condition, StreamFault};
use crate::limits;
use crate::scan::letters::{SPACE, run};
use crate::scan::machine::State;
use crate::scan::open::Open;

/// What one side may send. What is beyond is `<policy-violation/>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the stream header, with what is before it.
    pub header_bytes: u32,
    /// Bytes of one element in the stream.
    pub stanza_bytes: u32,
    /// Bytes of one value of an attribute.
    pub attribute_bytes: u32,
    /// Bytes kept of open elements: their names, the attributes' names of the tag at hand, prefixes with their namespaces.
    pub open_bytes: u16,
    /// Open elements, the stream's own among them.
    pub depth: u16,
    /// Attributes of one element.
    pub attributes: u16,
    /// Bytes of one name.
    pub name_bytes: u16,
    /// Prefixes declared at one place.
    pub prefixes: u16,
}

impl Bounds {
    /// Of a client that has not signed in.
    pub const STRANGER: Self = Self {
        header_bytes: limits::HEADER_BYTES_MAX,
        stanza_bytes: limits::STRANGER_STANZA_BYTES_MAX,
        attribute_bytes: limits::ATTRIBUTE_BYTES_MAX,
        open_bytes: limits::STRANGER_OPEN_BYTES_MAX,
        depth: limits::STRANGER_DEPTH_MAX,
        attributes: limits::ATTRIBUTES_MAX,
        name_bytes: limits::NAME_BYTES_MAX,
        prefixes: limits::PREFIXES_MAX,
    };

    /// Of a client that has signed in.
    pub const SIGNED_IN: Self = Self {
        stanza_bytes: limits::STANZA_BYTES_MAX,
        open_bytes: limits::OPEN_BYTES_MAX,
        depth: limits::DEPTH_MAX,
        ..Self::STRANGER
    };

    /// Of a server.
    pub const SERVER: Self = Self {
        stanza_bytes: limits::SERVER_STANZA_BYTES_MAX,
        open_bytes: limits::SERVER_OPEN_BYTES_MAX,
        depth: limits::SERVER_DEPTH_MAX,
        attributes: limits::SERVER_ATTRIBUTES_MAX,
        ..Self::STRANGER
    };
}

/// What has just been read completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// White space before the header, between elements or after the end: a keepalive (RFC 6120 §4.6.1). As much as was at
    /// hand; there may be more. Without a bound, since nothing is kept of it.
    Whitespace,
    /// The stream header, `<stream:stream …>`, with its XML declaration if it has one.
    Header,
    /// One element in the stream.
    Stanza,
    /// The end of the stream, `</stream:stream>`.
    Close,
}

/// How far the scanner read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes at the front that were read. With a boundary, the last of them is its last; without, these are all.
    pub consumed: usize,
    /// What ends there.
    pub event: Option<Boundary>,
}

/// Cuts one direction of one stream. See the [module](self).
#[derive(Debug)]
pub struct Scanner {
    bounds: Bounds,
    state: State,
    open: Open,
    /// Bytes of the header or element at hand, in earlier steps.
    used: u32,
    /// Where the attribute's value at hand begins, counted as `used` is.
    value_at: u32,
    /// The character or the name that a reference stands for, as far as it was read.
    reference: u32,
    /// How much of something known was read: of an end tag's name, of `CDATA[`, of brackets.
    matched: u16,
    /// The quote that ends the value at hand; 0 outside of one.
    quote: u8,
    /// The beginning of a character that was cut.
    cut: [u8; 3],
    /// How many bytes of it.
    cut_bytes: u8,
    /// There was a stream before this one.
    anew: bool,
    fault: Option<StreamFault>,
}

impl Scanner {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: State::Start,
            open: Open::default(),
            used: 0,
            value_at: 0,
            reference: 0,
            matched: 0,
            quote: 0,
            cut: [0; 3],
            cut_bytes: 0,
            anew: false,
            fault: None,
        }
    }

    /// Other bounds from here on.
    pub fn widen(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// A new stream begins, with a header of its own: after TLS, after sign-in (RFC 6120 §5.4.3.3, §6.4.6). What is broken
    /// stays so. White space before that header is what the old stream still had to say, a line's end behind `</auth>`
    /// or a keepalive on its way: other than at the beginning of all, an XML declaration may stand behind it.
    pub fn restart(&mut self) {
        self.open.clear();
        self.state = State::Start;
        self.used = 0;
        self.quote = 0;
        self.cut_bytes = 0;
        self.anew = true;
    }

    /// Reads on, up to the next boundary or to the end of `bytes`.
    ///
    /// # Errors
    ///
    /// [`StreamFault`] when this is no XMPP or goes beyond a bound; the same again for ever after.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, StreamFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.advance(bytes).inspect_err(|fault| {
            self.fault = Some(*fault);
            self.open = Open::default();
        })
    }

    /// Whether the header was read and no element is under way: something of ours may be put in here.
    #[must_use]
    pub fn between(&self) -> bool {
        self.state == State::Content && self.open.depth() == 1 && self.fault.is_none()
    }

    /// Whether the stream has ended.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Open elements, the stream's own among them.
    #[must_use]
    pub fn depth(&self) -> usize {
        usize::from(self.open.depth())
    }

    /// Bytes of memory held, this value's own among them.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.open.capacity()
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Step, StreamFault> {
        let resting = self.between() || matches!(self.state, State::Start | State::Before | State::Closed);
        if resting {
            let blank = run(bytes, SPACE);
            if blank > 0 {
                return self.rest(blank);
            }
        }
        if self.between() {
            self.used = 0;
        }
        let bound = if self.open.depth() == 0 { self.bounds.header_bytes } else { self.bounds.stanza_bytes };
        let room = usize::try_from(bound.saturating_sub(self.used)).unwrap_or(usize::MAX);
        let within = bytes.get(..room).unwrap_or(bytes);
        let step = self.read(within)?;
        if step.event.is_none() && within.len() < bytes.len() {
            return Err(StreamFault::new(Condition::PolicyViolation, "The element is too large."));
        }
        self.used = self.used.saturating_add(u32::try_from(step.consumed).unwrap_or(u32::MAX));
        if step.event.is_some() {
            self.used = 0;
            self.open.give_back();
        }
        Ok(step)
    }

    /// White space outside of everything.
    fn rest(&mut self, blank: usize) -> Result<Step, StreamFault> {
        if self.state == State::Start && !self.anew {
            // Behind it no XML declaration may stand (XML 1.0 §2.8).
            self.state = State::Before;
        }
        Ok(Step { consumed: blank, event: Some(Boundary::Whitespace) })
    }
}
