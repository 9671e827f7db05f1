//! What must be true: after every step, after a calm, and when everybody has gone home.

use std::net::SocketAddr;
use std::time::Duration;

use edgeway_model::notice::Notice;
use edgeway_model::world::Transport;

use crate::calls::{Outcome, Plan};
use crate::conns::first_line;
use crate::descriptions::offers_plain;
use crate::host::AnyNode;
use crate::world::{Actor, World};

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

impl World {
    /// After every step: no port is lost, whoever has it.
    pub(crate) fn check_step(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let Some(node) = &slot.node else { continue };
            let (free, granted, used) = node.pairs();
            let (bound, quiet) = (slot.media.bound(), slot.media.quiet());
            if free + granted + used + quiet != bound {
                let name = slot.name.clone();
                return self.fail(format!(
                    "{name} lost count of its ports: {free} free, {granted} granted, {used} used, {quiet} quiet, {bound} bound"
                ));
            }
        }
    }

    /// What a node puts on a connection: nothing plain leaves, no key enters.
    pub(crate) fn check_outward(&mut self, node: usize, bytes: &[u8]) {
        if self.slots[node].is_edge && offers_plain(bytes) {
            self.fail(format!("media in clear was offered outside: {}", first_line(bytes)));
        }
        if !self.slots[node].is_edge && holds(bytes, b"a=crypto") {
            self.fail(format!("a client's key went inside: {}", first_line(bytes)));
        }
    }

    pub(crate) fn check_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if self.is_core_address(from) && holds(bytes, b"a=crypto") {
            self.fail(format!("a client's key went inside to {to}: {}", first_line(bytes)));
        }
    }

    /// No call that carries media ends by our doing.
    pub(crate) fn check_notice(&mut self, notice: &Notice) {
        let Notice::CallEnded { call, why: "flow lost" } = notice else { return };
        // The relay is closed just before it is said why.
        let heard = self.closed_key.take().and_then(|key| self.flowing.get(&key).copied());
        if heard.is_some_and(|heard| self.now.since(heard) < Duration::from_secs(5)) {
            let call = call.reveal().clone();
            self.fail(format!("{call} was ended although it carries media"));
        }
    }

    fn outside(&self) -> Vec<usize> {
        (0..self.phones.len()).filter(|n| self.phones[*n].is_outside()).collect()
    }

    /// After a calm: everybody is registered, and everybody agrees about it.
    pub(crate) fn check_registered(&mut self) {
        let outside = self.outside();
        let mut at_edge = vec![0; self.slots.len()];
        for &index in &outside {
            let phone = &self.phones[index];
            let name = phone.name.clone();
            if !phone.registered {
                return self.fail(format!("{name} is not registered after the calm"));
            }
            if !self.registrar.knows(&self.phones[index].user.clone(), self.now) {
                return self.fail(format!("{name} believes to be registered, the registrar does not"));
            }
            let Some(conn) = phone.flow.and_then(|flow| self.by_flow.get(&(Actor::Phone(index), flow))) else {
                continue;
            };
            let end = &self.conns[*conn].ends[1];
            let (Actor::Node(edge), flow) = (end.actor, end.flow) else { continue };
            at_edge[edge] += 1;
            let known = match self.slots[edge].node.as_ref().map(|node| &node.node) {
                Some(AnyNode::Edge(node)) => node.registered_flows().contains(&flow),
                Some(AnyNode::Core(_)) | None => false,
            };
            if !known {
                return self.fail(format!("{name} is registered, its edge does not know"));
            }
        }
        let mut at_cores = 0;
        for (index, expected) in at_edge.into_iter().enumerate() {
            let Some(status) = self.slots[index].node.as_ref().map(crate::host::Hosted::status) else { continue };
            let ordered = self.slots[index].ordered.since.is_some();
            if status.maintenance.is_some() != ordered {
                return self.fail(format!("{} is wrong about being out of service: {ordered}", status.node));
            }
            if ordered {
                self.check_drained(index, "after the calm");
            }
            let peers = if self.slots[index].is_edge { self.slots.len() - self.edges } else { self.slots.len() - 1 };
            let up = status.links.iter().filter(|link| link.up).count();
            if up != peers {
                return self.fail(format!("{} has {up} of {peers} links after the calm", status.node));
            }
            let counted = status.registrations.current;
            if self.slots[index].is_edge && counted != expected {
                return self.fail(format!("{} counts {counted} registrations instead of {}", status.node, expected));
            }
            if !self.slots[index].is_edge {
                at_cores += counted;
            }
        }
        if at_cores != outside.len() as u64 {
            self.fail(format!("the cores count {at_cores} registrations instead of {}", outside.len()));
        }
    }

    /// Everybody is called once. Returns the calls.
    pub(crate) fn call_everybody(&mut self) -> Vec<(usize, String)> {
        let plan = Plan { talk: Duration::from_secs(3), hold: true, video: true, ..Plan::default() };
        let mut calls = Vec::new();
        for callee in 0..self.phones.len() {
            self.phones[callee].always_answers = true;
            let callers = (1..self.phones.len()).map(|by| (callee + by) % self.phones.len());
            let mut callers = callers.filter(|caller| self.phones[*caller].user != self.phones[callee].user);
            let Some(caller) = callers.next() else { continue };
            let to = self.phones[callee].user.clone();
            let call = self.with_phone(caller, |phone, now| phone.call(&to, plan, now));
            calls.push((caller, call));
        }
        calls
    }

    pub(crate) fn check_calls(&mut self, calls: &[(usize, String)]) {
        for (caller, call) in calls {
            let outcome = self.phones[*caller].outcomes.get(call).copied();
            if self.phones[*caller].is_outside() && !self.two_way.contains(call) {
                return self.fail(format!("in the calm, {call} carried no media"));
            }
            if !matches!(outcome, Some(Outcome::Ended(200 | 481))) {
                let name = self.phones[*caller].name.clone();
                return self.fail(format!("in the calm, {call} of {name} went: {outcome:?}"));
            }
        }
    }

    /// Everybody has gone home: nothing is left of anything.
    pub(crate) fn check_idle(&mut self) {
        for index in 0..self.slots.len() {
            let Some(node) = &self.slots[index].node else { continue };
            let (status, transactions, (_, _, used)) = (node.status(), node.transactions(), node.pairs());
            let relays = self.slots[index].media.relays().count();
            let calls = status.calls.current;
            let registrations = status.registrations.current;
            if (calls, used, relays, transactions, registrations) != (0, 0, 0, 0, 0) {
                return self.fail(format!(
                    "{} is left with {calls} calls, {used} pairs used, {relays} relays, {transactions} transactions, \
                     {registrations} registrations",
                    status.node
                ));
            }
        }
        for index in 0..self.phones.len() {
            if let Some(call) = self.phones[index].calls.keys().next().cloned() {
                let name = self.phones[index].name.clone();
                return self.fail(format!("{name} is left with {call}"));
            }
            if self.phones[index].has_pending() {
                let name = self.phones[index].name.clone();
                return self.fail(format!("{name} still waits for an answer"));
            }
        }
        // Over UDP the answers to probes linger.
        if self.registrar.habits.transport == Transport::Tcp && self.registrar.transactions() > 0 {
            self.fail("the registrar is left with transactions");
        }
    }
}

/// Nobody here is a person: a trace says whose call it is.
pub(crate) fn called(notice: &Notice) -> &str {
    match notice {
        Notice::CallOffered { call }
        | Notice::CallRinging { call }
        | Notice::CallAnswered { call }
        | Notice::NoMedia { call, .. }
        | Notice::CallEndUnheard { call, .. }
        | Notice::CallEnded { call, .. } => call.reveal(),
        Notice::Registered { aor, .. } | Notice::Unregistered { aor, .. } => aor.reveal(),
        Notice::LinkUp { .. }
        | Notice::LinkDown { .. }
        | Notice::MediaPath { .. }
        | Notice::LinkRefused { .. }
        | Notice::CertificateRenewed { .. }
        | Notice::CertificateExpiring { .. }
        | Notice::CertificateRevoked { .. }
        | Notice::CertificatesReloaded { .. }
        | Notice::CertificatesRejected { .. }
        | Notice::ClockSkew { .. }
        | Notice::EdgeSettings { .. }
        | Notice::SettingsTold { .. }
        | Notice::OneWayMedia { .. }
        | Notice::Registrar { .. }
        | Notice::Resolution { .. }
        | Notice::Maintenance { .. }
        | Notice::ChatOffence { .. }
        | Notice::Attempt(_)
        | Notice::Signal(_)
        | Notice::Dropped { .. } => "",
    }
}
