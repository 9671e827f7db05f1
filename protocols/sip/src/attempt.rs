//! What a SIP message says of an attempt: who, from where, and by what both tiers know it.

use std::fmt::Write as _;
use std::net::IpAddr;

use edgeway_model::Pii;
use edgeway_model::attempt::{Attempt, Kind, Reason};
use sha2::{Digest as _, Sha256};

use crate::bindings::aor_of;
use crate::message::Message;
use crate::respond::ResponseBuilder;

/// The longest name that is kept: it is the client's to choose.
const NAME_CHARACTERS_MAX: usize = 128;
/// Texts the field's clients look for: they stay as they are, and what we add stands beside them.
const FIELD_TEXTS: [&str; 2] = ["Policy Response", "Request Timeout"];
/// A Session-ID is so many hexadecimal digits (RFC 7989 §5).
const SESSION_ID_DIGITS: usize = 32;

/// From which side a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From a client: From names who attempts.
    Client,
    /// From inside, for a client: To names whose attempt it is.
    Inside,
}

/// The id by which both tiers know a request, call or registration: the client's Session-ID (RFC 7989), where there is
/// one; else it is made from Call-ID, which both tiers see, so that nothing has to be carried beside the message.
#[must_use]
pub fn trace_id(message: &Message) -> String {
    if let Some(id) = message.other("Session-ID").and_then(session_id) {
        return id;
    }
    let hash = Sha256::digest(message.call_id().as_bytes());
    hash.iter().take(SESSION_ID_DIGITS / 4).fold(String::with_capacity(SESSION_ID_DIGITS / 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The local UUID of a Session-ID header; the nil UUID says nothing.
fn session_id(value: &[u8]) -> Option<String> {
    let local = std::str::from_utf8(value).ok()?.split(';').next()?.trim();
    let is_id = local.len() == SESSION_ID_DIGITS && local.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_id && local.bytes().any(|digit| digit != b'0')).then(|| local.to_ascii_lowercase())
}

/// The attempt a request is, without what became of it.
#[must_use]
pub fn of(request: &Message, from: From, client: Option<IpAddr>, reason: Reason) -> Attempt {
    let address = match from {
        From::Client => request.from(),
        From::Inside => request.to(),
    };
    let user: String = aor_of(address.uri).chars().take(NAME_CHARACTERS_MAX).collect();
    Attempt {
        kind: Kind::of_method(request.method().unwrap_or_default()),
        reason,
        user: Some(Pii::new(user)),
        client: client.map(Pii::new),
        edge: None,
        code: None,
        detail: String::new(),
        trace: trace_id(request),
    }
}

/// Where an edge says a request came from: `received` in the Via below its own (RFC 3261 §18.2.1). Information only.
#[must_use]
pub fn client_behind(request: &Message) -> Option<IpAddr> {
    request.vias().nth(1)?.param("received")??.parse().ok()
}

/// Puts the code of a refusal into its answer: in front of the text of our Warning, or in one of its own beside a text
/// that clients look for.
pub fn with_code<'a>(
    response: ResponseBuilder<'a>,
    agent: &str,
    warning: Option<(u16, &str)>,
    (code, words): (&str, &str),
) -> ResponseBuilder<'a> {
    match warning {
        Some((399, text)) if !FIELD_TEXTS.contains(&text) => response.warning(399, agent, &format!("{code} {text}")),
        Some((number, text)) => response.warning(number, agent, text).warning(399, agent, &format!("{code} {words}")),
        None => response.warning(399, agent, &format!("{code} {words}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(extra: &str) -> Message {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\n\
             Via: SIP/2.0/TLS edge:5061;branch=z9hG4bK2\r\n\
             Via: SIP/2.0/TLS 10.0.0.1:5061;branch=z9hG4bK1;received=203.0.113.7;rport=4711\r\n\
             From: <sip:alice@Example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: one@10.0.0.1\r\n\
             CSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n{extra}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.into()).expect("a message")
    }

    #[test]
    fn the_trace_is_the_clients_session_id_or_made_from_call_id() {
        let id = "ab30317f1a784dc48ff824d0d3715d86";
        for line in [format!("Session-ID: {id}\r\n"), format!("Session-ID: {} ;remote=0\r\n", id.to_uppercase())] {
            assert_eq!(trace_id(&request(&line)), id);
        }
        let made = trace_id(&request(""));
        assert_eq!(made.len(), 16);
        for bad in [format!("Session-ID: {}\r\n", "0".repeat(32)), "Session-ID: x\r\n".to_owned()] {
            assert_eq!(trace_id(&request(&bad)), made, "{bad}");
        }
    }

    #[test]
    fn an_attempt_is_whose_it_is_and_from_where() {
        let request = request("");
        let attempt = of(&request, From::Client, client_behind(&request), Reason::Policy);
        assert_eq!(attempt.user.map(|user| user.reveal().clone()).as_deref(), Some("alice@example.com"));
        assert_eq!(attempt.client.map(|client| client.reveal().to_string()).as_deref(), Some("203.0.113.7"));
        let attempt = of(&request, From::Inside, None, Reason::Policy);
        assert_eq!(attempt.user.map(|user| user.reveal().clone()).as_deref(), Some("bob@example.com"));
    }

    #[test]
    fn the_words_of_the_field_stay_as_they_are() {
        let request = request("");
        let warnings = |warning| {
            let response = with_code(request.respond(503, "x").to_tag("t"), "edge:5061", warning, ("EW-7K2F", "words"));
            let response = Message::parse(response.build()).expect("a message");
            let lines = response.lines(crate::Name::Warning).map(|line| String::from_utf8_lossy(line).into_owned());
            lines.collect::<Vec<_>>()
        };
        assert_eq!(warnings(Some((399, "overloaded"))), ["399 edge:5061 \"EW-7K2F overloaded\""]);
        assert_eq!(
            warnings(Some((399, "Policy Response"))),
            ["399 edge:5061 \"Policy Response\"", "399 edge:5061 \"EW-7K2F words\""]
        );
        assert_eq!(
            warnings(Some((382, "System in Maintenance Mode"))),
            ["382 edge:5061 \"System in Maintenance Mode\"", "399 edge:5061 \"EW-7K2F words\""]
        );
        assert_eq!(warnings(None), ["399 edge:5061 \"EW-7K2F words\""]);
    }
}
