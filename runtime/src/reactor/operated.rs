//! What an operator sees of a reactor, and orders it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeway_model::alarm::{Alarm, Severity};
use edgeway_model::certificates::CertificateStatus;
use edgeway_model::listing::{CallDetail, CallRow, Page, RegistrationRow, Wish};
use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::world::{ConfigurationStatus, Node, Observable, Status};
use edgeway_model::{Input, Moment, NodeId};
use tokio::task::spawn_local;

use super::{Ordered, Reactor};
use crate::certificates;
use crate::clock::unix_ms;
use crate::http::Purpose;
use crate::link::Asks;
use crate::operate::{Events, OperatorPort};
use crate::services::{self, ALARM_MAINTENANCE};
use crate::trace::{self, Journal};

impl<N: Observable + 'static> Reactor<N> {
    /// What an operator sees.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.node.borrow().status();
        if let Some(media) = &*self.media.borrow() {
            status.media_packets = media.totals();
            status.media_drops = media.drops().to_vec();
        }
        status.alarms = self.alarms.borrow().list();
        // An edge's node says itself what cores have told it.
        if status.role == "core" {
            status.configuration = self.configuration.borrow().clone();
        }
        status.certificates = self.certificates();
        status.http = self.http_counts.read();
        status.dropped_events = self.recorder.export_dropped().map(|dropped| ("hep", dropped)).into_iter().collect();
        status.chats = *self.chats.borrow();
        status.provisioning = self.http_counts.served(Purpose::Provisioning);
        status.proxied = self.http_counts.served(Purpose::Proxy);
        status.request_times = self.http_counts.times();
        status.panics = crate::panics::count();
        status.reloads = self.reloads.get();
        if status.role == "edge" {
            status.handshakes = self.handshakes.outcomes().to_vec();
        }
        if let (Some(told), Some(ordered)) = (&mut status.maintenance, self.ordered.get()) {
            (told.since_ms, told.deadline_ms, told.kept) = (ordered.since_ms, ordered.deadline_ms, ordered.kept);
        }
        status.resources = self.meter.read();
        (status.started_ms, status.now_ms) = (self.started_ms, unix_ms());
        let runs = services::Runs { https: self.http.borrow().is_some(), chat: self.chat.get() };
        status.services = services::of(&status, runs);
        status
    }

    pub(crate) fn registration_page(&self, wish: &Wish) -> Page<RegistrationRow> {
        self.node.borrow().registration_page(wish)
    }

    pub(crate) fn call_page(&self, wish: &Wish) -> Page<CallRow> {
        self.node.borrow().call_page(wish)
    }

    pub(crate) fn call(&self, call: u32) -> Option<CallDetail> {
        self.node.borrow().call(call)
    }

    /// Ends a call that the node has.
    pub(crate) fn end_call(self: &Rc<Self>, call: u32) {
        self.input(Input::EndCall { call });
    }

    /// The clock of the node.
    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }
}

impl<N: Node + 'static> Reactor<N> {
    /// Who answers what linked nodes ask.
    pub(crate) fn attach_operator(&self, operator: OperatorPort) {
        *self.operator.borrow_mut() = Some(operator);
    }

    /// How a linked node is asked: over its newest link.
    pub(crate) fn asks_of(&self, node: &NodeId) -> Option<Rc<Asks>> {
        let links = self.links.borrow();
        let newest = links.iter().filter(|(_, entry)| entry.peer == *node).max_by_key(|(link, _)| **link);
        newest.and_then(|(_, entry)| entry.asks.clone())
    }

    /// What became of attempts here.
    #[must_use]
    pub fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// Who answers questions about attempts and traces.
    #[must_use]
    pub fn trace(&self) -> trace::Desk {
        trace::Desk::of(self.journal(), Rc::clone(&self.recorder))
    }

    /// Takes the node out of service, or back.
    pub fn maintain(self: &Rc<Self>, order: MaintenanceOrder) {
        self.input(Input::Maintenance(order));
        let ordered = match order {
            MaintenanceOrder::Begin { within } => {
                let now = unix_ms();
                let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                let before = self.ordered.get().unwrap_or(Ordered { since_ms: now, ..Ordered::default() });
                Some(Ordered { deadline_ms: within.map(|within| now.saturating_add(millis(within))), ..before })
            }
            MaintenanceOrder::Cancel => None,
        };
        self.ordered.set(ordered);
        let on = ordered.is_some();
        if let Some(http) = &*self.http.borrow() {
            http.maintain(on);
        }
        if let Some(waits) = self.ends_all.borrow_mut().take() {
            waits.abort();
        }
        if !on {
            return self.alarms.borrow_mut().end(ALARM_MAINTENANCE, "node");
        }
        // The node ends calls and registrations by itself.
        if let (MaintenanceOrder::Begin { within: Some(within) }, Some(http)) = (order, self.http.borrow().clone()) {
            *self.ends_all.borrow_mut() = Some(spawn_local(async move {
                tokio::time::sleep(within).await;
                http.end_all();
            }));
        }
        self.alarms.borrow_mut().raise(Alarm {
            id: ALARM_MAINTENANCE,
            about: "node".to_owned(),
            severity: Severity::Warning,
            cause: "Maintenance mode is on: nothing new is begun here, what exists goes on.".to_owned(),
            action: "When the work is done: edgeway maintenance cancel.".to_owned(),
            since_ms: crate::clock::unix_ms(),
            node: None,
        });
    }

    /// Settings, or files that they name, were taken, or refused.
    pub(crate) fn count_reload(&self, taken: bool) {
        let (good, bad) = self.reloads.get();
        self.reloads.set(if taken { (good + 1, bad) } else { (good, bad + 1) });
    }

    /// Whether there is a link with this node.
    pub(crate) fn is_linked(&self, node: &NodeId) -> bool {
        self.links.borrow().values().any(|entry| entry.peer == *node)
    }

    /// Whether maintenance mode, which is on, outlives a restart.
    pub(crate) fn keep_maintenance(&self, kept: bool) {
        self.ordered.set(self.ordered.get().map(|ordered| Ordered { kept, ..ordered }));
    }

    /// Certificates that an operator sees and is warned of in time.
    pub(crate) fn attach_certificates(&self, source: certificates::Source) {
        self.certificates.borrow_mut().push(source);
    }

    pub(crate) fn certificates(&self) -> Vec<CertificateStatus> {
        self.certificates.borrow().iter().flat_map(|source| source()).collect()
    }

    pub(crate) fn set_configuration(&self, now: ConfigurationStatus) {
        *self.configuration.borrow_mut() = now;
    }

    pub(crate) fn raise_alarm(&self, alarm: Alarm) {
        self.alarms.borrow_mut().raise(alarm);
    }

    pub(crate) fn end_alarm(&self, id: &'static str, about: &str) {
        self.alarms.borrow_mut().end(id, about);
    }
}
