//! What comes from clients.

use std::net::SocketAddr;

use edgeway_model::notice::DropReason;
use edgeway_model::{FlowId, Moment, NodeId};
use edgeway_policy::routing::{self, Candidate};
use edgeway_sip::maintenance::{Refused, refused};
use edgeway_sip::mra::is_keep_alive;
use edgeway_sip::proxy::{Hop, Received, TransactionId};
use edgeway_sip::uri::Uri;
use edgeway_sip::{Edit, Message, Name, NameAddr, RefusalKind, check_request, header};

use crate::EdgeNode;
use crate::flows::uri_host;
use crate::limits::{KEEP_EVERY, OWN_ROUTES_MAX, STRANGER_REQUESTS_MAX};

/// The Route values a client put in front that were meant for us.
pub(crate) struct OwnRoutes {
    /// How many.
    count: usize,
    /// The core the next one names, if it names one; it is taken off too.
    pub(crate) core: Option<NodeId>,
    /// The next one has the form of a route to a core, and names none we know (any more): it is taken
    /// off, and another core stands in.
    stale: bool,
}

impl OwnRoutes {
    /// Whether they name a core other than this one.
    pub(crate) fn is_elsewhere(&self, core: &NodeId) -> bool {
        self.stale || self.core.as_ref().is_some_and(|named| named != core)
    }
}

impl EdgeNode {
    pub(crate) fn request_from_client(&mut self, flow: FlowId, request: &Message, now: Moment) {
        self.count_request(request);
        if let Err(refusal) = check_request(request) {
            let last_hop = refusal.kind == RefusalKind::MaxForwards && request.method() == Some("OPTIONS");
            if !last_hop {
                self.dropped(DropReason::Malformed, refusal.warning);
                if let Some(reply) = refusal.respond(request, "ew", &self.agent()) {
                    let reply = self.stamped(flow, reply);
                    self.send_flow(flow, reply);
                }
                return;
            }
        }
        match self.proxy.receive_request(request, Hop::Flow(flow), now) {
            Received::Absorbed => {}
            Received::Acknowledgement => self.acknowledge_from_client(flow, request),
            Received::StrayCancel => self.reply(flow, request, 481, "Call/Transaction Does Not Exist", None),
            Received::Full => {
                self.dropped(DropReason::Overload, "the bound on SIP transactions is reached");
                self.reply(flow, request, 503, "Service Unavailable", Some("overloaded"));
            }
            Received::New(id) => self.admit(id, flow, request, now),
        }
    }

    pub(crate) fn response_from_client(&mut self, flow: FlowId, response: &Message, now: Moment) {
        let Ok(matched) = self.proxy.receive_response(response, &Hop::Flow(flow), now) else {
            return self.dropped(DropReason::StrayResponse, "a response that matches no request");
        };
        let Some(matched) = matched else { return };
        let status = response.status().unwrap_or(500);
        if matches!(status, 401 | 407) {
            // A challenge from outside is never carried to the call manager, which might answer it.
            return self.answer(matched.id, 403, "Forbidden", Some((399, "a client may not challenge")), now);
        }
        let mut edit = response.edit();
        edit.pop_via();
        self.restore_record_route(&mut edit, &matched.request, response, flow);
        let bytes = edit.finish();
        self.proxy.respond(matched.id, status, bytes, now);
    }

    /// RFC 3261 §12.1.1: a client gives Record-Route back as it got it. One that does not would have the
    /// inside send requests of the dialog to places of the client's choice.
    fn restore_record_route(&self, edit: &mut Edit<'_>, request: &Message, response: &Message, flow: FlowId) {
        let makes = request.method().is_some_and(header::makes_dialog);
        let Some(own) = self.flow_uri(flow, false).filter(|_| response.header(Name::RecordRoute).is_some()) else {
            return;
        };
        let own = if makes { NameAddr::parse(own.as_bytes()) } else { None };
        let asked = own.into_iter().chain(request.addresses(Name::RecordRoute));
        let asked: Vec<_> = asked.map(|route| route.uri).collect();
        if !asked.iter().copied().eq(response.addresses(Name::RecordRoute).map(|route| route.uri)) {
            let restored: Vec<_> = asked.iter().map(|uri| format!("<{uri}>")).collect();
            edit.set(Name::RecordRoute, &restored.join(", "));
        }
    }

    /// Who may send what: a stranger may register and ask OPTIONS, a registered flow everything.
    fn admit(&mut self, id: TransactionId, flow: FlowId, request: &Message, now: Moment) {
        let registered = self.bindings.is_registered(flow) || self.is_within_dialog(flow, request);
        let Some(state) = self.flows.get_mut(&flow) else { return };
        if registered {
            state.requests = 0;
        } else if !(is_keep_alive(request) && state.takes_keep_alive(now)) {
            state.requests = state.requests.saturating_add(1);
            if state.requests > STRANGER_REQUESTS_MAX {
                self.dropped(DropReason::Overload, "a stranger asked too often without registering");
                self.answer(id, 503, "Service Unavailable", Some((399, "too many requests")), now);
                self.forget_flow(flow, now);
                return self.close_flow(flow, "too many requests without a registration");
            }
        }
        if self.is_for_us(request) {
            return self.answer_options(id, request, now);
        }
        if request.method() != Some("REGISTER") && !registered {
            self.dropped(DropReason::NotRegistered, "a request on a connection without a registration");
            return self.answer(id, 403, "Forbidden", Some((399, "register on this connection first")), now);
        }
        if self.refuse_from_client(id, flow, request, now) {
            return;
        }
        if request.method() == Some("INVITE") {
            let trying = request.respond(100, "Trying").build();
            self.respond(id, 100, trying, now);
        }
        self.route(id, now);
    }

    /// Whether a request belongs to a dialog that came to be over this very flow while it was registered:
    /// its Route has the flow's token, which nobody can guess. A registration that ended must not keep
    /// anybody from hanging up.
    fn is_within_dialog(&self, flow: FlowId, request: &Message) -> bool {
        let token = |uri: &str| Uri::parse(uri).and_then(|uri| self.flow_of_token(uri.user?));
        request.to_tag().is_some() && request.routes().next().is_some_and(|route| token(route.uri) == Some(flow))
    }

    /// Sends a client's request to a core; leaves it waiting while none is up, and one of a dialog while
    /// the core that holds the dialog is away.
    pub(crate) fn route(&mut self, id: TransactionId, now: Moment) {
        self.route_if(
            id,
            |edge, request, own| request.to_tag().is_none() || own.core.as_ref().is_none_or(|core| edge.is_up(core)),
            None,
            now,
        );
    }

    /// The core that holds the dialog did not come back in time: another may still carry a BYE to the
    /// other party. Returns whether one was found.
    pub(crate) fn route_anywhere(&mut self, id: TransactionId, now: Moment) -> bool {
        self.route_if(id, |_, _, _| true, None, now);
        self.proxy.downstream(id).is_some()
    }

    /// Sends a client's request to another core than the one that refused it.
    pub(crate) fn route_past(&mut self, id: TransactionId, core: &NodeId, now: Moment) {
        self.route_if(id, |_, _, _| true, Some(core), now);
    }

    fn route_if(
        &mut self,
        id: TransactionId,
        may: impl FnOnce(&Self, &Message, &OwnRoutes) -> bool,
        past: Option<&NodeId>,
        now: Moment,
    ) {
        let (Some(request), Some(Hop::Flow(flow))) =
            (self.proxy.request(id).cloned(), self.proxy.upstream(id).cloned())
        else {
            return;
        };
        let Some(state) = self.flows.get(&flow) else { return };
        let own = self.own_routes(&request, state.local);
        if !may(self, &request, &own) {
            return;
        }
        let up: Vec<_> = self.candidates();
        let candidates: Vec<_> = up
            .iter()
            .filter(|(core, ..)| Some(core) != past)
            .map(|(core, registrations, draining)| Candidate {
                core,
                registrations: *registrations,
                draining: *draining,
            })
            .collect();
        // Who goes is let go where they are: another core may have another Contact to offer the registrar.
        let exists = refused(&request) == Refused::Never;
        let registers = request.method() == Some("REGISTER");
        let registered = state.path.as_ref().map(|path| &path.core);
        let habit = registered.filter(|_| registers && exists).or(state.core.as_ref());
        // What a device begins goes where its registration is, which may have moved from the core it names.
        let path = state.path.as_ref().filter(|path| !registers && request.to_tag().is_none() && !path.failed);
        let preferred = path.map(|path| &path.core).into_iter().chain(own.core.as_ref()).chain(habit);
        let Some(core) = routing::choose(preferred, exists, &candidates).cloned() else { return };
        let by = if path.is_some_and(|path| path.core == core) {
            "it is registered through it"
        } else if own.core.as_ref() == Some(&core) {
            "its Route names it"
        } else if habit == Some(&core) {
            "its last request went there"
        } else {
            "by load"
        };
        self.decided(|| format!("to {core}: {by}"));
        let bytes = self.outgoing(id, &request, flow, &own);
        // A standby path is asked after over another core than the active one.
        if let Some(state) = self.flows.get_mut(&flow).filter(|_| !is_keep_alive(&request)) {
            state.core = Some(core.clone());
        }
        self.proxy.forward(id, Hop::Peer(core), bytes, now);
    }

    fn outgoing(&self, id: TransactionId, request: &Message, flow: FlowId, own: &OwnRoutes) -> bytes::Bytes {
        let mut edit = request.edit();
        self.received(&mut edit, request, flow);
        self.take_own_routes(&mut edit, own);
        edit.set_hops_less();
        match request.method() {
            Some("REGISTER") => {
                if let Some(uri) = self.flow_uri(flow, true) {
                    edit.push(Name::Path, &uri);
                }
            }
            Some(method) if header::makes_dialog(method) => {
                if let Some(uri) = self.flow_uri(flow, false) {
                    edit.push(Name::RecordRoute, &uri);
                }
            }
            Some(_) | None => {}
        }
        edit.push_via(&self.via(&self.proxy.branch(id)));
        edit.finish()
    }

    /// The ACK of a 2xx has no transaction: it follows the dialog's route to the core.
    fn acknowledge_from_client(&mut self, flow: FlowId, ack: &Message) {
        if !self.bindings.is_registered(flow) && !self.is_within_dialog(flow, ack) {
            return self.dropped(DropReason::NotRegistered, "an ACK on a connection without a registration");
        }
        let Some(state) = self.flows.get(&flow) else { return };
        let own = self.own_routes(ack, state.local);
        let up = self.candidates();
        let candidates: Vec<_> = up
            .iter()
            .map(|(core, registrations, draining)| Candidate {
                core,
                registrations: *registrations,
                draining: *draining,
            })
            .collect();
        let preferred = own.core.iter().chain(state.core.as_ref());
        let Some(core) = routing::choose(preferred, true, &candidates).cloned() else { return };
        let mut edit = ack.edit();
        self.received(&mut edit, ack, flow);
        self.take_own_routes(&mut edit, &own);
        edit.set_hops_less();
        let branch = self.proxy.stateless_branch();
        edit.push_via(&self.via(&branch));
        let bytes = edit.finish();
        self.send_core(&core, Some(flow), bytes);
    }

    /// RFC 3261 §18.2.1 and RFC 3581 §4: where the request really came from; and RFC 6223 §4.4: that
    /// keepalives are answered, for a client that asks.
    fn received(&self, edit: &mut Edit<'_>, message: &Message, flow: FlowId) {
        let Some(state) = self.flows.get(&flow) else { return };
        edit.set_top_via_param("received", Some(&state.peer.ip().to_string()));
        edit.set_top_via_param("rport", Some(&state.peer.port().to_string()));
        if message.top_via().param("keep") == Some(None) {
            edit.set_top_via_param("keep", Some(&KEEP_EVERY.as_secs().to_string()));
        }
    }

    /// A response of our own with the same marks in its topmost Via.
    pub(crate) fn stamped(&self, flow: FlowId, response: bytes::Bytes) -> bytes::Bytes {
        let Ok(response) = Message::parse(response.clone()) else { return response };
        let mut edit = response.edit();
        self.received(&mut edit, &response, flow);
        edit.finish()
    }

    fn take_own_routes(&self, edit: &mut Edit<'_>, own: &OwnRoutes) {
        for _ in 0..own.count + usize::from(own.core.is_some() || own.stale) {
            edit.pop_value(Name::Route);
        }
    }

    pub(crate) fn via(&self, branch: &str) -> String {
        let (host, port) = (uri_host(&self.settings.public_host), self.settings.public_port);
        format!("SIP/2.0/TLS {host}:{port};branch={branch}")
    }

    pub(crate) fn own_routes(&self, request: &Message, local: SocketAddr) -> OwnRoutes {
        let mut own = OwnRoutes { count: 0, core: None, stale: false };
        for route in request.routes().take(OWN_ROUTES_MAX) {
            let Some(uri) = Uri::parse(route.uri) else { break };
            // A dialog that began over another edge has that one's URI in front; the client is here now.
            if self.is_own_uri(&uri, local) || is_edge_uri(&uri) {
                own.count += 1;
                continue;
            }
            own.core = self.core_named_by(&uri);
            own.stale = own.core.is_none() && uri.param("directed").is_some();
            break;
        }
        own
    }

    pub(crate) fn is_own_uri(&self, uri: &Uri<'_>, local: SocketAddr) -> bool {
        let address = uri.host.parse();
        let host_is_ours = uri.host.eq_ignore_ascii_case(self.settings.public_host.trim_matches(['[', ']']))
            || address == Ok(local.ip())
            || address == Ok(self.settings.media_address)
            || self.settings.names.iter().any(|name| covers(name, uri.host));
        let port = uri.port.unwrap_or(5_061);
        host_is_ours && (port == self.settings.public_port || port == local.port())
    }

    /// An OPTIONS for the edge itself: addressed to us, or at the end of its hops (RFC 3261 §11).
    fn is_for_us(&self, request: &Message) -> bool {
        if request.method() != Some("OPTIONS") {
            return false;
        }
        let Some(uri) = request.request_uri().and_then(Uri::parse) else { return false };
        request.max_forwards() == Some(0)
            || (uri.user.is_none() && uri.host.eq_ignore_ascii_case(&self.settings.public_host))
    }

    fn answer_options(&mut self, id: TransactionId, request: &Message, now: Moment) {
        let response = request
            .respond(200, "OK")
            .to_tag(&format!("ew{:x}", self.random.next_u64()))
            .header(Name::Accept, "application/sdp")
            .header(Name::Supported, "path, outbound")
            .build();
        self.respond(id, 200, response, now);
    }

    /// A reply without a transaction.
    pub(crate) fn reply(&mut self, flow: FlowId, request: &Message, status: u16, reason: &str, text: Option<&str>) {
        let warning = text.map(|text| (399, text));
        let bytes = self.answer_to(request, &Hop::Flow(flow), status, reason, warning);
        let bytes = self.stamped(flow, bytes);
        self.send_flow(flow, bytes);
    }

    fn count_request(&mut self, request: &Message) {
        let label = header::method_label(request.method().unwrap_or_default());
        *self.counts.requests.entry(label).or_default() += 1;
    }
}

/// Whether a URI is such as an edge makes: its user part is `<node>.<32 hexadecimal digits>`.
fn is_edge_uri(uri: &Uri<'_>) -> bool {
    let token = uri.user.and_then(|user| user.split_once('.')).map(|(_, token)| token);
    token.is_some_and(|token| token.len() == 32 && token.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Whether the name of a certificate stands for this host (RFC 6125 §6.4.3).
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
        }
        None => host.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (name, host, ours) in [
            ("edge.example.com", "EDGE.example.com", true),
            ("edge.example.com", "edge.example.org", false),
            ("*.example.com", "edge.Example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "a.edge.example.com", false),
        ] {
            assert_eq!(covers(name, host), ours, "{name} {host}");
        }
    }
}
