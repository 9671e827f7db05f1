//! A node under test, and the ways to break it on purpose.

use std::time::Duration;

use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_model::limits::LISTED_MAX;
use edgeway_model::listing::{CallRow, Wish};
use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::media::MediaCommand;
use edgeway_model::world::{FlowCommand, LinkCommand, Observable, Status};
use edgeway_model::{Deadline, FlowId, Input, Moment, Node, Output};

/// A deliberate fault of the edges, to prove that the checks can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Every 20th final answer to a client is swallowed.
    SwallowAnswers,
    /// Requests from inside go to the wrong client.
    Misdirect,
    /// Relays are never closed.
    LeakRelays,
    /// Commands to connections that are gone.
    TalkToTheDead,
    /// A timer that is always due.
    BusyLoop,
    /// Maintenance mode is not begun.
    KeepServing,
    /// Maintenance mode does not wait until what exists has ended.
    Impatient,
    /// Clients are not told that an operator has ended their call.
    SwallowEnds,
}

/// An edge or a core.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful per fleet")]
pub(crate) enum AnyNode {
    Edge(EdgeNode),
    Core(CoreNode),
}

/// A node and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) node: AnyNode,
    sabotage: Option<Sabotage>,
    answers: u32,
    seen: Vec<FlowId>,
    dead: Option<FlowId>,
}

impl Hosted {
    pub(crate) fn new(node: AnyNode, sabotage: Option<Sabotage>) -> Self {
        let sabotage = sabotage.filter(|_| matches!(node, AnyNode::Edge(_)));
        Self { node, sabotage, answers: 0, seen: Vec::new(), dead: None }
    }

    pub(crate) fn handle(&mut self, input: Input, now: Moment) {
        if let Input::Flow { flow, event: edgeway_model::world::FlowEvent::Closed { .. } } = &input {
            self.dead = Some(*flow);
        }
        let input = match (self.sabotage, input) {
            (Some(Sabotage::KeepServing), Input::Maintenance(MaintenanceOrder::Begin { .. })) => Input::Tick,
            (Some(Sabotage::Impatient), Input::Maintenance(MaintenanceOrder::Begin { .. })) => {
                Input::Maintenance(MaintenanceOrder::Begin { within: Some(Duration::from_secs(2)) })
            }
            (_, input) => input,
        };
        match &mut self.node {
            AnyNode::Edge(node) => node.handle(input, now),
            AnyNode::Core(node) => node.handle(input, now),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        loop {
            let output = match &mut self.node {
                AnyNode::Edge(node) => node.poll(),
                AnyNode::Core(node) => node.poll(),
            };
            match (output?, self.sabotage) {
                (output, Some(sabotage)) => {
                    if let Some(output) = self.spoil(output, sabotage) {
                        return Some(output);
                    }
                }
                (output, None) => return Some(output),
            }
        }
    }

    fn spoil(&mut self, output: Output, sabotage: Sabotage) -> Option<Output> {
        match (sabotage, output) {
            (Sabotage::SwallowAnswers, Output::Flow { flow, command: FlowCommand::Send { bytes } }) => {
                let last = bytes.starts_with(b"SIP/2.0 ") && !bytes.starts_with(b"SIP/2.0 1");
                self.answers += u32::from(last);
                let command = FlowCommand::Send { bytes };
                (!last || !self.answers.is_multiple_of(20)).then_some(Output::Flow { flow, command })
            }
            (Sabotage::SwallowEnds, Output::Flow { command: FlowCommand::Send { bytes }, .. })
                if ends_by_order(&bytes) =>
            {
                None
            }
            (Sabotage::Misdirect, Output::Flow { flow, command: FlowCommand::Send { bytes } }) => {
                if !self.seen.contains(&flow) {
                    self.seen.push(flow);
                }
                let request = bytes.starts_with(b"INVITE");
                let wrong = self.seen.iter().rev().find(|seen| request && **seen != flow);
                Some(Output::Flow { flow: wrong.copied().unwrap_or(flow), command: FlowCommand::Send { bytes } })
            }
            (Sabotage::LeakRelays, Output::Media(MediaCommand::Close { .. })) => None,
            (Sabotage::TalkToTheDead, Output::Link { link, command: LinkCommand::Send { bytes } }) => {
                match self.dead.take() {
                    Some(flow) => Some(Output::Flow { flow, command: FlowCommand::Send { bytes } }),
                    None => Some(Output::Link { link, command: LinkCommand::Send { bytes } }),
                }
            }
            (_, output) => Some(output),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        if self.sabotage == Some(Sabotage::BusyLoop) {
            return Some(Deadline { at: Moment::ZERO, why: "sabotage" });
        }
        match &self.node {
            AnyNode::Edge(node) => node.next_deadline(),
            AnyNode::Core(node) => node.next_deadline(),
        }
    }

    /// The calls of a core: their ids, Call-IDs, and how far they are.
    pub(crate) fn calls(&self) -> Vec<CallRow> {
        let wish = Wish { limit: LISTED_MAX, ..Wish::default() };
        match &self.node {
            AnyNode::Edge(_) => Vec::new(),
            AnyNode::Core(node) => node.call_page(&wish).rows,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match &self.node {
            AnyNode::Edge(node) => node.status(),
            AnyNode::Core(node) => node.status(),
        }
    }

    pub(crate) fn transactions(&self) -> usize {
        match &self.node {
            AnyNode::Edge(node) => node.transactions(),
            AnyNode::Core(node) => node.transactions(),
        }
    }

    /// Port pairs the node accounts for: free, granted, and in relays.
    pub(crate) fn pairs(&self) -> (usize, usize, usize) {
        match &self.node {
            AnyNode::Edge(node) => {
                let pairs = node.port_pairs();
                (pairs.free, pairs.granted, pairs.used)
            }
            AnyNode::Core(node) => {
                let (free, used) = node.port_pairs();
                (free, 0, used)
            }
        }
    }
}

/// Whether these are the bytes of a BYE that an operator has ordered.
fn ends_by_order(bytes: &[u8]) -> bool {
    bytes.starts_with(b"BYE ") && bytes.windows(BY_ORDER.len()).any(|window| window == BY_ORDER)
}

const BY_ORDER: &[u8] = b"ended by an operator";
