//! An operator ends calls in the middle of everything else, and what that may and may not do.
//!
//! * A call that is up is over at its core at once, with its media; so is nobody else's.
//! * Where links only stall, both parties have heard of it soon, whatever else they were about to do.
//! * What a party hears is a correct request of its dialog (`calls.rs`: for its Contact, with a CSeq it has not seen).
//! * Nothing is left of it in the end (`check.rs`).

use std::time::Duration;

use edgeway_model::Input;
use edgeway_model::listing::CallState;

use crate::calls::Stage;
use crate::world::World;

/// A BYE that waits for a stalled link, and for repetitions over UDP on its way through the registrar.
const HEARD_WITHIN: Duration = Duration::from_secs(40);

impl World {
    /// Somebody at a desk ends a call of some core.
    pub(crate) fn end_some_call(&mut self) {
        let core = self.edges + self.chance.below(self.slots.len() - self.edges);
        // What is due by itself is not the order's doing.
        self.feed(core, Input::Tick);
        let Some(node) = &self.slots[core].node else { return };
        let (before, used) = (node.calls(), node.pairs().2);
        let Some(row) = self.chance.pick(&before).cloned() else { return };
        let call_id = row.call_id.as_ref().map(|id| id.reveal().clone()).unwrap_or_default();
        let name = self.slots[core].name.clone();
        self.trace(format_args!("an operator ends {call_id} at {name}: {:?}", row.state));
        self.feed(core, Input::EndCall { call: row.id });
        let Some(node) = &self.slots[core].node else { return };
        let (after, still_used) = (node.calls(), node.pairs().2);
        let others = |rows: &[edgeway_model::listing::CallRow]| -> Vec<_> {
            rows.iter().filter(|other| other.id != row.id).map(|other| (other.id, other.state)).collect()
        };
        if others(&before) != others(&after) {
            return self.fail(format!("the end of {call_id} at {name} has changed other calls"));
        }
        let there = after.iter().find(|other| other.id == row.id);
        let freed = used - still_used;
        match (row.state, there.map(|there| there.state)) {
            (_, None) if freed != row.media.len() => {
                self.fail(format!(
                    "the end of {call_id} at {name} has freed {freed} port pairs of {}",
                    row.media.len()
                ));
            }
            (Some(CallState::Up), None) if self.gentle => {
                self.ended.push_back((self.now + HEARD_WITHIN, call_id));
            }
            (_, None | Some(Some(CallState::Ending))) => {}
            (_, Some(state)) => self.fail(format!("{call_id} was ended at {name} and is {state:?}")),
        }
    }

    /// Those whose call was ended have heard of it by now.
    pub(crate) fn check_ended(&mut self) {
        while let Some((by, _)) = self.ended.front()
            && *by <= self.now
        {
            let Some((_, call)) = self.ended.pop_front() else { return };
            let stands = |phone: &&crate::phone::Phone| {
                phone.calls.get(&call).is_some_and(|known| known.stage == Stage::Established)
            };
            if let Some(phone) = self.phones.iter().find(stands) {
                let name = phone.name.clone();
                return self.fail(format!("an operator has ended {call}, and {name} is still in it"));
            }
        }
    }
}
