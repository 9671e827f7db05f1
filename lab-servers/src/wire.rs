//! Writing SIP as a user agent does, and reading what `edgeway-sip` parsed.
//!
//! Requests and responses of the lab's phones and registrar are written here as plain text, so that
//! the message layer of the nodes is fed with bytes it did not write itself.

use std::fmt::Write as _;

use bytes::Bytes;
use edgeway_model::Random;
use edgeway_sip::{Message, Name};

/// Everything of a request that decides where it goes and what it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) routes: Vec<String>,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
}

impl Head {
    /// The whole request. `via` is one Via value, `lines` are further header lines.
    pub(crate) fn write(&self, via: &str, lines: &[String], body: Option<(&str, &str)>) -> Bytes {
        let mut out = String::with_capacity(1_024);
        let _ = write!(out, "{} {} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n", self.method, self.uri);
        for route in &self.routes {
            let _ = write!(out, "Route: {route}\r\n");
        }
        let _ = write!(out, "From: {}\r\nTo: {}\r\nCall-ID: {}\r\n", self.from, self.to, self.call_id);
        let _ = write!(out, "CSeq: {} {}\r\n", self.cseq, self.method);
        finish(out, lines, body)
    }
}

/// A response to `request` (RFC 3261 §8.2.6.2): its Via, From, To, Call-ID and CSeq, and for what
/// may create a dialog its Record-Route (§12.1.1).
pub(crate) fn response(
    request: &Message,
    status: u16,
    reason: &str,
    tag: Option<&str>,
    lines: &[String],
    body: Option<(&str, &str)>,
) -> Bytes {
    let mut out = format!("SIP/2.0 {status} {reason}\r\n");
    for via in values(request, Name::Via) {
        let _ = write!(out, "Via: {via}\r\n");
    }
    if (101..300).contains(&status) {
        for route in values(request, Name::RecordRoute) {
            let _ = write!(out, "Record-Route: {route}\r\n");
        }
    }
    let to = text(request, Name::To);
    let tag = match (tag, to_tag(request)) {
        (Some(tag), None) if status > 100 => format!(";tag={tag}"),
        (Some(_) | None, _) => String::new(),
    };
    let _ = write!(out, "From: {}\r\nTo: {to}{tag}\r\n", text(request, Name::From));
    let (number, method) = request.cseq();
    let _ = write!(out, "Call-ID: {}\r\nCSeq: {number} {method}\r\n", request.call_id());
    finish(out, lines, body)
}

/// The ACK to a final answer other than 2xx (RFC 3261 §17.1.1.3).
pub(crate) fn ack_refused(invite: &Message, response: &Message) -> Bytes {
    hop_request(invite, "ACK", &text(response, Name::To))
}

/// The CANCEL of an INVITE (RFC 3261 §9.1).
pub(crate) fn cancel(invite: &Message) -> Bytes {
    hop_request(invite, "CANCEL", &text(invite, Name::To))
}

/// A request that must follow `invite` hop by hop: same URI, top Via, Route and CSeq number.
fn hop_request(invite: &Message, method: &str, to: &str) -> Bytes {
    let head = Head {
        method: method.to_owned(),
        uri: request_uri(invite),
        routes: values(invite, Name::Route),
        from: text(invite, Name::From),
        to: to.to_owned(),
        call_id: invite.call_id().to_owned(),
        cseq: invite.cseq().0,
    };
    head.write(&values(invite, Name::Via).into_iter().next().unwrap_or_default(), &[], None)
}

fn finish(mut out: String, lines: &[String], body: Option<(&str, &str)>) -> Bytes {
    for line in lines {
        let _ = write!(out, "{line}\r\n");
    }
    match body {
        Some((kind, body)) => {
            let _ = write!(out, "Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
        None => out.push_str("Content-Length: 0\r\n\r\n"),
    }
    Bytes::from(out)
}

/// `n` random characters for tags, branches and Call-IDs.
pub(crate) fn token(random: &mut Random, n: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..n).map(|_| char::from(ALPHABET[random.below(32) as usize])).collect()
}

/// Randomness from the operating system, by way of the TLS provider.
pub(crate) fn random() -> Random {
    let mut seed = [0; 32];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut seed).expect("the operating system yields random bytes");
    Random::from_seed(seed)
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

/// Every value of a header field, in order.
pub(crate) fn values(message: &Message, name: Name) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// The first line of a header field, or nothing.
pub(crate) fn text(message: &Message, name: Name) -> String {
    String::from_utf8_lossy(message.header(name).unwrap_or_default()).into_owned()
}

pub(crate) fn request_uri(message: &Message) -> String {
    message.request_uri().unwrap_or_default().to_owned()
}

pub(crate) fn branch(message: &Message) -> String {
    message.top_via().branch().unwrap_or_default().to_owned()
}

pub(crate) fn to_tag(message: &Message) -> Option<String> {
    message.to_tag().map(str::to_owned)
}

pub(crate) fn from_tag(message: &Message) -> Option<String> {
    message.from_tag().map(str::to_owned)
}

pub(crate) fn contact_uri(message: &Message) -> Option<String> {
    message.contacts().next().map(|contact| contact.uri.to_owned())
}

pub(crate) fn reason(message: &Message) -> String {
    String::from_utf8_lossy(message.reason().unwrap_or_default()).into_owned()
}

/// `INVITE sip:bob@lab.example`, or `180 Ringing (INVITE)`.
pub(crate) fn title(message: &Message) -> String {
    match (message.method(), message.status()) {
        (Some(method), _) => format!("{method} {}", request_uri(message)),
        (None, status) => format!("{} {} ({})", status.unwrap_or(0), reason(message), message.cseq().1),
    }
}
