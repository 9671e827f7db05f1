//! Where a message ends: the one length rule that the stream framer and the parser share.
//!
//! A head ends at the first CR LF CR LF. A header line ends at a CR LF that no space or tab
//! follows. Whatever the parser accepts, the framer cuts at the same octet, because both ask here.

use crate::header::Name;
use crate::value;

/// The end of the logical line that starts at `start`: the position of its CR LF. `None` if the
/// bytes end first.
pub(crate) fn line_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let feed = at + memchr::memchr(b'\n', bytes.get(at..)?)?;
        let ends = feed > start && bytes[feed - 1] == b'\r' && !matches!(bytes.get(feed + 1), Some(b' ' | b'\t'));
        if ends {
            return Some(feed - 1);
        }
        at = feed + 1;
    }
}

/// Splits a header line at its colon: the name without the white space that RFC 3261 §25.1 allows
/// before the colon, and the position after the colon. `None` if there is no well-formed name.
pub(crate) fn name_of(line: &[u8]) -> Option<(&[u8], usize)> {
    let length = value::token_length(line);
    if length == 0 {
        return None;
    }
    let mut at = length;
    while matches!(line.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    (line.get(at) == Some(&b':')).then(|| (&line[..length], at + 1))
}

/// Why no length can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LengthFault {
    /// No Content-Length.
    Missing,
    /// Not a number, or two that differ.
    Malformed,
}

/// The Content-Length a head declares; saturates at `usize::MAX`.
pub(crate) fn content_length(head: &[u8]) -> Result<usize, LengthFault> {
    let mut found = None;
    let mut at = line_end(head, 0).map_or(head.len(), |end| end + 2);
    while let Some(end) = line_end(head, at).filter(|&end| end > at) {
        let line = &head[at..end];
        at = end + 2;
        if !matches!(line.first(), Some(b'C' | b'c' | b'L' | b'l')) {
            continue;
        }
        let Some((name, after)) = name_of(line) else { continue };
        if Name::recognise(name) != Name::ContentLength {
            continue;
        }
        let length = value::digits(value::trim(&line[after..])).ok_or(LengthFault::Malformed)?;
        if found.is_some_and(|earlier| earlier != length) {
            return Err(LengthFault::Malformed);
        }
        found = Some(length);
    }
    found.map(|length| usize::try_from(length).unwrap_or(usize::MAX)).ok_or(LengthFault::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(lines: &str) -> Result<usize, LengthFault> {
        content_length(format!("INVITE sip:a@b SIP/2.0\r\n{lines}\r\n\r\n").as_bytes())
    }

    #[test]
    fn every_spelling_counts() {
        for line in ["Content-Length: 12", "l:12", "L :\r\n 12", "CONTENT-LENGTH\t: 0012 ", "X: l\r\nl: 12"] {
            assert_eq!(length(line), Ok(12), "{line:?}");
        }
    }

    #[test]
    fn hidden_and_differing_ones_do_not() {
        assert_eq!(length("X: y\r\n l: 12"), Err(LengthFault::Missing));
        assert_eq!(length("X: y\nContent-Length: 12"), Err(LengthFault::Missing));
        assert_eq!(length("l: 12\r\nContent-Length: 5"), Err(LengthFault::Malformed));
        for bad in ["+0", "-1", "1 2", "", "0x1", "1,1"] {
            assert_eq!(length(&format!("l: {bad}")), Err(LengthFault::Malformed), "{bad:?}");
        }
        assert_eq!(length("l: 18446744073709551621"), Ok(usize::MAX));
    }
}
