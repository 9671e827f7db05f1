//! What a hostile edge says, and what a registrar answers.

pub(crate) mod carrier;
pub(crate) mod questions;
pub(crate) mod sockets;

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use edgeway_link::frame::{Frame, Load, RelayRule};
use edgeway_model::media::{Carriage, PortPair};
use edgeway_model::{FlowId, Random, RelayId};

/// The honest call, which the hostile edge is assumed to know all about.
pub(crate) const CALL: &str = "honest-call@client";
pub(crate) const TAG: &str = "honest-tag";

/// Runs `attack` in a process in which nothing else runs: it measures memory, and the tests of one file share theirs.
pub(crate) fn alone(test: &str, attack: fn()) {
    const ALONE: &str = "EDGEWAY_HOSTILE_ALONE";
    if std::env::var(ALONE).is_ok_and(|name| name == test) {
        return attack();
    }
    let program = std::env::current_exe().expect("this program");
    let mut child = std::process::Command::new(program);
    let output = child.args(["--exact", test, "--nocapture"]).env(ALONE, test).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{test} is no test of this program");
}

/// Resident memory of this process.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number of pages") * 4_096
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n\
                   m=audio 20000 RTP/SAVP 0\r\n\
                   a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";

fn path(edge: &str) -> String {
    format!("<sip:{edge}.0000000000000002aaaaaaaaaaaaaaaa@{edge}.example.com:5061;transport=tls;lr;ob>")
}

pub(crate) fn honest_register() -> String {
    format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bKh1\r\n\
         Path: {}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=r\r\nTo: <sip:alice@example.com>\r\n\
         Call-ID: honest-registration\r\nCSeq: 1 REGISTER\r\nContact: <sip:alice@198.51.100.9:50000;transport=tls>\r\n\
         Expires: 3600\r\nContent-Length: 0\r\n\r\n",
        path("edge1")
    )
}

pub(crate) fn honest_invite() -> String {
    format!(
        "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bKh2\r\n\
         Record-Route: {}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag={TAG}\r\n\
         To: <sip:bob@example.com>\r\nCall-ID: {CALL}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@198.51.100.9:50000;transport=tls>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{SDP}",
        path("edge1"),
        SDP.len()
    )
}

pub(crate) fn bye(call: &str, tag: &str) -> String {
    format!(
        "BYE sip:bob@10.0.0.77 SIP/2.0\r\nVia: SIP/2.0/TLS edge1.example.com:5061;branch=z9hG4bKbye\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag={tag}\r\nTo: <sip:bob@example.com>;tag=far\r\n\
         Call-ID: {call}\r\nCSeq: 9 BYE\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What a registrar answers: 200 to the honest REGISTER, the honest INVITE rings, 401 to others.
pub(crate) fn answer(request: &str, honest: bool) -> Option<String> {
    let method = request.split(' ').next()?;
    if matches!(method, "ACK" | "SIP/2.0") {
        return None;
    }
    let (status, more) = match (honest, method) {
        (true, "INVITE") => ("180 Ringing", ""),
        (true, _) => ("200 OK", "Contact: <sip:alice@198.51.100.9:50000;transport=tls>;expires=3600\r\n"),
        (false, "OPTIONS") => ("200 OK", ""),
        (false, _) => ("401 Unauthorized", "WWW-Authenticate: Digest realm=\"example.com\", nonce=\"n\"\r\n"),
    };
    let mut response = format!("SIP/2.0 {status}\r\n");
    for line in request.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if ["Via", "From", "Call-ID", "CSeq"].iter().any(|kept| kept.eq_ignore_ascii_case(name)) {
            let _ = write!(response, "{line}\r\n");
        } else if name.eq_ignore_ascii_case("To") {
            let tag = if line.contains(";tag=") { "" } else { ";tag=far" };
            let _ = write!(response, "{line}{tag}\r\n");
        }
    }
    let _ = write!(response, "{more}Content-Length: 0\r\n\r\n");
    Some(response)
}

/// Makes hostile frames out of a seed.
pub(crate) struct Forger {
    random: Random,
    branch: u64,
    /// Breaches that end a link, in a thousand times six frames.
    breaches: u64,
}

impl Forger {
    pub(crate) fn new(seed: u8) -> Self {
        Self { random: Random::from_seed([seed; 32]), branch: 0, breaches: 1_000 }
    }

    /// One that ends a link more seldom: over real sockets each new one costs a back-off.
    pub(crate) fn patient(mut self) -> Self {
        self.breaches = 30;
        self
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }

    /// One frame. Those that break the framing are rare, or no link would live long enough for the others.
    pub(crate) fn forge(&mut self, out: &mut BytesMut) {
        let mut kind = self.below(1_000);
        if kind < 6 && self.below(1_000) >= self.breaches {
            kind = 6;
        }
        match kind {
            0 => self.garbage(out),
            1 => self.truncated(out),
            2 => out.put_u32(u32::try_from(66_561 + self.below(1 << 30)).unwrap_or(u32::MAX)),
            3 => out.extend_from_slice(&self.cores_frame().encode()),
            4 => {
                let flow = FlowId((1 + self.below(255)) << 48 | 2);
                out.extend_from_slice(&Frame::FlowClosed { flow }.encode());
            }
            5 => {
                let flow = FlowId((1 + self.below(255)) << 48 | 2);
                out.extend_from_slice(&self.clients_message(flow).encode());
            }
            6..60 => self.unknown(out),
            60..120 => {
                let flow = FlowId(2 * self.below(50_000));
                out.extend_from_slice(&Frame::FlowClosed { flow }.encode());
            }
            120..160 => out.extend_from_slice(&self.grant().encode()),
            160..220 => {
                let relay = RelayId(u32::try_from(self.below(1 << 24)).unwrap_or(0));
                out.extend_from_slice(&Frame::ClientSilent { relay }.encode());
            }
            220..260 => {
                let load = Load { registrations: u32::MAX, calls: u32::MAX, stranded: true, draining: true };
                let (sequence, wall_ms) = (0, self.random.next_u64());
                out.extend_from_slice(&Frame::Keepalive { sequence, wall_ms, load }.encode());
            }
            260..280 => {
                let (sequence, wall_ms) = (u32::MAX, self.random.next_u64());
                out.extend_from_slice(&Frame::KeepaliveAnswer { sequence, wall_ms }.encode());
            }
            _ => {
                let flow = FlowId(2 * self.below(50_000));
                out.extend_from_slice(&self.clients_message(flow).encode());
            }
        }
    }

    fn garbage(&mut self, out: &mut BytesMut) {
        for _ in 0..self.below(200) {
            out.put_u8(u8::try_from(self.below(256)).unwrap_or(0));
        }
    }

    fn truncated(&mut self, out: &mut BytesMut) {
        out.put_u32(3);
        out.put_u8(u8::try_from(1 + self.below(11)).unwrap_or(1));
        out.put_u16(0xffff);
    }

    fn unknown(&mut self, out: &mut BytesMut) {
        let length = self.below(400);
        out.put_u32(u32::try_from(length + 1).unwrap_or(1));
        out.put_u8(u8::try_from(100 + self.below(150)).unwrap_or(200));
        out.put_bytes(0x5a, usize::try_from(length).unwrap_or(0));
    }

    fn cores_frame(&mut self) -> Frame {
        let (relay, ports) = (RelayId(u32::try_from(self.below(1 << 24)).unwrap_or(0)), PortPair { rtp: 36_000 });
        match self.below(4) {
            0 => Frame::ToClient { sip: Bytes::from(bye(CALL, TAG)) },
            1 => Frame::SetRelay(RelayRule {
                relay,
                ports,
                call: 1,
                flow: FlowId(2),
                described: None,
                srtp: true,
                mux: self.below(2) == 0,
                carriage: Carriage::Rtp,
            }),
            2 => Frame::CloseRelay { relay, ports },
            _ => Frame::Synchronised,
        }
    }

    fn grant(&mut self) -> Frame {
        let pair = |n: u64| PortPair { rtp: u16::try_from(2 * (1 + n % 32_000)).unwrap_or(2) };
        let first = self.below(32_000);
        let address = self.pick(&["10.0.0.5", "127.0.0.1", "0.0.0.0", "203.0.113.1", "::1"]);
        Frame::GrantPorts {
            address: address.parse().expect("an address"),
            pairs: (first..first + 256).map(pair).collect(),
        }
    }

    fn clients_message(&mut self, flow: FlowId) -> Frame {
        let peer = "10.0.0.5:5060".parse().expect("an address");
        let sip = match self.below(40) {
            0 => self.response(),
            1 => bye(CALL, TAG),
            2 => bye(CALL, TAG).replace("BYE", "INVITE"),
            3 => bye(CALL, TAG).replace("BYE", "UPDATE"),
            4 => bye(CALL, TAG).replace("BYE", "ACK"),
            5 => bye(CALL, TAG).replace("BYE", "CANCEL"),
            6 => "\r\n\r\nthis is no SIP\r\n\r\n".to_owned(),
            _ => self.request(),
        };
        Frame::FromClient { flow, peer, sip: Bytes::from(sip) }
    }

    /// An answer nobody has asked for, to transactions of others.
    fn response(&mut self) -> String {
        let id = self.below(100_000);
        let boot = self.below(1 << 32);
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS 10.0.0.4:5060;branch=z9hG4bKew{boot:x}.{id:x}\r\n\
             From: <sip:x@example.com>;tag=1\r\nTo: <sip:y@example.com>;tag=2\r\nCall-ID: {CALL}\r\n\
             CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn request(&mut self) -> String {
        self.branch += 1;
        let method = self.pick(&["REGISTER", "INVITE", "MESSAGE", "OPTIONS", "SUBSCRIBE", "BYE", "REFER", "PUBLISH"]);
        let target = self.pick(&[
            "sip:example.com",
            "sip:alice@example.com",
            "sip:root@10.0.0.77:22",
            "sip:x@10.0.0.5:8443",
            "sip:x@[fd00::1]:5060;transport=tcp",
            "sip:x@evil.test",
            "sips:x@10.9.9.9",
            "sip:edge1.0000000000000002aaaaaaaaaaaaaaaa@10.0.0.4:5060",
        ]);
        let route = self.pick(&[
            "",
            "Route: <sip:10.0.0.77:22;lr>\r\n",
            "Route: <sip:10.0.0.5:5060;lr>\r\n",
            "Route: <sip:core1@10.0.0.4:5060;lr>, <sip:192.168.1.1;lr>\r\n",
            "Route: <sip:169.254.169.254:80;transport=tcp;lr>\r\n",
            "Route: <sip:edge1.0000000000000002aaaaaaaaaaaaaaaa@edge1.example.com;lr>\r\n",
        ]);
        let to_tag = self.pick(&["", ";tag=far", ";tag=made-up"]);
        let size = match self.below(100) {
            0 => self.below(58_000),
            1..10 => self.below(4_000),
            _ => 0,
        };
        let (body, kind) = match self.below(4) {
            0 => (SDP.to_owned(), "application/sdp"),
            _ => ("x".repeat(usize::try_from(size).unwrap_or(0)), "text/plain"),
        };
        let long = if self.below(300) == 0 { "c".repeat(2_000) } else { String::new() };
        let (branch, tag, call) = (self.branch, self.below(1 << 40), self.below(1 << 40));
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/TLS edge2.example.com:5061;branch=z9hG4bK{branch:x}\r\n{route}\
             Path: {}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag={tag}\r\nTo: <sip:bob@example.com>{to_tag}\r\n\
             Call-ID: {long}{call}\r\nCSeq: 1 {method}\r\nContact: <sip:alice@10.0.0.77:5060>\r\n\
             P-Asserted-Identity: <sip:admin@example.com>\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            path("edge2"),
            body.len()
        )
    }
}
