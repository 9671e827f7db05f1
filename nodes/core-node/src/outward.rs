//! What comes from registrars and inside parties, on its way outside.

use std::net::SocketAddr;

use bytes::Bytes;
use edgeway_media::sdp::Side;
use edgeway_model::notice::DropReason;
use edgeway_model::{FlowId, Moment, NodeId};
use edgeway_sip::bindings::Change;
use edgeway_sip::header::makes_dialog;
use edgeway_sip::mra::is_keep_alive;
use edgeway_sip::proxy::{Hop, Received, TransactionId};
use edgeway_sip::uri::Uri;
use edgeway_sip::{Message, Name, check_request};

use crate::calls::flow_of_route;
use crate::inward::set_description;
use crate::limits::OWN_ROUTES_MAX;
use crate::{CoreNode, contact, flow_at};

/// The way to a client.
struct Way {
    edge: NodeId,
    /// Own Routes in front.
    own: usize,
    /// The edge's URI to put in front, where the registrar keeps no Path or the client has moved.
    route: Option<String>,
    /// The client's own URI, where the registrar keeps no Path.
    uri: Option<String>,
}

impl CoreNode {
    pub(crate) fn message_from_inside(&mut self, hop: Hop, bytes: Bytes, now: Moment) {
        self.registrar_heard(&hop, now);
        self.saw_inside(true, &hop, &bytes);
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.request_from_inside(hop, &message, now),
            Ok(message) => self.response_from_inside(&hop, &message, now),
            Err(fault) => {
                self.dropped(DropReason::Malformed, format!("from inside: {fault}"));
                if let Some(reply) = fault.reply {
                    self.send_hop(&hop, reply);
                }
            }
        }
    }

    pub(crate) fn send_hop(&mut self, hop: &Hop, bytes: Bytes) {
        match hop {
            Hop::Flow(flow) => self.send_stream(*flow, bytes),
            Hop::Datagram { local, peer } => self.send_datagram(*local, *peer, bytes),
            Hop::Peer(edge) | Hop::Client { edge, .. } => self.send_edge(&edge.clone(), bytes),
        }
    }

    fn request_from_inside(&mut self, hop: Hop, request: &Message, now: Moment) {
        self.count_request(request);
        if let Err(refusal) = check_request(request) {
            self.dropped(DropReason::Malformed, refusal.warning);
            if let Some(reply) = refusal.respond(request, "ew", &self.agent()) {
                let reply = self.stamped(&hop, reply);
                self.send_hop(&hop, reply);
            }
            return;
        }
        match self.proxy.receive_request(request, hop.clone(), now) {
            Received::Absorbed => {}
            Received::Acknowledgement => self.acknowledge_outward(request, now),
            Received::StrayCancel => {
                let response = self.response(request, &hop, 481, "Call/Transaction Does Not Exist", None);
                self.send_hop(&hop, response);
            }
            Received::Full => {
                self.dropped(DropReason::Overload, "the bound on SIP transactions is reached");
                let warning = Some((399, "overloaded"));
                let response = self.response(request, &hop, 503, "Service Unavailable", warning);
                self.send_hop(&hop, response);
            }
            Received::New(id) if self.refuse_from_inside(id, request, now) => {}
            Received::New(id) => {
                if request.method() == Some("INVITE") {
                    let trying = request.respond(100, "Trying").build();
                    self.respond(id, 100, trying, now);
                }
                self.route_outward(id, now);
            }
        }
    }

    /// Sends a request from inside to the edge its Route (or rewritten Contact) names. Also called
    /// again when a link is back.
    pub(crate) fn route_outward(&mut self, id: TransactionId, now: Moment) {
        let (Some(request), Some(upstream)) = (self.proxy.request(id).cloned(), self.proxy.upstream(id).cloned())
        else {
            return;
        };
        if upstream.is_node() {
            return self.route_inward_again(id, now);
        }
        let Some(way) = self.way(&request) else {
            if request.method() == Some("OPTIONS") {
                let response = request.respond(200, "OK").to_tag("ew").header(Name::Supported, "path").build();
                return self.respond(id, 200, response, now);
            }
            self.dropped(DropReason::NoRelay, "a request from inside that leads to no client");
            return self.answer(id, 404, "Not Found", Some((399, "Policy Response")), now);
        };
        // While the link is down the request waits; it goes when the link is back.
        if self.edges.get(&way.edge).is_none_or(|edge| edge.link.is_none()) {
            return;
        }
        if self.waits_for_ports(id, &way.edge, &request, Side::Inside) {
            return;
        }
        self.note_asked(&way, &request, now);
        let body = match self.outward_body(id, &way.edge, &request, now) {
            Ok(body) => body,
            Err(refusal) => return self.refuse_media(id, refusal, now),
        };
        let mut edit = self.outward_edit(&request, &way);
        self.received(&mut edit, &request, &upstream);
        if request.method().is_some_and(makes_dialog) {
            edit.push(Name::RecordRoute, &self.own_uri(self.transport_of(&upstream), false));
        }
        if let Some(body) = body {
            set_description(&mut edit, &request, &body);
        }
        edit.push_via(&format!("SIP/2.0/TLS {};branch={}", self.agent(), self.proxy.branch(id)));
        let bytes = edit.finish();
        self.decided(|| format!("to {}: the Path of the client", way.edge));
        self.proxy.forward(id, Hop::Peer(way.edge), bytes, now);
    }

    fn note_asked(&mut self, way: &Way, request: &Message, now: Moment) {
        let Some(index) = self.edges.get(&way.edge).map(|edge| edge.index) else { return };
        let flow = flow_of_route(request).unwrap_or(FlowId(0));
        self.dialog_asked(flow_at(index, flow), request, now);
    }

    fn outward_edit<'a>(&self, request: &'a Message, way: &Way) -> edgeway_sip::Edit<'a> {
        let mut edit = request.edit();
        edit.set_hops_less();
        for _ in 0..way.own {
            edit.pop_value(Name::Route);
        }
        if let Some(uri) = &way.uri {
            edit.set_request_uri(uri);
        }
        if let Some(route) = &way.route {
            edit.push(Name::Route, route);
        }
        edit
    }

    /// RFC 3261 §18.2.1 and RFC 3581 §4: where a request from inside really came from, where its Via
    /// says otherwise or asks.
    fn received(&self, edit: &mut edgeway_sip::Edit<'_>, message: &Message, hop: &Hop) {
        let Some(peer) = self.address_of(hop) else { return };
        let via = message.top_via();
        let asks = via.rport() == Some(None);
        if asks || via.host_ip() != Some(peer.ip()) {
            edit.set_top_via_param("received", Some(&peer.ip().to_string()));
        }
        if asks {
            edit.set_top_via_param("rport", Some(&peer.port().to_string()));
        }
    }

    /// A response of our own with the same marks in its topmost Via.
    pub(crate) fn stamped(&self, hop: &Hop, response: Bytes) -> Bytes {
        if hop.is_node() {
            return response;
        }
        let Ok(response) = Message::parse(response.clone()) else { return response };
        let mut edit = response.edit();
        self.received(&mut edit, &response, hop);
        edit.finish()
    }

    fn acknowledge_outward(&mut self, ack: &Message, now: Moment) {
        let Some(way) = self.way(ack) else {
            return self.dropped(DropReason::NoRelay, "an ACK from inside that leads to no client");
        };
        let Some(body) = self.acknowledged_outward(ack, now) else { return };
        let branch = self.proxy.stateless_branch();
        let mut edit = self.outward_edit(ack, &way);
        if let Some(body) = body {
            set_description(&mut edit, ack, &body);
        }
        edit.push_via(&format!("SIP/2.0/TLS {};branch={branch}", self.agent()));
        let bytes = edit.finish();
        self.send_edge(&way.edge, bytes);
    }

    /// By the Path the registrar kept (our own URI, then the edge's), or by a Contact of ours.
    fn way(&self, request: &Message) -> Option<Way> {
        let mut own = 0;
        for route in request.routes().take(OWN_ROUTES_MAX) {
            let uri = Uri::parse(route.uri)?;
            if let Some(edge) = self.edge_named_by(uri.user) {
                return Some(match self.calls.moved_to(request) {
                    // The token of the connection the dialog began on gives way to that of the present one.
                    Some((edge, route)) => Way { edge, own: own + 1, route: Some(route), uri: None },
                    None => Way { edge, own, route: None, uri: None },
                });
            }
            if !self.is_own(&uri) {
                return None;
            }
            own += 1;
        }
        let (original, route) = contact::restored(request.request_uri()?)?;
        let edge = self.edge_named_by(Some(&route))?;
        let contact = &self.edges.get(&edge)?.hello.contact;
        let route = format!("<sip:{route}@{contact};transport=tls;lr>");
        Some(Way { edge, own, route: Some(route), uri: Some(original) })
    }

    /// The edge whose token a URI's user part is: `<edge>.<token>`.
    fn edge_named_by(&self, user: Option<&str>) -> Option<NodeId> {
        let (name, _) = user?.split_once('.')?;
        self.edges.keys().find(|edge| edge.as_str() == name).cloned()
    }

    pub(crate) fn is_own(&self, uri: &Uri<'_>) -> bool {
        let host = uri.host.trim_matches(['[', ']']);
        // Whether or not we listen for TLS, our URIs for it carry our name.
        let by_tls = || uri.port == Some(self.settings.tls_port) && uri.user == Some(self.settings.node.as_str());
        host.eq_ignore_ascii_case(self.settings.host.trim_matches(['[', ']']))
            && (uri.port.unwrap_or(5_060) == self.settings.port || by_tls())
    }

    /// A registrar or inside party answered a client's request.
    fn response_from_inside(&mut self, hop: &Hop, response: &Message, now: Moment) {
        if Self::is_probe_answer(response) {
            return;
        }
        let Ok(matched) = self.proxy.receive_response(response, hop, now) else {
            if self.requests.receive_response(response, hop, now) {
                return;
            }
            return self.dropped(DropReason::StrayResponse, "a response from inside that matches no request");
        };
        let Some(matched) = matched else { return };
        let Hop::Client { edge, flow } = &matched.upstream else { return };
        let status = response.status().unwrap_or(500);
        let tagged = self.edges.get(edge).map_or(*flow, |edge| flow_at(edge.index, *flow));
        if !matched.orphaned {
            self.answered_by_registrar(matched.id, hop, tagged, &matched.request, response, now);
        }
        if status == 503 && self.refused_by_registrar(matched.id, response, now) {
            return;
        }
        if let Some(index) = self.edges.get(edge).map(|edge| edge.index) {
            self.dialog_answered(flow_at(index, *flow), &matched.request, response, now);
        }
        let body = match self.answered_by_inside(matched.id, &matched.request, response, now) {
            Ok(body) => body,
            Err(refusal) => return self.refuse_media(matched.id, refusal, now),
        };
        let mut edit = response.edit();
        edit.pop_via();
        let registers = matched.request.method() == Some("REGISTER");
        let revealed = registers && contact::reveal(&mut edit, response);
        if let Some(body) = body {
            set_description(&mut edit, response, &body);
        }
        let mut bytes = edit.finish();
        let shortens = registers && self.is_draining();
        if shortens && let Ok(answer) = Message::parse(bytes.clone()) {
            let mut edit = answer.edit();
            edgeway_sip::maintenance::shorten(&mut edit, &answer);
            bytes = edit.finish();
        }
        if registers && (200..300).contains(&status) && !matched.orphaned {
            // Parsed again only where its Contacts have become others.
            match (revealed || shortens).then(|| Message::parse(bytes.clone())) {
                None => self.registered(edge, *flow, &matched.request, response, now),
                Some(Ok(answer)) => self.registered(edge, *flow, &matched.request, &answer, now),
                Some(Err(_)) => {}
            }
        }
        if status >= 200 {
            self.attempts.remove(&matched.id);
            self.answered_inside(&matched.request, &matched.upstream, response);
        }
        self.proxy.respond(matched.id, status, bytes, now);
    }

    fn registered(&mut self, edge: &NodeId, flow: FlowId, request: &Message, answer: &Message, now: Moment) {
        if is_keep_alive(request) {
            return;
        }
        let Some(known) = self.edges.get(edge) else { return };
        let index = known.index;
        let changes = self.bindings.accept(request, answer, flow_at(index, flow), now);
        if let Some(client) = client_of(request) {
            self.bindings.set_client(flow_at(index, flow), client);
        }
        self.registered_in_deployment(flow_at(index, flow), request);
        if changes.iter().any(|change| matches!(change, Change::Registered { .. })) {
            self.device_registered(edge, flow, request, now);
        }
        self.report(changes);
    }
}

/// Where a client connects from, as its edge has marked the client's own Via, below the edge's.
fn client_of(register: &Message) -> Option<SocketAddr> {
    let via = register.vias().nth(1)?;
    Some(SocketAddr::new(via.received()?.trim_matches(['[', ']']).parse().ok()?, via.rport()??))
}
