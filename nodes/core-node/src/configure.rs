//! New settings while it runs. What is under way keeps what it began with; what begins from now on has the new ones.
//!
//! Its name, its addresses and its sockets stay as they are until it is started anew.

use edgeway_config::CoreSettings;
use edgeway_model::world::Configurable;
use edgeway_model::zones::{DeploymentZones, Zones};
use edgeway_model::{Moment, Node};
use edgeway_sip::proxy::Patience;

use crate::{CoreNode, Settings, limits};

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
        self.turn(now);
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
