//! Byte-level grammar shared by all header fields (RFC 3261 §25.1): linear white space, tokens,
//! comma-separated values, parameters. Positions, not copies; nothing here allocates.

use std::ops::Range;

/// What a byte may be part of, as bits; a table, because every byte of every interpreted field is
/// asked.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < classes.len() {
        classes[at] = classes_of(at as u8);
        at += 1;
    }
    classes
};

const LWS: u8 = 1;
const TOKEN: u8 = 2;
const PARAM_NAME: u8 = 4;
const PARAM_VALUE: u8 = 8;
const URI: u8 = 16;
const HOST: u8 = 32;
const DISPLAY: u8 = 64;
const GRAPHIC: u8 = 128;

const fn classes_of(byte: u8) -> u8 {
    let lws = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let token = byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
    let delimits = matches!(byte, b'<' | b'>' | b'"');
    let separates = matches!(byte, b';' | b',');
    let mut classes = 0;
    if lws {
        classes |= LWS;
    }
    if token {
        classes |= TOKEN;
    }
    // Tokens, and the brackets some vendors put into names.
    if token || matches!(byte, b'[' | b']' | b'/' | b':' | b'&' | b'$') {
        classes |= PARAM_NAME;
    }
    // `gen-value` is token or host (RFC 3261 §25.1); real ones carry more. What could end the value
    // or the header is kept out.
    if byte.is_ascii_graphic() && !delimits && !separates {
        classes |= PARAM_VALUE;
    }
    // Printable ASCII without the delimiters that could end the URI in a header or start line.
    if byte.is_ascii_graphic() && !delimits {
        classes |= URI;
    }
    // Letters, digits, dots, hyphens; and the underscore, which no grammar allows and many sites use.
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
        classes |= HOST;
    }
    // An unquoted display name is made of tokens. Accepted beyond the grammar: letters outside ASCII
    // and punctuation that cannot be mistaken for structure.
    if lws || (byte > b' ' && byte != 0x7f && !delimits && !separates && byte != b'\\') {
        classes |= DISPLAY;
    }
    if byte.is_ascii_graphic() {
        classes |= GRAPHIC;
    }
    classes
}

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| is(byte, class))
}

/// The first position from `at` on whose byte is not of that class.
#[inline]
fn skip(bytes: &[u8], mut at: usize, class: u8) -> usize {
    while at < bytes.len() && is(bytes[at], class) {
        at += 1;
    }
    at
}

/// Linear white space, folding included: the line index leaves only CR LF pairs that fold.
pub(crate) fn is_lws(byte: u8) -> bool {
    is(byte, LWS)
}

/// `token` of RFC 3261 §25.1.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// How many bytes at the start are of a token.
pub(crate) fn token_length(bytes: &[u8]) -> usize {
    skip(bytes, 0, TOKEN)
}

pub(crate) fn is_uri_text(bytes: &[u8]) -> bool {
    all(bytes, URI)
}

pub(crate) fn is_display_name(bytes: &[u8]) -> bool {
    all(bytes, DISPLAY)
}

/// A word without white space, such as a Call-ID.
pub(crate) fn is_graphic(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, GRAPHIC)
}

/// The range of `range` within `bytes` without white space at either end.
pub(crate) fn trim_range(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let Range { mut start, mut end } = range;
    while start < end && is_lws(bytes[start]) {
        start += 1;
    }
    while end > start && is_lws(bytes[end - 1]) {
        end -= 1;
    }
    start..end
}

pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    &bytes[trim_range(bytes, 0..bytes.len())]
}

pub(crate) fn skip_lws(bytes: &[u8], at: usize) -> usize {
    skip(bytes, at, LWS)
}

/// The first white space.
pub(crate) fn find_lws(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| is_lws(byte))
}

/// Where the quoted string that opens at `open` ends: the position after its closing quote.
pub(crate) fn quoted_end(bytes: &[u8], open: usize) -> Option<usize> {
    debug_assert_eq!(bytes.get(open), Some(&b'"'));
    let mut at = open + 1;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// `str::split_once` for an ASCII byte; short strings are the rule here, and the general searcher
/// is slow on them.
pub(crate) fn split_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    debug_assert!(byte.is_ascii());
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// How many bytes at the start are of a host name.
pub(crate) fn host_length(bytes: &[u8]) -> usize {
    skip(bytes, 0, HOST)
}

/// Decimal digits only, saturating at `u64::MAX`. No sign, no white space.
pub(crate) fn digits(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// The comma-separated values of one header value, as trimmed, non-empty ranges. Commas inside
/// quoted strings and angle brackets do not separate.
pub(crate) struct Values<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Values<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn end_of_value(&self) -> usize {
        let bytes = self.bytes;
        let mut at = self.at;
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr3(b',', b'"', b'<', rest)) {
            let found = at + found;
            let resume = match bytes[found] {
                b',' => return found,
                b'"' => quoted_end(bytes, found),
                _ => memchr::memchr(b'>', &bytes[found..]).map(|close| found + close + 1),
            };
            // An unbalanced quote or bracket swallows the rest; the typed parsers refuse it.
            let Some(resume) = resume else { return bytes.len() };
            at = resume;
        }
        bytes.len()
    }
}

impl Iterator for Values<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while self.at < self.bytes.len() {
            let end = self.end_of_value();
            let range = trim_range(self.bytes, self.at..end);
            self.at = end + 1;
            if !range.is_empty() {
                return Some(range);
            }
        }
        None
    }
}

/// One parameter of a header value, as ranges: `;name` or `;name=value`.
pub(crate) struct Param {
    /// From its semicolon to its last byte.
    pub(crate) whole: Range<usize>,
    pub(crate) name: Range<usize>,
    /// Without quotes.
    pub(crate) value: Option<Range<usize>>,
}

/// Reads the parameter at or after `at`. `None` at the end of `bytes`, `Some(None)` if what
/// stands there is no parameter.
pub(crate) fn param_at(bytes: &[u8], at: usize) -> Option<Option<Param>> {
    let start = skip_lws(bytes, at);
    if start >= bytes.len() {
        return None;
    }
    Some(read_param(bytes, start))
}

fn read_param(bytes: &[u8], start: usize) -> Option<Param> {
    if bytes[start] != b';' {
        return None;
    }
    let name_start = skip_lws(bytes, start + 1);
    let name_end = skip(bytes, name_start, PARAM_NAME);
    if name_end == name_start {
        return None;
    }
    let equals = skip_lws(bytes, name_end);
    if bytes.get(equals) != Some(&b'=') {
        return Some(Param { whole: start..name_end, name: name_start..name_end, value: None });
    }
    let value_start = skip_lws(bytes, equals + 1);
    let (value, end) = if bytes.get(value_start) == Some(&b'"') {
        let end = quoted_end(bytes, value_start)?;
        (value_start + 1..end - 1, end)
    } else {
        let end = skip(bytes, value_start, PARAM_VALUE);
        (value_start..end, end)
    };
    Some(Param { whole: start..end, name: name_start..name_end, value: Some(value) })
}

/// Whether `bytes` is nothing but parameters.
pub(crate) fn params_valid(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(param) = param_at(bytes, at) {
        let Some(param) = param else { return false };
        at = param.whole.end;
    }
    true
}

/// The parameters of a header value, as text: name, and value without quotes if it has one.
#[derive(Clone, Debug)]
pub struct Params<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Params<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The value of the first parameter of that name: outer `None` if absent, inner `None` if it
    /// has no value.
    pub(crate) fn named(mut self, name: &str) -> Option<Option<&'a str>> {
        self.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        let param = param_at(self.text.as_bytes(), self.at)??;
        self.at = param.whole.end;
        let value = match param.value {
            Some(range) => Some(self.text.get(range)?),
            None => None,
        };
        Some((self.text.get(param.name)?, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<&str> {
        Values::new(text.as_bytes()).map(|range| &text[range]).collect()
    }

    #[test]
    fn values_respect_quotes_and_brackets() {
        assert_eq!(values("a, b,c"), ["a", "b", "c"]);
        assert_eq!(
            values("\"x, \\\" y\" <sip:a,b@c>;p=\"1,2\" , <sip:d>"),
            ["\"x, \\\" y\" <sip:a,b@c>;p=\"1,2\"", "<sip:d>"]
        );
        assert_eq!(values(",, a,,"), ["a"]);
        assert_eq!(values("\"open, a"), ["\"open, a"]);
    }

    #[test]
    fn params_are_read_with_white_space_and_quotes() {
        let params: Vec<_> = Params::new(" ; a ;b = c;\r\n d=\"e;\\\"f\" ;+u.sip!x=1").collect();
        assert_eq!(params, [("a", None), ("b", Some("c")), ("d", Some("e;\\\"f")), ("+u.sip!x", Some("1"))]);
        assert!(!params_valid(b";;"));
        assert!(!params_valid(b";a;"));
        assert!(!params_valid(b";a=\"b"));
        assert!(params_valid(b" ;a=[::1]:5 "));
    }

    #[test]
    fn digits_saturate_and_take_no_sign() {
        assert_eq!(digits(b"0068"), Some(68));
        assert_eq!(digits(b"99999999999999999999999"), Some(u64::MAX));
        for bad in ["", "+0", "-1", "1 ", "0x1"] {
            assert_eq!(digits(bad.as_bytes()), None);
        }
    }
}
