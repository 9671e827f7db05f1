//! What other cores have seen registered, so that a core that stands in for one, or has restarted, knows who
//! its clients are.
//!
//! A core vouches for what a registrar has accepted through it, to other cores only. It holds until the
//! connection closes, of which its edge tells every core, or until the edge starts anew.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use edgeway_link::{Frame, Identity};
use edgeway_model::sign_in::Deployment;
use edgeway_model::zones::Challenge;
use edgeway_model::{FlowId, NodeId};
use edgeway_sip::bindings::Change;

use crate::limits::{PEERS_MAX, VOUCHED_MAX};
use crate::{CoreNode, edge_of, flow_at};

/// A connection, as its edge numbers it.
type Key = (NodeId, FlowId);

/// Connections others have vouched for.
#[derive(Debug, Default)]
pub(crate) struct Vouched {
    /// With the core that has.
    flows: HashMap<Key, (NodeId, Identity)>,
    /// In the order they came in; some may be gone.
    order: VecDeque<Key>,
    /// The life each core was in when it was linked last.
    boots: BTreeMap<NodeId, u64>,
}

/// Something a core that has just been linked is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Who is registered over a connection here.
    Own(FlowId),
    /// What that core itself has said in an earlier life.
    Its(Key),
}

impl Vouched {
    pub(crate) fn take(&mut self, by: &NodeId, identity: Identity) {
        let key = (identity.edge.clone(), identity.flow);
        if identity.aors.is_empty() {
            // One core's word is not taken back by another's: the client may have moved from there to here.
            if self.flows.get(&key).is_some_and(|(of, _)| of == by) {
                self.flows.remove(&key);
            }
            return;
        }
        if !self.flows.contains_key(&key) {
            while self.flows.len() >= VOUCHED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.flows.remove(&oldest);
            }
            if self.order.len() > 2 * self.flows.len() + 64 {
                let flows = &self.flows;
                let mut kept = BTreeSet::new();
                self.order.retain(|key| flows.contains_key(key) && kept.insert(key.clone()));
            }
            self.order.push_back(key.clone());
        }
        self.flows.insert(key, (by.clone(), identity));
    }

    /// A core is linked. In the same life it says all it knows again, and what it has said before holds no
    /// longer: it may have ended meanwhile. What it has forgotten in a new one is returned, to be said to it.
    fn core_linked(&mut self, core: &NodeId, boot: u64) -> Vec<Key> {
        let known = self.boots.get(core).copied();
        if known.is_some() || self.boots.len() < PEERS_MAX {
            self.boots.insert(core.clone(), boot);
        }
        if known == Some(boot) {
            self.flows.retain(|_, (by, _)| by != core);
            return Vec::new();
        }
        let its = self.flows.iter().filter(|(_, (by, _))| by == core);
        let mut its: Vec<_> = its.map(|(key, _)| key.clone()).collect();
        its.sort();
        its
    }

    /// Whoever belonged to a deployment that is gone may belong to another.
    pub(crate) fn deployments_changed(&mut self, is_there: impl Fn(&Deployment) -> bool) {
        self.flows.retain(|_, (_, identity)| is_there(&identity.deployment));
    }

    pub(crate) fn flow_closed(&mut self, edge: &NodeId, flow: FlowId) {
        if !self.flows.is_empty() {
            self.flows.remove(&(edge.clone(), flow));
        }
    }

    pub(crate) fn edge_restarted(&mut self, edge: &NodeId, boot: u64) {
        self.flows.retain(|(of, _), (_, identity)| of != edge || identity.boot == boot);
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
        let (_, identity) = self.vouched.flows.get(&(name.clone(), flow_at(index, flow)))?;
        (identity.boot == edge.hello.boot).then_some(identity)
    }

    /// What has changed on connections is told to the other cores, where the registrar says who is who.
    /// Where this core does, clients prove themselves to another by digest.
    pub(crate) fn vouch(&mut self, changes: &[Change]) {
        for change in changes {
            // Whatever another core has said of a connection, this one knows better now. What has ended here may
            // have moved there meanwhile: then that core's word is the newer one.
            let Change::Registered { flow, .. } = change else { continue };
            let index = edge_of(*flow);
            let edge = self.edges.iter().find(|(_, edge)| edge.index == index).map(|(name, _)| name.clone());
            if let Some(edge) = edge {
                self.vouched.flow_closed(&edge, flow_at(index, *flow));
            }
        }
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

    /// What this core can say of connections to one that was not there: of its own clients, and what that
    /// core has forgotten. What others have said is theirs to say, and may have ended.
    pub(crate) fn identities_for(&mut self, core: &NodeId, boot: u64) -> Vec<Told> {
        let its = self.vouched.core_linked(core, boot).into_iter().map(Told::Its);
        its.chain(self.bindings.flows().into_iter().map(Told::Own)).collect()
    }

    /// What is so now.
    pub(crate) fn identity_told(&self, told: &Told) -> Option<Identity> {
        match told {
            Told::Own(flow) => self.identity(*flow).filter(|identity| !identity.aors.is_empty()),
            Told::Its(key) => self.vouched.flows.get(key).map(|(_, identity)| identity.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(flow: u64) -> Identity {
        Identity {
            edge: NodeId::new("edge1").expect("a name"),
            boot: 1,
            flow: FlowId(flow),
            deployment: Deployment::default_one(),
            aors: vec!["alice@example.com".to_owned()],
        }
    }

    #[test]
    fn a_core_is_told_only_what_it_has_forgotten() {
        let mut vouched = Vouched::default();
        let [core1, core2] = ["core1", "core2"].map(|name| NodeId::new(name).expect("a name"));
        assert!(vouched.core_linked(&core1, 7).is_empty());
        vouched.take(&core1, identity(2));
        vouched.take(&core2, identity(4));
        let its = vouched.core_linked(&core1, 8);
        assert_eq!(its.iter().map(|(_, flow)| flow.0).collect::<Vec<_>>(), [2], "it has restarted");
        assert!(vouched.core_linked(&core1, 8).is_empty());
        assert_eq!(vouched.flows.len(), 1, "in the same life it says again what is so");
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut vouched = Vouched::default();
        let core = NodeId::new("core1").expect("a name");
        for flow in 0..=VOUCHED_MAX as u64 {
            vouched.take(&core, identity(2 * flow));
        }
        let has = |vouched: &Vouched, flow: u64| vouched.flows.contains_key(&(identity(0).edge, FlowId(flow)));
        assert_eq!((vouched.flows.len(), has(&vouched, 0)), (VOUCHED_MAX, false));
        assert!(has(&vouched, 2 * VOUCHED_MAX as u64));
        for _ in 0..3 * VOUCHED_MAX {
            vouched.take(&core, identity(9));
            vouched.flow_closed(&identity(9).edge, FlowId(9));
        }
        assert!(vouched.order.len() <= 2 * VOUCHED_MAX + 65);
    }
}
