//! Where the body of an answer ends (RFC 9112 §6.3), and the pieces of it.

use bytes::{Buf as _, Bytes, BytesMut};

use super::limits::{ANSWER_HEAD_BYTES_MAX, CHUNK_LINE_BYTES_MAX};

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; nothing more if none.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked(Chunk),
    /// All until the connection ends.
    UntilEnd,
}

/// Where in the chunks we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Before the line with the size of the next one.
    Size,
    /// In one, with so many bytes to come.
    Data(u64),
    /// Before the end of line behind one.
    DataEnd,
    /// In the trailers, of which so many bytes were read. They go to nobody (RFC 9110 §6.5.1).
    Trailers(usize),
    /// Behind it all.
    Done,
}

/// What can be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These bytes.
    Piece(Bytes),
    /// It was all.
    End,
    /// More has to be read: so many bytes would be good.
    More(usize),
    /// What came is no body.
    Broken(&'static str),
}

impl Framing {
    /// The length, where it is known.
    pub(super) const fn length(self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(left),
            Self::Chunked(_) | Self::UntilEnd => None,
        }
    }

    /// Whether nothing more comes.
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// Takes what it can from what was read.
    pub(super) fn step(&mut self, read: &mut BytesMut) -> Step {
        match self {
            Self::Length(0) => Step::End,
            Self::Length(left) => piece(read, left),
            Self::UntilEnd if read.is_empty() => Step::More(0),
            Self::UntilEnd => Step::Piece(read.split().freeze()),
            Self::Chunked(chunk) => chunk.step(read),
        }
    }
}

impl Chunk {
    fn step(&mut self, read: &mut BytesMut) -> Step {
        loop {
            match self {
                Self::Size => {
                    let line = match line(read, CHUNK_LINE_BYTES_MAX) {
                        Line::Here(length) => read.split_to(length),
                        Line::Partial => return Step::More(0),
                        Line::Broken => return Step::Broken("a chunk has no size"),
                    };
                    // The parser takes no digits for none.
                    if !line.first().is_some_and(u8::is_ascii_hexdigit) {
                        return Step::Broken("a chunk has no size");
                    }
                    *self = match httparse::parse_chunk_size(&line) {
                        Ok(httparse::Status::Complete((_, 0))) => Self::Trailers(0),
                        Ok(httparse::Status::Complete((_, size))) => Self::Data(size),
                        Ok(httparse::Status::Partial) | Err(_) => return Step::Broken("a chunk has no size"),
                    };
                }
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => return piece(read, left),
                Self::DataEnd => match (read.first(), read.get(1)) {
                    (Some(b'\r'), Some(b'\n')) => {
                        read.advance(2);
                        *self = Self::Size;
                    }
                    (None | Some(b'\r'), None) => return Step::More(0),
                    _ => return Step::Broken("a chunk is longer than it says"),
                },
                Self::Trailers(bytes) => match line(read, ANSWER_HEAD_BYTES_MAX.saturating_sub(*bytes)) {
                    Line::Here(2) => {
                        read.advance(2);
                        *self = Self::Done;
                    }
                    Line::Here(length) => {
                        *bytes += length;
                        read.advance(length);
                    }
                    Line::Partial => return Step::More(0),
                    Line::Broken => return Step::Broken("its trailers are none"),
                },
                Self::Done => return Step::End,
            }
        }
    }
}

/// As much as there is of `left` bytes.
fn piece(read: &mut BytesMut, left: &mut u64) -> Step {
    if read.is_empty() {
        return Step::More(usize::try_from(*left).unwrap_or(usize::MAX));
    }
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    *left = left.saturating_sub(here as u64);
    Step::Piece(read.split_to(here).freeze())
}

enum Line {
    /// It has so many bytes, with its end.
    Here(usize),
    Partial,
    /// It is longer than it may be, or ends in no CRLF.
    Broken,
}

fn line(read: &[u8], bytes_max: usize) -> Line {
    match read.iter().take(bytes_max).position(|byte| *byte == b'\n') {
        Some(at) if at > 0 && read.get(at - 1) == Some(&b'\r') => Line::Here(at + 1),
        Some(_) => Line::Broken,
        None if read.len() >= bytes_max => Line::Broken,
        None => Line::Partial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out where `text` arrives in pieces of `step` bytes, and what is left behind it.
    fn all(mut framing: Framing, text: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        let (mut read, mut body) = (BytesMut::new(), Vec::new());
        let mut arriving = text.chunks(step);
        loop {
            match framing.step(&mut read) {
                Step::Piece(bytes) => body.extend_from_slice(&bytes),
                Step::End => {
                    read.extend(arriving.flatten());
                    return Ok((body, read.to_vec()));
                }
                Step::More(_) => match arriving.next() {
                    Some(bytes) => read.extend_from_slice(bytes),
                    None if framing == Framing::UntilEnd => return Ok((body, Vec::new())),
                    None => return Err("more"),
                },
                Step::Broken(why) => return Err(why),
            }
        }
    }

    /// What is to come, what comes, and the body with what is behind it.
    type Case<'a> = (Framing, &'a str, Result<(&'a str, &'a str), &'a str>);

    #[test]
    fn bodies_end_where_they_say_however_they_are_cut() {
        let chunked = Framing::Chunked(Chunk::Size);
        let long = format!("1{}\r\n", ";".repeat(CHUNK_LINE_BYTES_MAX));
        let cases: &[Case<'_>] = &[
            (Framing::Length(0), "next", Ok(("", "next"))),
            (Framing::Length(5), "hellonext", Ok(("hello", "next"))),
            (Framing::Length(5), "hell", Err("more")),
            (Framing::UntilEnd, "hello", Ok(("hello", ""))),
            (chunked, "5\r\nhello\r\n0\r\n\r\nnext", Ok(("hello", "next"))),
            (chunked, "2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nA: b\r\nC: d\r\n\r\n", Ok(("hello", ""))),
            (chunked, "5\r\nhello\r\n0\r\n", Err("more")),
            (chunked, "5\r\nhell", Err("more")),
            (chunked, "5\r\nhelloX\r\n", Err("a chunk is longer than it says")),
            (chunked, "5\r\nhello\rX", Err("a chunk is longer than it says")),
            (chunked, "5\nhello\r\n", Err("a chunk has no size")),
            (chunked, "\r\nhello\r\n", Err("a chunk has no size")),
            (chunked, "-5\r\nhello\r\n", Err("a chunk has no size")),
            (chunked, "5 5\r\nhello\r\n", Err("a chunk has no size")),
            (chunked, "fffffffffffffffff\r\nhello\r\n", Err("a chunk has no size")),
            (chunked, &long, Err("a chunk has no size")),
            (chunked, "0\r\nA: b\n\r\n", Err("its trailers are none")),
        ];
        for (framing, text, wanted) in cases {
            for step in [1, 2, 3, 1000] {
                let wanted = wanted.map(|(body, rest)| (body.as_bytes().to_vec(), rest.as_bytes().to_vec()));
                assert_eq!(all(*framing, text.as_bytes(), step), wanted, "{text:?} in pieces of {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..20) {
            let whole = all(Framing::Chunked(Chunk::Size), &bytes, 1000);
            prop_assert_eq!(all(Framing::Chunked(Chunk::Size), &bytes, step), whole);
        }
    }
}
