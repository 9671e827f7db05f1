//! Nonces of the digest challenges this core makes (RFC 7616 §3.3), and how often each was used.
//!
//! A nonce is random, belongs to the connection it was given to, and to the process that made it; a count
//! that was seen is not taken again. Nobody else can make one, so nothing has to be signed.

use std::collections::{HashMap, VecDeque};

use edgeway_model::{FlowId, Moment, Random};

use crate::limits::{NONCE_FLOWS_MAX, NONCE_LIFE, NONCES_PER_FLOW_MAX};

#[derive(Debug)]
struct Nonce {
    text: Box<str>,
    minted: Moment,
    /// The highest count seen.
    count: u32,
}

/// The nonces that are good, by connection.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    flows: HashMap<FlowId, VecDeque<Nonce>>,
    /// Connections in the order of their first nonce; some may be gone.
    order: VecDeque<FlowId>,
}

impl Nonces {
    /// A new one for a connection. The oldest of too many stops being good.
    pub(crate) fn mint(&mut self, flow: FlowId, random: &mut Random, now: Moment) -> String {
        let text = format!("{:016x}{:016x}", random.next_u64(), random.next_u64());
        if !self.flows.contains_key(&flow) {
            while self.flows.len() >= NONCE_FLOWS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.flows.remove(&oldest);
            }
            if self.order.len() > 2 * self.flows.len() + 64 {
                let flows = &self.flows;
                self.order.retain(|flow| flows.contains_key(flow));
            }
            self.order.push_back(flow);
        }
        let nonces = self.flows.entry(flow).or_default();
        if nonces.len() >= NONCES_PER_FLOW_MAX {
            nonces.pop_front();
        }
        nonces.push_back(Nonce { text: text.as_str().into(), minted: now, count: 0 });
        text
    }

    /// Uses a nonce once more. Whether it is this connection's, young enough, and the count not seen yet.
    pub(crate) fn spend(&mut self, flow: FlowId, nonce: &str, count: u32, now: Moment) -> bool {
        let of_flow = self.flows.get_mut(&flow);
        let known = of_flow.and_then(|nonces| nonces.iter_mut().find(|known| *known.text == *nonce));
        let Some(known) = known.filter(|known| now < known.minted + NONCE_LIFE && count > known.count) else {
            return false;
        };
        known.count = count;
        true
    }

    pub(crate) fn flow_closed(&mut self, flow: FlowId) {
        self.flows.remove(&flow);
    }

    pub(crate) fn flows_closed(&mut self, is_gone: impl Fn(FlowId) -> bool) {
        self.flows.retain(|flow, _| !is_gone(*flow));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_on_its_connection_for_its_time_and_once_per_count() {
        let (mut nonces, mut random) = (Nonces::default(), Random::from_seed([1; 32]));
        let (flow, other) = (FlowId(2), FlowId(4));
        let nonce = nonces.mint(flow, &mut random, Moment::ZERO);
        let now = Moment::from_secs(1);
        assert!(!nonces.spend(other, &nonce, 1, now), "of another connection");
        assert!(!nonces.spend(flow, "0", 1, now), "made up");
        assert!(!nonces.spend(flow, &nonce, 0, now), "counts begin at one");
        assert!(nonces.spend(flow, &nonce, 1, now));
        assert!(!nonces.spend(flow, &nonce, 1, now), "seen");
        assert!(nonces.spend(flow, &nonce, 7, now), "some may have been lost on the way");
        assert!(!nonces.spend(flow, &nonce, 6, now));
        assert!(!nonces.spend(flow, &nonce, 8, Moment::ZERO + NONCE_LIFE), "too old");
        assert_ne!(nonces.mint(flow, &mut random, now), nonce);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut nonces, mut random) = (Nonces::default(), Random::from_seed([2; 32]));
        let first = nonces.mint(FlowId(0), &mut random, Moment::ZERO);
        for _ in 1..NONCES_PER_FLOW_MAX {
            nonces.mint(FlowId(0), &mut random, Moment::ZERO);
        }
        assert!(nonces.spend(FlowId(0), &first, 1, Moment::ZERO));
        nonces.mint(FlowId(0), &mut random, Moment::ZERO);
        assert!(!nonces.spend(FlowId(0), &first, 2, Moment::ZERO));
        for flow in 0..=NONCE_FLOWS_MAX as u64 {
            nonces.mint(FlowId(flow), &mut random, Moment::ZERO);
        }
        assert_eq!((nonces.flows.len(), nonces.flows.contains_key(&FlowId(0))), (NONCE_FLOWS_MAX, false));
        for flow in 0..10 * NONCE_FLOWS_MAX as u64 {
            nonces.mint(FlowId(flow), &mut random, Moment::ZERO);
            nonces.flow_closed(FlowId(flow));
        }
        assert!(nonces.order.len() <= 2 * NONCE_FLOWS_MAX + 65);
    }
}
