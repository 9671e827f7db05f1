//! The line side of a call manager: whoever speaks to it is believed, devices are known by name, and a
//! registration lasts 120 seconds whatever was asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use edgeway_sip::Message;
use rustls::ServerConfig;
use tokio::time::Instant;

use super::Actor;
use super::proxy::Hop;

/// The Contact parameter with the name of the device.
const DEVICE: &str = "+u.sip!devicename.ccm.cisco.com";

/// Who owns a device, and its directory numbers.
type LookUp = dyn Fn(&str) -> Option<(String, Vec<String>)> + Send + Sync;

/// What the call manager's database knows of devices.
#[derive(Clone)]
pub struct Stations(Arc<LookUp>);

impl Stations {
    /// Asks `look_up`: the owner of a device, and its directory numbers.
    pub fn new(look_up: impl Fn(&str) -> Option<(String, Vec<String>)> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look_up))
    }
}

impl std::fmt::Debug for Stations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stations")
    }
}

/// What is wrong with the line side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineFault {
    /// STUN keepalives are not answered.
    pub deaf_to_stun: bool,
    /// Every REGISTER is refused: status, reason, and the text of a `Warning: 399`.
    pub refuses: Option<(u16, String, String)>,
}

/// The line side of a call manager.
#[derive(Clone, Debug)]
pub struct LineSide {
    pub(super) stations: Stations,
    /// Domains it answers for besides its own name.
    pub(super) domains: Vec<String>,
    /// SIP over TLS: where, and with what.
    pub(crate) tls: Option<(SocketAddr, Arc<ServerConfig>)>,
    fault: Arc<Mutex<LineFault>>,
}

impl LineSide {
    /// With these devices, for users of this domain.
    #[must_use]
    pub fn new(stations: Stations, domain: &str) -> Self {
        Self { stations, domains: vec![domain.to_owned()], tls: None, fault: Arc::default() }
    }

    /// Breaks it, or mends it with the default.
    pub fn set_fault(&self, fault: LineFault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    pub(super) fn fault(&self) -> LineFault {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Actor {
    /// A REGISTER at the line side.
    pub(super) fn register_station(&mut self, hop: Hop, request: &Message, side: &LineSide) {
        let here = self.address;
        let warn = move |words: &str| vec![format!("Warning: 399 {here} \"{words}\"")];
        if let Some((status, reason, words)) = side.fault().refuses {
            return self.refuse(hop, request, status, &reason, &warn(&words));
        }
        let number = request.to().parsed_uri().and_then(|uri| uri.user).unwrap_or_default().to_owned();
        let contact = request.contacts().next();
        let device = contact.as_ref().and_then(|contact| contact.param(DEVICE)).flatten().map(str::to_owned);
        let Some((owner, numbers)) = device.as_deref().and_then(|device| (side.stations.0)(device)) else {
            return self.refuse(
                hop,
                request,
                404,
                "Not Found",
                &warn("Unable to find a device handler for the request received"),
            );
        };
        if !numbers.contains(&number) {
            return self.refuse(hop, request, 403, "Forbidden", &warn("Line not configured"));
        }
        let mut lines =
            vec!["Server: Cisco-CUCM12.5".to_owned(), "Supported: X-cisco-srtp-fallback,X-cisco-sis-9.2.0".to_owned()];
        // A probe of a client that is registered elsewhere; it binds and unbinds nothing.
        if contact.is_some_and(|contact| contact.param("cisco-keep-alive").is_some()) {
            return self.refuse(hop, request, 200, "OK", &lines);
        }
        self.lines.insert(number.clone());
        match self.location.register(request, &number, hop, Instant::now()) {
            Ok(bound) => {
                let named = |line: String| match line.starts_with("Contact: ") {
                    true => format!("{line};+u.sip!userid.ccm.cisco.com=\"{owner}\";x-cisco-newreg"),
                    false => line,
                };
                lines.extend(bound.into_iter().map(named));
                let granted = if request.expires() == Some(0) { 0 } else { crate::limits::STATION_EXPIRES_SECS };
                lines.push(format!("Expires: {granted}"));
                self.refuse(hop, request, 200, "OK", &lines);
            }
            Err((status, reason)) => self.refuse(hop, request, status, reason, &[]),
        }
    }

    /// A STUN request on a SIP connection (RFC 8489 §7): answered with the address it came from.
    pub(super) fn stun(&mut self, id: u64, request: &Bytes) {
        let Some(side) = &self.config.line_side else { return };
        if side.fault().deaf_to_stun {
            return;
        }
        let Some(peer) = self.peer(Hop::Stream(id)) else { return };
        if let Some(answer) = binding_success(request, peer) {
            self.write(id, answer);
        }
    }
}

/// RFC 8489 §14.2: the XOR-MAPPED-ADDRESS of a Binding success response; `None` for what is no Binding request.
fn binding_success(request: &[u8], peer: SocketAddr) -> Option<Bytes> {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    if request.get(..2)? != [0x00, 0x01] || request.get(4..8)? != COOKIE {
        return None;
    }
    let transaction = request.get(8..20)?;
    let address = match peer.ip() {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mask = COOKIE.iter().chain(transaction);
    let masked: Vec<u8> = address.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    let length = u8::try_from(4 + masked.len()).ok()?;
    let mut out = vec![0x01, 0x01, 0x00, 4 + length];
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(transaction);
    out.extend_from_slice(&[0x00, 0x20, 0x00, length, 0x00, if peer.is_ipv4() { 1 } else { 2 }]);
    out.extend_from_slice(&(peer.port() ^ 0x2112).to_be_bytes());
    out.extend_from_slice(&masked);
    Some(Bytes::from(out))
}

/// Whether a name is one the line side answers for.
pub(super) fn answers_for(side: &LineSide, host: &str) -> bool {
    side.domains.iter().any(|domain| domain.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_request_is_answered_with_the_address_it_came_from() {
        let request: Vec<u8> =
            [0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42].into_iter().chain(0xa0..=0xab).collect();
        let answer = binding_success(&request, "203.0.113.7:58980".parse().expect("an address")).expect("an answer");
        let mut expected = vec![0x01, 0x01, 0x00, 0x0c, 0x21, 0x12, 0xa4, 0x42];
        expected.extend(0xa0..=0xab);
        expected.extend([0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xc7, 0x76, 0xea, 0x12, 0xd5, 0x45]);
        assert_eq!(answer, expected);
        assert_eq!(binding_success(b"REGISTER sip:x SIP/2.0\r\n", "127.0.0.1:1".parse().expect("one")), None);
    }
}
