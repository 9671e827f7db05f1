//! What a well-formed request is refused for before anybody routes it (RFC 3261 §16.3).
//!
//! Structure is the parser's business ([`crate::Fault`]); policy is the node's. `Require` is for
//! the user agent at the far end and passes; only `Proxy-Require` is a proxy's to refuse.

use bytes::Bytes;

use crate::header::Name;
use crate::message::Message;
use crate::status::reason_phrase;
use crate::via::BRANCH_COOKIE;

/// What a request is refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// A SIP version other than 2.0: 505.
    Version,
    /// CSeq names another method than the request line: 400.
    CSeqMethod,
    /// The topmost Via has a branch that is the magic cookie and nothing else: 400.
    Branch,
    /// A Request-URI of a scheme we cannot route: 416.
    Scheme,
    /// A Request-URI with URI headers, which are for address books only: 400.
    UriHeaders,
    /// A REGISTER for something that is no SIP address: 400.
    Aor,
    /// Max-Forwards is 0: 483. An OPTIONS may be answered 200 by the node itself instead
    /// (RFC 3261 §16.3 step 3).
    MaxForwards,
    /// Max-Breadth is 0, so that not even one branch may go on: 440 (RFC 5393 §5.3.3).
    MaxBreadth,
    /// A `Proxy-Require` extension we do not have: 420.
    ProxyRequire,
}

/// A request that goes no further, and what to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for counters and for exceptions.
    pub kind: RefusalKind,
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'static str,
    /// The text of the `Warning: 399`, naming the field.
    pub warning: &'static str,
    /// A further header the status demands (`Unsupported` with a 420).
    pub header: Option<(Name, String)>,
}

impl Refusal {
    fn new(kind: RefusalKind, status: u16, warning: &'static str) -> Self {
        Self { kind, status, reason: reason_phrase(status), warning, header: None }
    }

    /// The response; `None` for an ACK, which is never answered. `agent` is this node's
    /// `host:port` for the Warning.
    #[must_use]
    pub fn respond(&self, request: &Message, to_tag: &str, agent: &str) -> Option<Bytes> {
        if request.method() == Some("ACK") {
            return None;
        }
        let mut response = request.respond(self.status, self.reason).to_tag(to_tag).warning(399, agent, self.warning);
        if let Some((name, value)) = &self.header {
            response = response.header(*name, value);
        }
        Some(response.build())
    }
}

/// Checks a request, in the order in which RFC 3261 §16.3 lists it.
///
/// # Errors
///
/// The first [`Refusal`] that applies. Responses always pass.
pub fn check_request(request: &Message) -> Result<(), Refusal> {
    let Some(method) = request.method() else { return Ok(()) };
    if !request.version().eq_ignore_ascii_case("SIP/2.0") {
        return Err(Refusal::new(RefusalKind::Version, 505, "Request line: only SIP/2.0 is spoken here"));
    }
    if request.cseq().1 != method {
        let warning = "CSeq: names another method than the request line";
        return Err(Refusal::new(RefusalKind::CSeqMethod, 400, warning));
    }
    if request.top_via().branch().is_some_and(|branch| branch.eq_ignore_ascii_case(BRANCH_COOKIE)) {
        return Err(Refusal::new(RefusalKind::Branch, 400, "Via: the branch has nothing after its magic cookie"));
    }
    check_uri(request)?;
    if method == "REGISTER" && !request.to().parsed_uri().is_some_and(|uri| uri.is_sip() || is_tel(uri.scheme)) {
        return Err(Refusal::new(RefusalKind::Aor, 400, "To: not an address that can be registered"));
    }
    if request.max_forwards() == Some(0) {
        return Err(Refusal::new(RefusalKind::MaxForwards, 483, "Max-Forwards: no hops left"));
    }
    if request.other("Max-Breadth").and_then(crate::value::digits) == Some(0) {
        return Err(Refusal::new(RefusalKind::MaxBreadth, 440, "Max-Breadth: no branches left"));
    }
    check_proxy_require(request)
}

fn check_uri(request: &Message) -> Result<(), Refusal> {
    let routable = request.parsed_request_uri().filter(|uri| {
        // `urn:` as in urn:service:sos (RFC 5031) is routed by Route or by policy.
        uri.is_sip() || is_tel(uri.scheme) || uri.scheme.eq_ignore_ascii_case("urn")
    });
    let Some(uri) = routable else {
        return Err(Refusal::new(RefusalKind::Scheme, 416, "Request-URI: the scheme is not known here"));
    };
    if uri.headers().next().is_some() {
        // RFC 3261 §19.1.1, table 1: not allowed in a Request-URI.
        return Err(Refusal::new(RefusalKind::UriHeaders, 400, "Request-URI: contains URI headers"));
    }
    Ok(())
}

fn is_tel(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("tel")
}

/// We have no extension that a client could require of a proxy.
fn check_proxy_require(request: &Message) -> Result<(), Refusal> {
    let mut unsupported = String::new();
    for option in request.values(Name::ProxyRequire) {
        if !unsupported.is_empty() {
            unsupported.push_str(", ");
        }
        unsupported.push_str(&String::from_utf8_lossy(option));
    }
    if unsupported.is_empty() {
        return Ok(());
    }
    let mut refusal = Refusal::new(RefusalKind::ProxyRequire, 420, "Proxy-Require: an extension is not supported");
    refusal.header = Some((Name::Unsupported, unsupported));
    Err(refusal)
}
