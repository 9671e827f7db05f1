//! Links: the edges this core has dialled, with their granted media ports, and the other cores.
//!
//! An edge is believed about its own clients only: which flows it has, what they said, and which media
//! ports it granted. A frame that speaks of anything else breaks the protocol and ends the link.

use std::collections::VecDeque;
use std::net::IpAddr;

use bytes::Bytes;
use edgeway_link::{Frame, Hello, LinkEvent as Said};
use edgeway_model::media::PortPair;
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::world::{LinkCommand, LinkEvent};
use edgeway_model::{FlowId, LinkId, Moment, NodeId, Output, Role};
use edgeway_sip::proxy::Hop;

use crate::limits::{EDGES_MAX, LINK_FAULTS_MAX, PEERS_MAX, ROUTE_WITHIN};
use crate::{CoreNode, edge_of, flow_at, is_flow_of_edge};

/// One edge, known by its certificate's name.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) link: Option<LinkId>,
    pub(crate) hello: Hello,
    /// Tells its flows from those of other edges.
    pub(crate) index: u8,
    /// Client-side ports it has granted and we have not used.
    pub(crate) granted: VecDeque<PortPair>,
    /// The ports clients reach its HTTPS and XMPP at; 0 where it serves none.
    pub(crate) services: (u16, u16),
    /// The address clients send media to.
    pub(crate) media_address: Option<IpAddr>,
    /// When it was last heard, while its link is down.
    pub(crate) unheard_since: Option<Moment>,
    /// Messages that no honest edge sends, since its link came up.
    pub(crate) faults: u32,
    /// Times it was told how it is to be, since its link came up, and has not said what became of that.
    pub(crate) outcomes_due: u32,
}

impl CoreNode {
    pub(crate) fn handle_link(&mut self, link: LinkId, event: LinkEvent, now: Moment) {
        match event {
            LinkEvent::Opened { peer, role, .. } => self.link_opened(link, peer, role, now),
            LinkEvent::Closed { why } => self.link_gone(link, why, now),
            event @ (LinkEvent::Received { .. } | LinkEvent::Datagram { .. } | LinkEvent::DatagramPath { .. }) => {
                self.links.handle_event(link, event, now);
            }
        }
    }

    fn link_opened(&mut self, link: LinkId, peer: NodeId, role: Role, now: Moment) {
        let (known, most, what) = match role {
            Role::Edge => (self.edges.contains_key(&peer) || self.edges.len() < EDGES_MAX, EDGES_MAX, "edges"),
            Role::Core => (self.peers.contains_key(&peer) || self.peers.len() < PEERS_MAX, PEERS_MAX, "cores"),
        };
        if !known {
            self.dropped(DropReason::Overload, format!("the bound on linked {what} is reached"));
            let why = format!("this core already works with {most} {what}");
            return self.outputs.push_back(Output::Link { link, command: LinkCommand::Close { why } });
        }
        let ours = Hello {
            version: edgeway_link::limits::VERSION,
            version_min: edgeway_link::limits::VERSION_MIN,
            node: self.settings.node.clone(),
            role: Role::Core,
            boot: self.boot,
            wall_ms: 0,
            stun_keepalive: self.settings.stun_keepalive,
            contact: self.agent(),
            domains: self.domains(),
        };
        self.links.open(link, peer, role, ours, now);
    }

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
            Said::MediaPath(path) => self.notice(Notice::MediaPath { peer: peer.clone(), path }),
            Said::Up(hello) => match hello.role {
                Role::Edge => self.edge_up(link, peer, hello, now),
                Role::Core => self.core_up(link, peer, hello.boot, now),
            },
            Said::ClockSkew(skew_ms) => self.notice(Notice::ClockSkew { peer: peer.clone(), skew_ms }),
            // What follows a breach of the protocol is not looked at.
            Said::Received(_) if !self.links.get(link).is_some_and(edgeway_link::Link::is_up) => {}
            Said::Received(frame) if !self.is_edge(link) => {
                if !self.sign_in_from_core(peer, frame) {
                    self.breach(link, "a core sent another core what only an edge and a core say to each other");
                }
            }
            Said::Received(frame) => self.frame_from_edge(link, peer, frame, now),
            Said::Failed(why) => {
                self.outputs.push_back(Output::Link { link, command: LinkCommand::Close { why: why.clone() } });
                self.link_gone(link, why, now);
            }
        }
    }

    fn edge_up(&mut self, link: LinkId, peer: &NodeId, hello: Hello, now: Moment) {
        let skew_ms = self.links.get(link).map_or(0, edgeway_link::Link::skew_ms);
        let index = u8::try_from(self.edges.len()).unwrap_or(u8::MAX);
        let known_boot = self.edges.get(peer).map(|edge| edge.hello.boot);
        let old = self.edges.get(peer).and_then(|edge| edge.link);
        let old_heard_at = old.and_then(|old| self.links.get(old)).map(edgeway_link::Link::heard_at);
        let boot = hello.boot;
        let edge = self.edges.entry(peer.clone()).or_insert_with(|| Edge {
            link: None,
            hello: hello.clone(),
            index,
            granted: VecDeque::new(),
            services: (0, 0),
            media_address: None,
            unheard_since: None,
            faults: 0,
            outcomes_due: 0,
        });
        edge.link = Some(link);
        (edge.faults, edge.outcomes_due) = (0, 0);
        // Requests wait for a core no longer than this: a call may have ended over another one.
        let unheard_since = edge.unheard_since.take().or(old_heard_at);
        let missed = unheard_since.is_some_and(|since| now >= since + ROUTE_WITHIN);
        edge.hello = hello;
        edge.granted.clear();
        self.links.settled(peer);
        self.notice(Notice::LinkUp { link, peer: peer.clone(), skew_ms });
        if let Some(old) = old {
            self.links.remove(old);
            let why = "replaced by a newer link".to_owned();
            self.outputs.push_back(Output::Link { link: old, command: LinkCommand::Close { why } });
        }
        if known_boot.is_some_and(|known| known != boot) {
            self.edge_restarted(peer, now);
        }
        if missed {
            self.calls.doubt(peer, now);
        }
        self.tell_edge(peer);
        self.resume(peer, now);
    }

    /// Another core. Of two links the newer stays, as with edges: the runtime dials one only.
    fn core_up(&mut self, link: LinkId, peer: &NodeId, boot: u64, now: Moment) {
        let skew_ms = self.links.get(link).map_or(0, edgeway_link::Link::skew_ms);
        let old = self.peers.insert(peer.clone(), link);
        self.links.settled(peer);
        self.notice(Notice::LinkUp { link, peer: peer.clone(), skew_ms });
        if let Some(old) = old {
            self.links.remove(old);
            let why = "replaced by a newer link".to_owned();
            self.outputs.push_back(Output::Link { link: old, command: LinkCommand::Close { why } });
        }
        self.tell_core(peer, boot, now);
    }

    fn is_edge(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.role() == Role::Edge)
    }

    /// The peer broke the protocol: its link ends, and both operators read why.
    fn breach(&mut self, link: LinkId, why: &'static str) {
        self.dropped(DropReason::LinkProtocol, why);
        self.links.refuse(link, why);
    }

    /// An edge passed something on that no honest edge would. Once may be a difference of versions; many
    /// are an attack, or a defect that somebody must look at.
    pub(crate) fn edge_fault(&mut self, peer: &NodeId, detail: String) {
        let Some(edge) = self.edges.get_mut(peer) else { return };
        edge.faults += 1;
        let (faults, link) = (edge.faults, edge.link);
        self.dropped(DropReason::LinkProtocol, detail);
        if faults >= LINK_FAULTS_MAX
            && let Some(link) = link
        {
            self.breach(link, "the edge passed on too many messages that it should have refused");
        }
    }

    /// An edge that restarted has lost every flow and every relay.
    fn edge_restarted(&mut self, peer: &NodeId, now: Moment) {
        let Some(index) = self.edges.get(peer).map(|edge| edge.index) else { return };
        for flow in self.bindings.flows() {
            if edge_of(flow) == index {
                let changes = self.bindings.flow_closed(flow);
                self.report(changes);
            }
        }
        if let Some(edge) = self.edges.get(peer) {
            self.vouched.edge_restarted(peer, edge.hello.boot);
        }
        self.held.flows_closed(|flow| edge_of(flow) == index);
        self.identities.flows_closed(|flow| edge_of(flow) == index);
        self.nonces.flows_closed(|flow| edge_of(flow) == index);
        self.guesses.flows_closed(|flow| edge_of(flow) == index);
        self.proxy.clients_lost(peer, now);
        self.end_calls_of(peer);
        for id in self.proxy.waiting_for(&Hop::Peer(peer.clone())) {
            self.answer(id, 430, "Flow Failed", Some((399, "the edge restarted")), now);
        }
    }

    /// A link is up (again): name our relays, send again what the broken one may have lost.
    fn resume(&mut self, peer: &NodeId, now: Moment) {
        for frame in self.calls.relay_frames(peer) {
            self.send_frame(peer, &frame);
        }
        self.send_frame(peer, &Frame::Synchronised);
        self.tell_settings(peer);
        for id in self.proxy.waiting_for(&Hop::Peer(peer.clone())) {
            self.proxy.resend(id);
        }
        self.requests.resend(&Hop::Peer(peer.clone()));
        self.route_waiting(now);
    }

    /// Tries what waits for a link or for media ports.
    pub(crate) fn route_waiting(&mut self, now: Moment) {
        for id in self.proxy.unrouted() {
            self.route_outward(id, now);
        }
    }

    fn link_gone(&mut self, link: LinkId, why: String, now: Moment) {
        let Some((peer, gone)) = self.links.remove(link) else { return };
        if self.peers.get(&peer) == Some(&link) {
            self.peers.remove(&peer);
            self.links.trouble(&peer, &why);
            self.untell_core(&peer);
            return self.notice(Notice::LinkDown { link, peer: Some(peer), why });
        }
        let Some(edge) = self.edges.get_mut(&peer).filter(|edge| edge.link == Some(link)) else {
            let linked = self.edges.get(&peer).is_some_and(|edge| edge.link.is_some());
            if gone.peer().is_none() && !linked && !self.peers.contains_key(&peer) {
                if self.links.trouble(&peer, &why) {
                    self.notice(Notice::LinkRefused { peer, why });
                }
                return;
            }
            return self.notice(Notice::LinkDown { link, peer: None, why });
        };
        self.links.trouble(&peer, &why);
        edge.link = None;
        edge.unheard_since = Some(gone.heard_at());
        edge.granted.clear();
        self.notice(Notice::LinkDown { link, peer: Some(peer.clone()), why });
        self.tell_http();
        for id in self.proxy.waiting_for(&Hop::Peer(peer)) {
            self.proxy.hurry(id, now);
        }
    }

    fn frame_from_edge(&mut self, link: LinkId, peer: &NodeId, frame: Frame, now: Moment) {
        match frame {
            Frame::FromClient { flow, .. } | Frame::FlowClosed { flow } | Frame::FlowMoved { flow }
                if !is_flow_of_edge(flow) =>
            {
                self.breach(link, "an edge spoke for a flow that no edge can have");
            }
            // A copy: what is kept of a message must not keep alive all that arrived with it.
            Frame::FromClient { flow, peer: client, sip } => {
                self.message_from_edge(peer, (flow, client.ip()), Bytes::copy_from_slice(&sip), now);
            }
            Frame::FlowClosed { flow } => self.flow_closed(peer, flow, now),
            Frame::FlowMoved { flow } => self.flow_moved(peer, flow),
            Frame::GrantPorts { address, pairs } => {
                let Some(edge) = self.edges.get_mut(peer) else { return };
                edge.media_address = Some(address);
                let room = edgeway_link::limits::GRANT_PAIRS_MAX.saturating_sub(edge.granted.len());
                let before = edge.granted.len();
                edge.granted.extend(pairs.into_iter().take(room));
                if edge.granted.len() > before && self.calls.take_waited_for() {
                    self.route_waiting(now);
                }
            }
            Frame::ClientSilent { relay } => {
                // A relay that has just ended is no breach; one of another edge's is not this one's to tell of.
                if self.calls.is_relay_of(relay, peer) {
                    self.notice(Notice::OneWayMedia { relay });
                }
            }
            Frame::Services { https_port, xmpp_port } => {
                if let Some(edge) = self.edges.get_mut(peer) {
                    edge.services = (https_port, xmpp_port);
                    self.tell_http();
                }
            }
            Frame::EdgeSettingsOutcome { revision, refused } => self.settings_outcome(peer, revision, refused),
            // Nothing an edge says makes a token good, or anybody signed in.
            Frame::ToClient { .. }
            | Frame::SetRelay(_)
            | Frame::CloseRelay { .. }
            | Frame::Synchronised
            | Frame::TokenKeys(_)
            | Frame::SignedIn(_)
            | Frame::Identity(_)
            | Frame::EdgeSettings { .. }
            | Frame::Revoked(_) => {
                self.breach(link, "an edge sent what only a core may send");
            }
            Frame::Hello(_) | Frame::Keepalive { .. } | Frame::KeepaliveAnswer { .. } => {}
        }
    }

    fn flow_closed(&mut self, peer: &NodeId, flow: FlowId, now: Moment) {
        // What this client asked for is answered to nobody; a REGISTER under way binds nothing.
        for id in self.proxy.hop_lost(&Hop::Client { edge: peer.clone(), flow }, now) {
            debug_assert!(false, "no request goes to a client but through its edge: {id:?}");
        }
        self.vouched.flow_closed(peer, flow);
        let Some(edge) = self.edges.get_mut(peer) else { return };
        let flow = flow_at(edge.index, flow);
        let changes = self.bindings.flow_closed(flow);
        self.held.flow_closed(flow);
        self.identities.flow_closed(flow);
        self.nonces.flow_closed(flow);
        self.guesses.flow_closed(flow);
        self.flow_lost(peer, flow, now);
        self.report(changes);
    }

    pub(crate) fn send_edge(&mut self, edge: &NodeId, sip: Bytes) {
        self.saw_at_edge(false, edge, &sip);
        self.send_frame(edge, &Frame::ToClient { sip });
    }

    /// Queues a frame for an edge. While its link is down the frame is lost; whatever must not be is
    /// sent again by [`Self::resume`].
    pub(crate) fn send_frame(&mut self, edge: &NodeId, frame: &Frame) {
        let link = self.edges.get(edge).and_then(|edge| edge.link);
        if let Some(link) = link {
            self.links.send(link, frame);
        }
    }
}
