//! Queries of the small lane: `service_name=…&service_name=…` and `email=…`.
//!
//! Percent-encoding is taken off once. A plus stays a plus: it is found in mail addresses, and a space in
//! none of these.

use std::borrow::Cow;

use crate::limits::{EMAIL_BYTES_MAX, SERVICE_NAME_CHARS_MAX, SERVICE_NAMES_MAX};

/// Why a query is not understood; answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryFault {
    /// A percent sign without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("wrong percent-encoding in the query")]
    Encoding,
    /// A name of a service that is none.
    #[error("a service_name is letters, digits, hyphens and underscores")]
    ServiceName,
    /// More than the limit.
    #[error("too many service names")]
    TooMany,
    /// An address that is none, or two.
    #[error("email is one mail address")]
    Email,
}

/// The services a client asks for, in its order, each once. None: all.
///
/// # Errors
/// [`QueryFault`]. Parameters with other names are passed over.
pub fn service_names(query: &str) -> Result<Vec<String>, QueryFault> {
    let mut names: Vec<String> = Vec::new();
    for value in values(query, "service_name") {
        let value = value?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=SERVICE_NAME_CHARS_MAX).contains(&value.len()) || !value.bytes().all(legal) {
            return Err(QueryFault::ServiceName);
        }
        if names.iter().any(|name| *name == value) {
            continue;
        }
        if names.len() == SERVICE_NAMES_MAX {
            return Err(QueryFault::TooMany);
        }
        names.push(value.into_owned());
    }
    Ok(names)
}

/// The mail address a client asks about; `None` where it names none.
///
/// # Errors
/// [`QueryFault`].
pub fn email(query: &str) -> Result<Option<String>, QueryFault> {
    let mut found = None;
    for value in values(query, "email") {
        let value = value?;
        let legal = |c: char| !c.is_control() && !c.is_whitespace() && !"/\\<>\"".contains(c);
        let fits = (1..=EMAIL_BYTES_MAX).contains(&value.len()) && value.chars().all(legal);
        if !fits || found.is_some() {
            return Err(QueryFault::Email);
        }
        found = Some(value.into_owned());
    }
    Ok(found)
}

fn values<'a>(query: &'a str, wanted: &'static str) -> impl Iterator<Item = Result<Cow<'a, str>, QueryFault>> {
    let of =
        move |pair: &'a str| pair.split_once('=').filter(|(name, _)| *name == wanted).map(|(_, value)| decoded(value));
    query.split('&').filter_map(of)
}

/// Takes percent-encoding off, once.
fn decoded(text: &str) -> Result<Cow<'_, str>, QueryFault> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(QueryFault::Encoding);
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| QueryFault::Encoding)?);
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| QueryFault::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_keep_their_order() {
        let names = service_names("service_name=_cisco-uds&x=y&service_name=%5Fcuplogin&service_name=_cisco-uds&");
        assert_eq!(names, Ok(vec!["_cisco-uds".into(), "_cuplogin".into()]));
        assert_eq!(service_names(""), Ok(vec![]));
        assert_eq!(service_names("service_names=_a&Service_name=_b&service_name"), Ok(vec![]));
        let long = format!("service_name={}", "a".repeat(SERVICE_NAME_CHARS_MAX + 1));
        for bad in ["service_name=", "service_name=a%20b", "service_name=%255Fa", "service_name=<", long.as_str()] {
            assert_eq!(service_names(bad), Err(QueryFault::ServiceName), "{bad}");
        }
        for bad in ["service_name=%", "service_name=%4", "service_name=%zz", "service_name=%+1", "service_name=%ff"] {
            assert_eq!(service_names(bad), Err(QueryFault::Encoding), "{bad}");
        }
        let many: String = (0..=SERVICE_NAMES_MAX).map(|at| format!("&service_name=_{at}")).collect();
        assert_eq!(service_names(&many), Err(QueryFault::TooMany));
    }

    #[test]
    fn an_address_is_decoded_once() {
        assert_eq!(email("email=alice+home%40example.com"), Ok(Some("alice+home@example.com".into())));
        assert_eq!(email("a=b"), Ok(None));
        let long = format!("email={}", "a".repeat(EMAIL_BYTES_MAX + 1));
        for bad in ["email=", "email=a&email=b", "email=a%0d%0ab", "email=a%20b", "email=a%2Fb", long.as_str()] {
            assert_eq!(email(bad), Err(QueryFault::Email), "{bad}");
        }
        assert_eq!(email("email=%2540"), Ok(Some("%40".into())));
    }
}
