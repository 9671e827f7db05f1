//! The cores this edge serves: links, hello, and the media ports granted to them.
//!
//! Each core holds some bound port pairs in advance, so that it can write an SDP without asking. A
//! link that breaks may swallow frames; the core therefore names all its relays again after each
//! hello and says `Synchronised`, whereupon the edge ends the unnamed ones and grants anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use edgeway_link::{Frame, Hello, LinkEvent as Said, RelayRule};
use edgeway_model::limits::FLOWS_MAX;
use edgeway_model::media::{MediaCommand, OutsideRelay, PortPair};
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::sign_in::SignInFact;
use edgeway_model::world::{LinkCommand, LinkEvent};
use edgeway_model::{Deadline, FlowId, LinkId, Moment, NodeId, Output, RelayId, Role, Told};
use edgeway_policy::routing;
use edgeway_sip::proxy::Hop;
use edgeway_sip::uri::Uri;

use crate::EdgeNode;
use crate::limits::{BIND_AGAIN_AFTER, CLOSED_FLOWS_KEPT, CORES_MAX, GRANT_PAIRS, RELAYS_PER_CORE_MAX};

/// One core, known by its certificate's name.
#[derive(Debug)]
pub(crate) struct Core {
    /// Its link, while it is up.
    link: Option<LinkId>,
    /// Since when it has none.
    away_since: Option<Moment>,
    hello: Hello,
    /// Pairs it holds and does not use.
    granted: BTreeSet<PortPair>,
    relays: BTreeMap<RelayId, Relay>,
    /// Relays this edge has ended, past the deadline of maintenance mode, and the core has not.
    ended: BTreeSet<RelayId>,
    /// Calls the relays belong to.
    calls: BTreeMap<u32, CallHere>,
    /// Relays named since its last hello; `None` once it has said `Synchronised`.
    named: Option<BTreeSet<RelayId>>,
    /// Flows that closed while it may not have heard of it.
    closed: VecDeque<(Moment, FlowId)>,
}

impl Core {
    pub(crate) fn pairs_granted(&self) -> usize {
        self.granted.len()
    }

    pub(crate) fn pairs_used(&self) -> usize {
        self.relays.len()
    }
}

/// A call, as far as an edge knows of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallHere {
    /// How many relays it has.
    relays: u32,
    /// The client's.
    pub(crate) flow: FlowId,
    pub(crate) since: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Relay {
    ports: PortPair,
    call: u32,
    flow: FlowId,
}

impl Core {
    /// Whether anything is relayed for the client of this flow.
    pub(crate) fn relays_of(&self, flow: FlowId) -> bool {
        self.relays.values().any(|relay| relay.flow == flow)
    }

    /// The calls it has relays for, by its own numbers.
    pub(crate) fn calls_here(&self) -> impl Iterator<Item = (u32, CallHere)> {
        self.calls_from(0)
    }

    /// Those from this number on, without a look at the others.
    pub(crate) fn calls_from(&self, id: u32) -> impl Iterator<Item = (u32, CallHere)> {
        self.calls.range(id..).map(|(id, call)| (*id, *call))
    }

    /// Ends a relay, and with the last one its call; whether there was such a relay, and since when the call was there.
    fn end_relay(&mut self, relay: RelayId) -> (bool, Option<Moment>) {
        let Some(ended) = self.relays.remove(&relay) else { return (false, None) };
        let Some(call) = self.calls.get_mut(&ended.call) else { return (true, None) };
        call.relays -= 1;
        let over = (call.relays == 0).then_some(call.since);
        if over.is_some() {
            self.calls.remove(&ended.call);
        }
        (true, over)
    }
}

/// Port pairs that are bound and belong to nobody.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    free: Vec<PortPair>,
    asked: usize,
    /// Binding failed: not asked again before this.
    again_at: Option<Moment>,
}

impl Ports {
    pub(crate) fn pairs_free(&self) -> usize {
        self.free.len()
    }
}

impl EdgeNode {
    pub(crate) fn handle_link(&mut self, link: LinkId, event: LinkEvent, now: Moment) {
        match event {
            LinkEvent::Opened { peer, role, .. } => self.link_opened(link, peer, role, now),
            LinkEvent::Closed { why } => self.link_gone(link, why, now),
            event @ (LinkEvent::Received { .. } | LinkEvent::Datagram { .. } | LinkEvent::DatagramPath { .. }) => {
                self.links.handle_event(link, event, now);
                self.look_for_draining();
            }
        }
    }

    fn link_opened(&mut self, link: LinkId, peer: NodeId, role: Role, now: Moment) {
        if self.cores.len() >= CORES_MAX && !self.cores.contains_key(&peer) {
            self.dropped(DropReason::Overload, "the bound on cores is reached");
            let why = format!("this edge already works with {CORES_MAX} cores");
            return self.outputs.push_back(Output::Link { link, command: LinkCommand::Close { why } });
        }
        let ours = Hello {
            version: edgeway_link::limits::VERSION,
            version_min: edgeway_link::limits::VERSION_MIN,
            node: self.settings.node.clone(),
            role: Role::Edge,
            boot: self.boot,
            wall_ms: 0,
            stun_keepalive: self.settings.stun_keepalive,
            contact: format!("{}:{}", self.settings.public_host, self.settings.public_port),
            domains: Vec::new(),
        };
        self.links.open(link, peer, role, ours, now);
    }

    /// Moves what links want into outputs and reacts to what they say. Returns whether anything
    /// happened.
    pub(crate) fn settle_links(&mut self, now: Moment) -> bool {
        let mut happened = false;
        while let Some((link, peer, said)) = self.links.poll_event() {
            happened = true;
            self.link_said(link, &peer, said, now);
        }
        self.outputs.extend(std::iter::from_fn(|| self.links.poll_output()));
        happened
    }

    fn link_said(&mut self, link: LinkId, peer: &NodeId, said: Said, now: Moment) {
        match said {
            Said::Up(hello) => self.core_up(link, peer, hello, now),
            Said::MediaPath(path) => self.notice(Notice::MediaPath { peer: peer.clone(), path }),
            Said::ClockSkew(skew_ms) => self.notice(Notice::ClockSkew { peer: peer.clone(), skew_ms }),
            // What follows a breach of the protocol is not looked at.
            Said::Received(_) if !self.links.get(link).is_some_and(edgeway_link::Link::is_up) => {}
            Said::Received(frame) => self.frame_from_core(link, peer, frame, now),
            Said::Failed(why) => {
                self.outputs.push_back(Output::Link { link, command: LinkCommand::Close { why: why.clone() } });
                self.link_gone(link, why, now);
            }
        }
    }

    fn core_up(&mut self, link: LinkId, peer: &NodeId, hello: Hello, now: Moment) {
        let skew_ms = self.links.get(link).map_or(0, edgeway_link::Link::skew_ms);
        let same_boot = self.cores.get(peer).is_some_and(|core| core.hello.boot == hello.boot);
        let old = self.cores.get(peer).and_then(|core| core.link);
        let core = self.cores.entry(peer.clone()).or_insert_with(|| Core {
            link: None,
            away_since: None,
            hello: hello.clone(),
            granted: BTreeSet::new(),
            relays: BTreeMap::new(),
            ended: BTreeSet::new(),
            calls: BTreeMap::new(),
            named: None,
            closed: VecDeque::new(),
        });
        core.link = Some(link);
        self.links.settled(peer);
        core.away_since = None;
        core.hello = hello;
        core.named = Some(BTreeSet::new());
        self.notice(Notice::LinkUp { link, peer: peer.clone(), skew_ms });
        if let Some(old) = old {
            self.links.remove(old);
            let why = "replaced by a newer link".to_owned();
            self.outputs.push_back(Output::Link { link: old, command: LinkCommand::Close { why } });
        }
        self.send_frame(peer, &self.services());
        self.tell_linked();
        self.resume(peer, same_boot, now);
    }

    /// A link is back: what was sent on the old one may be lost, so it is sent again. The core knows
    /// what it has seen already, unless it has restarted.
    fn resume(&mut self, peer: &NodeId, same_boot: bool, now: Moment) {
        let closed = self.cores.get_mut(peer).map(|core| std::mem::take(&mut core.closed)).unwrap_or_default();
        if same_boot {
            for &(_, flow) in &closed {
                self.send_frame(peer, &Frame::FlowClosed { flow });
            }
            if let Some(core) = self.cores.get_mut(peer) {
                core.closed = closed;
            }
        } else {
            // Its new life numbers its relays anew.
            if let Some(core) = self.cores.get_mut(peer) {
                core.ended.clear();
            }
            // What the dead core asked clients for is answered to nobody.
            for id in self.proxy.hop_lost(&Hop::Peer(peer.clone()), now) {
                if self.proxy.is_proceeding(id) {
                    self.answer(id, 503, "Service Unavailable", Some((399, "the core restarted")), now);
                }
            }
        }
        for id in self.proxy.waiting_for(&Hop::Peer(peer.clone())) {
            self.proxy.resend(id);
        }
        for id in self.proxy.unrouted() {
            self.route(id, now);
        }
    }

    /// Tells every core that a flow is gone, and remembers it for those that may not have heard: a
    /// call or a registration on it would otherwise stay for ever.
    pub(crate) fn announce_closed(&mut self, flow: FlowId, now: Moment) {
        for core in self.cores.values_mut() {
            let connected = core.link.is_some();
            while core.closed.front().is_some_and(|(at, _)| connected && now >= *at + CLOSED_FLOWS_KEPT)
                || core.closed.len() >= FLOWS_MAX
            {
                core.closed.pop_front();
            }
            core.closed.push_back((now, flow));
        }
        for core in self.connected_cores() {
            self.send_frame(&core, &Frame::FlowClosed { flow });
        }
    }

    fn link_gone(&mut self, link: LinkId, why: String, now: Moment) {
        let Some((peer, gone)) = self.links.remove(link) else { return };
        let Some(core) = self.cores.get_mut(&peer).filter(|core| core.link == Some(link)) else {
            let linked = self.cores.get(&peer).is_some_and(|core| core.link.is_some());
            if gone.peer().is_none() && !linked {
                if self.links.trouble(&peer, &why) {
                    self.notice(Notice::LinkRefused { peer, why });
                }
                return;
            }
            return self.notice(Notice::LinkDown { link, peer: None, why });
        };
        self.links.trouble(&peer, &why);
        core.link = None;
        core.away_since = Some(now);
        self.notice(Notice::LinkDown { link, peer: Some(peer.clone()), why });
        self.tell_linked();
        for id in self.proxy.waiting_for(&Hop::Peer(peer)) {
            if self.proxy.is_proceeding(id) {
                self.proxy.hurry(id, now);
            } else {
                self.proxy.park(id, now);
                self.route(id, now);
            }
        }
    }

    fn frame_from_core(&mut self, link: LinkId, peer: &NodeId, frame: Frame, now: Moment) {
        match frame {
            Frame::ToClient { sip } => self.message_from_core(peer, sip, now),
            Frame::SetRelay(rule) => {
                if self.hold_relay(peer, rule.relay, Relay { ports: rule.ports, call: rule.call, flow: rule.flow }) {
                    self.set_relay(peer, rule);
                }
            }
            Frame::CloseRelay { relay, ports } => self.close_relay(peer, relay, ports),
            Frame::Synchronised => self.synchronised(peer),
            Frame::TokenKeys(keys) => self.told(SignInFact::PeerKeys { peer: peer.clone(), keys }),
            Frame::Revoked(revocation) => self.told(SignInFact::Revoked(revocation)),
            Frame::EdgeSettings { revision, committed_ms, text } => {
                self.told_settings(Told { from: peer.clone(), revision, committed_ms, text });
            }
            Frame::SignedIn(_) | Frame::Identity(_) => {
                self.dropped(DropReason::LinkProtocol, "a core sent an edge what only cores may know");
                self.links.refuse(link, "a core may not send that to an edge");
            }
            Frame::FromClient { .. }
            | Frame::FlowClosed { .. }
            | Frame::FlowMoved { .. }
            | Frame::GrantPorts { .. }
            | Frame::ClientSilent { .. }
            | Frame::EdgeSettingsOutcome { .. }
            | Frame::Services { .. } => {
                self.dropped(DropReason::LinkProtocol, "a core sent what only an edge may send");
                self.links.refuse(link, "a core may not send that: only an edge may");
            }
            Frame::Hello(_) | Frame::Keepalive { .. } | Frame::KeepaliveAnswer { .. } => {}
        }
    }

    /// Notes that a core has a relay on a pair it was granted; whether that is so.
    fn hold_relay(&mut self, peer: &NodeId, relay: RelayId, wanted: Relay) -> bool {
        let Some(core) = self.cores.get_mut(peer) else { return false };
        if core.ended.contains(&relay) {
            // The core ends the call when it hears nothing of it any more.
            core.named.iter_mut().for_each(|named| _ = named.insert(relay));
            return false;
        }
        let refused = match core.relays.get(&relay) {
            Some(known) if known.ports == wanted.ports => None,
            Some(_) => Some((DropReason::LinkProtocol, "a core moved a relay to other ports")),
            None if core.relays.len() >= RELAYS_PER_CORE_MAX => {
                Some((DropReason::Overload, "the bound on relays is reached"))
            }
            None if !core.granted.remove(&wanted.ports) => {
                Some((DropReason::LinkProtocol, "a core used ports it does not hold"))
            }
            None => {
                core.relays.insert(relay, wanted);
                core.calls
                    .entry(wanted.call)
                    .or_insert(CallHere { relays: 0, flow: wanted.flow, since: self.now })
                    .relays += 1;
                None
            }
        };
        if let Some((reason, detail)) = refused {
            self.dropped(reason, detail);
            return false;
        }
        if let Some(named) = &mut core.named {
            named.insert(relay);
        }
        true
    }

    fn set_relay(&mut self, peer: &NodeId, rule: RelayRule) {
        // A flow that is gone leaves no address to trust: only an authenticated packet opens the way.
        let signalling_peer =
            self.flows.get(&rule.flow).map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |flow| flow.peer.ip());
        let rule = OutsideRelay {
            peer: peer.clone(),
            relay: rule.relay,
            ports: rule.ports,
            signalling_peer,
            described: rule.described,
            srtp: rule.srtp,
            mux: rule.mux,
            carriage: rule.carriage,
        };
        self.outputs.push_back(Output::Media(MediaCommand::SetOutside(rule)));
        self.count_calls();
    }

    fn close_relay(&mut self, peer: &NodeId, relay: RelayId, ports: PortPair) {
        let Some(core) = self.cores.get_mut(peer) else { return };
        if core.ended.remove(&relay) {
            // Its ports are in other hands by now.
            return;
        }
        let (there, over) = core.end_relay(relay);
        if let Some(since) = over {
            self.lengths.note(self.now.since(since));
        }
        if there {
            self.outputs.push_back(Output::Media(MediaCommand::Close { peer: peer.clone(), relay }));
        } else if core.granted.remove(&ports) {
            self.ports.free.push(ports);
        }
        self.count_calls();
    }

    fn synchronised(&mut self, peer: &NodeId) {
        let Some(core) = self.cores.get_mut(peer) else { return };
        let Some(named) = core.named.take() else { return };
        core.ended.retain(|relay| named.contains(relay));
        let ended: Vec<_> = core.relays.keys().filter(|relay| !named.contains(relay)).copied().collect();
        for relay in ended {
            if let (_, Some(since)) = core.end_relay(relay) {
                self.lengths.note(self.now.since(since));
            }
            self.outputs.push_back(Output::Media(MediaCommand::Close { peer: peer.clone(), relay }));
        }
        self.ports.free.extend(std::mem::take(&mut core.granted));
        self.count_calls();
    }

    /// Ends every relay, past the deadline of maintenance mode. The cores end the calls when they hear nothing of
    /// them for a while.
    pub(crate) fn end_relays(&mut self) {
        for (peer, core) in &mut self.cores {
            let relays = std::mem::take(&mut core.relays);
            core.calls.clear();
            for relay in relays.into_keys() {
                core.ended.insert(relay);
                self.outputs.push_back(Output::Media(MediaCommand::Close { peer: peer.clone(), relay }));
            }
        }
        self.count_calls();
    }

    /// Whether anything is relayed.
    pub(crate) fn has_relays(&self) -> bool {
        self.cores.values().any(|core| !core.relays.is_empty())
    }

    pub(crate) fn ports_bound(&mut self, ports: Vec<PortPair>) {
        self.ports.asked = self.ports.asked.saturating_sub(ports.len());
        self.ports.free.extend(ports);
    }

    /// The range is used up or taken: asking again at once would go round in circles.
    pub(crate) fn bind_failed(&mut self, missing: u16, now: Moment) {
        self.ports.asked = self.ports.asked.saturating_sub(usize::from(missing));
        self.ports.again_at = Some(now + BIND_AGAIN_AFTER);
    }

    pub(crate) fn ports_deadline(&self) -> Option<Deadline> {
        self.ports.again_at.map(|at| Deadline { at, why: "media ports" })
    }

    /// Keeps every core supplied, and enough pairs bound to do so. Returns whether it granted any.
    pub(crate) fn refill_ports(&mut self, now: Moment) -> bool {
        self.ports.again_at = self.ports.again_at.filter(|at| now < *at);
        let mut granted = false;
        let mut missing = 0;
        let address = self.settings.media_address;
        for core in self.cores.values_mut() {
            let Some(link) = core.link.filter(|_| core.named.is_none()) else { continue };
            let room = RELAYS_PER_CORE_MAX.saturating_sub(core.relays.len());
            let want = GRANT_PAIRS.min(room).saturating_sub(core.granted.len());
            // Granted in batches, so that a call costs no frame of its own.
            if want < GRANT_PAIRS / 2 {
                continue;
            }
            let take = want.min(self.ports.free.len());
            missing += want - take;
            if take == 0 {
                continue;
            }
            let pairs: Vec<_> = self.ports.free.drain(..take).collect();
            core.granted.extend(&pairs);
            self.links.send(link, &Frame::GrantPorts { address, pairs });
            granted = true;
        }
        if missing > self.ports.asked && self.ports.again_at.is_none() {
            let pairs = u16::try_from(missing - self.ports.asked).unwrap_or(u16::MAX);
            self.ports.asked = missing;
            self.outputs.push_back(Output::Media(MediaCommand::BindPorts { pairs }));
        }
        granted
    }

    fn count_calls(&mut self) {
        let calls = self.cores.values().map(|core| core.calls.len() as u64).sum();
        self.counts.calls.set(calls);
    }

    pub(crate) fn core_is_up(core: &Core) -> bool {
        core.link.is_some()
    }

    /// Since when a core is not connected; `None` while it is.
    pub(crate) fn away_since(&self, core: &NodeId) -> Option<Moment> {
        self.cores.get(core).and_then(|core| core.away_since)
    }

    pub(crate) fn is_up(&self, core: &NodeId) -> bool {
        self.cores.get(core).is_some_and(Self::core_is_up)
    }

    pub(crate) fn connected_cores(&self) -> Vec<NodeId> {
        self.cores.iter().filter(|(_, core)| core.link.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Whether this core says that no registrar answers it.
    pub(crate) fn is_stranded(&self, core: &NodeId) -> bool {
        let link = self.cores.get(core).and_then(|core| self.links.get(core.link?));
        link.is_some_and(|link| link.peer_load().stranded)
    }

    /// A core may have said that it is taken out of service, or is back.
    pub(crate) fn look_for_draining(&mut self) {
        let loads = self.cores.values().map(|core| core.link.and_then(|link| self.links.get(link)));
        let draining =
            loads.fold(0_u64, |all, link| all << 1 | u64::from(link.is_some_and(|link| link.peer_load().draining)));
        if std::mem::replace(&mut self.draining_cores, draining) != draining {
            self.tell_linked();
        }
    }

    /// The cores that are up, with their registrations, and whether they are taken out of service.
    pub(crate) fn candidates(&self) -> Vec<(NodeId, u32, bool)> {
        let up = self.cores.iter().filter_map(|(name, core)| {
            let link = self.links.get(core.link?)?;
            let load = link.peer_load();
            Some((name.clone(), load.registrations, load.draining))
        });
        up.collect()
    }

    /// The core a client's Route names: by name, or by the address it announced. Where cores share a host,
    /// the number tells them apart.
    pub(crate) fn core_named_by(&self, uri: &Uri<'_>) -> Option<NodeId> {
        let by_name = uri.user.and_then(|user| self.cores.keys().find(|core| core.as_str() == user));
        let by_address = || {
            let announced = |core: &Core| {
                let (host, port) = core.hello.contact.rsplit_once(':')?;
                let port: u16 = port.parse().ok()?;
                let same_host = host.trim_matches(['[', ']']).eq_ignore_ascii_case(uri.host);
                // The vendor's form names the core's TLS port whatever it really listens on.
                (same_host && (uri.port == Some(port) || uri.param("directed").is_some())).then_some(())
            };
            let zone_id = uri.param("zone-id").flatten();
            let mut first = None;
            for (name, core) in &self.cores {
                if announced(core).is_none() {
                    continue;
                }
                if zone_id.is_some_and(|number| number.parse() == Ok(routing::zone_id(name.as_str()))) {
                    return Some(name);
                }
                first = first.or(Some(name));
            }
            first
        };
        by_name.or_else(by_address).cloned()
    }

    /// Where inside a core is reached, as it says of itself: `host:port`.
    pub(crate) fn contact_of(&self, core: &NodeId) -> Option<&str> {
        self.cores.get(core).map(|core| core.hello.contact.as_str())
    }

    /// The Route that leads to a core, in the form the field's clients are used to and only ever echo.
    pub(crate) fn core_route(&self, core: &NodeId) -> Option<String> {
        let (host, _) = self.contact_of(core)?.rsplit_once(':')?;
        Some(routing::client_route(host, core.as_str()))
    }

    pub(crate) fn send_core(&mut self, core: &NodeId, flow: Option<FlowId>, sip: bytes::Bytes) {
        self.saw_at_core(false, core, &sip);
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = flow.and_then(|flow| self.flows.get(&flow)).map_or(unknown, |flow| flow.peer);
        self.send_frame(core, &Frame::FromClient { flow: flow.unwrap_or(FlowId(0)), peer, sip });
    }

    /// Queues a frame for a core. While its link is down the frame is lost; whatever must not be is
    /// sent again by [`Self::resume`].
    pub(crate) fn send_frame(&mut self, core: &NodeId, frame: &Frame) {
        let link = self.cores.get(core).and_then(|core| core.link);
        if let Some(link) = link {
            self.links.send(link, frame);
        }
    }
}
