//! The few LDAP messages a simple bind takes (RFC 4511 §4.1.1, §4.2, §4.14), in BER (RFC 4511 §5.1).
//!
//! Written and read here because it is this little, and because what comes from a directory must neither panic
//! nor grow: an answer is read whole, its length bounded before a byte of it is.

use zeroize::Zeroizing;

use crate::authorities::limits::LDAP_ANSWER_BYTES_MAX;

/// RFC 4511 §4.14.1.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
/// `[APPLICATION 0]`, constructed.
const BIND_REQUEST: u8 = 0x60;
/// `[APPLICATION 1]`, constructed.
const BIND_RESPONSE: u8 = 0x61;
/// `[APPLICATION 2]`, primitive.
const UNBIND_REQUEST: u8 = 0x42;
/// `[APPLICATION 23]`, constructed.
const EXTENDED_REQUEST: u8 = 0x77;
/// `[APPLICATION 24]`, constructed.
const EXTENDED_RESPONSE: u8 = 0x78;
/// `[0]`, primitive: `simple` of a bind, `requestName` of an extended request.
const CONTEXT_0: u8 = 0x80;

/// A simple bind of version 3 (RFC 4511 §4.2). The password is in it.
pub fn bind(id: u8, name: &str, password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut parts = Zeroizing::new(Vec::with_capacity(name.len() + password.len() + 32));
    put(&mut parts, INTEGER, &[3]);
    put(&mut parts, OCTET_STRING, name.as_bytes());
    put(&mut parts, CONTEXT_0, password);
    message(id, BIND_REQUEST, &parts)
}

/// The wish to go on with TLS (RFC 4511 §4.14.1).
pub fn start_tls(id: u8) -> Zeroizing<Vec<u8>> {
    let mut parts = Vec::new();
    put(&mut parts, CONTEXT_0, START_TLS);
    message(id, EXTENDED_REQUEST, &parts)
}

/// The end (RFC 4511 §4.3).
pub fn unbind(id: u8) -> Zeroizing<Vec<u8>> {
    message(id, UNBIND_REQUEST, &[])
}

fn message(id: u8, operation: u8, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut inner = Zeroizing::new(Vec::with_capacity(content.len() + 16));
    // Below 128, so that one byte is not negative.
    put(&mut inner, INTEGER, &[id & 0x7f]);
    put(&mut inner, operation, content);
    let mut whole = Zeroizing::new(Vec::with_capacity(inner.len() + 8));
    put(&mut whole, SEQUENCE, &inner);
    whole
}

fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let used: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
            // At most 8 bytes of length.
            out.push(0x80 | u8::try_from(used.len()).unwrap_or(8));
            out.extend_from_slice(&used);
        }
    }
    out.extend_from_slice(content);
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LdapFault {
    /// They are no LDAP message.
    #[error("what it sends is no LDAP")]
    Malformed,
    /// The message is longer than any answer of ours.
    #[error("its answer is too long")]
    TooLong,
    /// It is no answer to what was asked.
    #[error("it answers something else")]
    Other,
    /// It says that it ends the connection (RFC 4511 §4.4.1), with this result code.
    #[error("it ends the connection with result {0}")]
    Disconnects(u32),
}

/// How long a message is that begins so: how many bytes its head has, and how many follow. `None` as long as
/// that cannot be told.
///
/// # Errors
/// [`LdapFault::Malformed`] and [`LdapFault::TooLong`].
pub fn length(begin: &[u8]) -> Result<Option<(usize, usize)>, LdapFault> {
    let [tag, first, rest @ ..] = begin else { return Ok(None) };
    if *tag != SEQUENCE {
        return Err(LdapFault::Malformed);
    }
    let (head, content) = match *first {
        short @ 0..=0x7f => (2, usize::from(short)),
        // RFC 4511 §5.1: lengths are definite.
        long @ 0x81..=0x84 => {
            let count = usize::from(long & 0x7f);
            let Some(bytes) = rest.get(..count) else { return Ok(None) };
            (2 + count, bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)))
        }
        _ => return Err(LdapFault::Malformed),
    };
    if content > LDAP_ANSWER_BYTES_MAX { Err(LdapFault::TooLong) } else { Ok(Some((head, content))) }
}

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A bind.
    Bind,
    /// StartTLS.
    StartTls,
}

/// The result code (RFC 4511 §4.1.9) in the content of a message, which must be the answer to the request with
/// that id.
///
/// # Errors
/// [`LdapFault`].
pub fn result(content: &[u8], id: u8, asked: Asked) -> Result<u32, LdapFault> {
    let (tag, number, rest) = take(content)?;
    let told = (tag == INTEGER).then(|| unsigned(number)).flatten().ok_or(LdapFault::Malformed)?;
    // Controls may follow the operation; none of them changes the result.
    let (operation, answer, _) = take(rest)?;
    let (tag, code, _) = take(answer)?;
    let code = (tag == ENUMERATED).then(|| unsigned(code)).flatten().ok_or(LdapFault::Malformed)?;
    let wanted = match asked {
        Asked::Bind => BIND_RESPONSE,
        Asked::StartTls => EXTENDED_RESPONSE,
    };
    match (told, operation) {
        (0, EXTENDED_RESPONSE) => Err(LdapFault::Disconnects(code)),
        (told, operation) if told == u32::from(id) && operation == wanted => Ok(code),
        _ => Err(LdapFault::Other),
    }
}

/// One element: its tag, its content, and what follows.
fn take(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), LdapFault> {
    let malformed = LdapFault::Malformed;
    let [tag, first, rest @ ..] = bytes else { return Err(malformed) };
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7f)).ok_or(malformed)?;
            (length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return Err(malformed),
    };
    let (content, rest) = rest.split_at_checked(length).ok_or(malformed)?;
    Ok((*tag, content, rest))
}

/// A number of at most four bytes that is not negative.
fn unsigned(bytes: &[u8]) -> Option<u32> {
    let fits = (1..=4).contains(&bytes.len()) && bytes.first().is_some_and(|first| first & 0x80 == 0);
    fits.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_rfc_has_them() {
        assert_eq!(*bind(1, "cn=a", b"pw"), b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw");
        assert_eq!(*start_tls(1), b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037");
        assert_eq!(*unbind(2), b"\x30\x05\x02\x01\x02\x42\x00");
        let long = bind(1, &"x".repeat(300), b"pw");
        assert_eq!(long.get(..4), Some(&b"\x30\x82\x01\x3e"[..]));
        assert_eq!(length(&long), Ok(Some((4, long.len() - 4))));
    }

    #[test]
    fn results_are_read() {
        let good = b"\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";
        assert_eq!(result(good, 1, Asked::Bind), Ok(0));
        let wrong = b"\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00\xa0\x00";
        assert_eq!(result(wrong, 1, Asked::Bind), Ok(49), "controls are passed over");
        // Active Directory writes lengths in the long form.
        let long = b"\x02\x01\x01\x61\x84\x00\x00\x00\x07\x0a\x01\x31\x04\x00\x04\x00";
        assert_eq!(result(long, 1, Asked::Bind), Ok(49));
        let tls = b"\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";
        assert_eq!(result(tls, 1, Asked::StartTls), Ok(0));
        assert_eq!(result(tls, 1, Asked::Bind), Err(LdapFault::Other));
        assert_eq!(result(good, 2, Asked::Bind), Err(LdapFault::Other));
        let bye = b"\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00";
        assert_eq!(result(bye, 1, Asked::Bind), Err(LdapFault::Disconnects(52)));
    }

    #[test]
    fn what_is_no_answer_is_refused_whatever_it_is() {
        for content in [
            &b""[..],
            b"\x02",
            b"\x02\x01",
            b"\x02\x01\x01",
            b"\x02\x05\x01\x01\x01\x01\x01\x61\x03\x0a\x01\x00",
            b"\x02\x01\xff\x61\x03\x0a\x01\x00",
            b"\x04\x01\x01\x61\x03\x0a\x01\x00",
            b"\x02\x01\x01\x61\x03\x02\x01\x00",
            b"\x02\x01\x01\x61\x03\x0a\x00",
            b"\x02\x01\x01\x61\x80\x0a\x01\x00\x00\x00",
            b"\x02\x01\x01\x61\x84\xff\xff\xff\xff\x0a\x01\x00",
            b"\x02\x01\x01\x61\x85\x00\x00\x00\x00\x03\x0a\x01\x00",
        ] {
            assert_eq!(result(content, 1, Asked::Bind), Err(LdapFault::Malformed), "{content:02x?}");
        }
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_read() {
        for (begin, told) in [
            (&b""[..], Ok(None)),
            (b"\x30", Ok(None)),
            (b"\x30\x05", Ok(Some((2, 5)))),
            (b"\x30\x82\x01", Ok(None)),
            (b"\x30\x84\x00\x00\x00\x10", Ok(Some((6, 16)))),
            (b"\x30\x84\x7f\xff\xff\xff", Err(LdapFault::TooLong)),
            (b"\x30\x80", Err(LdapFault::Malformed)),
            (b"\x30\x85\x00", Err(LdapFault::Malformed)),
            (b"HTTP/1.1", Err(LdapFault::Malformed)),
        ] {
            assert_eq!(length(begin), told, "{begin:02x?}");
        }
    }
}
