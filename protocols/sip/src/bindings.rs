//! Who is registered, and over which flow (RFC 3261 §10, RFC 5626).
//!
//! The registrar decides; this table only watches REGISTERs and their 2xx go by, so that a node
//! knows which flows belong to registered devices and how many devices there are. A *device* counts
//! once however many flows or lines it has: it is known by its instance-id (RFC 5626 §4.1), or,
//! where it gives none, by address of record and Contact. A REGISTER that asks for no time at all
//! (`Expires: 0`) for something that is not here is a probe and counts as nothing.
//!
//! Invariant: no binding without a live flow and a scheduled expiry.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use edgeway_model::world::Gauge;
use edgeway_model::{Deadline, FlowId, Moment};

use crate::header::Name;
use crate::message::Message;
use crate::uri::{NameAddr, Uri};

/// Bindings one table holds; more are forwarded but not counted.
pub const BINDINGS_MAX: usize = 200_000;
/// Contacts looked at in one REGISTER.
const CONTACTS_MAX: usize = 16;
/// RFC 3261 §10.2: what applies where nobody says how long.
const EXPIRES_DEFAULT: u32 = 3_600;
/// A registrar has the last word on the time, but not beyond a week.
const EXPIRES_MAX: u32 = 7 * 24 * 3_600;

/// Something an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An address of record is reachable that was not.
    Registered {
        /// The address of record, `user@host`.
        aor: String,
        /// Its flow.
        flow: FlowId,
    },
    /// An address of record is no longer reachable over this device.
    Unregistered {
        /// The address of record.
        aor: String,
        /// The flow it was reachable over.
        flow: FlowId,
        /// Why.
        why: &'static str,
    },
}

/// A device's name.
type Device = Box<str>;
/// One registered line of one device on one flow.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Line {
    device: Device,
    aor: Box<str>,
    flow: FlowId,
}

/// The table.
#[derive(Debug, Default)]
pub struct Bindings {
    lines: HashMap<Line, Moment>,
    by_flow: HashMap<FlowId, BTreeSet<(Device, Box<str>)>>,
    devices: HashMap<Device, u32>,
    expiries: BTreeSet<(Moment, Line)>,
    gauge: Gauge,
}

impl Bindings {
    /// Registered devices, now and at the peak.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        self.gauge
    }

    /// Whether a registered device uses this flow.
    #[must_use]
    pub fn is_registered(&self, flow: FlowId) -> bool {
        self.by_flow.contains_key(&flow)
    }

    /// Whether this address of record ([`aor_of`]) is registered over this flow.
    #[must_use]
    pub fn holds(&self, flow: FlowId, aor: &str) -> bool {
        self.by_flow.get(&flow).is_some_and(|lines| lines.iter().any(|(_, known)| **known == *aor))
    }

    /// A REGISTER from `flow` was accepted by the registrar. `request` must carry the Contacts as
    /// the device wrote them, `response` those of the registrar, restored to the device's form.
    pub fn accept(&mut self, request: &Message, response: &Message, flow: FlowId, now: Moment) -> Vec<Change> {
        let aor = aor_of(request.to().uri);
        if request.header(Name::Contact) == Some(b"*".as_slice()) {
            return self.unbind_all(&aor, flow, "de-registered");
        }
        let general = request.expires();
        let mut changes = Vec::new();
        for contact in request.contacts().take(CONTACTS_MAX) {
            let device = device_of(&contact, &aor);
            let line = Line { device, aor: aor.as_str().into(), flow };
            match granted(&contact, general, response) {
                0 => changes.extend(self.unbind(&line, "de-registered")),
                seconds => changes.extend(self.bind(line, now + Duration::from_secs(seconds.into()))),
            }
        }
        self.gauge.set(self.devices.len() as u64);
        changes
    }

    /// A flow is gone, and all that was reachable over it.
    pub fn flow_closed(&mut self, flow: FlowId) -> Vec<Change> {
        let Some(lines) = self.by_flow.get(&flow).cloned() else { return Vec::new() };
        let unbind = |(device, aor)| self.unbind(&Line { device, aor, flow }, "flow closed");
        let changes = lines.into_iter().filter_map(unbind).collect();
        self.gauge.set(self.devices.len() as u64);
        changes
    }

    /// Removes what has expired.
    pub fn expire(&mut self, now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((at, line)) = self.expiries.first() {
            if *at > now {
                break;
            }
            let line = line.clone();
            changes.extend(self.unbind(&line, "expired"));
        }
        self.gauge.set(self.devices.len() as u64);
        changes
    }

    /// When [`Self::expire`] should next be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.expiries.first().map(|(at, _)| Deadline { at: *at, why: "registration expiry" })
    }

    /// The flows of all bindings, in order.
    #[must_use]
    pub fn flows(&self) -> Vec<FlowId> {
        let mut flows: Vec<_> = self.by_flow.keys().copied().collect();
        flows.sort_unstable();
        flows
    }

    /// What is registered over a flow: each line's device and address of record.
    #[must_use]
    pub fn lines_of(&self, flow: FlowId) -> Vec<(String, String)> {
        let lines = self.by_flow.get(&flow).into_iter().flatten();
        lines.map(|(device, aor)| (String::from(&**device), String::from(&**aor))).collect()
    }

    /// Panics if the table contradicts itself; for debug builds and the simulator.
    pub fn check_invariants(&self) {
        assert_eq!(self.lines.len(), self.expiries.len(), "every binding has exactly one expiry");
        assert_eq!(self.lines.len(), self.by_flow.values().map(BTreeSet::len).sum::<usize>(), "and exactly one flow");
        let counted: u64 = self.devices.values().map(|lines| u64::from(*lines)).sum();
        assert_eq!(self.lines.len() as u64, counted, "every line counts for one device");
        assert!(self.gauge.current <= self.gauge.peak);
    }

    fn bind(&mut self, line: Line, expires: Moment) -> Option<Change> {
        if let Some(old) = self.lines.get_mut(&line) {
            self.expiries.remove(&(*old, line.clone()));
            *old = expires;
            self.expiries.insert((expires, line));
            return None;
        }
        if self.lines.len() >= BINDINGS_MAX {
            return None;
        }
        self.lines.insert(line.clone(), expires);
        self.expiries.insert((expires, line.clone()));
        self.by_flow.entry(line.flow).or_default().insert((line.device.clone(), line.aor.clone()));
        *self.devices.entry(line.device).or_default() += 1;
        Some(Change::Registered { aor: line.aor.into(), flow: line.flow })
    }

    fn unbind(&mut self, line: &Line, why: &'static str) -> Option<Change> {
        let expires = self.lines.remove(line)?;
        self.expiries.remove(&(expires, line.clone()));
        if let Some(lines) = self.by_flow.get_mut(&line.flow) {
            lines.remove(&(line.device.clone(), line.aor.clone()));
            if lines.is_empty() {
                self.by_flow.remove(&line.flow);
            }
        }
        if let Some(count) = self.devices.get_mut(&line.device) {
            *count -= 1;
            if *count == 0 {
                self.devices.remove(&line.device);
            }
        }
        Some(Change::Unregistered { aor: line.aor.clone().into(), flow: line.flow, why })
    }

    /// `Contact: *` ends what this address of record has on this flow.
    fn unbind_all(&mut self, aor: &str, flow: FlowId, why: &'static str) -> Vec<Change> {
        let Some(lines) = self.by_flow.get(&flow).cloned() else { return Vec::new() };
        let lines = lines.into_iter().filter(|(_, of)| **of == *aor);
        let changes = lines.filter_map(|(device, aor)| self.unbind(&Line { device, aor, flow }, why)).collect();
        self.gauge.set(self.devices.len() as u64);
        changes
    }
}

/// `user@host` of an address of record, host in lower case (RFC 3261 §10.3: parameters do not count).
#[must_use]
pub fn aor_of(uri: &str) -> String {
    Uri::parse(uri).map_or_else(
        || uri.to_owned(),
        |uri| match uri.user {
            Some(user) => format!("{user}@{}", uri.host.to_ascii_lowercase()),
            None => uri.host.to_ascii_lowercase(),
        },
    )
}

fn device_of(contact: &NameAddr<'_>, aor: &str) -> Device {
    match contact.param("+sip.instance") {
        Some(Some(instance)) => instance.trim_matches(['<', '>']).to_ascii_lowercase().into(),
        _ => format!("{aor} {}", contact.uri).into(),
    }
}

/// Seconds the registrar granted to this contact (RFC 3261 §10.3 step 8): its answer counts, where
/// it names the contact; else what was asked for.
fn granted(contact: &NameAddr<'_>, general: Option<u32>, response: &Message) -> u32 {
    let asked = expires_param(contact).or(general).unwrap_or(EXPIRES_DEFAULT);
    if asked == 0 {
        return 0;
    }
    let answered =
        response.contacts().find(|answer| same_contact(answer, contact)).and_then(|answer| expires_param(&answer));
    answered.or_else(|| response.expires()).unwrap_or(asked).min(EXPIRES_MAX)
}

fn same_contact(a: &NameAddr<'_>, b: &NameAddr<'_>) -> bool {
    a.uri == b.uri
}

fn expires_param(contact: &NameAddr<'_>) -> Option<u32> {
    contact.param("expires").flatten()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const FLOW: FlowId = FlowId::accepted(0, 1);
    const OTHER: FlowId = FlowId::accepted(0, 2);

    fn register(contact: &str, expires: u32) -> Message {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: 1\r\n\
             CSeq: 1 REGISTER\r\nContact: {contact}\r\nExpires: {expires}\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).expect("legal")
    }

    fn ok(request: &Message, contact: Option<&str>) -> Message {
        let mut response = request.respond(200, "OK");
        if let Some(contact) = contact {
            response = response.header(Name::Contact, contact);
        }
        Message::parse(response.to_tag("r").build()).expect("legal")
    }

    const PHONE: &str = "<sip:alice@192.0.2.1:5061>;+sip.instance=\"<urn:uuid:1>\"";

    #[test]
    fn a_device_counts_once_however_many_flows() {
        let mut bindings = Bindings::default();
        let now = Moment::from_secs(1);
        let request = register(PHONE, 600);
        assert_eq!(bindings.accept(&request, &ok(&request, None), FLOW, now).len(), 1);
        bindings.accept(&request, &ok(&request, None), OTHER, now);
        bindings.accept(&request, &ok(&request, None), OTHER, now);
        assert_eq!(bindings.gauge().current, 1);
        bindings.check_invariants();
        bindings.flow_closed(FLOW);
        assert_eq!(bindings.gauge().current, 1, "still reachable over the other flow");
        bindings.flow_closed(OTHER);
        assert_eq!((bindings.gauge().current, bindings.gauge().peak), (0, 1));
        bindings.check_invariants();
        assert_eq!(bindings.next_deadline(), None);
    }

    #[test]
    fn the_registrar_has_the_last_word_on_the_time() {
        let mut bindings = Bindings::default();
        let request = register("<sip:alice@192.0.2.1:5061>", 3_600);
        let answer = ok(&request, Some("<sip:bob@192.0.2.9>;expires=9, <sip:alice@192.0.2.1:5061>;expires=120"));
        bindings.accept(&request, &answer, FLOW, Moment::ZERO);
        assert_eq!(bindings.next_deadline().map(|deadline| deadline.at), Some(Moment::from_secs(120)));
        assert!(bindings.expire(Moment::from_secs(119)).is_empty());
        assert_eq!(bindings.expire(Moment::from_secs(120)).len(), 1);
        assert!(!bindings.is_registered(FLOW));
    }

    #[test]
    fn a_probe_is_no_registration_and_a_goodbye_ends_one() {
        let mut bindings = Bindings::default();
        let probe = register(PHONE, 0);
        assert!(bindings.accept(&probe, &ok(&probe, None), FLOW, Moment::ZERO).is_empty());
        assert_eq!(bindings.gauge().peak, 0);
        let request = register(PHONE, 60);
        bindings.accept(&request, &ok(&request, None), FLOW, Moment::ZERO);
        assert_eq!(bindings.accept(&probe, &ok(&probe, None), FLOW, Moment::ZERO).len(), 1);
        let star = register("*", 0);
        bindings.accept(&request, &ok(&request, None), FLOW, Moment::ZERO);
        assert_eq!(bindings.accept(&star, &ok(&star, None), FLOW, Moment::ZERO).len(), 1);
        bindings.check_invariants();
    }
}
