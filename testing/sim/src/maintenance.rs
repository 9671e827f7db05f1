//! Nodes are taken out of service in the middle of everything else, and what that may and may not do.
//!
//! * Nothing that exists is refused or ended: no request within a dialog is answered with the words of maintenance
//!   mode, no call is ended before the operator's deadline.
//! * Nothing is refused without need: those words come from nodes that are out of service, and from a core only where
//!   there is no other.
//! * What is new goes elsewhere or is refused, what is there moves away or ends: once all calls have ended and all
//!   registrations could move, a node out of service has none.
//! * Past a deadline nothing is left. In service again, a node serves (which the checks after the calm look at).

use std::time::Duration;

use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::{Input, Moment};

use crate::host::Hosted;
use crate::world::{Actor, Happening, World};

/// How long what was said before a change may still be under way: a stall, and the waits of an edge and a core for
/// somebody else's answer.
const UNDER_WAY: Duration = Duration::from_secs(45);
/// How long a stalled link may keep it from an edge that a core is out of service.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// As long as it may take after the deadline: an edge closes connections some at a time, and a link may stall.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// A node's maintenance mode, as the operator has ordered it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ordered {
    /// Since when it is on; `None`: it is off.
    pub(crate) since: Option<Moment>,
    /// When it was on last.
    pub(crate) until: Option<Moment>,
    /// When what is left is ended.
    deadline: Option<Moment>,
    /// It is to outlive a restart.
    keeps: bool,
}

impl World {
    /// Takes some node out of service, changes its deadline, or puts it back.
    pub(crate) fn maintain_some(&mut self) {
        let node = self.chance.below(self.slots.len());
        if self.slots[node].node.is_none() {
            return;
        }
        if self.slots[node].ordered.since.is_some() && self.chance.percent(70) {
            return self.back_in_service(node);
        }
        // Where nothing may fail there must be somewhere else to go.
        if self.gentle && (self.is_core(node) && !self.others_serve(node) || !self.is_core(node)) {
            return;
        }
        let within = (!self.gentle && self.chance.percent(30)).then(|| self.chance.millis(5_000, 40_000));
        let keeps = self.chance.percent(50);
        self.out_of_service(node, within, keeps);
        if self.chance.percent(70) {
            let after = self.chance.millis(3_000, 40_000);
            self.schedule(after, Happening::BackInService { node });
        }
    }

    fn out_of_service(&mut self, node: usize, within: Option<Duration>, keeps: bool) {
        let (name, now) = (self.slots[node].name.clone(), self.now);
        self.trace(format_args!("{name} goes out of service, within {within:?}, keeps {keeps}"));
        let ordered = &mut self.slots[node].ordered;
        ordered.since = ordered.since.or(Some(now));
        (ordered.deadline, ordered.keeps) = (within.map(|within| now + within), keeps);
        self.feed(node, Input::Maintenance(MaintenanceOrder::Begin { within }));
        if let Some(within) = within {
            self.schedule(within + ENDED_WITHIN, Happening::Overdue { node });
        }
    }

    pub(crate) fn back_in_service(&mut self, node: usize) {
        let now = self.now;
        let ordered = &mut self.slots[node].ordered;
        if ordered.since.is_some() {
            *ordered = Ordered { until: Some(now), ..Ordered::default() };
            let name = self.slots[node].name.clone();
            self.trace(format_args!("{name} is back in service"));
            self.feed(node, Input::Maintenance(MaintenanceOrder::Cancel));
        }
    }

    /// A node has started: it is out of service again if it was to be.
    pub(crate) fn maintained_again(&mut self, node: usize) {
        let (now, ordered) = (self.now, self.slots[node].ordered);
        if ordered.since.is_none() {
            return;
        }
        if !ordered.keeps {
            self.slots[node].ordered = Ordered { until: Some(now), ..Ordered::default() };
            return;
        }
        let within = ordered.deadline.map(|deadline| deadline.since(now));
        self.feed(node, Input::Maintenance(MaintenanceOrder::Begin { within }));
    }

    fn is_core(&self, node: usize) -> bool {
        node >= self.edges
    }

    /// Whether another node of the same kind runs and is in service.
    fn others_serve(&self, node: usize) -> bool {
        let mut others =
            (0..self.slots.len()).filter(|other| *other != node && self.is_core(*other) == self.is_core(node));
        others.any(|other| self.slots[other].node.is_some() && self.slots[other].ordered.since.is_none())
    }

    /// From now on calls end and nothing breaks: every node serves again, but one of each kind where there is another.
    pub(crate) fn some_stay_out_of_service(&mut self) {
        self.all_back_in_service();
        for all in [0..self.edges, self.edges..self.slots.len()] {
            // Where nothing may fail no phone looks for another edge.
            let stays = self.gentle && all.start == 0;
            if !stays && all.len() > 1 && self.chance.percent(50) {
                let node = all.start + self.chance.below(all.len());
                self.out_of_service(node, None, true);
            }
        }
    }

    /// Nothing is out of service any more.
    pub(crate) fn all_back_in_service(&mut self) {
        for node in 0..self.slots.len() {
            self.back_in_service(node);
        }
    }

    /// The words of maintenance mode were heard by a phone outside, of a request within a dialog or of another.
    pub(crate) fn heard_maintenance(&mut self, phone: usize, within_dialog: bool, registers: bool) {
        let flow = self.phones[phone].flow;
        let conn = flow.and_then(|flow| self.by_flow.get(&(Actor::Phone(phone), flow)));
        let edge = conn.and_then(|conn| match self.conns[*conn].ends[1].actor {
            Actor::Node(edge) => Some(edge),
            Actor::Registrar | Actor::Phone(_) | Actor::Stranger => None,
        });
        let name = self.phones[phone].name.clone();
        if within_dialog {
            return self.fail(format!("{name} was refused within a dialog by a node out of service"));
        }
        let lately = |world: &Self, node: usize| {
            let ordered = &world.slots[node].ordered;
            ordered.since.is_some() || ordered.until.is_some_and(|until| world.now.since(until) < UNDER_WAY)
        };
        if !(0..self.slots.len()).any(|node| lately(self, node)) {
            return self.fail(format!("{name} was refused by maintenance mode, and no node is in it"));
        }
        // At an edge in service that has long had a link with a core in service, no registration is refused. Other
        // requests are for somebody who may be where nothing new goes. A core that has just gone out of service may
        // not have said so yet.
        let told = |node: usize| self.slots[node].ordered.since.is_none_or(|since| self.now.since(since) > TOLD_WITHIN);
        let all_told = (self.edges..self.slots.len()).all(told);
        let Some(edge) = edge.filter(|edge| registers && all_told && !lately(self, *edge)) else { return };
        let core = (self.edges..self.slots.len()).find(|core| !lately(self, *core) && self.long_linked(*core, edge));
        if let Some(core) = core {
            let (edge, core) = (self.slots[edge].name.clone(), self.slots[core].name.clone());
            self.fail(format!("{name} was refused by maintenance mode at {edge}, which could have asked {core}"));
        }
    }

    fn long_linked(&self, core: usize, edge: usize) -> bool {
        self.links.iter().any(|link| {
            let ends = (link.ends[0].node, link.ends[1].node);
            link.is_live() && ends == (core, edge) && self.now.since(link.since) > UNDER_WAY
        })
    }

    /// The deadline of a node has passed a while ago.
    pub(crate) fn check_overdue(&mut self, node: usize) {
        let ordered = self.slots[node].ordered;
        let Some(deadline) = ordered.deadline else { return };
        if ordered.since.is_some() && self.now >= deadline + ENDED_WITHIN {
            self.check_drained(node, "past its deadline");
        }
    }

    /// A node out of service has nothing left.
    pub(crate) fn check_drained(&mut self, node: usize, when: &str) {
        let Some(status) = self.slots[node].node.as_ref().map(Hosted::status) else { return };
        let (calls, registrations) = (status.calls.current, status.registrations.current);
        if status.maintenance.is_none() {
            return self.fail(format!("{} should be out of service {when}", status.node));
        }
        if (calls, registrations) != (0, 0) {
            self.fail(format!("{} still has {calls} calls and {registrations} registrations {when}", status.node));
        }
    }
}
