//! What comes from cores. A core may reach clients by the edge's own tokens and in no other way.

use edgeway_model::notice::DropReason;
use edgeway_model::{FlowId, Moment, NodeId};
use edgeway_sip::mra::{PathFeatures, is_keep_alive};
use edgeway_sip::proxy::{Hop, Received, TransactionId};
use edgeway_sip::uri::Uri;
use edgeway_sip::{Message, Name, warning_value};

use crate::EdgeNode;
use crate::flows::RegisteredPath;

impl EdgeNode {
    pub(crate) fn message_from_core(&mut self, core: &NodeId, bytes: bytes::Bytes, now: Moment) {
        self.saw_at_core(true, core, &bytes);
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.request_from_core(core, &message, now),
            Ok(message) => self.response_from_core(core, &message, now),
            Err(fault) => self.dropped(DropReason::LinkProtocol, format!("a core sent a bad message: {fault}")),
        }
    }

    fn response_from_core(&mut self, core: &NodeId, response: &Message, now: Moment) {
        let Ok(matched) = self.proxy.receive_response(response, &Hop::Peer(core.clone()), now) else {
            return self.dropped(DropReason::StrayResponse, "a response from inside that matches no request");
        };
        let Some(matched) = matched else { return };
        let status = response.status().unwrap_or(500);
        if status == 503 && self.ask_another_core(matched.id, core, response, now) {
            return;
        }
        let mut edit = response.edit();
        edit.pop_via();
        if let Hop::Flow(flow) = matched.upstream
            && matched.request.method() == Some("REGISTER")
        {
            self.tell_path(&mut edit, &matched.request, response, flow, core);
            if self.is_draining() {
                edgeway_sip::maintenance::shorten(&mut edit, response);
            }
            let bytes = edit.finish();
            // Parsed again only where the time may have become another.
            match self.is_draining().then(|| Message::parse(bytes.clone())) {
                None => self.register_answered(&matched.request, response, flow, core, now),
                Some(Ok(answer)) => self.register_answered(&matched.request, &answer, flow, core, now),
                Some(Err(_)) => {}
            }
            return self.proxy.respond(matched.id, status, bytes, now);
        }
        let bytes = edit.finish();
        self.proxy.respond(matched.id, status, bytes, now);
    }

    /// What the answer to a REGISTER says about its flow and about the path it took. A keepalive of a
    /// standby path says nothing about registrations, though it looks like the end of one.
    fn register_answered(&mut self, request: &Message, response: &Message, flow: FlowId, core: &NodeId, now: Moment) {
        let accepted = response.status().is_some_and(|status| (200..300).contains(&status));
        if is_keep_alive(request) {
            if accepted {
                self.kept_alive(flow, now);
            }
            return;
        }
        let Some(state) = self.flows.get_mut(&flow) else { return };
        if !accepted {
            if let Some(path) = state.path.as_mut().filter(|path| path.core == *core && says_path_failed(response)) {
                path.failed = true;
            }
            return;
        }
        let before = state.path.replace(RegisteredPath { core: core.clone(), failed: false });
        if let Some(before) = before.filter(|before| before.core != *core) {
            self.registration_moved(flow, &before.core);
        }
        let changes = self.bindings.accept(request, response, flow, now);
        self.watch(flow, now);
        self.report(changes, now);
    }

    /// Tells a client that asked which features the whole path has, and that another core than the one
    /// its Route names carries it.
    fn tell_path(
        &self,
        edit: &mut edgeway_sip::Edit<'_>,
        request: &Message,
        response: &Message,
        flow: FlowId,
        core: &NodeId,
    ) {
        let offered = PathFeatures::offered(request);
        let accepted = response.status().is_some_and(|status| (200..300).contains(&status));
        if !accepted || offered.option_tag().is_none() || is_keep_alive(request) {
            return;
        }
        let ours = PathFeatures { adaptive_routing: true, stun_keepalive: self.settings.stun_keepalive };
        // What the registrar says of the path is overruled: it does not know this half.
        let says = |value: &[u8]| std::str::from_utf8(value).is_ok_and(PathFeatures::is_option_tag);
        let theirs = response.values(Name::Supported).position(says);
        match (theirs, offered.and(ours).option_tag()) {
            (Some(index), Some(tag)) => edit.replace_value(Name::Supported, index, tag),
            (None, Some(tag)) => edit.append(Name::Supported, tag),
            (Some(index), None) => {
                let others = response.values(Name::Supported).enumerate().filter(|(at, _)| *at != index);
                let others: Vec<_> = others.map(|(_, value)| String::from_utf8_lossy(value)).collect();
                edit.set(Name::Supported, &others.join(", "))
            }
            (None, None) => edit,
        };
        let Some(state) = self.flows.get(&flow).filter(|_| offered.adaptive_routing) else { return };
        let named = self.own_routes(request, state.local);
        if named.is_elsewhere(core)
            && let Some(route) = self.core_route(core)
        {
            edit.push(Name::ServiceRoute, &route);
            edit.append(Name::Warning, &warning_value(399, &self.agent(), &format!("Rerouted to {core}")));
        }
    }

    fn request_from_core(&mut self, core: &NodeId, request: &Message, now: Moment) {
        let hop = Hop::Peer(core.clone());
        match self.proxy.receive_request(request, hop, now) {
            Received::Absorbed => {}
            Received::Acknowledgement => self.acknowledge_from_core(request),
            Received::StrayCancel => {
                let response = request.respond(481, "Call/Transaction Does Not Exist").to_tag("ew").build();
                self.send_core(core, None, response);
            }
            Received::Full => {
                let response = request.respond(503, "Service Unavailable").to_tag("ew").build();
                self.send_core(core, None, response);
            }
            Received::New(id) => self.deliver(id, request, now),
        }
    }

    fn deliver(&mut self, id: TransactionId, request: &Message, now: Moment) {
        let Some(flow) = self.target(request) else {
            self.dropped(DropReason::BadToken, "a request from inside for a connection that is gone");
            return self.answer(id, 430, "Flow Failed", Some((399, "the client's connection is gone")), now);
        };
        if self.refuse_from_core(id, flow, request, now) {
            return;
        }
        let mut edit = request.edit();
        self.pop_own(&mut edit, request);
        edit.set_hops_less();
        if request.method().is_some_and(edgeway_sip::header::makes_dialog)
            && let Some(uri) = self.flow_uri(flow, false)
        {
            edit.push(Name::RecordRoute, &uri);
        }
        edit.push_via(&self.via(&self.proxy.branch(id)));
        let bytes = edit.finish();
        self.proxy.forward(id, Hop::Flow(flow), bytes, now);
    }

    fn acknowledge_from_core(&mut self, ack: &Message) {
        let Some(flow) = self.target(ack) else {
            return self.dropped(DropReason::BadToken, "an ACK from inside for a connection that is gone");
        };
        let mut edit = ack.edit();
        self.pop_own(&mut edit, ack);
        edit.set_hops_less();
        let branch = self.proxy.stateless_branch();
        edit.push_via(&self.via(&branch));
        let bytes = edit.finish();
        self.send_flow(flow, bytes);
    }

    /// The flow our own token in the topmost Route leads to.
    fn target(&self, request: &Message) -> Option<FlowId> {
        let route = request.routes().next()?;
        self.flow_of_token(Uri::parse(route.uri)?.user?)
    }

    /// Takes off the leading Routes that are ours: where a dialog's two parties share this edge, or
    /// a client sits behind several of our URIs, there may be more than one.
    fn pop_own(&self, edit: &mut edgeway_sip::Edit<'_>, request: &Message) {
        let ours = |uri: &str| {
            let uri = Uri::parse(uri)?;
            self.flow_of_token(uri.user?)
        };
        let first = request.routes().next().and_then(|route| ours(route.uri));
        let same = request.routes().take_while(|route| ours(route.uri) == first && first.is_some()).count();
        for _ in 0..same {
            edit.pop_value(Name::Route);
        }
    }
}

/// Whether a core says that it, or the registrar behind it, does not serve (Warning 382 and 383).
fn says_path_failed(response: &Message) -> bool {
    response.values(Name::Warning).any(|value| value.starts_with(b"382 ") || value.starts_with(b"383 "))
}
