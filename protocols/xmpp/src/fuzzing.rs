//! What must hold for any bytes whatever, as functions that panic where it does not. The fuzz targets, the
//! property tests and the replay of the committed corpora all run these.
//!
//! Not for production code: everything else in this crate promises not to panic.

mod router;

use crate::condition::{Condition, StreamFault};
use crate::element::{Element, Header};
use crate::limits::{HEADER_BYTES_MAX, KEPT_BYTES_MAX, NAME_BYTES_MAX};
use crate::scan::{Boundary, Bounds, Scanner};

pub use router::xmpp_router;

/// Small bounds, so that small input meets them.
const NARROW: Bounds = Bounds {
    header_bytes: 256,
    stanza_bytes: 128,
    attribute_bytes: 32,
    open_bytes: 320,
    depth: 4,
    attributes: 4,
    name_bytes: 16,
    prefixes: 3,
};

/// How a scanner read a stream: what it cut and where, and what it refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// The end of every header, element and stream, with what it is. White space is left out.
    pub cuts: Vec<(usize, Boundary)>,
    /// Why it read no further.
    pub fault: Option<StreamFault>,
}

/// Reads `bytes` in pieces of one size.
///
/// # Panics
///
/// Where a step is not what is promised of it.
#[must_use]
pub fn read(bytes: &[u8], piece: usize, bounds: Bounds) -> Reading {
    let mut scanner = Scanner::new(bounds);
    let (mut reading, mut at) = (Reading { cuts: Vec::new(), fault: None }, 0);
    for piece in bytes.chunks(piece.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            let step = match scanner.step(rest) {
                Ok(step) => step,
                Err(fault) => {
                    assert_eq!(scanner.step(b"<a/>"), Err(fault), "what is broken stays so");
                    assert!(!scanner.between(), "nothing can be put into a broken stream");
                    reading.fault = Some(fault);
                    return reading;
                }
            };
            assert!(step.consumed > 0 && step.consumed <= rest.len(), "a step goes on: {step:?}");
            assert!(step.event.is_some() || step.consumed == rest.len(), "or is done: {step:?}");
            let held = size_of::<Scanner>() + 2 * 2 * usize::from(bounds.open_bytes.max(KEPT_BYTES_MAX));
            assert!(scanner.memory() <= held, "{} bytes are held", scanner.memory());
            at += step.consumed;
            rest = rest.get(step.consumed..).unwrap_or_default();
            match step.event {
                Some(Boundary::Whitespace) | None => {}
                Some(event) => {
                    assert_eq!(scanner.between(), event != Boundary::Close, "{event:?}");
                    reading.cuts.push((at, event));
                }
            }
        }
    }
    reading
}

/// Takes the first byte for the size of pieces, the rest for what one side of a stream sends, and shows it to scanners
/// whole and in pieces, with wide bounds and narrow ones. All see the same. Elements that were cut can be taken apart, and
/// what is written of them is read the same.
pub fn xmpp_scan(bytes: &[u8]) {
    let (piece, bytes) = bytes.split_first().map_or((1, bytes), |(first, rest)| (usize::from(*first).max(1), rest));
    for bounds in [Bounds::SIGNED_IN, NARROW] {
        let whole = read(bytes, bytes.len(), bounds);
        for piece in [1, piece] {
            assert_eq!(read(bytes, piece, bounds), whole, "cutting changes nothing");
        }
    }
    let reading = read(bytes, bytes.len(), Bounds::SIGNED_IN);
    let mut header = None;
    let mut begin = 0;
    for (end, event) in reading.cuts {
        let text = bytes.get(begin..end).unwrap_or_default();
        match event {
            Boundary::Header => {
                let read = Header::parse(text).expect("a header that was cut is one");
                check_header(&read);
                header = Some(read);
            }
            Boundary::Stanza => {
                let header = header.as_ref().expect("the header comes first");
                check_element(Element::parse_within(text, header));
            }
            Boundary::Whitespace | Boundary::Close => {}
        }
        begin = end;
    }
}

/// What was read and is written says the same.
fn check_element(element: Result<Element, StreamFault>) {
    // What one may send is more than what is taken apart.
    let Ok(element) = element else { return };
    let written = element.to_xml();
    match Element::parse(written.as_bytes()) {
        Ok(again) => assert!(again == element, "{written}: {again:?} and not {element:?}"),
        Err(fault) => {
            // It has other prefixes, declared where they are used, and more references: much may have become too much.
            let is_much = written.len() > usize::from(NAME_BYTES_MAX);
            assert!(is_much && fault.condition == Condition::PolicyViolation, "{written}: {fault:?}");
        }
    }
}

/// The same for headers.
fn check_header(header: &Header) {
    let written = header.to_xml();
    let again = Header::parse(written.as_bytes());
    let is_too_long = written.len() > HEADER_BYTES_MAX as usize && again.is_err();
    assert!(is_too_long || again.as_ref() == Ok(header), "{written}: {again:?}");
}

/// Takes the bytes for one element, and for one header.
pub fn xmpp_element(bytes: &[u8]) {
    check_element(Element::parse(bytes));
    if let Ok(header) = Header::parse(bytes) {
        check_header(&header);
    }
}
