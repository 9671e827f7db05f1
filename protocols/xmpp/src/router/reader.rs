//! Takes bytes cut anywhere and gives whole items, for as long as a stream is negotiated.

use super::kept::Kept;
use crate::condition::{Condition, StreamFault};
use crate::element::{Element, Header};
use crate::scan::{Boundary, Bounds, Scanner, Step};

/// Something whole.
#[derive(Debug)]
pub(super) enum Item {
    /// A stream header, and its bytes.
    Header(Header, Vec<u8>),
    /// An element.
    Element(Element),
    /// The end of the stream.
    Close,
}

/// Reads one side of a stream.
pub(super) struct Reader {
    scanner: Scanner,
    item: Kept,
    /// What the header has declared, for elements that use it.
    prefixes: Header,
}

impl Reader {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { scanner: Scanner::new(bounds), item: Kept::default(), prefixes: Header::default() }
    }

    /// A new header is expected, and other bounds hold; what was begun is forgotten.
    pub(super) fn restart(&mut self, bounds: Bounds) {
        self.scanner.restart();
        self.scanner.widen(bounds);
        self.item = Kept::default();
        self.prefixes = Header::default();
    }

    /// The next whole item of `bytes`, which are shortened by what was read; `None` when they are used up.
    ///
    /// # Errors
    /// What the scanner says, and what is wrong with an item that cannot be taken apart.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Item>, StreamFault> {
        while !bytes.is_empty() {
            let step = self.step(bytes)?;
            let (read, rest) = bytes.split_at_checked(step.consumed).unwrap_or((bytes, &[]));
            *bytes = rest;
            match step.event {
                Some(Boundary::Whitespace) => {}
                Some(Boundary::Close) => return Ok(Some(Item::Close)),
                Some(Boundary::Header) => {
                    self.item.add(read);
                    let whole = self.item.take();
                    let header = Header::parse(&whole)?;
                    self.prefixes.prefixes.clone_from(&header.prefixes);
                    return Ok(Some(Item::Header(header, whole.to_vec())));
                }
                Some(Boundary::Stanza) => {
                    self.item.add(read);
                    let whole = self.item.take();
                    return Ok(Some(Item::Element(self.parse(&whole)?)));
                }
                None => self.item.add(read),
            }
        }
        Ok(None)
    }

    /// Takes an element apart that stands in this stream.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(&self, element: &[u8]) -> Result<Element, StreamFault> {
        Element::parse_within(element, &self.prefixes)
    }

    /// The scanner's own step, for bytes that pass as they are.
    ///
    /// # Errors
    /// What the scanner says.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step, StreamFault> {
        let step = self.scanner.step(bytes)?;
        // It always reads on: nothing here may turn in a circle on the day it does not.
        if step.consumed == 0 { Err(STUCK) } else { Ok(step) }
    }

    /// Whether something of ours may be put in here.
    pub(super) fn between(&self) -> bool {
        self.scanner.between()
    }
}

const STUCK: StreamFault = StreamFault::new(Condition::InternalServerError, "Nothing was read.");
