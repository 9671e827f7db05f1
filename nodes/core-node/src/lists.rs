//! What an operator reads of registrations and calls.

use std::time::Duration;

use edgeway_model::Pii;
use edgeway_model::listing::{Page, RegistrationRow, Wish};
use edgeway_model::world::Transport;

use crate::{CoreNode, edge_of};

impl CoreNode {
    pub(crate) fn list_registrations(&self, wish: &Wish) -> Page<RegistrationRow> {
        self.bindings.page(wish).map(|one| {
            let index = edge_of(one.flow);
            let edge = self.edges.iter().find(|(_, edge)| edge.index == index).map(|(name, _)| name.clone());
            RegistrationRow {
                aor: Pii::new(one.aor.to_owned()),
                device: Pii::new(one.device.to_owned()),
                user_agent: one.agent.map(str::to_owned),
                client: one.client.map(Pii::new),
                // Clients come to an edge by TLS and by nothing else.
                transport: Some(Transport::Tls),
                edge,
                core: Some(self.settings.node.clone()),
                registrar: self.held.of_flow(one.flow),
                since: one.since,
                expires: one.expires,
            }
        })
    }

    /// How long until all calls and registrations have ended, as far as can be told.
    pub(crate) fn outlook(&self) -> Option<Duration> {
        let calls = self.calls.outlook(self.now)?;
        let registrations = self.bindings.last_expiry().map_or(Duration::ZERO, |at| at.since(self.now));
        Some(calls.max(registrations))
    }
}
