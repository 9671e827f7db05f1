//! The scanner's states, and what each does with a byte.

use crate::condition::{Condition, StreamFault};
use crate::limits::DECLARATION_BYTES_MAX;
use crate::scan::letters::{
    CDATA, Letter, NAME, NO_CHAR, SPACE, TEXT, VALUE, ends_run, is_char, letter, run, wide_run,
};
use crate::scan::name::{continues_name, starts_name};
use crate::scan::open::{Declaring, Opened};
use crate::scan::{Boundary, Scanner, Step, declaration};

/// Where in the stream's text a scanner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing was read.
    Start,
    /// Before the header, where no XML declaration may stand any more.
    Before,
    /// Behind `<`, where one may.
    StartOpen,
    /// In it.
    Declaration,
    /// Behind it.
    AfterDeclaration,
    /// Between tags.
    Content,
    /// There, behind `]`.
    Brackets,
    /// Behind `<`.
    Open,
    /// Behind `<!`.
    Bang,
    /// In `<![CDATA[`.
    CdataOpen,
    /// Behind it.
    Cdata,
    /// There, behind `]`.
    CdataBrackets,
    /// In the name of a start tag.
    ElementName,
    /// Behind it or behind a value: not yet at another attribute.
    AfterValue,
    /// Behind white space in a start tag.
    InTag,
    /// In the name of an attribute.
    AttributeName,
    /// Behind it.
    BeforeEquals,
    /// Behind `=`.
    BeforeValue,
    /// Within quotes.
    Value,
    /// Behind `/` in a start tag.
    Empty,
    /// In the name of an end tag.
    EndName,
    /// Behind it.
    AfterEndName,
    /// Behind `&`.
    Reference,
    /// In the name of an entity.
    EntityName,
    /// Behind `&#`.
    Number,
    /// In a decimal number.
    Decimal,
    /// Behind `&#x`.
    HexStart,
    /// In a hexadecimal number.
    Hex,
    /// Behind the end of the stream.
    Closed,
}

const CDATA_OPEN: &[u8] = b"CDATA[";
/// Larger than any character.
const TOO_LARGE: u32 = 0x11_0000;

impl Scanner {
    /// Reads up to the next boundary or to the end. What comes first is no white space outside of everything.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Step, StreamFault> {
        let mut at = self.complete(bytes)?;
        while let Some((&byte, behind)) = bytes.get(at..).and_then(<[u8]>::split_first) {
            let rest = bytes.get(at..).unwrap_or_default();
            match self.state {
                State::Content => at += self.content(byte, rest)?,
                State::Value => at += self.value(byte, rest, at)?,
                State::ElementName | State::AttributeName => at += self.name(byte, rest)?,
                State::InTag | State::AfterValue => {
                    let blank = run(rest, SPACE);
                    if blank > 0 {
                        self.state = State::InTag;
                        at += blank;
                        continue;
                    }
                    match byte {
                        b'>' => {
                            at += 1;
                            if let Some(event) = self.end_tag(false)? {
                                return Ok(Step { consumed: at, event: Some(event) });
                            }
                        }
                        b'/' => {
                            self.state = State::Empty;
                            at += 1;
                        }
                        _ if self.state == State::InTag => self.begin_attribute()?,
                        _ => return Err(malformed("A tag has something else than an attribute.")),
                    }
                }
                State::BeforeEquals | State::BeforeValue => at += self.before_value(byte, rest, at)?,
                State::Empty => {
                    if byte != b'>' {
                        return Err(malformed("A tag has a slash within."));
                    }
                    at += 1;
                    if let Some(event) = self.end_tag(true)? {
                        return Ok(Step { consumed: at, event: Some(event) });
                    }
                }
                State::Open | State::StartOpen => at += self.opened(byte)?,
                State::EndName => at += self.end_name(rest)?,
                State::AfterEndName => {
                    if byte == b'>' {
                        at += 1;
                        if let Some(event) = self.close() {
                            return Ok(Step { consumed: at, event: Some(event) });
                        }
                    } else if ends_run(byte, SPACE) {
                        return Err(malformed("An end tag has an attribute, or another name than its start tag."));
                    } else {
                        at += 1 + run(behind, SPACE);
                    }
                }
                State::Brackets | State::CdataBrackets => at += self.brackets(byte)?,
                State::Bang => {
                    self.bang(byte)?;
                    at += 1;
                }
                State::CdataOpen => {
                    self.cdata_open(byte)?;
                    at += 1;
                }
                State::Cdata => at += self.cdata(byte, rest)?,
                State::Reference
                | State::EntityName
                | State::Number
                | State::Decimal
                | State::HexStart
                | State::Hex => {
                    self.reference(byte)?;
                    at += 1;
                }
                State::Start | State::Before | State::Declaration | State::AfterDeclaration | State::Closed => {
                    self.outside(byte)?;
                    at += 1;
                }
            }
        }
        Ok(Step { consumed: bytes.len(), event: None })
    }

    /// Before the header, and behind the end.
    fn outside(&mut self, byte: u8) -> Result<(), StreamFault> {
        match (self.state, byte) {
            (State::Start, b'<') => self.state = State::StartOpen,
            (State::Before | State::AfterDeclaration, b'<') => self.state = State::Open,
            (State::AfterDeclaration, _) if !ends_run(byte, SPACE) => {}
            (State::Declaration, _) => self.declaration(byte)?,
            (State::Closed, _) => return Err(StreamFault::new(Condition::BadFormat, "The stream has ended.")),
            (_, 0 | 0xfe | 0xff) => return Err(OTHER_ENCODING),
            _ => return Err(NO_XML),
        }
        Ok(())
    }

    fn declaration(&mut self, byte: u8) -> Result<(), StreamFault> {
        self.open.push_name(&[byte]);
        let length = self.open.name_bytes();
        let target = match length {
            1..=3 => b"xml".get(length - 1) == Some(&byte),
            4 => !ends_run(byte, SPACE),
            _ => true,
        };
        if !target {
            return Err(INSTRUCTION);
        }
        if byte == b'>' {
            declaration::check(self.open.name())?;
            self.open.clear();
            self.state = State::AfterDeclaration;
        } else if length >= usize::from(DECLARATION_BYTES_MAX) {
            return Err(policy("The XML declaration is too large."));
        }
        Ok(())
    }

    /// Behind `<`.
    fn opened(&mut self, byte: u8) -> Result<usize, StreamFault> {
        let start = self.state == State::StartOpen;
        let depth = self.open.depth();
        match byte {
            b'/' if depth > 0 => {
                self.matched = 0;
                self.state = State::EndName;
                Ok(1)
            }
            b'!' => {
                self.state = State::Bang;
                Ok(1)
            }
            b'?' if start => {
                self.open.begin_element();
                self.state = State::Declaration;
                Ok(1)
            }
            b'?' => Err(INSTRUCTION),
            0 if depth == 0 => Err(OTHER_ENCODING),
            _ if depth >= self.bounds.depth => Err(policy("Elements are nested too deeply.")),
            _ => {
                self.open.begin_element();
                self.state = State::ElementName;
                Ok(0)
            }
        }
    }

    fn name(&mut self, byte: u8, rest: &[u8]) -> Result<usize, StreamFault> {
        let plain = run(rest, NAME);
        if plain > 0 {
            if self.open.name_bytes() == 0 && !starts_name(u32::from(byte)) {
                return Err(NO_NAME);
            }
            self.push_name(rest.get(..plain).unwrap_or_default())?;
            return Ok(plain);
        }
        if byte >= 0x80 {
            return self.letter(rest);
        }
        if self.open.name_bytes() == 0 {
            return Err(NO_NAME);
        }
        if self.state == State::ElementName {
            self.open.end_element()?;
            self.state = State::AfterValue;
        } else {
            self.open.end_attribute()?;
            if self.open.declaring() == Declaring::Prefix && self.open.prefix_count() >= self.bounds.prefixes {
                return Err(policy("Too many prefixes are declared."));
            }
            self.state = State::BeforeEquals;
        }
        Ok(0)
    }

    fn push_name(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        if self.open.name_bytes() + bytes.len() > usize::from(self.bounds.name_bytes) {
            return Err(policy("A name is too long."));
        }
        self.fits(bytes.len())?;
        self.open.push_name(bytes);
        Ok(())
    }

    /// Whether so much more may be kept.
    #[inline]
    fn fits(&self, bytes: usize) -> Result<(), StreamFault> {
        // More than what is written down beside any name.
        const BESIDE: usize = 16;
        if self.open.bytes() + bytes + BESIDE > usize::from(self.bounds.open_bytes) {
            return Err(policy("The names of open elements are too long."));
        }
        Ok(())
    }

    fn begin_attribute(&mut self) -> Result<(), StreamFault> {
        if self.open.attributes() >= self.bounds.attributes {
            return Err(policy("An element has too many attributes."));
        }
        self.fits(0)?;
        self.open.begin_attribute();
        self.state = State::AttributeName;
        Ok(())
    }

    fn before_value(&mut self, byte: u8, rest: &[u8], at: usize) -> Result<usize, StreamFault> {
        let blank = run(rest, SPACE);
        if blank > 0 {
            return Ok(blank);
        }
        match (self.state, byte) {
            (State::BeforeEquals, b'=') => self.state = State::BeforeValue,
            (State::BeforeValue, b'\'' | b'"') => {
                self.quote = byte;
                self.value_at = self.place(at + 1);
                self.state = State::Value;
            }
            _ => return Err(malformed("An attribute has no value in quotes.")),
        }
        Ok(1)
    }

    /// Bytes of the header or element at hand, up to a place in this step.
    #[inline]
    fn place(&self, at: usize) -> u32 {
        self.used.saturating_add(u32::try_from(at).unwrap_or(u32::MAX))
    }

    fn value(&mut self, byte: u8, rest: &[u8], at: usize) -> Result<usize, StreamFault> {
        if byte == self.quote {
            self.quote = 0;
            self.open.end_value()?;
            self.state = State::AfterValue;
            return Ok(1);
        }
        let count = self.within_value(byte, rest)?;
        // Of a character that is cut nothing counts before all of it does.
        if self.cut_bytes == 0 {
            self.value_fits(at + count)?;
        }
        Ok(count)
    }

    fn within_value(&mut self, byte: u8, rest: &[u8]) -> Result<usize, StreamFault> {
        let plain = run(rest, VALUE);
        if plain > 0 {
            self.push_namespace(rest.get(..plain).unwrap_or_default())?;
            return Ok(plain);
        }
        match byte {
            b'&' => self.state = State::Reference,
            b'\'' | b'"' | b'\t' | b'\n' | b'\r' => self.push_namespace(&[byte])?,
            0x80.. => return self.wide(rest, VALUE),
            b'<' => return Err(malformed("An attribute has a \"less than\" in its value.")),
            _ => return Err(NO_CHAR),
        }
        Ok(1)
    }

    /// Whether a value may reach to a place in this step.
    fn value_fits(&self, at: usize) -> Result<(), StreamFault> {
        if self.place(at).saturating_sub(self.value_at) > self.bounds.attribute_bytes {
            return Err(policy("The value of an attribute is too long."));
        }
        Ok(())
    }

    #[inline]
    fn push_namespace(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        if self.open.declaring() != Declaring::Nothing {
            self.fits(bytes.len())?;
            self.open.push_namespace(bytes);
        }
        Ok(())
    }

    fn end_tag(&mut self, empty: bool) -> Result<Option<Boundary>, StreamFault> {
        let opened = self.open.end_tag(empty)?;
        self.state = State::Content;
        Ok(match opened {
            Opened::Stream => Some(Boundary::Header),
            Opened::Element if empty && self.open.depth() == 1 => Some(Boundary::Stanza),
            Opened::Element => None,
        })
    }

    fn end_name(&mut self, rest: &[u8]) -> Result<usize, StreamFault> {
        let name = self.open.innermost();
        let wanted = name.get(usize::from(self.matched)..).unwrap_or_default();
        let count = wanted.len().min(rest.len());
        if wanted.get(..count) != rest.get(..count) {
            return Err(malformed("An end tag has another name than its start tag."));
        }
        if count == wanted.len() {
            self.state = State::AfterEndName;
        }
        self.matched = self.matched.saturating_add(u16::try_from(count).unwrap_or(u16::MAX));
        Ok(count)
    }

    fn close(&mut self) -> Option<Boundary> {
        self.open.close();
        self.state = if self.open.depth() == 0 { State::Closed } else { State::Content };
        match self.open.depth() {
            0 => Some(Boundary::Close),
            1 => Some(Boundary::Stanza),
            _ => None,
        }
    }

    fn content(&mut self, byte: u8, rest: &[u8]) -> Result<usize, StreamFault> {
        if byte == b'<' {
            self.state = State::Open;
            return Ok(1);
        }
        if self.open.depth() < 2 {
            // One byte is all that may be looked at: the next may come later.
            return Err(match letter(&[byte]) {
                Err(fault) => fault,
                Ok(_) if byte < b' ' => NO_CHAR,
                Ok(_) => TEXT_BETWEEN,
            });
        }
        match byte {
            b'&' => self.state = State::Reference,
            b']' => {
                self.matched = 1;
                self.state = State::Brackets;
            }
            0x80.. => return self.wide(rest, TEXT),
            _ => {
                let plain = run(rest, TEXT);
                return if plain == 0 { Err(NO_CHAR) } else { Ok(plain) };
            }
        }
        Ok(1)
    }

    /// Behind `<!`.
    fn bang(&mut self, byte: u8) -> Result<(), StreamFault> {
        match (byte, self.open.depth()) {
            (b'-', _) => Err(restricted("XMPP does not allow comments.")),
            (b'[', 2..) => {
                self.matched = 0;
                self.state = State::CdataOpen;
                Ok(())
            }
            (b'[', 1) => Err(TEXT_BETWEEN),
            (b'A'..=b'Z' | b'a'..=b'z', _) => Err(restricted("XMPP does not allow document types.")),
            _ => Err(NO_XML),
        }
    }

    fn cdata_open(&mut self, byte: u8) -> Result<(), StreamFault> {
        if CDATA_OPEN.get(usize::from(self.matched)) != Some(&byte) {
            return Err(NO_XML);
        }
        self.matched += 1;
        if usize::from(self.matched) == CDATA_OPEN.len() {
            self.state = State::Cdata;
        }
        Ok(())
    }

    fn cdata(&mut self, byte: u8, rest: &[u8]) -> Result<usize, StreamFault> {
        let plain = run(rest, CDATA);
        match byte {
            _ if plain > 0 => return Ok(plain),
            b']' => {
                self.matched = 1;
                self.state = State::CdataBrackets;
            }
            0x80.. => return self.wide(rest, CDATA),
            _ => return Err(NO_CHAR),
        }
        Ok(1)
    }

    /// Behind `]`: two of them and `>` end CDATA, and may not stand in other text (XML 1.0 §2.4).
    fn brackets(&mut self, byte: u8) -> Result<usize, StreamFault> {
        let in_cdata = self.state == State::CdataBrackets;
        match byte {
            b']' => self.matched = 2,
            b'>' if self.matched == 2 && in_cdata => self.state = State::Content,
            b'>' if self.matched == 2 => return Err(malformed("The end of CDATA stands in other text.")),
            _ => {
                self.state = if in_cdata { State::Cdata } else { State::Content };
                return Ok(0);
            }
        }
        Ok(1)
    }

    /// `&…;` in text and in values (XML 1.0 §4.1).
    fn reference(&mut self, byte: u8) -> Result<(), StreamFault> {
        let letter = match (self.state, byte) {
            (State::Reference, b'#') => {
                self.state = State::Number;
                return Ok(());
            }
            (State::Reference, 0x80..) => return Err(ENTITY),
            (State::Reference, _) if starts_name(u32::from(byte)) => {
                self.reference = u32::from(byte);
                self.state = State::EntityName;
                return Ok(());
            }
            (State::EntityName, b';') => known_entity(self.reference).ok_or(ENTITY)?,
            (State::EntityName, 0x80..) => return Err(ENTITY),
            (State::EntityName, _) if continues_name(u32::from(byte)) => {
                // None of the five has more than four letters.
                if self.reference >> 24 != 0 {
                    return Err(ENTITY);
                }
                self.reference = self.reference << 8 | u32::from(byte);
                return Ok(());
            }
            (State::Number, b'x') => {
                self.state = State::HexStart;
                return Ok(());
            }
            (State::Number, b'0'..=b'9') => {
                self.reference = u32::from(byte - b'0');
                self.state = State::Decimal;
                return Ok(());
            }
            (State::Decimal, b'0'..=b'9') => {
                self.reference = (self.reference * 10 + u32::from(byte - b'0')).min(TOO_LARGE);
                return Ok(());
            }
            (State::HexStart | State::Hex, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let before = if self.state == State::HexStart { 0 } else { self.reference };
                self.reference = (before << 4 | digit).min(TOO_LARGE);
                self.state = State::Hex;
                return Ok(());
            }
            (State::Decimal | State::Hex, b';') if is_char(self.reference) => self.reference,
            (State::Decimal | State::Hex, b';') => return Err(NO_CHAR),
            _ => return Err(malformed("An ampersand begins no reference.")),
        };
        self.state = if self.quote == 0 { State::Content } else { State::Value };
        let mut buffer = [0; 4];
        let text = char::from_u32(letter).map(|letter| letter.encode_utf8(&mut buffer).len()).unwrap_or_default();
        self.push_namespace(buffer.get(..text).unwrap_or_default())
    }

    /// Characters of which the first is beyond ASCII, in text or a value, up to what ends a run of `kind`.
    fn wide(&mut self, bytes: &[u8], kind: u8) -> Result<usize, StreamFault> {
        let whole = wide_run(bytes, kind);
        if whole == 0 {
            return self.letter(bytes);
        }
        self.push_namespace(bytes.get(..whole).unwrap_or_default())?;
        Ok(whole)
    }

    /// A character beyond ASCII at the front of `bytes`, in text, a value or a name. How many of them were read.
    fn letter(&mut self, bytes: &[u8]) -> Result<usize, StreamFault> {
        match letter(bytes)? {
            Letter::Whole(letter, length) => {
                self.take_letter(letter, bytes.get(..length).unwrap_or_default())?;
                Ok(length)
            }
            Letter::Cut => {
                for (place, byte) in self.cut.iter_mut().zip(bytes) {
                    *place = *byte;
                }
                // At most three: with four it would not be cut.
                self.cut_bytes = u8::try_from(bytes.len()).unwrap_or_default();
                Ok(bytes.len())
            }
        }
    }

    /// Goes on with a character that was cut.
    fn complete(&mut self, bytes: &[u8]) -> Result<usize, StreamFault> {
        if self.cut_bytes == 0 {
            return Ok(0);
        }
        let before = usize::from(self.cut_bytes);
        let mut whole = [0; 6];
        let begun = self.cut.iter().take(before).chain(bytes.iter().take(3));
        let length = whole.iter_mut().zip(begun).map(|(place, byte)| *place = *byte).count();
        self.cut_bytes = 0;
        let whole = whole.get(..length).unwrap_or_default();
        Ok(match letter(whole)? {
            Letter::Whole(letter, length) => {
                self.take_letter(letter, whole.get(..length).unwrap_or_default())?;
                let count = length.saturating_sub(before);
                if self.state == State::Value {
                    self.value_fits(count)?;
                }
                count
            }
            Letter::Cut => self.letter(whole)?.saturating_sub(before),
        })
    }

    fn take_letter(&mut self, letter: u32, bytes: &[u8]) -> Result<(), StreamFault> {
        if matches!(self.state, State::ElementName | State::AttributeName) {
            let first = self.open.name_bytes() == 0;
            if !(if first { starts_name(letter) } else { continues_name(letter) }) {
                return Err(NO_NAME);
            }
            return self.push_name(bytes);
        }
        if self.state == State::Value { self.push_namespace(bytes) } else { Ok(()) }
    }
}

/// The character of one of the five (XML 1.0 §4.6), whose name is the bytes of a number.
fn known_entity(name: u32) -> Option<u32> {
    let [a, b, c, d] = name.to_be_bytes();
    let letter = match [a, b, c, d] {
        [0, 0, b'l', b't'] => b'<',
        [0, 0, b'g', b't'] => b'>',
        [0, b'a', b'm', b'p'] => b'&',
        [b'a', b'p', b'o', b's'] => b'\'',
        [b'q', b'u', b'o', b't'] => b'"',
        _ => return None,
    };
    Some(u32::from(letter))
}

const NO_NAME: StreamFault = malformed("A name has a letter that none may have.");
const INSTRUCTION: StreamFault = restricted("XMPP does not allow processing instructions.");
const NO_XML: StreamFault = malformed("This is no XML.");
const TEXT_BETWEEN: StreamFault = StreamFault::new(Condition::BadFormat, "Text is between the elements of the stream.");
const ENTITY: StreamFault = restricted("XMPP does not allow entities.");
const OTHER_ENCODING: StreamFault = StreamFault::new(Condition::UnsupportedEncoding, "The stream is not UTF-8.");

const fn malformed(text: &'static str) -> StreamFault {
    StreamFault::new(Condition::NotWellFormed, text)
}

const fn restricted(text: &'static str) -> StreamFault {
    StreamFault::new(Condition::RestrictedXml, text)
}

const fn policy(text: &'static str) -> StreamFault {
    StreamFault::new(Condition::PolicyViolation, text)
}
