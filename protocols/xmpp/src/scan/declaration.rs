//! The XML declaration (XML 1.0 §2.8; RFC 6120 §11.5, §11.6).

use crate::condition::{Condition, StreamFault};
use crate::scan::letters::{SPACE, run};

/// Checks one from `xml` to `?>`: version 1.0, and UTF-8 if it names an encoding.
pub(super) fn check(declaration: &[u8]) -> Result<(), StreamFault> {
    let body = declaration.strip_prefix(b"xml").and_then(|rest| rest.strip_suffix(b"?>")).ok_or(MALFORMED)?;
    let (version, rest) = part(body, b"version").ok_or(MALFORMED)?;
    if version != b"1.0" {
        return Err(StreamFault::new(Condition::NotWellFormed, "XML has version 1.0 in XMPP."));
    }
    let (encoding, rest) = part(rest, b"encoding").map_or((None, rest), |(value, rest)| (Some(value), rest));
    let (standalone, rest) = part(rest, b"standalone").map_or((None, rest), |(value, rest)| (Some(value), rest));
    if run(rest, SPACE) < rest.len() || !matches!(standalone, None | Some(b"yes" | b"no")) {
        return Err(MALFORMED);
    }
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"UTF-8")) {
        return Err(StreamFault::new(Condition::UnsupportedEncoding, "The encoding of XMPP is UTF-8."));
    }
    Ok(())
}

/// The value behind white space, `name` and `=`; and what follows.
fn part<'a>(text: &'a [u8], name: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let named = behind_space(text);
    let value = behind_space(behind_space(named.strip_prefix(name)?).strip_prefix(b"=")?);
    let (quote, value) = value.split_first()?;
    let end = value.iter().position(|byte| byte == quote)?;
    let blank = named.len() < text.len();
    let (value, rest) = (value.get(..end)?, value.get(end + 1..)?);
    (blank && matches!(quote, b'\'' | b'"')).then_some((value, rest))
}

fn behind_space(text: &[u8]) -> &[u8] {
    text.get(run(text, SPACE)..).unwrap_or_default()
}

const MALFORMED: StreamFault = StreamFault::new(Condition::NotWellFormed, "The XML declaration is none.");
