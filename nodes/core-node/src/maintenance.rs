//! Maintenance mode at a core. Edges send it nothing new while another core is up; what comes all the same is refused
//! here. What exists goes on: calls with all that belongs to them, and registrations until they are refreshed, which
//! edges do through another core.

use edgeway_model::maintenance::{MaintenanceOrder, MaintenanceStatus};
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::{Deadline, FlowId, Moment, NodeId};
use edgeway_sip::Message;
use edgeway_sip::maintenance::{Refused, WARNING, refused};
use edgeway_sip::proxy::TransactionId;

use crate::calls::flow_of_route;
use crate::{CoreNode, flow_at};

/// While the core is taken out of service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maintenance {
    begun: Moment,
    /// When what is still there is ended.
    deadline: Option<Moment>,
}

impl CoreNode {
    pub(crate) fn maintain(&mut self, order: MaintenanceOrder, now: Moment) {
        match order {
            MaintenanceOrder::Begin { within } => {
                let deadline = within.map(|within| now + within);
                match &mut self.maintenance {
                    Some(maintenance) => maintenance.deadline = deadline,
                    None => {
                        self.maintenance = Some(Maintenance { begun: now, deadline });
                        self.notice(Notice::Maintenance { on: true });
                    }
                }
            }
            MaintenanceOrder::Cancel => {
                if self.maintenance.take().is_some() {
                    self.notice(Notice::Maintenance { on: false });
                }
            }
        }
        self.tell_load();
    }

    /// Whether the core begins nothing new.
    pub(crate) fn is_draining(&self) -> bool {
        self.maintenance.is_some()
    }

    /// Whether a client's request is refused because the core is taken out of service; then it has been answered.
    pub(crate) fn refuse_from_edge(&mut self, id: TransactionId, flow: FlowId, request: &Message, now: Moment) -> bool {
        self.is_draining()
            && match refused(request) {
                Refused::Never => false,
                Refused::UnlessInCall => !self.calls.is_client(flow) && self.say_maintenance(id, now),
                Refused::Always => self.say_maintenance(id, now),
            }
    }

    /// The same of a request from inside: the registrar has other paths to the client, or none.
    pub(crate) fn refuse_from_inside(&mut self, id: TransactionId, request: &Message, now: Moment) -> bool {
        self.is_draining()
            && match refused(request) {
                Refused::Never => false,
                Refused::UnlessInCall => !self.leads_to_a_call(request) && self.say_maintenance(id, now),
                Refused::Always => self.say_maintenance(id, now),
            }
    }

    /// Whether a request from inside is for a client with a call up.
    fn leads_to_a_call(&self, request: &Message) -> bool {
        let flow = flow_of_route(request);
        flow.is_some_and(|flow| self.edges.values().any(|edge| self.calls.is_client(flow_at(edge.index, flow))))
    }

    fn say_maintenance(&mut self, id: TransactionId, now: Moment) -> bool {
        self.dropped(DropReason::Maintenance, "the core is in maintenance mode");
        self.answer(id, 503, "Service Unavailable", Some(WARNING), now);
        true
    }

    /// A client's connection has registered through another core; the connection and its calls are still there.
    pub(crate) fn flow_moved(&mut self, edge: &NodeId, flow: FlowId) {
        let Some(index) = self.edges.get(edge).map(|edge| edge.index) else { return };
        let changes = self.bindings.flow_closed(flow_at(index, flow));
        // The other core vouches for it from now on, to this one and to others.
        self.note(changes);
    }

    pub(crate) fn maintenance_deadline(&self) -> Option<Deadline> {
        let at = self.maintenance?.deadline?;
        let busy = self.bindings.gauge().current > 0 || self.has_calls_to_end();
        busy.then_some(Deadline { at, why: "maintenance deadline" })
    }

    /// Past the operator's deadline whatever is still here ends.
    pub(crate) fn end_overdue(&mut self, now: Moment) {
        if self.maintenance_deadline().is_none_or(|deadline| now < deadline.at) {
            return;
        }
        self.end_all_at_once("maintenance mode, past its deadline", now);
        for flow in self.bindings.flows() {
            let changes = self.bindings.flow_closed(flow);
            self.report(changes);
        }
    }

    pub(crate) fn maintenance_status(&self) -> Option<MaintenanceStatus> {
        let maintenance = self.maintenance?;
        let left = maintenance.deadline.map(|deadline| deadline.since(self.now));
        Some(MaintenanceStatus {
            lasted: self.now.since(maintenance.begun),
            left,
            sip_left: self.outlook(),
            ..MaintenanceStatus::default()
        })
    }
}
