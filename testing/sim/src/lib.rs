//! A fleet on one virtual clock: edges, cores, a registrar, phones, strangers, and everything that
//! can go wrong between them, all out of one seed.
//!
//! [`run`] is a whole life of a fleet: it starts, phones register and call each other while links
//! stall, break and part, nodes die, the registrar goes away and strangers try their luck; then
//! comes a calm in which everything must mend, everybody must be callable, and at last nothing may
//! be left over. What must be true is in `check.rs` and in the complaints of `phone.rs`.
//!
//! Not here: bytes of TLS and of media packets, real time, real memory. Those are the lab's and the
//! benchmarks'. Drives `nodes/edge-node` and `nodes/core-node` by the contract of
//! `model/src/world.rs`, as `runtime` does.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod addresses;
mod calls;
mod chance;
mod chaos;
mod check;
mod conns;
mod descriptions;
mod early;
mod ending;
mod forker;
mod host;
mod links;
mod maintenance;
mod media;
mod phone;
mod registrar;
mod settings;
mod sign_in;
mod transfer;
mod version1;
mod world;

use std::time::Duration;

use edgeway_model::Moment;

pub use crate::host::Sabotage;
use crate::world::{Happening, World};

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash of everything that happened: equal seeds, equal hashes.
    pub hash: u64,
    /// How many things happened.
    pub steps: u64,
    /// Calls made.
    pub calls: u64,
    /// The first thing that should not have been.
    pub failure: Option<String>,
}

/// How long phones have to register at first.
const START: Duration = Duration::from_secs(10);
/// How long things break.
const CHAOS: Duration = Duration::from_secs(90);
/// How long the calm may take to mend everything: a registration's and a lost call's lifetime, and
/// the longest wait for an answer.
const CALM: Duration = Duration::from_secs(190);
/// How long a node that serves again may take to tell the others: a link's way.
const RESTORED: Duration = Duration::from_millis(200);
/// How long a node out of service may take to have nothing left, once everybody has gone.
const DRAINED: Duration = Duration::from_secs(2);
/// One call for everybody.
const CALLS: Duration = Duration::from_secs(30);
/// Until the last transaction is forgotten.
const AFTER: Duration = Duration::from_secs(60);

/// One life of the fleet that `seed` describes, with the trace printed if `verbose`.
#[must_use]
pub fn run(seed: u64, sabotage: Option<Sabotage>, verbose: bool) -> Report {
    let mut world = World::new(seed, sabotage, verbose);
    let mut end = Moment::ZERO + START;
    world.run_until(end);
    if world.failure.is_none() {
        world.check_registered();
    }
    world.chaotic = true;
    world.first_registrar_goes();
    world.schedule(Duration::ZERO, Happening::Chaos);
    end = end + CHAOS;
    world.run_until(end);
    world.calm();
    world.run_until(end + Duration::from_secs(15));
    world.calling = false;
    world.some_stay_out_of_service();
    end = end + CALM;
    world.run_until(end);
    if world.failure.is_none() {
        world.check_registered();
    }
    world.all_back_in_service();
    end = end + RESTORED;
    world.run_until(end);
    world.all_serve = true;
    for phone in 0..world.phones.len() {
        world.with_phone(phone, phone::Phone::refresh);
    }
    let calls = world.call_everybody();
    end = end + CALLS;
    world.run_until(end);
    if world.failure.is_none() {
        world.check_calls(&calls);
    }
    world.all_out_of_service();
    for phone in 0..world.phones.len() {
        world.with_phone(phone, phone::Phone::deregister);
    }
    world.run_until(end + DRAINED);
    if world.failure.is_none() {
        world.check_all_drained();
    }
    world.run_until(end + AFTER);
    if world.failure.is_none() {
        world.check_idle();
    }
    Report { seed, hash: world.hash(), steps: world.steps, calls: world.calls_made, failure: world.failure }
}
