//! Client connections.
//!
//! A flow has a token, `<node>.<22 characters>`: its number and 64 random bits. The token stands in
//! the Path and Record-Route the edge adds, and is the only way to reach a client from inside.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use edgeway_model::limits::STRANGER_IDLE_MAX;
use edgeway_model::notice::DropReason;
use edgeway_model::world::FlowCommand;
use edgeway_model::{FlowId, Moment, NodeId, Output};
use edgeway_sip::framer::{Element, Framer};
use edgeway_sip::limits::ACCEPTED_BYTES_MAX;
use edgeway_sip::proxy::Hop;
use edgeway_sip::{Message, Stun, stun};

use crate::EdgeNode;
use crate::limits::{FAULTS_MAX, KEEP_ALIVES_MAX, KEEP_ALIVES_WINDOW, ROUTE_WITHIN, STANDBY_IDLE_MAX};

#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) nonce: u64,
    /// The core that carried its last request.
    pub(crate) core: Option<NodeId>,
    /// The path it registered over.
    pub(crate) path: Option<RegisteredPath>,
    pub(crate) requests: u8,
    keep_alives: KeepAlives,
    framer: Framer,
    faults: u8,
    /// When this flow is looked at as a stranger; `None` while it is registered.
    watched: Option<Moment>,
}

/// The way inside that a registration took.
#[derive(Debug)]
pub(crate) struct RegisteredPath {
    pub(crate) core: NodeId,
    /// The core could not reach the registrar for it.
    pub(crate) failed: bool,
}

/// Keepalives of standby paths on one flow.
#[derive(Debug, Default)]
struct KeepAlives {
    /// When the window they are counted in began.
    since: Moment,
    count: u8,
    /// One was answered well: the flow may be silent for longer than a stranger's.
    answered: bool,
}

impl EdgeNode {
    pub(crate) fn flow_opened(&mut self, flow: FlowId, peer: SocketAddr, local: SocketAddr, now: Moment) {
        if self.flows.len() >= self.settings.flows_max {
            self.dropped(DropReason::Overload, "the bound on connections is reached");
            return self.close_flow(flow, "too many connections");
        }
        if self.strangers_at.get(&peer.ip()).copied().unwrap_or(0) >= self.settings.strangers_per_address {
            self.dropped(DropReason::Overload, "one address holds too many unregistered connections");
            return self.close_flow(flow, "too many unregistered connections from one address");
        }
        let nonce = self.random.next_u64();
        let framer = Framer::new(ACCEPTED_BYTES_MAX);
        let state = Flow {
            peer,
            local,
            nonce,
            core: None,
            path: None,
            requests: 0,
            keep_alives: KeepAlives::default(),
            framer,
            faults: 0,
            watched: None,
        };
        self.flows.insert(flow, state);
        self.watch(flow, now);
        self.counts.connections.set(self.flows.len() as u64);
    }

    pub(crate) fn flow_received(&mut self, flow: FlowId, bytes: Bytes, now: Moment) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        state.framer.push(bytes);
        loop {
            let Some(state) = self.flows.get_mut(&flow) else { return };
            match state.framer.next() {
                Ok(None) => return,
                Ok(Some(Element::Message(bytes))) => self.flow_message(flow, bytes, now),
                // RFC 5626 §4.4.1: a double CRLF is a ping, a single one its pong.
                Ok(Some(Element::Ping)) => self.send_flow(flow, Bytes::from_static(b"\r\n")),
                Ok(Some(Element::Pong)) => {}
                Ok(Some(Element::Stun(bytes))) => self.flow_stun(flow, &bytes, now),
                Err(fault) => {
                    if let Some(reply) = fault.reply {
                        self.send_flow(flow, reply);
                    }
                    self.dropped(DropReason::FramingLost, fault.detail);
                    self.forget_flow(flow, now);
                    return self.close_flow(flow, "framing lost");
                }
            }
        }
    }

    pub(crate) fn flow_closed(&mut self, flow: FlowId, now: Moment) {
        self.forget_flow(flow, now);
    }

    fn flow_message(&mut self, flow: FlowId, bytes: Bytes, now: Moment) {
        self.saw_at_flow(true, flow, &bytes);
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.request_from_client(flow, &message, now),
            Ok(message) => self.response_from_client(flow, &message, now),
            Err(fault) => {
                self.dropped(DropReason::Malformed, fault.to_string());
                if let Some(reply) = fault.reply {
                    self.send_flow(flow, reply);
                }
                let Some(state) = self.flows.get_mut(&flow) else { return };
                state.faults += 1;
                if state.faults >= FAULTS_MAX {
                    self.forget_flow(flow, now);
                    self.close_flow(flow, "too many malformed messages");
                }
            }
        }
    }

    /// A STUN keepalive is answered for the whole path a client has registered over: from here to its
    /// core, and from there to the registrar as far as answers and the core have told.
    fn flow_stun(&mut self, flow: FlowId, bytes: &[u8], now: Moment) {
        let Some(state) = self.flows.get(&flow) else { return };
        if !self.settings.stun_keepalive {
            return;
        }
        let Ok(request) = Stun::parse(bytes) else { return };
        if request.class != stun::Class::Request {
            return;
        }
        // A link that broke is back within the time requests wait for it; a client told of it sooner
        // would give up a flow that still works.
        let core = state.path.as_ref().map(|path| &path.core).or(state.core.as_ref());
        let away_since = core.and_then(|core| self.away_since(core));
        let failed = state.path.as_ref().is_some_and(|path| path.failed)
            || away_since.is_some_and(|since| now >= since + ROUTE_WITHIN)
            || state.path.as_ref().is_some_and(|path| self.is_stranded(&path.core));
        let reply = if failed { request.error(500, "Path Failed") } else { request.success(state.peer) };
        self.send_flow(flow, reply);
    }

    pub(crate) fn close_flow(&mut self, flow: FlowId, why: &'static str) {
        self.outputs.push_back(Output::Flow { flow, command: FlowCommand::Close { why } });
    }

    pub(crate) fn forget_flow(&mut self, flow: FlowId, now: Moment) {
        let Some(state) = self.flows.remove(&flow) else { return };
        if let Some(watched) = state.watched {
            self.strangers.remove(&(watched, flow));
            self.stranger_gone(state.peer.ip());
        }
        self.counts.connections.set(self.flows.len() as u64);
        for id in self.proxy.hop_lost(&Hop::Flow(flow), now) {
            // RFC 5626 §5.3: the flow a request was sent over has failed.
            self.answer(id, 430, "Flow Failed", Some((399, "the client's connection is gone")), now);
        }
        let changes = self.bindings.flow_closed(flow);
        self.report(changes, now);
        self.announce_closed(flow, now);
    }

    /// Looks at a flow as a stranger from now on, unless a registration speaks for it.
    pub(crate) fn watch(&mut self, flow: FlowId, now: Moment) {
        let registered = self.bindings.is_registered(flow);
        let Some(state) = self.flows.get_mut(&flow) else { return };
        let idle_max = if state.keep_alives.answered { STANDBY_IDLE_MAX } else { STRANGER_IDLE_MAX };
        let at = (!registered).then(|| now + idle_max);
        let (old, address) = (std::mem::replace(&mut state.watched, at), state.peer.ip());
        if let Some(old) = old {
            self.strangers.remove(&(old, flow));
        }
        if let Some(at) = at {
            self.strangers.insert((at, flow));
        }
        match (old, at) {
            (None, Some(_)) => *self.strangers_at.entry(address).or_default() += 1,
            (Some(_), None) => self.stranger_gone(address),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// The server at the end of a standby path is there: the flow is worth keeping.
    pub(crate) fn kept_alive(&mut self, flow: FlowId, now: Moment) {
        if let Some(state) = self.flows.get_mut(&flow) {
            state.keep_alives.answered = true;
            self.watch(flow, now);
        }
    }

    fn stranger_gone(&mut self, address: IpAddr) {
        if let Some(count) = self.strangers_at.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.strangers_at.remove(&address);
            }
        }
    }

    pub(crate) fn close_idle_strangers(&mut self, now: Moment) {
        while let Some(&(at, flow)) = self.strangers.first() {
            if at > now {
                return;
            }
            if self.proxy.is_busy(flow) {
                self.watch(flow, now);
            } else {
                self.forget_flow(flow, now);
                self.close_flow(flow, "idle without a registration");
            }
        }
    }

    /// The user part of the URIs that lead to this flow.
    pub(crate) fn token(&self, flow: FlowId) -> Option<String> {
        let state = self.flows.get(&flow)?;
        Some(format!("{}.{:016x}{:016x}", self.settings.node, flow.0, state.nonce))
    }

    /// The flow a token leads to: ours, alive, and of exactly this value.
    pub(crate) fn flow_of_token(&self, user: &str) -> Option<FlowId> {
        let token = user.strip_prefix(self.settings.node.as_str())?.strip_prefix('.')?;
        if token.len() != 32 || !token.is_ascii() {
            return None;
        }
        let flow = FlowId(u64::from_str_radix(&token[..16], 16).ok()?);
        let nonce = u64::from_str_radix(&token[16..], 16).ok()?;
        // Not constant time on purpose: only cores, which have proven themselves, can ask.
        (self.flows.get(&flow)?.nonce == nonce).then_some(flow)
    }

    /// Our own URI that leads to `flow`, for Path and Record-Route.
    pub(crate) fn flow_uri(&self, flow: FlowId, outbound: bool) -> Option<String> {
        let token = self.token(flow)?;
        let ob = if outbound { ";ob" } else { "" };
        let (host, port) = (uri_host(&self.settings.public_host), self.settings.public_port);
        Some(format!("<sip:{token}@{host}:{port};transport=tls;lr{ob}>"))
    }
}

impl Flow {
    /// Counts a keepalive of a standby path. Returns whether there are no more of them than an honest
    /// client sends.
    pub(crate) fn takes_keep_alive(&mut self, now: Moment) -> bool {
        let window = &mut self.keep_alives;
        if now >= window.since + KEEP_ALIVES_WINDOW {
            (window.since, window.count) = (now, 0);
        }
        window.count = window.count.saturating_add(1);
        window.count <= KEEP_ALIVES_MAX
    }
}

/// A host as it stands in a URI: IPv6 literals in brackets.
pub(crate) fn uri_host(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}
