//! New settings while it runs. What is under way keeps what it began with; what begins from now on has the new ones.
//!
//! Its name, its addresses and its sockets stay as they are until it is started anew.

use edgeway_config::CoreSettings;
use edgeway_link::Frame;
use edgeway_model::notice::Notice;
use edgeway_model::world::Configurable;
use edgeway_model::zones::{DeploymentZones, Zones};
use edgeway_model::{Moment, Node, NodeId};
use edgeway_sip::proxy::Patience;

use crate::limits::WHY_CHARS_MAX;
use crate::{CoreNode, EdgesTold, Settings, limits};

impl Configurable<CoreSettings> for CoreNode
where
    Self: Node,
{
    fn configure(&mut self, settings: &CoreSettings, now: Moment) {
        self.reconfigure(settings.into(), now);
    }
}

impl CoreNode {
    /// As [`Configurable::configure`], with settings that no file was read for.
    pub fn reconfigure(&mut self, new: Settings, now: Moment) {
        self.now = now;
        let Settings { node, host, port, tls_port, datagrams, media_address, .. } = self.settings.clone();
        let new = Settings { node, host, port, tls_port, datagrams, media_address, ..new };
        let old = std::mem::replace(&mut self.settings, new);
        let (answer, route) = (self.settings.answer_within, limits::ROUTE_WITHIN);
        self.proxy.set_patience(Patience { answer, route });
        if self.settings.options_every != old.options_every {
            self.zones.set_every(self.settings.options_every, now);
        }
        if self.settings.media_timeout != old.media_timeout {
            self.watch_anew(now);
        }
        if self.settings.zones.deployments != old.zones.deployments {
            let zones = self.with_discovered(&old.zones);
            self.take_zones(&zones, now);
        }
        if self.settings.edges != old.edges {
            for edge in self.edges.keys().cloned().collect::<Vec<_>>() {
                self.tell_settings(&edge);
            }
        }
        self.turn(now);
    }

    /// Tells an edge how it is to be.
    pub(crate) fn tell_settings(&mut self, edge: &NodeId) {
        let EdgesTold { revision, committed_ms, text } = self.settings.edges.clone();
        if !text.is_empty() {
            if let Some(edge) = self.edges.get_mut(edge).filter(|edge| edge.link.is_some()) {
                edge.outcomes_due = edge.outcomes_due.saturating_add(1);
            }
            self.send_frame(edge, &Frame::EdgeSettings { revision, committed_ms, text });
        }
    }

    /// An edge says what became of that, once each time it is told: else it could fill the operator's list, and have an
    /// alarm come and go. It is believed about itself; what it says is shown to the operator.
    pub(crate) fn settings_outcome(&mut self, edge: &NodeId, revision: u64, refused: Option<String>) {
        let Some(due) = self.edges.get_mut(edge).map(|edge| &mut edge.outcomes_due) else { return };
        if *due == 0 {
            return self.edge_fault(edge, "an edge said what became of settings that it was not told".into());
        }
        *due -= 1;
        // Of what was told before nobody wants to know.
        if revision == self.settings.edges.revision {
            let refused = refused.map(|why| why.chars().filter(|one| !one.is_control()).take(WHY_CHARS_MAX).collect());
            self.notice(Notice::EdgeSettings { edge: edge.clone(), revision, refused });
        }
    }

    /// The zones of the settings, and those that were discovered: they stay until whoever discovers them has said what
    /// they are with the new settings.
    fn with_discovered(&self, old: &Zones) -> Zones {
        let mut zones = self.settings.zones.clone();
        zones.revision = self.told_zones.revision;
        for deployment in &mut zones.deployments {
            let is_same = |one: &&DeploymentZones| one.deployment == deployment.deployment;
            let told = self.told_zones.deployments.iter().find(is_same);
            let written = old.deployments.iter().find(is_same).map_or(&[][..], |one| &one.zones);
            for zone in told.into_iter().flat_map(|told| &told.zones) {
                if !written.contains(zone) && !deployment.zones.contains(zone) {
                    deployment.zones.push(zone.clone());
                }
            }
        }
        zones
    }
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use edgeway_link::frame::Hello;
    use edgeway_model::notice::DropReason;
    use edgeway_model::world::{LinkEvent, Observable};
    use edgeway_model::{Input, LinkId, Output, Random, Role};

    use super::*;

    const LINK: LinkId = LinkId(1);

    fn hears(core: &mut CoreNode, event: LinkEvent) -> usize {
        core.handle(Input::Link { link: LINK, event }, Moment::from_secs(1));
        from_fn(|| core.poll()).filter(|one| matches!(one, Output::Notice(Notice::EdgeSettings { .. }))).count()
    }

    #[test]
    fn an_edge_says_once_what_became_of_what_it_was_told() {
        let text = "node = \"core1\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"10.0.0.4:5060\"]\n\
                    registrars = [\"tcp:10.0.0.5:5060\"]\n";
        let mut settings = Settings::from(&edgeway_config::parse_core(text, "test").expect("good settings"));
        let told = |revision| EdgesTold { revision, committed_ms: 1, text: "[limits]\nflows_max = 5\n".into() };
        settings.edges = told(7);
        let mut core = CoreNode::new(settings.clone(), Random::from_seed([3; 32]), Moment::from_secs(1));
        let edge = NodeId::new("edge1").expect("a name");
        let hello = Hello {
            version: edgeway_link::limits::VERSION,
            version_min: 1,
            node: edge.clone(),
            role: Role::Edge,
            boot: 7,
            wall_ms: 0,
            stun_keepalive: true,
            contact: "edge1.example.com:5061".into(),
            domains: Vec::new(),
        };
        let address = "203.0.113.1:7001".parse().expect("an address");
        hears(&mut core, LinkEvent::Opened { peer: edge, role: Role::Edge, address });
        hears(&mut core, LinkEvent::Received { bytes: Frame::Hello(hello).encode() });
        let says = |core: &mut CoreNode, revision, refused: Option<&str>| {
            let frame = Frame::EdgeSettingsOutcome { revision, refused: refused.map(str::to_owned) };
            let shown = hears(core, LinkEvent::Received { bytes: frame.encode() });
            let dropped = core.status().drops.into_iter().find(|(why, _)| *why == DropReason::LinkProtocol.label());
            (shown, dropped.map_or(0, |(_, count)| count))
        };
        assert_eq!(says(&mut core, 7, Some("no")), (1, 0));
        assert_eq!(says(&mut core, 7, None), (0, 1), "it has said so");
        assert_eq!(says(&mut core, 7, Some("no")), (0, 2));
        core.reconfigure(Settings { edges: told(8), ..settings }, Moment::from_secs(1));
        assert_eq!(says(&mut core, 8, None), (1, 2), "it was told anew");
        assert_eq!(says(&mut core, 8, Some("no")), (0, 3));
    }
}
