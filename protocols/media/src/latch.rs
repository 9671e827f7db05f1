//! Where to send: the sources one component of an SRTP relay has heard from, and the one that is
//! proven (RFC 7362, with authentication in place of trust).
//!
//! The edge cannot authenticate. It numbers unproven sources, forwards a little from each, and
//! the core names the number whose packet was authentic and newer than any before. A number is a
//! slot and a generation, so that a slot given to another source meanwhile cannot be latched by
//! mistake.

use std::net::{IpAddr, SocketAddr};

use edgeway_model::Moment;

use crate::limits::{CANDIDATE_IDLE, CANDIDATE_TRIES, CANDIDATES_MAX, UNPROVEN_BURST, UNPROVEN_PACKETS_PER_SECOND};

/// The sources of one component.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    latched: Option<(SocketAddr, u8)>,
    slots: [Slot; CANDIDATES_MAX],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    holder: Option<Holder>,
    generation: u8,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    source: SocketAddr,
    tries: u8,
    heard: Moment,
}

/// The slot kept for the signalling address.
const SIGNALLING_SLOT: usize = 0;
const SLOT_BITS: u32 = 2;
const _: () = assert!(CANDIDATES_MAX == 1 << SLOT_BITS);

/// What a source is to the latch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The proven one.
    Latched(u8),
    /// Unproven, and followed under this slot.
    Candidate(usize),
    /// Unproven, and there is no room for it now.
    Crowded,
}

impl Latch {
    /// Where to send, once proven.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.latched.map(|(address, _)| address)
    }

    /// How `source` stands. Changes nothing.
    #[must_use]
    pub fn standing(&self, source: SocketAddr, signalling_peer: IpAddr, now: Moment) -> Standing {
        if let Some((latched, number)) = self.latched
            && latched == source
        {
            return Standing::Latched(number);
        }
        let held = self.slots.iter().position(|slot| slot.holder.is_some_and(|holder| holder.source == source));
        let first = if source.ip() == signalling_peer { SIGNALLING_SLOT } else { SIGNALLING_SLOT + 1 };
        let free = || (first..CANDIDATES_MAX).find(|&at| self.slots[at].is_free(now));
        held.or_else(free).map_or(Standing::Crowded, Standing::Candidate)
    }

    /// A packet of `source` is forwarded under `slot`, as [`Latch::standing`] said; its number.
    pub fn follow(&mut self, slot: usize, source: SocketAddr, now: Moment) -> u8 {
        let entry = &mut self.slots[slot];
        match &mut entry.holder {
            Some(holder) if holder.source == source => {
                holder.tries = holder.tries.saturating_add(1);
                holder.heard = now;
            }
            Some(_) | None => {
                entry.generation = (entry.generation + 1) & (u8::MAX >> SLOT_BITS);
                entry.holder = Some(Holder { source, tries: 1, heard: now });
            }
        }
        self.number(slot)
    }

    /// The core has proven the source with this number. `false` if no source has it any more.
    pub fn latch(&mut self, number: u8) -> bool {
        let slot = usize::from(number) % CANDIDATES_MAX;
        if self.number(slot) != number {
            return false;
        }
        let Some(holder) = self.slots[slot].holder.take() else { return false };
        self.latched = Some((holder.source, number));
        true
    }

    /// Forgets the proven source (the client has described a new place it can be trusted with).
    pub fn release(&mut self) {
        self.latched = None;
    }

    fn number(&self, slot: usize) -> u8 {
        // Lossless: the generation has 6 bits, the slot 2.
        (self.slots[slot].generation << SLOT_BITS) | (slot as u8)
    }
}

impl Slot {
    fn is_free(&self, now: Moment) -> bool {
        self.holder.is_none_or(|holder| holder.tries >= CANDIDATE_TRIES || now.since(holder.heard) >= CANDIDATE_IDLE)
    }
}

/// How many packets of unproven sources may pass now: [`UNPROVEN_PACKETS_PER_SECOND`], in bursts
/// of at most [`UNPROVEN_BURST`].
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    credit_us: u64,
    at: Moment,
}

const COST_US: u64 = 1_000_000 / UNPROVEN_PACKETS_PER_SECOND;

impl Allowance {
    /// A full one.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self { credit_us: COST_US * UNPROVEN_BURST, at: now }
    }

    /// Takes one packet's worth; `false` if there is none.
    pub fn take(&mut self, now: Moment) -> bool {
        let earned = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.at = self.at.max(now);
        self.credit_us = self.credit_us.saturating_add(earned).min(COST_US * UNPROVEN_BURST);
        let affordable = self.credit_us >= COST_US;
        if affordable {
            self.credit_us -= COST_US;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn follow(latch: &mut Latch, source: SocketAddr, now: Moment) -> Option<u8> {
        match latch.standing(source, "192.0.2.1".parse().unwrap(), now) {
            Standing::Candidate(slot) => Some(latch.follow(slot, source, now)),
            Standing::Latched(number) => Some(number),
            Standing::Crowded => None,
        }
    }

    #[test]
    fn strangers_never_take_the_signalling_slot() {
        let (mut latch, now) = (Latch::default(), Moment::ZERO);
        for n in 0..10 {
            let taken = follow(&mut latch, source(&format!("198.51.100.{n}:9")), now);
            assert_eq!(taken.is_some(), n < 3);
        }
        assert!(follow(&mut latch, source("192.0.2.1:4000"), now).is_some());
    }

    #[test]
    fn a_number_given_away_latches_nobody() {
        let mut latch = Latch::default();
        let early = follow(&mut latch, source("198.51.100.1:9"), Moment::ZERO).unwrap();
        let later = Moment::ZERO + CANDIDATE_IDLE;
        let successor = follow(&mut latch, source("203.0.113.66:9"), later).unwrap();
        assert_eq!(early % 4, successor % 4, "the same slot");
        assert!(!latch.latch(early));
        assert_eq!(latch.address(), None);
        assert!(latch.latch(successor));
        assert_eq!(latch.address(), Some(source("203.0.113.66:9")));
        assert!(!latch.latch(successor), "said twice");
        assert_eq!(latch.address(), Some(source("203.0.113.66:9")));
    }

    #[test]
    fn the_allowance_refills() {
        let mut allowance = Allowance::new(Moment::ZERO);
        let burst = (0..100).filter(|_| allowance.take(Moment::ZERO)).count();
        assert_eq!(burst, 10);
        let second = (0..1_000).filter(|ms| allowance.take(Moment::from_millis(*ms))).count();
        assert!((19..=20).contains(&second), "{second}");
    }
}
