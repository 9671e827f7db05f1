//! Messages as the operator sees them: all of them while somebody looks, with what was decided, and none otherwise.

use edgeway_model::Input;
use edgeway_model::signal::Party;
use edgeway_sip::Message;

use crate::register::{plain, register};
use crate::rig::{At, REGISTRAR, Rig};

/// Who saw what come or go, to whom, and why, of all that is no probe.
fn seen(rig: &mut Rig) -> Vec<(bool, bool, String, String, Option<String>)> {
    let signals = rig.signals().into_iter().filter_map(|(at, signal)| {
        let message = Message::parse(signal.bytes).expect("whole messages");
        let is_probe = message.from_tag() == Some("ewprobe") || message.cseq().1 == "OPTIONS";
        let what = message.method().map_or_else(|| format!("{}", message.status().unwrap_or(0)), str::to_owned);
        let who = match signal.peer {
            Party::Client(address) => format!("client {}", address.ip()),
            Party::Node(node) => node.to_string(),
            Party::Inside(address) => format!("inside {address}"),
        };
        (!is_probe).then_some((at == At::Edge, signal.received, who, what, signal.decision))
    });
    signals.collect()
}

#[test]
fn a_registration_is_seen_on_each_of_its_hops() {
    let mut rig = Rig::new();
    let flow = rig.client();
    for at in [At::Edge, At::Core(0)] {
        rig.says(at, Input::Trace(true));
    }
    rig.signals();
    register(&mut rig, flow, &plain("alice", "", "", 600), "");
    let inside = format!("inside {REGISTRAR}");
    let seen = seen(&mut rig);
    let hops: Vec<_> =
        seen.iter().map(|(edge, received, who, what, _)| (*edge, *received, who.as_str(), what.as_str())).collect();
    assert_eq!(
        hops,
        [
            (true, true, "client 203.0.113.7", "REGISTER"),
            (true, false, "core1", "REGISTER"),
            (false, true, "edge1", "REGISTER"),
            (false, false, &*inside, "REGISTER"),
            (false, true, &*inside, "200"),
            (false, false, "edge1", "200"),
            (true, true, "core1", "200"),
            (true, false, "client 203.0.113.7", "200"),
        ]
    );
    assert_eq!(seen[1].4.as_deref(), Some("to core1: by load"));
    let decision = seen[3].4.as_deref().expect("why it goes there");
    assert!(decision.starts_with(&format!("to {REGISTRAR} TCP")) && decision.ends_with("by priority"), "{decision}");
}

#[test]
fn a_refusal_is_seen_with_its_code_and_nothing_is_told_that_nobody_wants_to_see() {
    let mut rig = Rig::new();
    let flow = rig.client();
    rig.client_writes(flow, plain("alice", "", "", 600));
    assert!(rig.signals().is_empty(), "nobody looks");
    rig.says(At::Edge, Input::Trace(true));
    rig.attempts();
    rig.client_writes(flow, plain("alice", "", "", 601).replace("REGISTER", "INVITE"));
    let seen = seen(&mut rig);
    let told = rig.attempts().pop().expect("an attempt").1;
    let code = told.code.expect("a code").to_string();
    let decision = seen.last().and_then(|last| last.4.clone()).expect("why");
    assert_eq!(decision, format!("refused here: register on this connection first ({code})"));
    rig.says(At::Edge, Input::Trace(false));
    rig.client_writes(flow, plain("alice", "", "", 602));
    assert!(rig.signals().is_empty(), "nobody looks any more");
}
