//! A dialog as a probe keeps it (RFC 3261 §12): what every later request must carry.

use crate::message::Message;
use crate::wire_phone::unique;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// One side of a dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Its Call-ID.
    pub call_id: String,
    /// Our From, tag included.
    pub local: String,
    /// The other's From, tag included.
    pub remote: String,
    /// Where requests go.
    pub target: String,
    routes: Vec<String>,
    sequence: u32,
}

impl Dialog {
    /// The caller's side, from a response.
    pub fn of_caller(response: &Message) -> Result<Self> {
        let mut routes = owned(&response.headers("Record-Route"));
        routes.reverse();
        let (sequence, _) = response.sequence().context("CSeq")?;
        Ok(Self {
            call_id: response.header("Call-ID").context("Call-ID")?.to_owned(),
            local: response.header("From").context("From")?.to_owned(),
            remote: response.header("To").context("To")?.to_owned(),
            target: response.uri("Contact").context("Contact")?.to_owned(),
            routes,
            sequence,
        })
    }

    /// The callee's side, from the request it answered with `tag`.
    pub fn of_callee(request: &Message, tag: &str) -> Result<Self> {
        Ok(Self {
            call_id: request.header("Call-ID").context("Call-ID")?.to_owned(),
            local: format!("{};tag={tag}", request.header("To").context("To")?),
            remote: request.header("From").context("From")?.to_owned(),
            target: request.uri("Contact").context("Contact")?.to_owned(),
            routes: owned(&request.headers("Record-Route")),
            sequence: 100,
        })
    }

    /// Passes over the number another request of the dialog took.
    pub fn skip(&mut self) {
        self.sequence += 1;
    }

    /// The tag of one of its two parties, as it stands in `local` and `remote`.
    pub fn tag(party: &str) -> &str {
        party.split_once(";tag=").map_or("", |(_, tag)| tag.split(';').next().unwrap_or(tag))
    }

    /// A request in it.
    pub fn request(
        &mut self,
        method: &str,
        protocol: &str,
        own: SocketAddr,
        contact: &str,
        lines: &str,
        body: &str,
    ) -> String {
        if method != "ACK" {
            self.sequence += 1;
        }
        let Self { call_id, local, remote, target, sequence, .. } = self;
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{protocol} {own};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\n",
            unique()
        );
        for route in &self.routes {
            // Writing into a String cannot fail.
            let _ = write!(text, "Route: {route}\r\n");
        }
        let kind =
            if body.is_empty() || lines.contains("Content-Type:") { "" } else { "Content-Type: application/sdp\r\n" };
        let _ = write!(
            text,
            "From: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {sequence} {method}\r\nContact: {contact}\r\n\
             {lines}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        text
    }
}

/// One entry a line, since a field may hold several.
fn owned(fields: &[&str]) -> Vec<String> {
    fields
        .iter()
        .flat_map(|field| field.split(",<"))
        .map(|one| {
            let one = one.trim();
            if one.starts_with('<') { one.to_owned() } else { format!("<{one}") }
        })
        .collect()
}
