//! Maintenance mode at an edge, and what an edge does when a core is in it.
//!
//! Nothing new passes: a REGISTER, a new call, any request that begins something. What is within a dialog passes, and
//! so does a de-registration. A device with a call up may refresh its registration, for a short time, until the call
//! ends: then it is sent elsewhere like all others.

use edgeway_model::maintenance::{MaintenanceOrder, MaintenanceStatus};
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::{Deadline, FlowId, Moment, NodeId};
use edgeway_sip::maintenance::{Refused, WARNING, refused};
use edgeway_sip::proxy::TransactionId;
use edgeway_sip::{Message, Name, warning_value};

use crate::EdgeNode;
use crate::limits::{MAINTENANCE_CLOSE_EVERY, MAINTENANCE_CLOSES};

/// While the edge is taken out of service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maintenance {
    begun: Moment,
    /// When what is still there is ended; moves on while it is being ended.
    deadline: Option<Moment>,
}

impl EdgeNode {
    pub(crate) fn maintain(&mut self, order: MaintenanceOrder, now: Moment) {
        let deadline = match order {
            MaintenanceOrder::Begin { within } => within.map(|within| now + within),
            MaintenanceOrder::Cancel => {
                if self.maintenance.take().is_some() {
                    self.notice(Notice::Maintenance { on: false });
                }
                return self.tell_load();
            }
        };
        match &mut self.maintenance {
            Some(maintenance) => maintenance.deadline = deadline,
            None => {
                self.maintenance = Some(Maintenance { begun: now, deadline });
                self.notice(Notice::Maintenance { on: true });
            }
        }
        self.tell_load();
    }

    /// Whether the edge begins nothing new.
    pub(crate) fn is_draining(&self) -> bool {
        self.maintenance.is_some()
    }

    /// Whether a client's request is refused because the edge is taken out of service; then it has been answered.
    pub(crate) fn refuse_from_client(
        &mut self,
        id: TransactionId,
        flow: FlowId,
        request: &Message,
        now: Moment,
    ) -> bool {
        let refused = self.is_draining()
            && match refused(request) {
                Refused::Never => false,
                Refused::UnlessInCall => !self.has_call(flow),
                Refused::Always => true,
            };
        if refused {
            self.dropped(DropReason::Maintenance, "the edge is in maintenance mode");
            self.answer(id, 503, "Service Unavailable", Some(WARNING), now);
        }
        refused
    }

    /// The same of a request from inside for a client: the registrar has other paths to it, or none.
    pub(crate) fn refuse_from_core(&mut self, id: TransactionId, flow: FlowId, request: &Message, now: Moment) -> bool {
        let refused = self.is_draining()
            && match refused(request) {
                Refused::Never => false,
                Refused::UnlessInCall => !self.has_call(flow),
                Refused::Always => true,
            };
        if refused {
            self.dropped(DropReason::Maintenance, "the edge is in maintenance mode");
            self.answer(id, 503, "Service Unavailable", Some(WARNING), now);
        }
        refused
    }

    /// A core has refused what a client begins because it is taken out of service, a moment before this edge heard of
    /// that: another is asked, once, as if the first were down. Its own refusal proves that nothing has gone inside;
    /// an INVITE that has been answered by anybody before stays where it is, whatever the refusal says. Whether one
    /// is asked.
    pub(crate) fn ask_another_core(
        &mut self,
        id: TransactionId,
        core: &NodeId,
        response: &Message,
        now: Moment,
    ) -> bool {
        let begins = self.proxy.request(id).is_some_and(|request| refused(request) != Refused::Never);
        let asked_once = !self.proxy.is_proceeding(id) && !self.proxy.is_renewed(id);
        if !begins || !asked_once || self.proxy.is_withdrawn(id) || !self.is_own_refusal(core, response) {
            return false;
        }
        if !self.candidates().iter().any(|(other, _, draining)| other != core && !draining) {
            return false;
        }
        self.proxy.renew_branch(id);
        self.route_past(id, core, now);
        true
    }

    /// Whether this core itself says that it is in maintenance mode, rather than somebody behind it.
    fn is_own_refusal(&self, core: &NodeId, response: &Message) -> bool {
        let says = self.contact_of(core).map(|contact| warning_value(WARNING.0, contact, WARNING.1));
        says.is_some_and(|says| response.values(Name::Warning).any(|value| value == says.as_bytes()))
    }

    /// Whether a call of this client is relayed here.
    fn has_call(&self, flow: FlowId) -> bool {
        self.cores.values().any(|core| core.relays_of(flow))
    }

    /// What was registered through one core is registered through another: the first need not wait until it
    /// expires there.
    pub(crate) fn registration_moved(&mut self, flow: FlowId, from: &NodeId) {
        self.send_frame(from, &edgeway_link::Frame::FlowMoved { flow });
    }

    pub(crate) fn maintenance_deadline(&self) -> Option<Deadline> {
        let at = self.maintenance?.deadline?;
        (!self.flows.is_empty() || self.has_relays()).then_some(Deadline { at, why: "maintenance deadline" })
    }

    /// Past the operator's deadline: calls end here, and clients are sent away, some at a time so that they do not all come to another
    /// edge at once.
    pub(crate) fn end_overdue(&mut self, now: Moment) {
        let Some(maintenance) = &mut self.maintenance else { return };
        if maintenance.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        maintenance.deadline = Some(now + MAINTENANCE_CLOSE_EVERY);
        self.end_relays();
        let mut flows: Vec<_> = self.flows.keys().copied().collect();
        flows.sort_unstable();
        for flow in flows.into_iter().take(MAINTENANCE_CLOSES) {
            self.forget_flow(flow, now);
            self.close_flow(flow, "maintenance mode, past its deadline");
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
