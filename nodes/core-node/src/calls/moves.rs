//! Clients that come back over another connection in the middle of a call.
//!
//! The inside has the edge's token of the first connection in its route set for as long as the dialog
//! lasts (RFC 3261 §12.2). Who comes back registers again, with the same device and address of record
//! (RFC 5626 §4.2); from then on requests of the dialog go to the new connection. A request of the
//! dialog over the new connection says the same: only a party of the dialog knows both tags and the
//! Call-ID, and a connection of somebody else's device is refused all the same.

use edgeway_model::notice::DropReason;
use edgeway_model::{FlowId, Moment, NodeId};
use edgeway_sip::uri::Uri;
use edgeway_sip::{Message, Name, NameAddr};

use super::{Call, Calls, MediaRefusal};
use crate::limits::LOST_CALL_AFTER;
use crate::{CoreNode, flow_at};

/// A connection a client can be reached by.
#[derive(Clone, Debug)]
pub(super) struct Spare {
    edge: NodeId,
    flow: FlowId,
    tagged: FlowId,
    /// The edge's URI that leads to it.
    route: String,
}

impl Call {
    fn move_to(&mut self, to: Spare) {
        self.spare = None;
        self.edge = to.edge;
        self.flow = to.flow;
        self.tagged = to.tagged;
        self.way = Some(to.route);
        self.lost = None;
    }

    fn is_of(&self, lines: &[(String, String)]) -> bool {
        self.lines.iter().any(|line| lines.contains(line))
    }
}

impl Calls {
    /// Where a request of a dialog goes whose client has moved: the edge, and its URI.
    pub(crate) fn moved_to(&self, request: &Message) -> Option<(NodeId, String)> {
        let call = self.calls.get(&self.of_client(request.call_id(), request.to_tag()?)?)?;
        Some((call.edge.clone(), call.way.clone()?))
    }
}

impl CoreNode {
    /// A device has registered over a flow it was not known on.
    ///
    /// That it is back says nothing of whether it still knows the call: until it is heard, that is in doubt.
    pub(crate) fn device_registered(&mut self, edge: &NodeId, flow: FlowId, register: &Message, now: Moment) {
        let path = register.values(Name::Path).next().and_then(NameAddr::parse);
        let Some(route) = path.and_then(|path| self.token_uri(edge, path.uri)) else { return };
        let tagged = flow_at(self.edges.get(edge).map_or(0, |edge| edge.index), flow);
        let lines = self.bindings.lines_of(tagged);
        let mut moved = Vec::new();
        let Calls { calls, lost, .. } = &mut self.calls;
        for (key, call) in calls {
            if call.tagged == tagged || !call.is_of(&lines) {
                continue;
            }
            let to = Spare { edge: edge.clone(), flow, tagged, route: route.clone() };
            if call.lost.is_some() {
                call.move_to(to);
                call.doubted = Some(now);
                lost.insert((now + LOST_CALL_AFTER, *key));
                moved.push(*key);
            } else {
                call.spare = Some(to);
            }
        }
        for key in moved {
            self.settle_relays(key);
        }
    }

    /// Whether a request of a dialog came from an edge its client is not at. Where the client's device has
    /// registered over that flow, it is.
    pub(crate) fn is_of_another(&self, edge: &NodeId, flow: FlowId, request: &Message) -> bool {
        let key = self.calls.of_client(request.call_id(), request.from_tag().unwrap_or_default());
        let Some(call) = key.and_then(|key| self.call(key)).filter(|call| call.edge != *edge) else { return false };
        let tagged = flow_at(self.edges.get(edge).map_or(0, |edge| edge.index), flow);
        !call.is_of(&self.bindings.lines_of(tagged))
    }

    /// A request of a dialog came over this flow.
    pub(super) fn client_speaks(
        &mut self,
        key: u32,
        edge: &NodeId,
        flow: FlowId,
        request: &Message,
    ) -> Result<(), MediaRefusal> {
        let tagged = flow_at(self.edges.get(edge).map_or(0, |edge| edge.index), flow);
        let lines = self.bindings.lines_of(tagged);
        let Some(call) = self.call_mut(key) else { return Ok(()) };
        if call.tagged == tagged && call.edge == *edge {
            call.doubted = None;
            return Ok(());
        }
        // Another core may hold its registration: then we know of no device, and the tags decide.
        if !lines.is_empty() && !call.lines.is_empty() && !call.is_of(&lines) {
            return Err(MediaRefusal::new(403, "this dialog is another device's", DropReason::NotRegistered));
        }
        let route = request.addresses(Name::RecordRoute).next();
        let Some(route) = route.and_then(|route| self.token_uri(edge, route.uri)) else { return Ok(()) };
        if let Some(call) = self.call_mut(key) {
            call.move_to(Spare { edge: edge.clone(), flow, tagged, route });
            call.doubted = None;
        }
        self.settle_relays(key);
        Ok(())
    }

    /// A URI of this edge that carries a token, in the brackets of a Route.
    fn token_uri(&self, edge: &NodeId, uri: &str) -> Option<String> {
        let (name, _) = Uri::parse(uri)?.user?.split_once('.')?;
        (name == edge.as_str()).then(|| format!("<{uri}>"))
    }

    /// A client's connection is gone: its calls go over to another one, or wait for it.
    pub(crate) fn flow_lost(&mut self, edge: &NodeId, flow: FlowId, now: Moment) {
        let mut moved = Vec::new();
        let Calls { calls, lost, .. } = &mut self.calls;
        for (key, call) in calls {
            if call.spare.as_ref().is_some_and(|spare| spare.tagged == flow && spare.edge == *edge) {
                call.spare = None;
            }
            if call.tagged != flow || call.edge != *edge || call.lost.is_some() {
                continue;
            }
            if let Some(spare) = call.spare.take() {
                call.move_to(spare);
                call.doubted = Some(now);
                lost.insert((now + LOST_CALL_AFTER, *key));
                moved.push(*key);
                continue;
            }
            call.lost = Some(now);
            lost.insert((now + LOST_CALL_AFTER, *key));
        }
        for key in moved {
            self.settle_relays(key);
        }
    }
}
