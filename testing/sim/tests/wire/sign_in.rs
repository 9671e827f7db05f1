//! What nodes tell each other about sign-in, and what an edge never learns.

use std::sync::Arc;
use std::time::Duration;

use edgeway_model::sign_in::{
    Deployment, DigestSecret, Profile, Revocation, Session, SignInFact, Subject, TokenKey, TokenProof, UserName,
};
use edgeway_model::world::Observable as _;
use edgeway_model::{Input, NodeId, Secret};

use crate::rig::{At, Rig};

/// When the rig's wall clock starts, Unix milliseconds.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

pub(crate) fn subject(user: &str) -> Subject {
    Subject { deployment: Deployment::default_one(), user: UserName::new(user).expect("legal") }
}

pub(crate) fn session(user: &str, since_ms: u64, lasts_ms: u64) -> Session {
    Session {
        subject: subject(user),
        until_ms: since_ms + lasts_ms,
        since_ms,
        verifier: Some(Secret::new([0xa1; 32])),
        digests: vec![DigestSecret {
            user: user.into(),
            realm: "example.com".into(),
            md5: Secret::new([0xb2; 16]),
            sha256: Secret::new([0xc3; 32]),
        }],
        tokens: vec![TokenProof { hash: Secret::new([0xd4; 32]), since_ms, until_ms: since_ms + lasts_ms }],
        devices: Some(vec!["CSFALICE".into()]),
        numbers: vec!["10001".into()],
        profile: Profile::default(),
    }
}

pub(crate) fn signs_in(rig: &mut Rig, core: usize, session: Session) {
    rig.says(At::Core(core), Input::SignIn(SignInFact::SignedIn(Arc::new(session))));
}

fn sessions(facts: &[SignInFact]) -> Vec<&str> {
    let user = |fact: &SignInFact| {
        if let SignInFact::SignedIn(session) = fact { Some(session.subject.user.clone()) } else { None }
    };
    facts.iter().filter_map(user).map(|user| if user == subject("alice").user { "alice" } else { "bob" }).collect()
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

const HOUR: u64 = 3_600_000;

#[test]
fn a_session_goes_from_core_to_core_and_never_to_an_edge() {
    let mut rig = Rig::with(2, "", "");
    rig.connect_cores(0, 1);
    rig.told(At::Core(1));
    signs_in(&mut rig, 0, session("alice", START_MS, HOUR));
    let told = rig.told(At::Core(1));
    assert_eq!(sessions(&told), ["alice"]);
    let Some(SignInFact::SignedIn(there)) = told.first() else { panic!("a session") };
    assert_eq!(**there, session("alice", START_MS, HOUR), "whole, secrets and all");
    assert!(sessions(&rig.told(At::Core(0))).is_empty(), "whoever said it is not told");
    assert!(sessions(&rig.told(At::Edge)).is_empty());
    for secret in [[0xa1; 16], [0xb2; 16], [0xc3; 16], [0xd4; 16]] {
        assert!(!contains(&rig.to_edge, &secret), "no secret goes to an edge");
    }
    assert!(!contains(&rig.to_edge, b"alice"), "nor who has signed in");
    // An older one, and the same again, are no news.
    signs_in(&mut rig, 0, session("alice", START_MS - 1, HOUR));
    signs_in(&mut rig, 0, session("alice", START_MS, HOUR));
    assert!(rig.told(At::Core(1)).is_empty());
}

#[test]
fn a_core_that_comes_back_is_told_again_in_portions() {
    let mut rig = Rig::with(2, "", "");
    let many = 450;
    for number in 0..many {
        signs_in(&mut rig, 0, session(&format!("user{number}"), START_MS, HOUR));
    }
    rig.connect_cores(0, 1);
    assert!(rig.core(1).signed_in() < many, "not all at once");
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.core(1).signed_in(), many);
    // What came from a peer is told on to one that is new: the core a user signed in at may have restarted.
    rig.disconnect_cores(0, 1);
    signs_in(&mut rig, 1, session("bob", START_MS + 1, HOUR));
    rig.connect_cores(0, 1);
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.core(0).signed_in(), many + 1);
    // All of them end by the wall clock.
    rig.advance(Duration::from_secs(3_601));
    assert_eq!((rig.core(0).signed_in(), rig.core(1).signed_in()), (0, 0));
}

#[test]
fn a_revocation_reaches_everybody_and_outlives_a_broken_link() {
    let mut rig = Rig::with(2, "", "");
    rig.connect_cores(0, 1);
    signs_in(&mut rig, 0, session("alice", START_MS, HOUR));
    rig.disconnect_cores(0, 1);
    rig.disconnect(1);
    rig.told(At::Edge);
    rig.told(At::Core(1));
    let revocation = Revocation { subject: subject("alice"), before_ms: START_MS + 10 };
    rig.says(At::Core(0), Input::SignIn(SignInFact::Revoked(revocation.clone())));
    let of = |facts: Vec<SignInFact>| {
        let is_it = |fact: &SignInFact| matches!(fact, SignInFact::Revoked(one) if *one == revocation);
        facts.iter().filter(|fact| is_it(fact)).count()
    };
    assert_eq!(of(rig.told(At::Edge)), 1);
    assert_eq!((rig.core(0).signed_in(), rig.core(1).signed_in()), (0, 1));
    // The other core hears of it when its link is back, tells the edge when that is back, and takes no
    // older session any more.
    rig.connect_cores(0, 1);
    assert_eq!((of(rig.told(At::Core(1))), rig.core(1).signed_in()), (1, 0));
    rig.connect(1);
    assert_eq!(of(rig.told(At::Edge)), 1);
    signs_in(&mut rig, 1, session("alice", START_MS + 9, HOUR));
    assert_eq!(rig.core(1).signed_in(), 0);
    signs_in(&mut rig, 1, session("alice", START_MS + 10, HOUR));
    assert_eq!((rig.core(0).signed_in(), rig.core(1).signed_in()), (1, 1));
}

#[test]
fn keys_reach_edges_and_cores_that_are_linked_before_and_after() {
    let mut rig = Rig::with(2, "", "");
    let keys = vec![TokenKey { id: [1; 8], public: [2; 32] }];
    rig.says(At::Core(0), Input::SignIn(SignInFact::Keys(keys.clone())));
    let told = |facts: Vec<SignInFact>| {
        let of_core1 = |fact: &SignInFact| matches!(fact, SignInFact::PeerKeys { peer, keys: told } if peer.as_str() == "core1" && *told == keys);
        facts.iter().filter(|fact| of_core1(fact)).count()
    };
    assert_eq!(told(rig.told(At::Edge)), 1);
    rig.disconnect(0);
    rig.connect(0);
    assert_eq!(told(rig.told(At::Edge)), 1);
    rig.connect_cores(0, 1);
    assert_eq!(told(rig.told(At::Core(1))), 1);
}

#[test]
fn the_http_side_knows_edges_and_cores_as_clients_reach_them() {
    let mut rig = Rig::with(2, "", "");
    rig.connect_cores(0, 1);
    let told = rig.told(At::Core(0));
    let contacts = told.iter().rev().find_map(|fact| {
        if let SignInFact::Contacts { edges, cores } = fact { Some((edges.clone(), cores.clone())) } else { None }
    });
    let (edges, cores) = contacts.expect("told");
    assert_eq!(edges.len(), 1);
    assert_eq!((edges[0].host.as_str(), edges[0].sip_port), ("192.0.2.100", 5_061));
    let names: Vec<_> = cores.iter().map(|core| core.node.as_str()).collect();
    assert_eq!(names, ["core1", "core2"], "this one first");
    let of_core2 = rig
        .told(At::Core(1))
        .into_iter()
        .rev()
        .find_map(|fact| if let SignInFact::Contacts { cores, .. } = fact { Some(cores) } else { None });
    let mut of_core2 = of_core2.expect("told");
    of_core2.reverse();
    assert_eq!(of_core2, cores, "every core names cores alike");
    // The edge takes a client that has such a Route to that core.
    for (index, core) in cores.iter().enumerate() {
        assert!(core.route.starts_with(&format!("<sip:10.0.1.{}:5061;transport=tls;zone-id=", index + 1)));
        assert!(core.route.ends_with(";directed;lr>"));
        let flow = rig.client();
        let text = crate::register::plain("alice", &format!("Route: {}\r\n", core.route), "", 600);
        rig.client_writes(flow, text);
        assert_eq!(rig.inside_reads().first().map(|(at, _, _)| *at), Some(index));
    }
    // Links that end are told of.
    rig.disconnect_cores(0, 1);
    rig.disconnect(0);
    let names = |nodes: &[NodeId]| nodes.iter().map(|node| node.as_str().to_owned()).collect::<Vec<_>>();
    let linked = |fact: &SignInFact| if let SignInFact::Linked(nodes) = fact { Some(names(nodes)) } else { None };
    let of_core: Vec<_> = rig.told(At::Core(0)).iter().filter_map(linked).collect();
    assert_eq!(of_core, [vec!["edge1".to_owned()], Vec::new()]);
    assert_eq!(rig.told(At::Edge).iter().filter_map(linked).next_back(), Some(vec!["core2".to_owned()]));
}

#[test]
fn an_edge_that_speaks_of_sign_in_is_cut_off() {
    let keys = SignInFact::Keys(vec![TokenKey { id: [1; 8], public: [2; 32] }]);
    let mut rig = Rig::new();
    // The edge's own node has no way to say it; whoever has taken the edge has.
    for input in [keys, SignInFact::SignedIn(Arc::new(session("alice", START_MS, HOUR)))] {
        rig.says(At::Edge, Input::SignIn(input));
        assert!(rig.told(At::Core(0)).iter().all(|fact| !matches!(fact, SignInFact::PeerKeys { .. })));
    }
    for frame in [
        edgeway_link::Frame::TokenKeys(Vec::new()),
        edgeway_link::Frame::SignedIn(Arc::new(session("alice", START_MS, HOUR))),
        edgeway_link::Frame::Revoked(Revocation { subject: subject("alice"), before_ms: START_MS }),
    ] {
        let mut rig = Rig::new();
        assert!(rig.core(0).status().links[0].up);
        rig.forge(0, frame.encode());
        assert!(rig.core(0).status().links.iter().all(|link| !link.up), "{frame:?}");
        assert_eq!(rig.core(0).signed_in(), 0);
    }
}
