//! What comes from edges, on its way inside.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use edgeway_config::StandbyKeepalive;
use edgeway_media::sdp::Side;
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::world::Transport;
use edgeway_model::{FlowId, Moment, NodeId, Pii};
use edgeway_policy::deployments::Served;
use edgeway_policy::location::Place;
use edgeway_policy::registrars::Wanted;
use edgeway_sip::bindings::aor_of;
use edgeway_sip::header::makes_dialog;
use edgeway_sip::mra::is_keep_alive;
use edgeway_sip::proxy::{Hop, Received, TransactionId};
use edgeway_sip::uri::Uri;
use edgeway_sip::{Edit, Message, Name, check_request};

use crate::limits::{DIALOG_NAME_BYTES_MAX, INVITE_CALL_ID_BYTES_MAX};
use crate::registrars::{Destination, alias};
use crate::{CoreNode, contact, flow_at};

/// Where a request may go inside, and why not.
pub(crate) enum Decision {
    /// To a registrar: the one it names, or whichever takes it.
    Registrar {
        named: Option<String>,
    },
    /// Within a dialog, where that leads.
    To(Destination),
    Refuse(u16, &'static str, &'static str),
}

const NO_DIALOG: Decision = Decision::Refuse(481, "Call/Transaction Does Not Exist", "no such dialog here");

impl CoreNode {
    pub(crate) fn message_from_edge(
        &mut self,
        edge: &NodeId,
        (flow, address): (FlowId, IpAddr),
        bytes: Bytes,
        now: Moment,
    ) {
        self.saw_at_edge(true, edge, &bytes);
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.request_from_edge(edge, (flow, address), &message, now),
            Ok(message) => self.response_from_edge(edge, flow, &message, now),
            Err(fault) => {
                self.edge_fault(edge, format!("an edge sent a bad message: {fault}"));
                if let Some(reply) = fault.reply {
                    self.send_edge(edge, reply);
                }
            }
        }
    }

    fn request_from_edge(&mut self, edge: &NodeId, (flow, address): (FlowId, IpAddr), request: &Message, now: Moment) {
        self.count_request(request);
        let from = &Hop::Client { edge: edge.clone(), flow };
        if let Err(refusal) = check_request(request) {
            self.dropped(DropReason::Malformed, refusal.warning);
            if let Some(reply) = refusal.respond(request, "ew", &self.agent()) {
                self.send_edge(edge, reply);
            }
            return;
        }
        let names = [Some(request.call_id()), request.from_tag(), request.to_tag()];
        if names.into_iter().flatten().any(|name| name.len() > DIALOG_NAME_BYTES_MAX) {
            self.dropped(DropReason::Malformed, "a Call-ID or tag of an unreasonable length");
            if request.method() != Some("ACK") {
                let response = self.response(request, from, 400, "Bad Request", Some((399, "Call-ID or tag too long")));
                self.send_edge(edge, response);
            }
            return;
        }
        // A dialog belongs to the edge its client is at: no other edge ends or changes it, whatever it has
        // learnt about it.
        if self.is_of_another(edge, flow, request) {
            self.dropped(DropReason::NoRelay, "a request within a dialog of another edge");
            if request.method() != Some("ACK") {
                let response = self.response(request, from, 481, "Call/Transaction Does Not Exist", None);
                self.send_edge(edge, response);
            }
            return;
        }
        match self.proxy.receive_request(request, from.clone(), now) {
            Received::Absorbed => {}
            Received::Acknowledgement => self.acknowledge_inward(edge, flow, request, now),
            Received::StrayCancel => {
                let response = self.response(request, from, 481, "Call/Transaction Does Not Exist", None);
                self.send_edge(edge, response);
            }
            Received::Full => {
                self.dropped(DropReason::Overload, "the bound on SIP transactions is reached");
                let response = self.response(request, from, 503, "Service Unavailable", Some((399, "overloaded")));
                self.send_edge(edge, response);
            }
            Received::New(id) => {
                let tagged = self.tagged(edge, flow);
                if self.refuse_from_edge(id, tagged, request, now) {
                    return;
                }
                if request.header(Name::Authorization).is_some() {
                    self.guesses.speaks(tagged, address, now);
                }
                if self.admit(id, tagged, request, now) {
                    self.route_inward(id, edge, flow, now);
                }
            }
        }
    }

    fn route_inward(&mut self, id: TransactionId, edge: &NodeId, flow: FlowId, now: Moment) {
        let Some(request) = self.proxy.request(id).cloned() else { return };
        // A dialog belongs to the edge it came to be through, whatever another edge has learnt about it.
        let index = self.edges.get(edge).map_or(u8::MAX, |edge| edge.index);
        if let Some(tag) = request.to_tag()
            && self.dialogs.is_of_another(request.call_id(), tag, index)
            // Of a call more is known: its client may have come back through this edge.
            && !self.calls.knows(&request)
        {
            self.dropped(DropReason::NoRelay, "a request within a dialog of another edge");
            return self.answer(id, 481, "Call/Transaction Does Not Exist", Some((399, "no such dialog here")), now);
        }
        let tagged = self.tagged(edge, flow);
        if let Some((status, reason, why)) = self.no_room_for(&request, tagged) {
            self.dropped(DropReason::Overload, why);
            return self.answer(id, status, reason, Some((399, why)), now);
        }
        let (destination, named, registrar) = match self.decide(tagged, &request) {
            Decision::To(destination) => (destination, false, false),
            Decision::Registrar { named } if self.answers_keep_alive(&request) => {
                return self.answer_keep_alive(id, tagged, named.as_deref(), now);
            }
            Decision::Registrar { named } => match self.registrar_for(id, tagged, &request, named.as_deref(), now) {
                Ok(destination) => (destination, named.is_some(), true),
                Err((status, code, text)) => {
                    self.dropped(DropReason::NoRelay, text);
                    self.end_invite(id, "refused");
                    let reason = edgeway_sip::reason_phrase(status);
                    return self.answer(id, status, reason, Some((code, text)), now);
                }
            },
            Decision::Refuse(status, reason, text) => {
                self.dropped(DropReason::NoRelay, text);
                return self.answer(id, status, reason, Some((399, text)), now);
            }
        };
        if let Some(tag) = request.to_tag() {
            self.dialog_used(request.call_id(), tag, &request, now);
        }
        if self.waits_for_ports(id, edge, &request, Side::Outside) {
            return;
        }
        let body = match self.inward_body(id, edge, flow, &request, now) {
            Ok(body) => body,
            Err(refusal) => return self.refuse_media(id, refusal, now),
        };
        let (place, name) = (destination.place, destination.name.as_deref().unwrap_or_default());
        let by = match (registrar, named) {
            (true, true) => "the registrar it names",
            (true, false) => "the registrar that holds it, or else by priority",
            (false, _) => "where its dialog leads",
        };
        self.decided(|| format!("to {} {} {name}: {by}", place.0, place.1.via()));
        self.send_inward(id, tagged, &request, body, &destination, now);
        if registrar {
            self.tried(id, destination.place, named, request.method() == Some("INVITE"), now);
        }
    }

    /// Why a call is not begun: one whose dialog would not be remembered is nobody's.
    fn no_room_for(&self, request: &Message, flow: FlowId) -> Option<(u16, &'static str, &'static str)> {
        if request.method() != Some("INVITE") || request.to_tag().is_some() {
            return None;
        }
        if request.call_id().len() > INVITE_CALL_ID_BYTES_MAX {
            return Some((400, "Bad Request", "Call-ID too long"));
        }
        (!self.dialogs.has_room(flow)).then_some((503, "Service Unavailable", "too many dialogs"))
    }

    /// A client's flow, told apart from the same number at another edge.
    pub(crate) fn tagged(&self, edge: &NodeId, flow: FlowId) -> FlowId {
        flow_at(self.edges.get(edge).map_or(0, |edge| edge.index), flow)
    }

    /// Whether a request is a keepalive of a standby path that is answered here.
    pub(crate) fn answers_keep_alive(&self, request: &Message) -> bool {
        self.settings.standby_keepalive == StandbyKeepalive::Answered && is_keep_alive(request)
    }

    /// A keepalive of a standby path, answered out of what OPTIONS say about the registrar it names, or
    /// about all. No Contact is in the answer, since no binding has changed.
    fn answer_keep_alive(&mut self, id: TransactionId, flow: FlowId, named: Option<&str>, now: Moment) {
        let deployment = self.proxy.request(id).and_then(|request| self.deployment_of(flow, request));
        let is_alive = deployment.and_then(|one| self.zones.get(&one)).is_some_and(|served| match named {
            Some(host) => served.registrars.named(host).any(|node| node.health.is_alive()),
            None => served.registrars.nodes().iter().any(|node| node.health.is_alive()),
        });
        if is_alive {
            return self.answer(id, 200, "OK", None, now);
        }
        self.answer(id, 408, "Request Timeout", Some((383, "next hop not reachable")), now);
    }

    /// Tries a request again after its connection broke: the body was rewritten before and is
    /// rewritten the same way again.
    pub(crate) fn route_inward_again(&mut self, id: TransactionId, now: Moment) {
        match self.proxy.upstream(id).cloned() {
            Some(Hop::Client { edge, flow }) => self.route_inward(id, &edge, flow, now),
            // A request from inside that was on its way to another inside party.
            Some(Hop::Flow(_) | Hop::Peer(_) | Hop::Datagram { .. }) | None => {
                self.answer(id, 408, "Request Timeout", Some((383, "next hop not reachable")), now);
            }
        }
    }

    fn send_inward(
        &mut self,
        id: TransactionId,
        flow: FlowId,
        request: &Message,
        body: Option<Vec<u8>>,
        to: &Destination,
        now: Moment,
    ) {
        let transport = to.place.1;
        let Some(hop) = self.hop_to(to) else {
            self.end_invite(id, "refused");
            return self.answer(id, 503, "Service Unavailable", Some((399, "no way to the registrar")), now);
        };
        let agent = self.agent_over(transport);
        let mut edit = request.edit();
        edit.set_hops_less();
        self.strip_identities(&mut edit, request, flow, self.proven_from(flow, request, now).as_deref());
        self.strip_credentials(&mut edit, request, flow, to.place);
        match request.method() {
            Some("REGISTER") => self.edit_register(&mut edit, request, transport),
            Some(method) if makes_dialog(method) => {
                edit.push(Name::RecordRoute, &self.own_uri(transport, false));
            }
            Some(_) | None => {}
        }
        if let Some(body) = body {
            set_description(&mut edit, request, &body);
        }
        let (via, branch) = (transport.via(), self.proxy.branch(id));
        edit.push_via(&format!("SIP/2.0/{via} {agent};branch={branch};rport{}", alias(transport)));
        let bytes = edit.finish();
        self.proxy.forward(id, hop, bytes, now);
    }

    /// "SIP Path headers" On: our own Path before the edge's. Off: Contacts that lead to us.
    fn edit_register(&self, edit: &mut Edit<'_>, request: &Message, transport: Transport) {
        if self.settings.path_headers {
            // Registrars look for `ob` in the topmost Path (RFC 5626 §6): core and edge together are
            // the first hop that keeps the flow.
            edit.push(Name::Path, &self.own_uri(transport, true));
            let says_path = |value: &[u8]| value.eq_ignore_ascii_case(b"path");
            if !request.values(Name::Supported).any(says_path) {
                // RFC 3327 §5.1: registrars may insist that somebody says so.
                edit.append(Name::Supported, "path");
            }
            return;
        }
        let route = request.values(Name::Path).next().and_then(edgeway_sip::NameAddr::parse);
        let user = route.as_ref().and_then(|route| Uri::parse(route.uri)).and_then(|uri| uri.user.map(str::to_owned));
        if let Some(user) = user {
            contact::hide(edit, request, &self.agent_over(transport), transport.param(), &user);
        }
        edit.remove(Name::Path);
        withhold_outbound(edit, request);
    }

    /// Our URI on the inside, for Record-Route and, with `outbound`, for Path.
    pub(crate) fn own_uri(&self, transport: Transport, outbound: bool) -> String {
        let ob = if outbound { ";ob" } else { "" };
        let agent = self.agent_over(transport);
        format!("<sip:{}@{agent};transport={};lr{ob}>", self.settings.node, transport.param())
    }

    /// The ACK of a 2xx follows its dialog.
    fn acknowledge_inward(&mut self, edge: &NodeId, flow: FlowId, ack: &Message, now: Moment) {
        let tagged = self.tagged(edge, flow);
        let to = match self.decide(tagged, ack) {
            Decision::To(destination) => Some(destination),
            // Only what names no place inside of its own, and then to the registrar that set the call up.
            Decision::Registrar { .. } if ack.to_tag().is_some() => self.any_registrar(tagged, ack, now),
            Decision::Registrar { .. } | Decision::Refuse(..) => None,
        };
        let Some(to) = to else {
            return self.dropped(DropReason::NoRelay, "an ACK that belongs to no call");
        };
        let Some(body) = self.acknowledged_inward(ack, now) else { return };
        let transport = to.place.1;
        let Some(hop) = self.hop_to(&to) else { return };
        let agent = self.agent_over(transport);
        let branch = self.proxy.stateless_branch();
        let mut edit = ack.edit();
        edit.set_hops_less();
        self.strip_identities(&mut edit, ack, tagged, self.proven_from(tagged, ack, now).as_deref());
        self.strip_credentials(&mut edit, ack, tagged, to.place);
        if let Some(body) = body {
            set_description(&mut edit, ack, &body);
        }
        edit.push_via(&format!("SIP/2.0/{} {agent};branch={branch};rport{}", transport.via(), alias(transport)));
        let bytes = edit.finish();
        match hop {
            Hop::Flow(flow) => self.send_stream(flow, bytes),
            Hop::Datagram { local, peer } => self.send_datagram(local, peer, bytes),
            Hop::Peer(_) | Hop::Client { .. } => {}
        }
    }

    /// New requests go to a registrar, if they concern a domain of their deployment. Requests within a dialog
    /// go where the dialog was established to, and nowhere else.
    pub(crate) fn decide(&self, flow: FlowId, request: &Message) -> Decision {
        let deployment = self.deployment_of(flow, request);
        let served = deployment.as_ref().and_then(|one| self.zones.get(one));
        if request.method() == Some("REGISTER") || request.to_tag().is_none() {
            let (Some(deployment), Some(served)) = (&deployment, served) else {
                return Decision::Refuse(404, "Not Found", "Policy Response");
            };
            let uri = request.parsed_request_uri();
            let is_its = uri.as_ref().is_none_or(|uri| self.serves(deployment, uri.host));
            let named = self.named_by(request);
            let names_its = named.as_ref().is_none_or(|host| served.registrars.is_named(host));
            // A registrar follows Routes: a client must not send it anywhere by one.
            if !is_its || !names_its || !self.leads_to_registrar(served, request) {
                return Decision::Refuse(404, "Not Found", "Policy Response");
            }
            return Decision::Registrar { named };
        }
        let next = request.routes().next().map(|route| route.uri.to_owned());
        let next = next.or_else(|| request.request_uri().map(str::to_owned)).unwrap_or_default();
        let (outside_tag, inside_tag) = (request.from_tag().unwrap_or_default(), request.to_tag().unwrap_or_default());
        let known = self.calls.inside_target(request.call_id(), outside_tag, inside_tag);
        match (known, served) {
            (Some(party), _) if same_place(party, &next) => self.place(served, &next),
            _ if self.is_within_dialog(request, &next) => self.place(served, &next),
            (Some(_), _) => Decision::Refuse(403, "Forbidden", "that is not where this dialog leads"),
            // A tag of a dialog we do not know (any more) is no licence: Routes lead to registrars here too.
            (None, Some(served)) if self.is_within(served, request) && self.leads_to_registrar(served, request) => {
                match self.place(Some(served), &next) {
                    Decision::To(destination)
                        if served.registrars.nodes().iter().any(|node| node.place.0 == destination.place.0) =>
                    {
                        Decision::To(destination)
                    }
                    Decision::Registrar { named } => Decision::Registrar { named },
                    Decision::To(..) | Decision::Refuse(..) => NO_DIALOG,
                }
            }
            (None, _) => NO_DIALOG,
        }
    }

    /// Whether a request's next hop is the other party of its dialog.
    fn is_within_dialog(&self, request: &Message, next: &str) -> bool {
        let tag = request.to_tag().unwrap_or_default();
        self.dialogs.party(request.call_id(), tag).is_some_and(|party| same_place(party, next))
    }

    /// Whether a request that belongs to nothing known here is for somebody of a deployment: a made-up tag
    /// leads nowhere else than none.
    fn is_within(&self, served: &Served, request: &Message) -> bool {
        request.parsed_request_uri().is_some_and(|uri| {
            let port = if uri.host_ip().is_some() { Some(port_of(&uri)) } else { uri.port };
            self.serves(&served.deployment, uri.host) || served.registrars.place_of(uri.host, port, None).is_some()
        })
    }

    /// Whether what Routes a new request still carries name a registrar of its deployment (its Service-Route)
    /// or us.
    fn leads_to_registrar(&self, served: &Served, request: &Message) -> bool {
        request.routes().all(|route| {
            Uri::parse(route.uri).is_some_and(|uri| {
                // An address without a port means the default port of that machine, whoever listens there.
                let port = if uri.host_ip().is_some() { Some(port_of(&uri)) } else { uri.port };
                self.is_own(&uri) || served.registrars.place_of(uri.host, port, None).is_some()
            })
        })
    }

    /// The place a URI leads to. No name is looked up that a client or an inside party wrote: one that
    /// is a registrar's leads to what the registrar's name was found to be, any other to a registrar.
    fn place(&self, served: Option<&Served>, uri: &str) -> Decision {
        let Some(uri) = Uri::parse(uri) else {
            return Decision::Refuse(400, "Bad Request", "a Route that cannot be read");
        };
        let written = match uri.param("transport").flatten() {
            _ if uri.is_sips() => Some(Transport::Tls),
            Some(transport) if transport.eq_ignore_ascii_case("tls") => Some(Transport::Tls),
            Some(transport) if transport.eq_ignore_ascii_case("tcp") => Some(Transport::Tcp),
            Some(transport) if transport.eq_ignore_ascii_case("udp") => Some(Transport::Udp),
            Some(_) => return Decision::Refuse(503, "Service Unavailable", "a transport we do not speak inside"),
            None => None,
        };
        let Some(ip) = uri.host_ip() else {
            return match served.and_then(|served| served.registrars.once_place_of(uri.host, uri.port, written)) {
                Some(place) => Decision::To(self.destination(place)),
                None => Decision::Registrar { named: None },
            };
        };
        let address = SocketAddr::new(ip, port_of(&uri));
        let of_registrar = self.zones.once_by(address);
        // RFC 3263 §4.1: UDP where nobody says; a registrar we know by TCP keeps TCP.
        let transport = written.or(of_registrar).unwrap_or(Transport::Udp);
        Decision::To(self.destination((address, transport)))
    }

    fn destination(&self, place: Place) -> Destination {
        Destination { place, name: self.zones.once_at(place).map(|node| node.name.clone()) }
    }

    /// The registrar a client's connection talks to, or else any of its deployment.
    pub(crate) fn any_registrar(&mut self, flow: FlowId, request: &Message, now: Moment) -> Option<Destination> {
        let held = self.held.of_flow(flow);
        let served = self.deployment_of(flow, request).and_then(|one| self.zones.get(&one))?;
        let place = served.registrars.choose(Wanted::default(), held, &[], &mut self.random, now)?.place;
        Some(self.destination(place))
    }

    pub(crate) fn refuse_media(&mut self, id: TransactionId, refusal: crate::calls::MediaRefusal, now: Moment) {
        self.dropped(refusal.reason, refusal.text.clone());
        self.end_invite(id, "refused");
        let reason = edgeway_sip::reason_phrase(refusal.status);
        self.answer(id, refusal.status, reason, Some((refusal.warning, &refusal.text)), now);
    }

    /// A client answered a request from inside.
    fn response_from_edge(&mut self, edge: &NodeId, flow: FlowId, response: &Message, now: Moment) {
        let hop = Hop::Peer(edge.clone());
        let Ok(matched) = self.proxy.receive_response(response, &hop, now) else {
            if self.requests.receive_response(response, &hop, now) {
                return;
            }
            return self.dropped(DropReason::StrayResponse, "a response from outside that matches no request");
        };
        let Some(matched) = matched else { return };
        let status = response.status().unwrap_or(500);
        if let Some(tag) = matched.request.from_tag() {
            self.dialog_used(response.call_id(), tag, response, now);
        }
        let body = match self.answered_by_client(matched.id, &matched.request, response, now) {
            Ok(body) => body,
            Err(refusal) => {
                // The client took the call but will not encrypt: the inside learns that there is no
                // common ground, the client is sent a BYE by nobody and hears nothing.
                self.dropped(refusal.reason, refusal.text.clone());
                self.proxy.abandon(matched.id, now);
                return self.refuse_media(matched.id, refusal, now);
            }
        };
        let mut edit = response.edit();
        edit.pop_via();
        let own = aor_of(matched.request.to().uri);
        self.strip_identities(&mut edit, response, self.tagged(edge, flow), Some(&own));
        if let Some(body) = body {
            set_description(&mut edit, response, &body);
        }
        let bytes = edit.finish();
        self.proxy.respond(matched.id, status, bytes, now);
    }

    pub(crate) fn call_notice(&mut self, status: u16, call_id: &str) {
        let call = Pii::new(call_id.to_owned());
        match status {
            180 | 183 => self.notice(Notice::CallRinging { call }),
            200..=299 => self.notice(Notice::CallAnswered { call }),
            _ => {}
        }
    }
}

/// Without Path there is no flow a registrar could see: a client's wish for RFC 5626 would be refused
/// (439), so it is not passed on. The edge keeps the flow all the same.
fn withhold_outbound(edit: &mut Edit<'_>, request: &Message) {
    let asked = |value: &&[u8]| value.eq_ignore_ascii_case(b"outbound");
    if request.values(Name::Supported).any(|value| asked(&value)) {
        let others = request.values(Name::Supported).filter(|value| !asked(value));
        let others: Vec<_> = others.map(String::from_utf8_lossy).collect();
        edit.set(Name::Supported, &others.join(", "));
    }
}

/// RFC 3261 §19.1.2.
pub(crate) fn port_of(uri: &Uri<'_>) -> u16 {
    let tls = uri.is_sips() || uri.param("transport").flatten().is_some_and(|one| one.eq_ignore_ascii_case("tls"));
    uri.port.unwrap_or(if tls { 5_061 } else { 5_060 })
}

/// Whether two URIs name the same host and port.
fn same_place(party: &(String, u16), uri: &str) -> bool {
    Uri::parse(uri)
        .is_some_and(|uri| uri.host.trim_matches(['[', ']']).eq_ignore_ascii_case(&party.0) && port_of(&uri) == party.1)
}

/// Puts another description into a message; none at all if it is empty.
pub(crate) fn set_description(edit: &mut Edit<'_>, message: &Message, sdp: &[u8]) {
    edit.set_sdp(sdp);
    if sdp.is_empty() && message.sdp().len() == message.body().len() {
        edit.remove(Name::ContentType);
    }
}
