//! Nodes are taken out of service in the middle of everything else, and what that may and may not do.
//!
//! * Nothing that exists is refused or ended: no request within a dialog is answered with the words of maintenance
//!   mode, no call is ended before the operator's deadline.
//! * What begins is refused at an edge out of service, with the words and the time; a core that has long been out of
//!   service begins no call inside. Whoever goes may go.
//! * Nothing is refused without need: those words come from nodes that are out of service, and from a core only where
//!   there is no other.
//! * What is new goes elsewhere or is refused, what is there moves away or ends: once all calls have ended and all
//!   registrations could move, a node out of service has none.
//! * Once everybody has gone a node out of service has nothing left within two seconds.
//! * Past a deadline nothing is left. A node that starts is out of service again if that was to outlive it. In service again, a node serves (which the checks after the calm look at).

use std::time::Duration;

use bytes::Bytes;
use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::media::MediaCommand;
use edgeway_model::notice::Notice;
use edgeway_model::world::FlowCommand;
use edgeway_model::{Input, Moment, Output};
use edgeway_sip::{Message, Name};

use crate::conns::first_line;
use crate::host::Hosted;
use crate::phone::{Client, Phone, says_maintenance};
use crate::world::{Actor, Happening, World};

/// How long what was said before a change may still be under way: a stall, and the waits of an edge and a core for
/// somebody else's answer.
const UNDER_WAY: Duration = Duration::from_secs(45);
/// How long a call that was withdrawn may wait for the answer to its CANCEL (RFC 3261 §9.1): 64 times T1.
const CANCELLED_WITHIN: Duration = Duration::from_secs(32);
/// How long a stalled link may keep it from an edge that a core is out of service.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// As long as it may take after the deadline: an edge closes connections some at a time, and a link may stall.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// A core calls devices of an edge whose connections are gone, for as long as a registrar names them. Its relay is there until
/// the edge's answer is back, so what is found once may be that; what is found each time is not.
const LOOKS: u8 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(700);

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

/// What a phone asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedFor {
    WithinDialog,
    Call,
    Registration,
    /// The end of its registration.
    Departure,
    Else,
}

/// What a phone asked for and how that was answered in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    asked_for: AskedFor,
    asked: Moment,
    /// The phone was in a call when it asked, or is now; or the nodes may think so.
    in_call: bool,
    status: u16,
    /// In the words of maintenance mode.
    maintained: bool,
    /// It was told when to come again.
    says_when: bool,
}

impl Answered {
    pub(crate) fn new(client: &Client, response: &Message, in_call: bool) -> Option<Self> {
        let request = Message::parse(client.bytes.clone()).ok()?;
        let status = response.status()?;
        let asked_for = match request.method()? {
            // A dialog's requests name both sides.
            _ if request.to_tag().is_some() => AskedFor::WithinDialog,
            "REGISTER" if request.expires() == Some(0) => AskedFor::Departure,
            "REGISTER" => AskedFor::Registration,
            "INVITE" if client.call.is_some() && request.other("Replaces").is_none() => AskedFor::Call,
            _ => AskedFor::Else,
        };
        let maintained = status == 503 && says_maintenance(response);
        let says_when = response.header(Name::RetryAfter).is_some();
        let in_call = in_call || client.in_call;
        Some(Self { asked_for, asked: client.asked, in_call, status, maintained, says_when })
    }
}

/// Whether these are the bytes of an INVITE for a new call.
fn begins_a_call(bytes: &Bytes) -> bool {
    let invite = bytes.starts_with(b"INVITE ").then(|| Message::parse(bytes.clone()).ok()).flatten();
    invite.is_some_and(|invite| invite.to_tag().is_none() && invite.other("Replaces").is_none())
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
        if self.chance.percent(40) {
            self.someone_goes();
        }
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
            // A call that rings at a core at its deadline is there until its CANCEL is answered.
            let waits = if self.slots[node].is_edge { Duration::ZERO } else { CANCELLED_WITHIN };
            self.schedule(within + waits + ENDED_WITHIN, Happening::Overdue { node, looks: 0 });
        }
    }

    /// Somebody who is in no call goes for a while, perhaps through what is out of service.
    fn someone_goes(&mut self) {
        let idle =
            |phone: &Phone| phone.is_outside() && phone.is_ready() && phone.calls.is_empty() && !phone.has_pending();
        let idle: Vec<_> = (0..self.phones.len()).filter(|phone| idle(&self.phones[*phone])).collect();
        let Some(phone) = self.chance.pick(&idle).copied() else { return };
        self.with_phone(phone, Phone::deregister);
        let after = self.chance.millis(1_000, 8_000);
        self.schedule(after, Happening::ComeBack { phone });
    }

    /// Who has gone comes back, once it has been let go.
    pub(crate) fn come_back(&mut self, phone: usize) {
        if self.phones[phone].has_pending() {
            return self.schedule(Duration::from_secs(1), Happening::ComeBack { phone });
        }
        self.with_phone(phone, Phone::come_back);
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

    /// Everything goes out of service.
    pub(crate) fn all_out_of_service(&mut self) {
        self.all_serve = false;
        for node in 0..self.slots.len() {
            self.out_of_service(node, None, false);
        }
    }

    /// Everybody has gone home: every node is drained.
    pub(crate) fn check_all_drained(&mut self) {
        // Over links of the first version nobody says that a registration has moved: it expires.
        let nodes = if self.version1 { self.edges } else { self.slots.len() };
        for node in 0..nodes {
            self.check_drained(node, "though everybody has gone");
        }
    }

    /// Nothing is out of service any more.
    pub(crate) fn all_back_in_service(&mut self) {
        for node in 0..self.slots.len() {
            self.back_in_service(node);
        }
    }

    /// A phone has a final answer: what nodes out of service refuse and what they do not.
    pub(crate) fn check_answered(&mut self, phone: usize, answered: &Answered) {
        let flow = self.phones[phone].flow;
        let conn = flow.and_then(|flow| self.by_flow.get(&(Actor::Phone(phone), flow)));
        let edge = conn.and_then(|conn| match self.conns[*conn].ends[1].actor {
            Actor::Node(edge) => Some(edge),
            Actor::Registrar | Actor::Phone(_) | Actor::Stranger => None,
        });
        let name = self.phones[phone].name.clone();
        if answered.maintained {
            return self.check_refusal(&name, answered, edge);
        }
        let Some(edge) = edge else { return };
        if self.slots[edge].ordered.since.is_none_or(|since| since > answered.asked) {
            return;
        }
        let (status, edge) = (answered.status, self.slots[edge].name.clone());
        match answered.asked_for {
            // Not on a connection that is not registered.
            AskedFor::Call if status != 403 => {
                self.fail(format!("{name} was answered {status} to a new call by {edge}, which is out of service"));
            }
            AskedFor::Registration if status < 300 && !answered.in_call => {
                self.fail(format!("{name} was registered by {edge}, which is out of service"));
            }
            AskedFor::Call | AskedFor::Registration | AskedFor::Departure | AskedFor::WithinDialog | AskedFor::Else => {
            }
        }
    }

    /// The words of maintenance mode were heard.
    fn check_refusal(&mut self, name: &str, answered: &Answered, edge: Option<usize>) {
        if !answered.says_when {
            return self.fail(format!("{name} was refused by maintenance mode without a Retry-After"));
        }
        match answered.asked_for {
            AskedFor::WithinDialog => {
                return self.fail(format!("{name} was refused within a dialog by a node out of service"));
            }
            AskedFor::Departure => {
                return self.fail(format!("{name} was kept from going by a node out of service"));
            }
            AskedFor::Call | AskedFor::Registration | AskedFor::Else => {}
        }
        let lately = |world: &Self, node: usize| {
            let ordered = &world.slots[node].ordered;
            ordered.since.is_some() || ordered.until.is_some_and(|until| world.now.since(until) < UNDER_WAY)
        };
        if self.all_serve || !(0..self.slots.len()).any(|node| lately(self, node)) {
            return self.fail(format!("{name} was refused by maintenance mode, and no node is in it"));
        }
        // At an edge in service that has long had a link with a core in service, no registration is refused. Other
        // requests are for somebody who may be where nothing new goes. A core that has just gone out of service may
        // not have said so yet.
        let told = |node: usize| self.slots[node].ordered.since.is_none_or(|since| self.now.since(since) > TOLD_WITHIN);
        let all_told = (self.edges..self.slots.len()).all(told);
        let registers = answered.asked_for == AskedFor::Registration;
        let Some(edge) = edge.filter(|edge| registers && all_told && !lately(self, *edge)) else { return };
        let core = (self.edges..self.slots.len()).find(|core| !lately(self, *core) && self.long_linked(*core, edge));
        if let Some(core) = core {
            let (edge, core) = (self.slots[edge].name.clone(), self.slots[core].name.clone());
            self.fail(format!("{name} was refused by maintenance mode at {edge}, which could have asked {core}"));
        }
    }

    /// What a node does: before the operator's deadline it ends nothing for the sake of maintenance mode, and a core
    /// that has long been out of service begins nothing inside. `told`: it does so because somebody said something to
    /// it over a link.
    pub(crate) fn check_maintained(&mut self, node: usize, output: &Output, told: bool) {
        let ordered = self.slots[node].ordered;
        let overdue = ordered.deadline.is_some_and(|deadline| self.now >= deadline);
        let ends = match output {
            Output::Flow { command: FlowCommand::Close { why }, .. } => why.contains("maintenance"),
            Output::Notice(Notice::CallEnded { why, .. }) => why.contains("maintenance"),
            // An edge's relays are the cores' to end.
            Output::Media(MediaCommand::Close { .. }) => !self.is_core(node) && !told,
            Output::Flow { command: FlowCommand::Send { bytes }, .. } | Output::Datagram { bytes, .. } => {
                let long = ordered.since.is_some_and(|since| self.now.since(since) > UNDER_WAY);
                if self.is_core(node) && long && begins_a_call(bytes) {
                    let name = self.slots[node].name.clone();
                    self.fail(format!("{name} is out of service, and begins a call: {}", first_line(bytes)));
                }
                false
            }
            Output::Flow { .. } | Output::Link { .. } | Output::Media(_) | Output::Notice(_) => false,
            Output::Resolve(_) | Output::SignIn(_) | Output::Told(_) => false,
        };
        let name = self.slots[node].name.clone();
        if let Output::Media(MediaCommand::Close { peer, relay }) = output
            && ends
        {
            self.overdue.insert((name.clone(), peer.clone(), *relay));
        }
        if ends && !overdue {
            self.fail(format!("{name} ends something before its deadline: {output:?}"));
        }
    }

    fn long_linked(&self, core: usize, edge: usize) -> bool {
        self.links.iter().any(|link| {
            let ends = (link.ends[0].node, link.ends[1].node);
            link.is_live() && ends == (core, edge) && self.now.since(link.since) > UNDER_WAY
        })
    }

    /// The deadline of a node has passed a while ago.
    pub(crate) fn check_overdue(&mut self, node: usize, looks: u8) {
        let ordered = self.slots[node].ordered;
        let Some(deadline) = ordered.deadline else { return };
        if ordered.since.is_none() || self.now < deadline + ENDED_WITHIN {
            return;
        }
        let has_calls = |hosted: &Hosted| hosted.status().calls.current > 0;
        if looks < LOOKS && self.slots[node].node.as_ref().is_some_and(has_calls) {
            return self.schedule(LOOK_AGAIN, Happening::Overdue { node, looks: looks + 1 });
        }
        self.check_drained(node, "past its deadline");
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
