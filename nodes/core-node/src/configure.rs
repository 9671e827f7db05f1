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
            self.send_frame(edge, &Frame::EdgeSettings { revision, committed_ms, text });
        }
    }

    /// An edge says what became of that. It is believed about itself; what it says is shown to the operator.
    pub(crate) fn settings_outcome(&mut self, edge: &NodeId, revision: u64, refused: Option<String>) {
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
