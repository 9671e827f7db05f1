//! Who is registered, and over which flow (RFC 3261 §10, RFC 5626).
//!
//! The registrar decides; this table only watches REGISTERs and their 2xx go by, so that a node
//! knows which flows belong to registered devices and how many devices there are. A *device* counts
//! once however many flows or lines it has: it is known by its instance-id (RFC 5626 §4.1), or,
//! where it gives none, by address of record and Contact. A REGISTER that asks for no time at all
//! (`Expires: 0`) for something that is not here is a probe and counts as nothing.
//!
//! Invariant: no binding without a live flow and a scheduled expiry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeway_model::listing::{Cursor, Page, Wish};
use edgeway_model::world::Gauge;
use edgeway_model::{Deadline, FlowId, Moment};

use crate::header::Name;
use crate::message::Message;
use crate::uri::{NameAddr, Uri};

/// Bindings one table holds; more are forwarded but not counted.
pub const BINDINGS_MAX: usize = 200_000;
/// Contacts looked at in one REGISTER.
const CONTACTS_MAX: usize = 16;
/// Bytes kept of what a client calls itself and its device, each: enough to know a phone and its release by. With it a line
/// costs some 550 bytes.
const DESCRIPTION_BYTES_MAX: usize = 64;
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

/// A device's name. The four places that hold it share it.
type Device = Arc<str>;
/// One registered line of one device on one flow.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Line {
    device: Device,
    aor: Arc<str>,
    flow: FlowId,
}

/// What is known of a line.
#[derive(Debug)]
struct Binding {
    since: Moment,
    expires: Moment,
    agent: Option<Box<str>>,
    name: Option<Box<str>>,
}

/// All that is registered over one flow.
#[derive(Debug, Default)]
struct OnFlow {
    lines: BTreeSet<(Device, Arc<str>)>,
    client: Option<SocketAddr>,
}

/// One registered line, for whoever lists them.
#[derive(Clone, Copy, Debug)]
pub struct Registered<'a> {
    /// The address of record.
    pub aor: &'a str,
    /// The name the device gives itself, or else what it is known by.
    pub device: &'a str,
    /// Its User-Agent.
    pub agent: Option<&'a str>,
    /// The flow it is reachable over.
    pub flow: FlowId,
    /// Where it connects from, if that was noted.
    pub client: Option<SocketAddr>,
    /// Since when.
    pub since: Moment,
    /// Until when.
    pub expires: Moment,
}

/// The table.
#[derive(Debug, Default)]
pub struct Bindings {
    lines: HashMap<Line, Binding>,
    /// In order, so that they can be listed page by page.
    by_flow: BTreeMap<FlowId, OnFlow>,
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
        self.by_flow.get(&flow).is_some_and(|on| on.lines.iter().any(|(_, known)| **known == *aor))
    }

    /// A REGISTER from `flow` was accepted by the registrar. `request` must carry the Contacts as
    /// the device wrote them, `response` those of the registrar, restored to the device's form.
    pub fn accept(&mut self, request: &Message, response: &Message, flow: FlowId, now: Moment) -> Vec<Change> {
        let aor: Arc<str> = aor_of(request.to().uri).into();
        if request.header(Name::Contact) == Some(b"*".as_slice()) {
            return self.unbind_all(&aor, flow, "de-registered");
        }
        let general = request.expires();
        let agent = request.header(Name::UserAgent);
        let mut changes = Vec::new();
        for contact in request.contacts().take(CONTACTS_MAX) {
            let device = device_of(&contact, &aor);
            let line = Line { device, aor: Arc::clone(&aor), flow };
            match granted(&contact, general, response) {
                0 => changes.extend(self.unbind(&line, "de-registered")),
                seconds => {
                    let expires = now + Duration::from_secs(seconds.into());
                    let name = contact.param(DEVICE_NAME).flatten().map(str::as_bytes);
                    let (agent, name) = (agent.and_then(shown), name.and_then(shown));
                    changes.extend(self.bind(line, Binding { since: now, expires, agent, name }));
                }
            }
        }
        self.gauge.set(self.devices.len() as u64);
        changes
    }

    /// A flow is gone, and all that was reachable over it.
    pub fn flow_closed(&mut self, flow: FlowId) -> Vec<Change> {
        let Some(lines) = self.by_flow.get(&flow).map(|on| on.lines.clone()) else { return Vec::new() };
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
        self.by_flow.keys().copied().collect()
    }

    /// What is registered over a flow: each line's device and address of record.
    #[must_use]
    pub fn lines_of(&self, flow: FlowId) -> Vec<(String, String)> {
        let lines = self.by_flow.get(&flow).into_iter().flat_map(|on| &on.lines);
        lines.map(|(device, aor)| (String::from(&**device), String::from(&**aor))).collect()
    }

    /// The addresses of record that are registered over a flow.
    pub fn aors_of(&self, flow: FlowId) -> impl Iterator<Item = &str> {
        self.by_flow.get(&flow).into_iter().flat_map(|on| on.lines.iter().map(|(_, aor)| &**aor))
    }

    /// Where the client of a flow connects from; without effect where nothing is registered over it.
    pub fn set_client(&mut self, flow: FlowId, client: SocketAddr) {
        if let Some(on) = self.by_flow.get_mut(&flow) {
            on.client = Some(client);
        }
    }

    /// When the last of all bindings ends, unless it is refreshed.
    #[must_use]
    pub fn last_expiry(&self) -> Option<Moment> {
        self.expiries.last().map(|(at, _)| *at)
    }

    /// Lines that are registered, in the order of their flows.
    #[must_use]
    pub fn page(&self, wish: &Wish) -> Page<Registered<'_>> {
        let from = FlowId(wish.after.map_or(0, |after| after.0));
        let rows = self.by_flow.range(from..).flat_map(|(flow, on)| {
            let lines = on.lines.iter().zip(0..);
            lines.map(move |(line, number)| (Cursor(flow.0, number), (*flow, on, line)))
        });
        let page = wish.page(rows, self.lines.len() as u64, |(.., (_, aor))| wish.takes(&[aor]));
        page.map(|(flow, on, (device, aor))| {
            let line = Line { device: Arc::clone(device), aor: Arc::clone(aor), flow };
            let known = self.lines.get(&line);
            debug_assert!(known.is_some(), "what is on a flow is bound");
            Registered {
                aor,
                device: known.and_then(|known| known.name.as_deref()).unwrap_or(device),
                agent: known.and_then(|known| known.agent.as_deref()),
                flow,
                client: on.client,
                since: known.map_or(Moment::ZERO, |known| known.since),
                expires: known.map_or(Moment::ZERO, |known| known.expires),
            }
        })
    }

    /// Panics if the table contradicts itself; for debug builds and the simulator.
    pub fn check_invariants(&self) {
        assert_eq!(self.lines.len(), self.expiries.len(), "every binding has exactly one expiry");
        assert_eq!(
            self.lines.len(),
            self.by_flow.values().map(|on| on.lines.len()).sum::<usize>(),
            "and exactly one flow"
        );
        let counted: u64 = self.devices.values().map(|lines| u64::from(*lines)).sum();
        assert_eq!(self.lines.len() as u64, counted, "every line counts for one device");
        assert!(self.gauge.current <= self.gauge.peak);
    }

    fn bind(&mut self, line: Line, binding: Binding) -> Option<Change> {
        let expires = binding.expires;
        if let Some(known) = self.lines.get_mut(&line) {
            let since = known.since;
            let old = std::mem::replace(known, Binding { since, ..binding });
            self.expiries.remove(&(old.expires, line.clone()));
            self.expiries.insert((expires, line));
            return None;
        }
        if self.lines.len() >= BINDINGS_MAX {
            return None;
        }
        self.lines.insert(line.clone(), binding);
        self.expiries.insert((expires, line.clone()));
        self.by_flow.entry(line.flow).or_default().lines.insert((line.device.clone(), line.aor.clone()));
        *self.devices.entry(line.device).or_default() += 1;
        Some(Change::Registered { aor: String::from(&*line.aor), flow: line.flow })
    }

    fn unbind(&mut self, line: &Line, why: &'static str) -> Option<Change> {
        let binding = self.lines.remove(line)?;
        self.expiries.remove(&(binding.expires, line.clone()));
        if let Some(on) = self.by_flow.get_mut(&line.flow) {
            on.lines.remove(&(line.device.clone(), line.aor.clone()));
            if on.lines.is_empty() {
                self.by_flow.remove(&line.flow);
            }
        }
        if let Some(count) = self.devices.get_mut(&line.device) {
            *count -= 1;
            if *count == 0 {
                self.devices.remove(&line.device);
            }
        }
        Some(Change::Unregistered { aor: String::from(&*line.aor), flow: line.flow, why })
    }

    /// `Contact: *` ends what this address of record has on this flow.
    fn unbind_all(&mut self, aor: &str, flow: FlowId, why: &'static str) -> Vec<Change> {
        let Some(lines) = self.by_flow.get(&flow).map(|on| on.lines.clone()) else { return Vec::new() };
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

/// The Contact parameter in which a device of the field says its name.
const DEVICE_NAME: &str = "+u.sip!devicename.ccm.cisco.com";

/// What a client says of itself, cut to what is kept of it.
fn shown(text: &[u8]) -> Option<Box<str>> {
    let text = text.get(..DESCRIPTION_BYTES_MAX).unwrap_or(text);
    let text = String::from_utf8_lossy(text);
    let text = text.trim_matches(|letter: char| letter == '\u{fffd}' || letter == '"' || letter.is_whitespace());
    (!text.is_empty()).then(|| text.into())
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

    trait WithAgent {
        fn with_agent(&self, agent: &str) -> Message;
    }

    impl WithAgent for Message {
        fn with_agent(&self, agent: &str) -> Message {
            let mut edit = self.edit();
            edit.set(Name::UserAgent, agent);
            Message::parse(edit.finish()).expect("legal")
        }
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
    fn lines_are_listed_with_what_devices_say_of_themselves() {
        let mut bindings = Bindings::default();
        let phone =
            "<sip:alice@192.0.2.1:5061>;+sip.instance=\"<urn:uuid:1>\";+u.sip!devicename.ccm.cisco.com=\"CSFALICE\"";
        let mut request = register(phone, 600).with_agent("Jabber/15 \u{fc}");
        for (flow, at) in [(FLOW, 1), (OTHER, 2)] {
            bindings.accept(&request, &ok(&request, None), flow, Moment::from_secs(at));
        }
        let client = SocketAddr::from(([192, 0, 2, 1], 5_061));
        bindings.set_client(OTHER, client);
        bindings.set_client(FlowId::accepted(0, 9), client);
        // A refresh changes nothing of when it began.
        request = register(PHONE, 60).with_agent(&"x".repeat(100));
        bindings.accept(&request, &ok(&request, None), OTHER, Moment::from_secs(10));
        let page = bindings.page(&Wish { limit: 1, ..Wish::default() });
        let row = page.rows[0];
        assert_eq!((row.aor, row.device, row.agent), ("alice@example.com", "CSFALICE", Some("Jabber/15 \u{fc}")));
        assert_eq!(
            (row.flow, row.client, row.since, row.expires),
            (FLOW, None, Moment::from_secs(1), Moment::from_secs(601))
        );
        assert_eq!(page.total, 2);
        let page = bindings.page(&Wish { after: page.next, limit: 1, user: Some("ALICE".into()) });
        let row = page.rows[0];
        assert_eq!((row.device, row.agent.map(str::len)), ("urn:uuid:1", Some(DESCRIPTION_BYTES_MAX)));
        assert_eq!(
            (row.flow, row.client, row.since, row.expires),
            (OTHER, Some(client), Moment::from_secs(2), Moment::from_secs(70))
        );
        assert_eq!((page.next, bindings.last_expiry()), (None, Some(Moment::from_secs(601))));
        assert_eq!(bindings.page(&Wish { user: Some("bob".into()), ..Wish::default() }).rows.len(), 0);
        bindings.check_invariants();
    }

    /// What a page costs does not grow with the table, and a filter looks at a bounded part of it.
    #[test]
    fn a_page_out_of_many_lines_is_a_page() {
        use edgeway_model::limits::{LISTED_EXAMINED_MAX, LISTED_MAX};
        const LINES: usize = 50_000;
        let mut bindings = Bindings::default();
        for number in 0..LINES as u64 {
            let phone =
                format!("<sip:a@192.0.2.1:5061>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{number:012x}>\"");
            let request = register(&phone, 600).with_agent("Cisco-CSF/15.0.1 (Linux; desktop)");
            bindings.accept(&request, &ok(&request, None), FlowId::accepted(0, number), Moment::ZERO);
        }
        let (mut wish, mut seen, mut pages) = (Wish { limit: LISTED_MAX, ..Wish::default() }, 0, 0);
        loop {
            let page = bindings.page(&wish);
            assert_eq!(page.total, LINES as u64);
            (seen, pages) = (seen + page.rows.len(), pages + 1);
            match page.next {
                Some(next) => wish.after = Some(next),
                None => break,
            }
        }
        assert_eq!((seen, pages), (LINES, LINES / LISTED_MAX));
        let nobody = Wish { user: Some("nobody".into()), limit: LISTED_MAX, after: None };
        let page = bindings.page(&nobody);
        assert_eq!(page.next, Some(Cursor(FlowId::accepted(0, LISTED_EXAMINED_MAX as u64 - 1).0, 0)));
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
