//! Bytes and letters: which end a run of plain ones, and UTF-8 read strictly.

use crate::condition::{Condition, StreamFault};

/// Ends a run of plain text: `<`, `&`, `]`, whatever XML does not allow, and all beyond ASCII.
pub(super) const TEXT: u8 = 1;
/// Ends a run within an attribute's value: quotes, `<`, `&`, white space but the blank, and as above.
pub(super) const VALUE: u8 = 2;
/// Ends a name: all ASCII that is no part of one (the colon is), and all beyond ASCII.
pub(super) const NAME: u8 = 4;
/// Ends a run within CDATA.
pub(super) const CDATA: u8 = 8;
/// Ends white space.
pub(super) const SPACE: u8 = 16;

/// What each byte ends.
static ENDS: [u8; 256] = ends();

const fn ends() -> [u8; 256] {
    let mut table = [0; 256];
    let mut place = 0;
    let mut byte = 0_u8;
    loop {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let barred = byte >= 0x80 || (byte < 0x20 && !space);
        let mut ends = 0;
        if barred || matches!(byte, b'<' | b'&' | b']') {
            ends |= TEXT;
        }
        if barred || matches!(byte, b'<' | b'&' | b'\'' | b'"' | b'\t' | b'\n' | b'\r') {
            ends |= VALUE;
        }
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':')) {
            ends |= NAME;
        }
        if barred || byte == b']' {
            ends |= CDATA;
        }
        if !space {
            ends |= SPACE;
        }
        table[place] = ends;
        place += 1;
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// Whether `byte` ends a run of that kind.
#[inline]
pub(super) fn ends_run(byte: u8, kind: u8) -> bool {
    ENDS[usize::from(byte)] & kind != 0
}

/// How many bytes at the front belong to a run of that kind.
#[inline]
pub(super) fn run(bytes: &[u8], kind: u8) -> usize {
    bytes.iter().position(|byte| ends_run(*byte, kind)).unwrap_or(bytes.len())
}

/// How many bytes at the front are whole characters that XML allows, of which none in ASCII ends a run of that kind.
pub(super) fn wide_run(bytes: &[u8], kind: u8) -> usize {
    let end = bytes.iter().position(|byte| *byte < 0x80 && ends_run(*byte, kind)).unwrap_or(bytes.len());
    let bytes = bytes.get(..end).unwrap_or_default();
    let whole = std::str::from_utf8(bytes).map_or_else(|fault| fault.valid_up_to(), str::len);
    let bytes = bytes.get(..whole).unwrap_or_default();
    // The two characters of UTF-8 that are none in XML, U+FFFE and U+FFFF.
    let barred = |place: &usize| matches!(bytes.get(*place..), Some([_, 0xbf, 0xbe | 0xbf, ..]));
    memchr::memchr_iter(0xef, bytes).find(barred).unwrap_or(whole)
}

/// What bytes that begin with one beyond ASCII are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// A character and how many bytes it has.
    Whole(u32, usize),
    /// The beginning of one.
    Cut,
}

/// Reads one character (RFC 3629 §4): no longer form than needed, no surrogates, nothing beyond U+10FFFF. Empty bytes are
/// the beginning of any.
pub(super) fn letter(bytes: &[u8]) -> Result<Letter, StreamFault> {
    let Some(&first) = bytes.first() else { return Ok(Letter::Cut) };
    let (length, second, mut letter) = match first {
        0..0x80 => return Ok(Letter::Whole(u32::from(first), 1)),
        0xc2..=0xdf => (2, 0x80..=0xbf, u32::from(first & 0x1f)),
        0xe0 => (3, 0xa0..=0xbf, 0),
        0xe1..=0xec | 0xee..=0xef => (3, 0x80..=0xbf, u32::from(first & 0x0f)),
        0xed => (3, 0x80..=0x9f, 0x0d),
        0xf0 => (4, 0x90..=0xbf, 0),
        0xf1..=0xf3 => (4, 0x80..=0xbf, u32::from(first & 0x07)),
        0xf4 => (4, 0x80..=0x8f, 4),
        0x80..=0xc1 | 0xf5..=0xff => return Err(NO_UTF8),
    };
    for place in 1..length {
        let Some(&byte) = bytes.get(place) else { return Ok(Letter::Cut) };
        let good = if place == 1 { second.contains(&byte) } else { (0x80..=0xbf).contains(&byte) };
        if !good {
            return Err(NO_UTF8);
        }
        letter = letter << 6 | u32::from(byte & 0x3f);
    }
    if is_char(letter) { Ok(Letter::Whole(letter, length)) } else { Err(NO_CHAR) }
}

/// Whether XML allows the character at all (XML 1.0 §2.2).
pub(super) fn is_char(letter: u32) -> bool {
    matches!(letter, 0x09 | 0x0a | 0x0d | 0x20..0xd800 | 0xe000..0xfffe | 0x1_0000..0x11_0000)
}

const NO_UTF8: StreamFault = StreamFault::new(Condition::UnsupportedEncoding, "The stream is not UTF-8.");
pub(super) const NO_CHAR: StreamFault =
    StreamFault::new(Condition::NotWellFormed, "XML does not allow this character.");
