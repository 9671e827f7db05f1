//! Requests a proxy makes by itself, hop by hop, out of one it has sent: ACK and CANCEL.

use bytes::Bytes;

use crate::header::Name;
use crate::message::Message;

/// The ACK for a failed INVITE (RFC 3261 §17.1.1.3): like the request, with the To of the response.
pub(super) fn acknowledge(sent: &Bytes, response: &Message) -> Option<Bytes> {
    let to = std::str::from_utf8(response.header(Name::To)?).ok()?;
    derive(sent, "ACK", Some(to))
}

/// A request that goes the way of `sent` (RFC 3261 §9.1, §17.1.1.3): same Request-URI, top Via,
/// Route, From, Call-ID and CSeq number.
pub(super) fn derive(sent: &Bytes, method: &str, to: Option<&str>) -> Option<Bytes> {
    let sent = Message::parse(sent.clone()).ok()?;
    let text = |name| sent.header(name).and_then(|value| std::str::from_utf8(value).ok());
    let mut out = format!("{method} {} SIP/2.0\r\n", sent.request_uri()?);
    let via = sent.values(Name::Via).next().and_then(|value| std::str::from_utf8(value).ok())?;
    line(&mut out, "Via", via);
    line(&mut out, "Max-Forwards", "70");
    for route in sent.values(Name::Route) {
        line(&mut out, "Route", std::str::from_utf8(route).ok()?);
    }
    line(&mut out, "From", text(Name::From)?);
    line(&mut out, "To", to.or_else(|| text(Name::To))?);
    line(&mut out, "Call-ID", sent.call_id());
    line(&mut out, "CSeq", &format!("{} {method}", sent.cseq().0));
    line(&mut out, "Content-Length", "0");
    out.push_str("\r\n");
    Some(Bytes::from(out))
}

fn line(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str(": ");
    out.push_str(value);
    out.push_str("\r\n");
}
