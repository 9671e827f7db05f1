//! User agents on paper: what a client or a party inside writes within a dialog.

use std::fmt::Write as _;

use bytes::Bytes;
use edgeway_sip::{Message, Name};

/// One side's view of a dialog.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub(crate) call_id: String,
    pub(crate) local: String,
    pub(crate) remote: Option<String>,
    pub(crate) routes: Vec<String>,
    pub(crate) target: String,
    /// User parts of the two addresses.
    names: [String; 2],
    via: String,
    cseq: u32,
}

impl Leg {
    /// Nothing sent yet. `via` is the transport and address of the sender, `local` its tag. The tags of alice's
    /// begin with her name.
    pub(crate) fn new(call_id: &str, via: &str, local: &str, target: &str) -> Self {
        Self {
            call_id: call_id.to_owned(),
            local: local.to_owned(),
            remote: None,
            routes: Vec::new(),
            target: target.to_owned(),
            names: [if local.starts_with("alice") { "alice" } else { "me" }, "you"].map(str::to_owned),
            via: via.to_owned(),
            cseq: 0,
        }
    }

    /// The caller's view, out of an answer.
    pub(crate) fn answered(&self, response: &Message) -> Self {
        let mut leg = self.clone();
        leg.remote = response.to_tag().map(str::to_owned);
        leg.routes = uris(response, Name::RecordRoute);
        leg.routes.reverse();
        if let Some(contact) = response.contacts().next() {
            leg.target = contact.uri.to_owned();
        }
        leg
    }

    /// The view of the one who was asked.
    pub(crate) fn asked(request: &Message, via: &str, local: &str) -> Self {
        let target = request.contacts().next().map_or("sip:nobody@invalid", |contact| contact.uri);
        let mut leg = Self::new(request.call_id(), via, local, target);
        leg.remote = request.from_tag().map(str::to_owned);
        leg.names = [request.to(), request.from()]
            .map(|address| address.parsed_uri().and_then(|uri| uri.user.map(str::to_owned)).unwrap_or_default());
        leg.routes = uris(request, Name::RecordRoute);
        leg
    }

    /// A request. `lines` are further header lines, each with its line end.
    pub(crate) fn request(&mut self, method: &str, lines: &str) -> String {
        if method != "ACK" {
            self.cseq += 1;
        }
        self.with_body(method, lines, "")
    }

    pub(crate) fn with_body(&self, method: &str, lines: &str, body: &str) -> String {
        let mut text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{};branch=z9hG4bK{}{}{method}{}\r\nMax-Forwards: 70\r\n",
            self.target,
            self.via,
            self.local,
            self.cseq,
            self.remote.as_deref().unwrap_or_default(),
        );
        for route in &self.routes {
            let _ = write!(text, "Route: <{route}>\r\n");
        }
        let [me, you] = &self.names;
        let remote = self.remote.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let _ = write!(
            text,
            "From: <sip:{me}@example.com>;tag={}\r\nTo: <sip:{you}@example.com>{remote}\r\nCall-ID: {}\r\n\
             CSeq: {} {method}\r\nContact: <sip:me@{};transport={}>\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            self.local,
            self.call_id,
            self.cseq,
            self.via.rsplit(' ').next().unwrap_or_default(),
            self.via.split(' ').next().unwrap_or_default().to_ascii_lowercase(),
            body.len(),
        );
        text
    }
}

fn uris(message: &Message, name: Name) -> Vec<String> {
    message.addresses(name).map(|address| address.uri.to_owned()).collect()
}

/// An answer from a party with this tag and Contact.
pub(crate) fn answer(request: &Message, status: u16, tag: &str, contact: &str, lines: &[(Name, &str)]) -> Bytes {
    let mut response = request.respond(status, "x").to_tag(tag).record_route();
    if !contact.is_empty() {
        response = response.header(Name::Contact, &format!("<{contact}>"));
    }
    for (name, value) in lines {
        response = response.header(*name, value);
    }
    response.build()
}
