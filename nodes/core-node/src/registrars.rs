//! Which registrar takes a request, and what happens when one fails (RFC 3263 §4.3).
//!
//! * A device stays at the node that holds its registration, and a connection's requests at the node
//!   that answered it last (a challenge is good where it was made), as long as that node is alive.
//! * A request that names a node goes to that node or nowhere: the client walks its own list.
//! * A request that could not be delivered, was answered 503, or (other than INVITE) timed out, goes to
//!   the next node, with a branch of its own. An INVITE that may have been delivered never does.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::world::{FlowCommand, Transport};
use edgeway_model::{FlowId, Moment, Output};
use edgeway_policy::location::Place;
use edgeway_policy::registrars::{Event, Families, Wanted};
use edgeway_sip::bindings::aor_of;
use edgeway_sip::mra::is_keep_alive;
use edgeway_sip::proxy::{Hop, TransactionId};
use edgeway_sip::uri::Uri;
use edgeway_sip::{Message, Name};

use crate::limits::{HELD_MAX, RETRIES_MAX};
use crate::{CoreNode, Settings};

/// Where a request goes inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) place: Place,
    /// TLS only: whom its certificate must name.
    pub(crate) name: Option<String>,
}

/// What has been tried for one request.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    tried: Vec<Place>,
    /// The node it named, for itself or because it may have been delivered there.
    pinned: Option<Place>,
    retries: u8,
    rang: bool,
}

/// Who is where: which node holds a device's registration, and which one a connection talks to.
#[derive(Debug, Default)]
pub(crate) struct Held {
    flows: HashMap<FlowId, Place>,
    devices: HashMap<Device, (Place, Moment)>,
    expiries: BTreeSet<(Moment, Device)>,
}

/// An address of record and the instance-id of one device of it (RFC 5626 §4.1).
type Device = (String, String);

impl Held {
    pub(crate) fn of_flow(&self, flow: FlowId) -> Option<Place> {
        self.flows.get(&flow).copied()
    }

    pub(crate) fn flow_closed(&mut self, flow: FlowId) {
        self.flows.remove(&flow);
    }

    pub(crate) fn flows_closed(&mut self, is_gone: impl Fn(FlowId) -> bool) {
        self.flows.retain(|flow, _| !is_gone(*flow));
    }

    fn answered(&mut self, flow: FlowId, place: Place) {
        if self.flows.len() < HELD_MAX || self.flows.contains_key(&flow) {
            self.flows.insert(flow, place);
        }
    }

    fn registered(&mut self, device: Device, place: Place, until: Moment, now: Moment) {
        self.unregistered(&device);
        while let Some((at, _)) = self.expiries.first()
            && (*at <= now || self.devices.len() >= HELD_MAX)
        {
            let Some((_, first)) = self.expiries.pop_first() else { break };
            self.devices.remove(&first);
        }
        self.expiries.insert((until, device.clone()));
        self.devices.insert(device, (place, until));
    }

    fn unregistered(&mut self, device: &Device) {
        if let Some((_, until)) = self.devices.remove(device) {
            self.expiries.remove(&(until, device.clone()));
        }
    }

    fn of_device(&self, device: &Device, now: Moment) -> Option<Place> {
        self.devices.get(device).filter(|(_, until)| now < *until).map(|(place, _)| *place)
    }
}

/// What can be reached, out of what is listened on.
pub(crate) fn families(settings: &Settings) -> Families {
    Families {
        udp_ipv4: settings.datagrams.iter().any(std::net::SocketAddr::is_ipv4),
        udp_ipv6: settings.datagrams.iter().any(std::net::SocketAddr::is_ipv6),
        ipv6_first: match settings.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(ip) => ip.is_ipv6(),
            Err(_) => settings.datagrams.first().is_some_and(std::net::SocketAddr::is_ipv6),
        },
    }
}

impl CoreNode {
    /// The node for a request on its way to a registrar, or the status, code and text to refuse with.
    pub(crate) fn registrar_for(
        &mut self,
        id: TransactionId,
        flow: FlowId,
        request: &Message,
        named: Option<&str>,
        now: Moment,
    ) -> Result<Destination, (u16, u16, &'static str)> {
        let Some(served) = self.deployment_of(flow, request).and_then(|one| self.zones.get(&one)) else {
            return Err((404, 399, "Policy Response"));
        };
        let held = self.held.of_flow(flow).or_else(|| {
            let is_register = request.method() == Some("REGISTER");
            is_register.then(|| self.held.of_device(&device_of(request), now)).flatten()
        });
        let attempt = self.attempts.get(&id);
        let pinned = attempt.and_then(|attempt| attempt.pinned);
        let tried = attempt.map_or(&[][..], |attempt| &attempt.tried);
        let chosen = match pinned {
            Some(place) => served.registrars.once_at(place).filter(|node| node.health.is_alive()),
            None => served.registrars.choose(wanted(request, named), held, tried, &mut self.random, now),
        };
        match chosen {
            Some(node) => Ok(Destination { place: node.place, name: Some(node.name.clone()) }),
            None if served.registrars.nodes().is_empty() => Err((503, 399, "no registrar has an address")),
            None => Err((408, 383, "next hop not reachable")),
        }
    }

    /// A request leaves for a registrar. Where another could still take it, this one gets less time.
    pub(crate) fn tried(&mut self, id: TransactionId, place: Place, named: bool, invite: bool, now: Moment) {
        if self.attempts.len() > 2 * self.proxy.len() + 64 {
            let proxy = &self.proxy;
            self.attempts.retain(|id, _| proxy.request(*id).is_some());
        }
        let attempt = self.attempts.entry(id).or_default();
        if !attempt.tried.contains(&place) {
            attempt.tried.push(place);
        }
        let others = !named && attempt.pinned.is_none() && attempt.retries < RETRIES_MAX;
        if others && !invite && self.has_other(id, now) {
            self.proxy.hurry(id, now);
        }
    }

    /// Whether another registrar of its deployment could still take `id`.
    fn has_other(&self, id: TransactionId, now: Moment) -> bool {
        let (Some(attempt), Some(request)) = (self.attempts.get(&id), self.proxy.request(id)) else { return false };
        let flow = match self.proxy.upstream(id) {
            Some(Hop::Client { edge, flow }) => self.tagged(edge, *flow),
            Some(Hop::Flow(_) | Hop::Peer(_) | Hop::Datagram { .. }) | None => return false,
        };
        let served = self.deployment_of(flow, request).and_then(|one| self.zones.get(&one));
        served.is_some_and(|served| served.registrars.has_other(&attempt.tried, now))
    }

    /// A request's connection could not be made, or (`delivered`) broke with the request on it.
    pub(crate) fn try_again(&mut self, id: TransactionId, delivered: bool, now: Moment) {
        let invite = self.proxy.request(id).is_some_and(|request| request.method() == Some("INVITE"));
        let attempt = self.attempts.entry(id).or_default();
        attempt.retries += 1;
        let exhausted = attempt.retries > RETRIES_MAX;
        if delivered {
            // Most likely an idle connection that the registrar closed, or a restart of it: once more to
            // the same node, as the same transaction, so that what did arrive is not done twice.
            let place = attempt.tried.pop();
            attempt.pinned = if invite { place } else { None };
        } else {
            self.proxy.renew_branch(id);
        }
        if exhausted || self.proxy.is_proceeding(id) || self.proxy.is_withdrawn(id) {
            return self.not_reachable(id, now);
        }
        self.proxy.park(id, now);
        self.route_inward_again(id, now);
    }

    pub(crate) fn not_reachable(&mut self, id: TransactionId, now: Moment) {
        self.end_invite(id, "refused");
        self.answer(id, 408, "Request Timeout", Some((383, "next hop not reachable")), now);
    }

    /// A registrar took too long over `id`. Whether another gets it: never an INVITE, which may ring
    /// already, and none that a registrar has begun to work on.
    pub(crate) fn timed_out_inside(&mut self, id: TransactionId, now: Moment) -> bool {
        let place = self.proxy.downstream(id).and_then(|hop| self.place_of_hop(hop));
        let invite = self.proxy.request(id).is_some_and(|request| request.method() == Some("INVITE"));
        let proceeding = self.proxy.is_proceeding(id);
        let Some(place) = place else { return false };
        let another = !invite && !proceeding && !self.proxy.is_withdrawn(id) && self.goes_on(id, now);
        if another {
            // Slow is not dead: it is asked at once, and OPTIONS decides.
            self.zones.suspect(place, now);
            self.proxy.renew_branch(id);
            self.proxy.park(id, now);
            self.route_inward_again(id, now);
        } else if !proceeding {
            // A request that rings too long says nothing about the registrar.
            self.zones.handle_failure(place, "it does not answer requests", now);
        }
        another
    }

    /// Counts another try, if there is another node for it.
    fn goes_on(&mut self, id: TransactionId, now: Moment) -> bool {
        let names_one = self.proxy.request(id).is_some_and(|request| self.named_by(request).is_some());
        let has_other = self.has_other(id, now);
        let Some(attempt) = self.attempts.get_mut(&id) else { return false };
        let goes_on = !names_one && attempt.pinned.is_none() && attempt.retries < RETRIES_MAX && has_other;
        attempt.retries += u8::from(goes_on);
        goes_on
    }

    /// A registrar answered 503: another gets the request, unless it rang there already. Returns whether
    /// the answer is dealt with.
    pub(crate) fn refused_by_registrar(&mut self, id: TransactionId, response: &Message, now: Moment) -> bool {
        let place = self.proxy.downstream(id).and_then(|hop| self.place_of_hop(hop));
        if let Some(place) = place
            && let Some(retry_after) = retry_after(response)
        {
            self.zones.spare(place, retry_after, now);
        }
        let rang = self.attempts.get(&id).is_none_or(|attempt| attempt.rang);
        if rang || self.proxy.is_withdrawn(id) || !self.goes_on(id, now) {
            return false;
        }
        self.proxy.renew_branch(id);
        self.route_inward_again(id, now);
        true
    }

    /// A registrar answered a client's request: the client stays with it.
    pub(crate) fn answered_by_registrar(
        &mut self,
        id: TransactionId,
        hop: &Hop,
        flow: FlowId,
        request: &Message,
        response: &Message,
        now: Moment,
    ) {
        let status = response.status().unwrap_or(500);
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.rang |= status > 100 && status < 200;
        } else {
            return;
        }
        if status == 100 && request.method() != Some("INVITE") {
            // It works on it: it has all the time there is.
            self.proxy.allow(id, self.settings.answer_within, now);
        }
        let Some(place) = self.place_of_hop(hop).filter(|place| self.zones.at(*place).is_some()) else { return };
        // A keepalive over a standby path asks after a node the device is not at.
        if status < 200 || status == 503 || is_keep_alive(request) {
            return;
        }
        self.held.answered(flow, place);
        if request.method() == Some("REGISTER") && status < 300 {
            let device = device_of(request);
            match granted(response) {
                Some(lifetime) if request.expires() != Some(0) => {
                    self.held.registered(device, place, now + lifetime, now);
                }
                Some(_) | None => self.held.unregistered(&device),
            }
        }
    }

    /// The node a new request names by its first foreign Route or its Request-URI: a host that is a
    /// registrar's and not a domain's.
    pub(crate) fn named_by(&self, request: &Message) -> Option<String> {
        let routes = request.routes().filter_map(|route| Uri::parse(route.uri));
        let route = routes.into_iter().find(|uri| !self.is_own(uri)).map(|uri| uri.host.to_owned());
        let uri = request.request_uri().and_then(Uri::parse);
        let host = route.or_else(|| uri.map(|uri| uri.host.to_owned()))?;
        let generic = self.zones.all().iter().any(|served| served.has_domain(&host)) || self.is_own_host(&host);
        (!generic && self.zones.of_host(&host).is_some()).then_some(host)
    }

    /// Where the other end of a hop is.
    pub(crate) fn place_of_hop(&self, hop: &Hop) -> Option<Place> {
        match hop {
            Hop::Flow(flow) => self.streams.place(*flow),
            Hop::Datagram { peer, .. } => Some((*peer, Transport::Udp)),
            Hop::Peer(_) | Hop::Client { .. } => None,
        }
    }

    /// Does what the registrars' policy asks for. Returns whether there was anything.
    pub(crate) fn settle_registrars(&mut self, now: Moment) -> bool {
        let mut happened = false;
        while let Some(event) = self.zones.poll_event() {
            happened = true;
            match event {
                Event::Ask(query) => self.outputs.push_back(Output::Resolve(query)),
                Event::Probe { place, number } => self.send_probe(place, number),
                Event::Health { place, alive, why } => {
                    self.notice(Notice::Registrar { address: place.0, alive, why });
                    self.report(Vec::new());
                    if !alive {
                        self.registrar_failed(place, now);
                    }
                }
                Event::Resolution { name, fault } => self.notice(Notice::Resolution { name, fault }),
                Event::Gone(place) => self.abandon_idle(place),
            }
        }
        happened
    }

    /// What waits at a node that has failed is decided now: what may go elsewhere goes, what has not been
    /// answered at all is answered.
    fn registrar_failed(&mut self, place: Place, now: Moment) {
        self.abandon_idle(place);
        let Some(hop) = self.open_hop(place) else { return };
        for id in self.proxy.waiting_for(&hop) {
            let registrar_bound = self.attempts.contains_key(&id);
            if registrar_bound && !self.proxy.is_proceeding(id) && !self.timed_out_inside(id, now) {
                self.not_reachable(id, now);
            }
        }
    }

    /// Closes a dialled connection nobody uses: the next request, or probe, makes a new one.
    fn abandon_idle(&mut self, place: Place) {
        let Some(flow) = self.streams.dialled_to(place).filter(|flow| !self.proxy.is_busy(*flow)) else { return };
        self.streams.forget(flow);
        let command = FlowCommand::Close { why: "the registrar does not answer" };
        self.outputs.push_back(Output::Flow { flow, command });
    }

    fn open_hop(&self, place: Place) -> Option<Hop> {
        match place.1 {
            Transport::Udp => {
                let mut sockets = self.settings.datagrams.iter();
                let local = *sockets.find(|local| local.is_ipv4() == place.0.is_ipv4())?;
                Some(Hop::Datagram { local, peer: place.0 })
            }
            Transport::Tcp | Transport::Tls => self.streams.dialled_to(place).map(Hop::Flow),
        }
    }

    fn send_probe(&mut self, place: Place, number: u64) {
        let (address, transport) = place;
        let Some(node) = self.zones.at(place) else { return };
        let destination = Destination { place, name: Some(node.name.clone()) };
        let Some(hop) = self.hop_to(&destination) else {
            return self.dropped(DropReason::Overload, "no socket to probe a registrar from");
        };
        self.probes += 1;
        let (agent, probe) = (self.agent_over(transport), self.probes);
        let text = format!(
            "OPTIONS sip:{address};transport={} SIP/2.0\r\n\
             Via: SIP/2.0/{} {agent};branch={PROBE_BRANCH}{probe:x};rport{}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{agent}>;tag=ewprobe\r\nTo: <sip:{address}>\r\n\
             Call-ID: ewprobe{probe:x}.{:x}@{agent}\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n",
            transport.param(),
            transport.via(),
            alias(transport),
            self.boot,
        );
        let bytes = Bytes::from(text);
        match hop {
            Hop::Flow(flow) => self.send_stream(flow, bytes),
            Hop::Datagram { local, peer } => self.outputs.push_back(Output::Datagram { local, peer, bytes }),
            Hop::Peer(_) | Hop::Client { .. } => {}
        }
    }

    /// Whether a response answers a probe of ours. That the registrar lives was noted already.
    pub(crate) fn is_probe_answer(response: &Message) -> bool {
        response.top_via().branch().is_some_and(|branch| branch.starts_with(PROBE_BRANCH))
    }
}

const PROBE_BRANCH: &str = "z9hG4bKewprobe";

/// RFC 5923 §5: over TLS, requests to us may use the connection that carried ours.
pub(crate) const fn alias(transport: Transport) -> &'static str {
    match transport {
        Transport::Tls => ";alias",
        Transport::Tcp | Transport::Udp => "",
    }
}

fn device_of(register: &Message) -> Device {
    let contact = register.contacts().next();
    let instance = contact.as_ref().and_then(|contact| contact.param("+sip.instance").flatten());
    (aor_of(register.to().uri), instance.unwrap_or_default().to_owned())
}

/// Which way to a node a request wants: what its Request-URI says, whatever Route it came with.
fn wanted<'a>(request: &Message, host: Option<&'a str>) -> Wanted<'a> {
    let uri = request.parsed_request_uri();
    let by_tls = |uri: &Uri<'_>| {
        uri.is_sips() || uri.param("transport").flatten().is_some_and(|one| one.eq_ignore_ascii_case("tls"))
    };
    Wanted { host, port: uri.as_ref().and_then(|uri| uri.port), tls: uri.as_ref().is_some_and(by_tls) }
}

/// For how long the registrar keeps anything of what was registered.
fn granted(response: &Message) -> Option<Duration> {
    let general = response.expires();
    let contacts = response.contacts().filter_map(|contact| contact.expires().or(general));
    contacts.max().filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(u64::from(seconds)))
}

/// Seconds out of a Retry-After (RFC 3261 §20.33), without comment and parameters.
fn retry_after(response: &Message) -> Option<Duration> {
    let text = std::str::from_utf8(response.header(Name::RetryAfter)?).ok()?;
    let digits = text.trim().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Duration::from_secs)
}
