//! What an operator reads of registrations and calls: as far as an edge knows, which is whose connection it is and what is
//! relayed for it.

use edgeway_model::listing::{CallRow, Cursor, Page, RegistrationRow, Wish};
use edgeway_model::world::Transport;
use edgeway_model::{FlowId, Pii};

use crate::EdgeNode;

impl EdgeNode {
    pub(crate) fn registrations(&self, wish: &Wish) -> Page<RegistrationRow> {
        self.bindings.page(wish).map(|one| {
            let flow = self.flows.get(&one.flow);
            RegistrationRow {
                aor: Pii::new(one.aor.to_owned()),
                device: Pii::new(one.device.to_owned()),
                user_agent: one.agent.map(str::to_owned),
                client: flow.map(|flow| Pii::new(flow.peer)),
                transport: Some(Transport::Tls),
                edge: Some(self.settings.node.clone()),
                core: flow.and_then(|flow| Some(flow.path.as_ref()?.core.clone())),
                registrar: None,
                since: one.since,
                expires: one.expires,
            }
        })
    }

    /// Calls have the numbers their cores have given them.
    pub(crate) fn calls(&self, wish: &Wish) -> Page<CallRow> {
        let after = wish.after.unwrap_or_default();
        let cores = self.cores.iter().zip(0..).filter(|(_, index)| *index >= after.0);
        let rows = cores.flat_map(|((core, known), index)| {
            let from = if index == after.0 { after.1 } else { 0 };
            known.calls_from(from).map(move |(id, call)| (Cursor(index, id), (core, id, call)))
        });
        // Who it is, is known where the client is registered.
        let takes = |flow: FlowId| wish.user.is_none() || self.bindings.aors_of(flow).any(|aor| wish.takes(&[aor]));
        let page = wish.page(rows, self.counts.calls.current, |(.., call)| takes(call.flow));
        page.map(|(core, id, call)| CallRow {
            id,
            call_id: None,
            from: None,
            to: None,
            state: None,
            since: call.since,
            edge: Some(self.settings.node.clone()),
            core: Some(core.clone()),
            inside: None,
            media: Vec::new(),
        })
    }
}

impl EdgeNode {
    /// How long until all calls and registrations have ended, as far as can be told.
    pub(crate) fn outlook(&self) -> Option<std::time::Duration> {
        let calls = self.cores.values().flat_map(crate::links::Core::calls_here);
        let calls = self.lengths.outlook(calls.map(|(_, call)| self.now.since(call.since)))?;
        let registrations = self.bindings.last_expiry().map_or(std::time::Duration::ZERO, |at| at.since(self.now));
        Some(calls.max(registrations))
    }
}
