//! A few seeds on every test run, and proofs that the checks can fail.

use edgeway_sim::{Report, Sabotage, run};

const SEEDS: u64 = 24;

#[test]
fn fleets_mend_whatever_breaks() {
    let mut calls = 0;
    for seed in 0..SEEDS {
        let Report { failure, calls: made, .. } = run(seed, None, false);
        calls += made;
        assert_eq!(failure, None, "replay: edgeway-sim --seed {seed}");
    }
    assert!(calls > 20 * SEEDS, "only {calls} calls: the phones have lost interest");
}

#[test]
fn one_seed_one_history() {
    for seed in [3, 12] {
        let (first, second) = (run(seed, None, false), run(seed, None, false));
        assert_eq!(first, second);
        assert_ne!(first.hash, run(seed + 1, None, false).hash);
    }
}

/// Every fault is found in some of a few seeds, and named.
fn is_found(sabotage: Sabotage, words: &[&str]) {
    let failures: Vec<_> = (0..6).filter_map(|seed| run(seed, Some(sabotage), false).failure).collect();
    assert!(!failures.is_empty(), "{sabotage:?} went unnoticed");
    for failure in &failures {
        assert!(words.iter().any(|word| failure.contains(word)), "{sabotage:?} was noticed as: {failure}");
    }
}

#[test]
fn a_swallowed_answer_is_found() {
    is_found(Sabotage::SwallowAnswers, &["no final answer", "registered", "in the calm", "left with"]);
}

#[test]
fn a_request_for_somebody_else_is_found() {
    is_found(Sabotage::Misdirect, &["INVITE for", "stranger was sent", "which is closed"]);
}

#[test]
fn a_relay_that_is_never_closed_is_found() {
    is_found(Sabotage::LeakRelays, &["lost count of its ports"]);
}

#[test]
fn words_to_a_closed_connection_are_found() {
    is_found(Sabotage::TalkToTheDead, &["which is closed"]);
}

#[test]
fn a_busy_loop_is_found() {
    is_found(Sabotage::BusyLoop, &["ticks a second"]);
}

#[test]
fn an_edge_that_goes_on_in_maintenance_mode_is_found() {
    is_found(Sabotage::KeepServing, &["which is out of service", "should be out of service", "wrong about being"]);
}

#[test]
fn a_client_that_is_not_told_of_the_end_of_its_call_is_found() {
    let failures = (0..32).filter_map(|seed| run(seed, Some(Sabotage::SwallowEnds), false).failure);
    let failures: Vec<_> = failures.take(1).collect();
    assert!(failures.iter().any(|failure| failure.contains("is still in it")), "{failures:?}");
}

#[test]
fn an_edge_that_ends_calls_in_maintenance_mode_is_found() {
    is_found(Sabotage::Impatient, &["before its deadline"]);
}
