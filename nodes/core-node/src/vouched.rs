//! What other cores have seen registered, so that a core that stands in for one, or has restarted, knows who
//! its clients are.
//!
//! A core vouches for what a registrar has accepted through it, to other cores only. It holds until the
//! connection closes, of which its edge tells every core, or until the edge starts anew.

use std::collections::HashMap;

use edgeway_link::{Frame, Identity};
use edgeway_model::sign_in::Deployment;
use edgeway_model::zones::Challenge;
use edgeway_model::{FlowId, NodeId};
use edgeway_sip::bindings::Change;

use crate::limits::VOUCHED_MAX;
use crate::{CoreNode, edge_of, flow_at};

/// Connections others have vouched for.
#[derive(Debug, Default)]
pub(crate) struct Vouched {
    flows: HashMap<(NodeId, FlowId), Identity>,
}

impl Vouched {
    pub(crate) fn take(&mut self, identity: Identity) {
        let key = (identity.edge.clone(), identity.flow);
        if identity.aors.is_empty() {
            self.flows.remove(&key);
        } else if self.flows.len() < VOUCHED_MAX || self.flows.contains_key(&key) {
            self.flows.insert(key, identity);
        }
    }

    pub(crate) fn flow_closed(&mut self, edge: &NodeId, flow: FlowId) {
        if !self.flows.is_empty() {
            self.flows.remove(&(edge.clone(), flow));
        }
    }

    pub(crate) fn edge_restarted(&mut self, edge: &NodeId, boot: u64) {
        self.flows.retain(|(of, _), identity| of != edge || identity.boot == boot);
    }
}

impl CoreNode {
    /// Whether an address of record is registered over a connection, here or as another core says.
    pub(crate) fn holds(&self, flow: FlowId, aor: &str) -> bool {
        self.bindings.holds(flow, aor)
            || self.vouched_for(flow).is_some_and(|identity| identity.aors.iter().any(|known| known == aor))
    }

    /// Whether anything is registered over a connection, here or as another core says.
    pub(crate) fn is_known(&self, flow: FlowId) -> bool {
        self.bindings.is_registered(flow) || self.vouched_for(flow).is_some()
    }

    /// The deployment another core has seen a connection register in.
    pub(crate) fn vouched_deployment(&self, flow: FlowId) -> Option<&Deployment> {
        self.vouched_for(flow).map(|identity| &identity.deployment)
    }

    fn vouched_for(&self, flow: FlowId) -> Option<&Identity> {
        if self.vouched.flows.is_empty() {
            return None;
        }
        let index = edge_of(flow);
        let (name, edge) = self.edges.iter().find(|(_, edge)| edge.index == index)?;
        let identity = self.vouched.flows.get(&(name.clone(), flow_at(index, flow)))?;
        (identity.boot == edge.hello.boot).then_some(identity)
    }

    /// What has changed on connections is told to the other cores, where the registrar says who is who.
    /// Where this core does, clients prove themselves to another by digest.
    pub(crate) fn vouch(&mut self, changes: &[Change]) {
        if self.peers.is_empty() {
            return;
        }
        for change in changes {
            let flow = match change {
                Change::Registered { flow, .. } => *flow,
                // The edge itself says so to everybody.
                Change::Unregistered { why: "flow closed", .. } => continue,
                Change::Unregistered { flow, .. } => *flow,
            };
            if let Some(identity) = self.identity(flow) {
                self.tell_cores(&Frame::Identity(identity));
            }
        }
    }

    pub(crate) fn identity(&self, flow: FlowId) -> Option<Identity> {
        let index = edge_of(flow);
        let (name, edge) = self.edges.iter().find(|(_, edge)| edge.index == index)?;
        let deployment = self.identities.deployment(flow)?.clone();
        if self.zones.get(&deployment).is_some_and(|served| served.challenge != Challenge::Registrar) {
            return None;
        }
        let mut aors: Vec<_> = self.bindings.lines_of(flow).into_iter().map(|(_, aor)| aor).collect();
        aors.sort_unstable();
        aors.dedup();
        Some(Identity { edge: name.clone(), boot: edge.hello.boot, flow: flow_at(index, flow), deployment, aors })
    }

    /// All this core can say of connections, for one that was not there.
    pub(crate) fn identities_known(&self) -> Vec<Identity> {
        let own = self.bindings.flows().into_iter().filter_map(|flow| self.identity(flow));
        let mut all: Vec<_> = self.vouched.flows.values().cloned().chain(own).collect();
        all.sort_by(|a, b| (&a.edge, a.flow).cmp(&(&b.edge, b.flow)));
        all
    }
}
