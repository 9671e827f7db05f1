//! Two parsers of different authors, one stream: what ours lets pass, the other one must read too, and cut at the same
//! places.
//!
//! Where they part, an edge sees other elements than the server behind it. What only the other one accepts is no finding.
//! The other one is stricter in three respects: the length of references, documents that say they do not stand alone, and
//! carriage returns in attribute values, which XML reads as line ends (XML 1.0 §2.11).

use edgeway_xmpp::fuzzing::{Reading, read};
use edgeway_xmpp::{Boundary, Bounds};
use rxml::parser::Options;
use rxml::{Event, Parse as _, WithOptions as _};

/// Where an XML declaration has ended.
const DECLARATION_BYTES: usize = 128;

/// Panics where the other parser reads what ours accepts otherwise. Returns how many elements were compared.
pub(crate) fn compare(bytes: &[u8]) -> usize {
    let ours = read(bytes, bytes.len(), Bounds::SIGNED_IN);
    let ours_end = ours.cuts.last().map_or(0, |(end, _)| *end);
    let passed = &bytes[..ours_end];
    if long_reference(passed) || not_alone(passed) || passed.contains(&b'\r') {
        return 0;
    }
    let theirs = their_cuts(passed);
    assert_eq!(theirs.as_ref().ok(), Some(&ours.cuts), "{}: {theirs:?}", passed.escape_ascii());
    let Reading { cuts, .. } = ours;
    cuts.iter().filter(|(_, event)| *event == Boundary::Stanza).count()
}

/// Whether there is a reference longer than the other parser reads.
fn long_reference(bytes: &[u8]) -> bool {
    let begins = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'&').map(|(at, _)| at);
    begins.into_iter().any(|at| bytes[at..].iter().take(9).all(|byte| *byte != b';'))
}

fn not_alone(bytes: &[u8]) -> bool {
    bytes.starts_with(b"<?") && bytes.windows(4).take(DECLARATION_BYTES).any(|four| matches!(four, b"'no'" | b"\"no\""))
}

fn their_cuts(bytes: &[u8]) -> Result<Vec<(usize, Boundary)>, String> {
    let mut parser = rxml::Parser::with_options(Options { max_token_length: 1 << 20, ..Options::default() });
    let (mut rest, mut depth, mut cuts) = (bytes, 0_usize, Vec::new());
    loop {
        let event = match parser.parse(&mut rest, false) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(cuts),
            Err(rxml::error::EndOrError::NeedMoreData) => return Ok(cuts),
            Err(fault) => return Err(format!("{fault:?} at {}", bytes.len() - rest.len())),
        };
        let at = bytes.len() - rest.len();
        match event {
            Event::StartElement(..) => {
                depth += 1;
                if depth == 1 {
                    cuts.push((at, Boundary::Header));
                }
            }
            Event::EndElement(_) => {
                depth -= 1;
                match depth {
                    0 => cuts.push((at, Boundary::Close)),
                    1 => cuts.push((at, Boundary::Stanza)),
                    _ => {}
                }
            }
            Event::XmlDeclaration(..) | Event::Text(..) => {}
        }
    }
}
