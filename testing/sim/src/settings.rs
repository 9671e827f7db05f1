//! Settings that change at any moment: nothing that is under way may notice.

use edgeway_core_node::{Settings, StandbyKeepalive};

use crate::chance::Chance;
use crate::host::AnyNode;
use crate::world::World;

/// A domain that comes and goes.
const MORE: &str = "more.example.com";

impl World {
    /// What a core has been told to be, with some of it changed; it is told at once.
    pub(crate) fn change_settings(&mut self) {
        let core = self.edges + self.chance.below(self.slots.len() - self.edges);
        let paths = self.habits.path;
        let Some(mut settings) = self.slots[core].settings.clone() else { return };
        change(&mut settings, paths, &mut self.chance);
        let name = self.slots[core].name.clone();
        self.trace(format_args!(
            "{name} has other settings: Path {}, OPTIONS every {:?}",
            settings.path_headers, settings.options_every
        ));
        self.slots[core].settings = Some(settings.clone());
        self.turn(core, |node, now| {
            if let AnyNode::Core(core) = &mut node.node {
                core.reconfigure(settings, now);
            }
        });
    }
}

fn change(settings: &mut Settings, paths: bool, chance: &mut Chance) {
    // A registrar that does not know Path never learns it.
    settings.path_headers = paths && chance.percent(50);
    settings.options_every = chance.millis(1_000, 20_000);
    settings.answer_within = chance.millis(28_000, 32_000);
    settings.media_timeout = chance.percent(80).then(|| chance.millis(10_000, 60_000));
    // What the inside is offered stays plain: a key that goes inside is what the check of descriptions looks for.
    settings.standby_keepalive = [StandbyKeepalive::Answered, StandbyKeepalive::Relayed][chance.below(2)];
    if let Some(other) = settings.zones.deployments.last_mut() {
        match other.domains.iter().position(|domain| domain == MORE) {
            Some(at) => drop(other.domains.remove(at)),
            None => other.domains.push(MORE.to_owned()),
        }
    }
}
