//! The errors the field's clients read: status and Warning tell which node of the path failed.

use std::time::Duration;

use edgeway_model::attempt::{Attempt, Kind, Reason};
use edgeway_sip::{Message, Name};

use crate::register::plain;
use crate::rig::{REGISTRAR, Rig};

/// What is wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    RegistrarRefusesConnections,
    RegistrarIsSilent,
    RegistrarIsSilentToEverything,
    DomainIsNotServed,
    RouteLeadsElsewhere,
    NoCoreIsConnected,
    RegistrarSaysSo(&'static str),
}

const CORE: &str = "10.0.1.1:5060";
const EDGE: &str = "192.0.2.100:5061";

/// Code, who speaks, and what.
type Warning = (u16, &'static str, &'static str);

/// The table. 503 with Warning 382 ("System in Maintenance Mode") is not in it: there is no maintenance
/// mode yet.
const VERDICTS: [(Wrong, u16, Option<Warning>, Reason); 8] = [
    (Wrong::RegistrarRefusesConnections, 408, Some((383, CORE, "next hop not reachable")), Reason::NextHop),
    (Wrong::RegistrarIsSilentToEverything, 408, Some((383, CORE, "next hop not reachable")), Reason::NextHop),
    (Wrong::RegistrarIsSilent, 408, Some((399, CORE, "Request Timeout")), Reason::TimedOut),
    (Wrong::DomainIsNotServed, 404, Some((399, CORE, "Policy Response")), Reason::Policy),
    (Wrong::RouteLeadsElsewhere, 404, Some((399, CORE, "Policy Response")), Reason::Policy),
    (Wrong::NoCoreIsConnected, 503, Some((399, EDGE, "no core is connected")), Reason::NoCore),
    (
        Wrong::RegistrarSaysSo("403 Forbidden\r\nWarning: 399 cucm1 \"Registration is active for another client\""),
        403,
        Some((399, "cucm1", "Registration is active for another client")),
        Reason::Refused,
    ),
    (Wrong::RegistrarSaysSo("439 First Hop Lacks Outbound Support\r\nX-Other: 1"), 439, None, Reason::Refused),
];

fn verdict(wrong: Wrong) -> (Message, Attempt) {
    let mut rig = Rig::new();
    let flow = rig.client();
    let mut register = plain("alice", "", "", 600);
    match wrong {
        Wrong::RegistrarRefusesConnections => {
            rig.inside_alive = false;
            rig.inside_closes();
        }
        Wrong::RegistrarIsSilentToEverything => rig.inside_silent = true,
        Wrong::DomainIsNotServed => register = register.replace("sip:example.com SIP", "sip:example.net SIP"),
        Wrong::RouteLeadsElsewhere => register = plain("alice", "Route: <sip:198.51.100.9;lr>\r\n", "", 600),
        Wrong::NoCoreIsConnected => rig.disconnect(0),
        Wrong::RegistrarIsSilent | Wrong::RegistrarSaysSo(_) => {}
    }
    rig.client_writes(flow, register);
    if let Wrong::RegistrarSaysSo(line) = wrong {
        let (core, _, got) = rig.inside_reads().pop().expect("it reaches the registrar");
        let answer = got.respond(499, "X").to_tag("r").build();
        let answer = String::from_utf8(answer.to_vec()).expect("text").replace("499 X", line);
        rig.inside_writes(core, REGISTRAR, answer);
    }
    rig.advance(Duration::from_secs(40));
    let told = rig.attempts().pop().expect("the operator hears of it");
    (rig.client_reads_last(flow), told.1)
}

#[test]
fn every_failure_is_told_in_the_words_of_the_field() {
    for (wrong, status, warning, reason) in VERDICTS {
        let (answer, told) = verdict(wrong);
        assert_eq!(answer.status(), Some(status), "{wrong:?}");
        // Our own words have the code in front; words that clients look for are as they were.
        let code = told.code.map(|code| code.to_string());
        let in_front = code.as_ref().filter(|_| matches!(wrong, Wrong::NoCoreIsConnected));
        let in_front = in_front.map(|code| format!("{code} ")).unwrap_or_default();
        let expected = warning.map(|(code, agent, text)| format!("{code} {agent} \"{in_front}{text}\""));
        let found = answer.header(Name::Warning).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(found, expected, "{wrong:?}");
        // The operator finds it by the code that the client was told, unless it is a registrar that speaks.
        assert_eq!((told.kind, told.reason), (Kind::Register, reason), "{wrong:?}");
        assert_eq!(code.is_none(), matches!(wrong, Wrong::RegistrarSaysSo(_)), "{wrong:?}");
        let said = code.is_some_and(|code| String::from_utf8_lossy(answer.bytes()).contains(&code));
        assert_eq!(said, told.code.is_some(), "{wrong:?}");
        let who = (told.user.map(|user| user.reveal().clone()), told.client.map(|client| client.reveal().to_string()));
        assert_eq!(who, (Some("alice@example.com".to_owned()), Some("203.0.113.7".to_owned())), "{wrong:?}");
        assert_eq!(answer.header(Name::RetryAfter).is_some(), status == 503, "{wrong:?}");
        // Whoever speaks, the client's own Via is marked (RFC 3581).
        let via = answer.top_via();
        assert_eq!((via.received(), via.rport()), (Some("203.0.113.7"), Some(Some(58_980))), "{wrong:?}");
    }
}

#[test]
fn nothing_but_register_and_invite_hears_of_a_timeout_too_late() {
    let mut rig = Rig::new();
    let flow = rig.client();
    crate::register::register(&mut rig, flow, &plain("alice", "", "", 600), "");
    let message = plain("alice", "", "", 601).replace("REGISTER", "MESSAGE");
    rig.client_writes(flow, message);
    assert_eq!(rig.inside_reads().len(), 1);
    rig.advance(Duration::from_secs(60));
    assert!(rig.client_reads(flow).is_empty(), "RFC 4320 §4.2: the client has given up by itself");
    assert_eq!(rig.edge.transactions(), 0);
}

#[test]
fn no_provisional_answer_to_anything_but_invite_goes_on() {
    let mut rig = Rig::new();
    let flow = rig.client();
    crate::register::register(&mut rig, flow, &plain("alice", "", "", 600), "");
    rig.client_writes(flow, plain("alice", "", "", 602).replace("REGISTER", "MESSAGE"));
    let (core, _, got) = rig.inside_reads().pop().expect("it reaches the registrar");
    for status in [100, 182, 200] {
        let answer = got.respond(status, "x").to_tag("r").build();
        rig.inside_writes(core, REGISTRAR, answer);
    }
    assert_eq!(rig.client_reads_one(flow).status(), Some(200), "RFC 4320 §4.1");
}
