//! Phone ↔ registrar ↔ phone on loopback, no edge and no core in between: what is red here is a
//! fault of the simulated servers.

use std::time::Duration;

use edgeway_lab_servers::{
    Call, CallState, Ending, MediaSecurity, Phone, PhoneConfig, PhoneError, PhoneTransport, Registrar, RegistrarConfig,
    Sound,
};

const DOMAIN: &str = "lab.example";
const SOON: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Way {
    Tcp,
    Udp,
}

async fn registrar(change: impl FnOnce(&mut RegistrarConfig)) -> Registrar {
    let mut config = RegistrarConfig::new(DOMAIN, &[("alice", "a-secret"), ("bob", "b-secret"), ("carol", "c")]);
    change(&mut config);
    Registrar::start(config).await.expect("free ports on loopback")
}

fn config(registrar: &Registrar, way: Way, user: &str, password: &str) -> PhoneConfig {
    let server = registrar.address();
    let transport = match way {
        Way::Tcp => PhoneTransport::Tcp { server },
        Way::Udp => PhoneTransport::Udp { server },
    };
    PhoneConfig::new(user, password, DOMAIN, transport)
}

/// Alice plays 450 Hz and expects 700; Bob the other way round.
async fn pair(registrar: &Registrar, way: Way, security: MediaSecurity) -> (Phone, Phone) {
    let mut alice = config(registrar, way, "alice", "a-secret");
    (alice.security, alice.sound, alice.expected_hz) = (security, Sound::Tone { hz: 450 }, Some(700));
    let mut bob = config(registrar, way, "bob", "b-secret");
    (bob.security, bob.sound, bob.expected_hz) = (security, Sound::Tone { hz: 700 }, Some(450));
    (Phone::register(alice).await.expect("alice"), Phone::register(bob).await.expect("bob"))
}

async fn talk(alice: &Phone, bob: &Phone) -> (Call, Call) {
    let (out, inward) =
        tokio::join!(alice.call("sip:bob@lab.example"), bob.answer_next(SOON, Duration::from_millis(50)));
    (out.expect("answered"), inward.expect("offered"))
}

async fn wait(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn assert_media(call: &Call) {
    let stats = call.stats();
    assert!(stats.sent >= 20 && stats.received >= 20, "{stats:?}");
    assert!(stats.tone_ok, "{stats:?}");
    assert_eq!((stats.lost, stats.refused), (0, 0), "{stats:?}");
    assert!(stats.delay_p50.is_some_and(|delay| delay < Duration::from_millis(100)), "{stats:?}");
    assert!(stats.reports_received >= 1, "{stats:?}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_a_right_one_leaves_a_binding() {
    for way in [Way::Tcp, Way::Udp] {
        let registrar = registrar(|_| {}).await;
        let wrong = Phone::register(config(&registrar, way, "alice", "guess")).await;
        assert!(matches!(wrong, Err(PhoneError::Refused { status: 401, .. })), "{way:?} {:?}", wrong.err());
        let unknown = Phone::register(config(&registrar, way, "mallory", "guess")).await;
        assert!(matches!(unknown, Err(PhoneError::Refused { status: 401, .. })));
        assert!(registrar.bindings("alice").await.is_empty());

        let alice = Phone::register(config(&registrar, way, "alice", "a-secret")).await.expect("registered");
        assert_eq!(registrar.bindings("alice").await.len(), 1);
        assert_eq!(alice.refresh().await, Ok(600));
        assert_eq!(registrar.bindings("alice").await.len(), 1, "the same instance replaces itself");
        alice.unregister().await.expect("removed");
        assert!(registrar.bindings("alice").await.is_empty());
        assert!(!*alice.registered().borrow());
    }
}

#[tokio::test]
async fn a_call_carries_tones_both_ways_and_either_side_hangs_up() {
    for (way, security) in [(Way::Tcp, MediaSecurity::Plain), (Way::Udp, MediaSecurity::Srtp)] {
        let registrar = registrar(|_| {}).await;
        let (alice, bob) = pair(&registrar, way, security).await;
        for alice_hangs_up in [true, false] {
            let (mut out, mut inward) = talk(&alice, &bob).await;
            wait(700).await;
            assert_media(&out);
            assert_media(&inward);
            let (first, second) = if alice_hangs_up { (&mut out, &mut inward) } else { (&mut inward, &mut out) };
            first.hang_up().await.expect("BYE answered");
            assert_eq!(first.ended(SOON).await, Ok(Ending::HungUpHere));
            assert_eq!(second.ended(SOON).await, Ok(Ending::HungUpThere));
        }
    }
}

#[tokio::test]
async fn hold_silences_the_other_side_and_resume_brings_it_back() {
    let registrar = registrar(|_| {}).await;
    let (alice, bob) = pair(&registrar, Way::Tcp, MediaSecurity::Srtp).await;
    let (out, mut inward) = talk(&alice, &bob).await;
    wait(200).await;
    out.hold().await.expect("hold");
    inward.held_there(true, SOON).await.expect("bob notices");
    assert!(out.view().held_here);
    wait(100).await;
    let (alice_before, bob_before) = (out.stats(), inward.stats());
    wait(300).await;
    let (alice_after, bob_after) = (out.stats(), inward.stats());
    assert_eq!(alice_before.received, alice_after.received, "bob is silent");
    assert_eq!(bob_before.sent, bob_after.sent);
    assert_eq!(bob_before.received, bob_after.received, "alice is silent");
    out.resume().await.expect("resume");
    inward.held_there(false, SOON).await.expect("bob notices");
    wait(600).await;
    assert!(out.stats().received > alice_after.received + 20);
    assert_media(&out);
    assert_media(&inward);
    out.hang_up().await.expect("over");
}

#[tokio::test]
async fn a_caller_who_gives_up_stops_the_ringing() {
    for way in [Way::Tcp, Way::Udp] {
        let registrar = registrar(|_| {}).await;
        let (alice, bob) = pair(&registrar, way, MediaSecurity::Plain).await;
        let mut out = alice.dial("sip:bob@lab.example").await.expect("dialled");
        let mut inward = bob.next_call(SOON).await.expect("offered");
        out.ringing(SOON).await.expect("ringing");
        out.hang_up().await.expect("cancelled");
        assert_eq!(inward.ended(SOON).await, Ok(Ending::Cancelled));
        assert_eq!(out.ended(SOON).await, Ok(Ending::Cancelled));
        assert!(matches!(inward.answer().await, Err(PhoneError::WrongState { .. })));
    }
}

#[tokio::test]
async fn refusals_reach_the_caller_as_they_are() {
    let registrar = registrar(|_| {}).await;
    let (alice, bob) = pair(&registrar, Way::Tcp, MediaSecurity::Plain).await;
    for (status, reason) in [(486, "Busy Here"), (603, "Decline")] {
        let refusing = async {
            let call = bob.next_call(SOON).await.expect("offered");
            call.refuse(status, reason).await.expect("refused");
        };
        let (out, ()) = tokio::join!(alice.call("sip:bob@lab.example"), refusing);
        assert_eq!(out.err(), Some(PhoneError::Refused { status, reason: reason.to_owned() }));
    }
    for (uri, status) in [("sip:nobody@lab.example", 404), ("sip:carol@lab.example", 480), ("sip:x@192.0.2.1", 403)] {
        let refused = alice.call(uri).await.err();
        assert!(matches!(refused, Some(PhoneError::Refused { status: s, .. }) if s == status), "{uri}: {refused:?}");
    }
    assert_eq!(alice.request("OPTIONS", "sip:lab.example").await, Ok(200));
    assert_eq!(alice.request("OPTIONS", "sip:bob@lab.example").await, Ok(200));
    assert_eq!(alice.request("FROBNICATE", "sip:bob@lab.example").await, Ok(405));
}

#[tokio::test]
async fn a_phone_without_encryption_and_one_that_insists_on_it_do_not_meet() {
    let registrar = registrar(|_| {}).await;
    let bob = Phone::register(config(&registrar, Way::Tcp, "bob", "b-secret")).await.expect("bob");
    let mut insisting = config(&registrar, Way::Tcp, "alice", "a-secret");
    insisting.security = MediaSecurity::Srtp;
    let alice = Phone::register(insisting).await.expect("alice");
    let there = alice.call("sip:bob@lab.example").await.err();
    assert!(matches!(there, Some(PhoneError::Refused { status: 488, .. })), "{there:?}");
    let back = bob.call("sip:alice@lab.example").await.err();
    assert!(matches!(back, Some(PhoneError::Refused { status: 488, .. })), "{back:?}");
}

#[tokio::test]
async fn of_two_phones_that_ring_the_first_to_answer_has_the_call() {
    let registrar = registrar(|_| {}).await;
    let (alice, desk) = pair(&registrar, Way::Tcp, MediaSecurity::Plain).await;
    let mobile = Phone::register(config(&registrar, Way::Udp, "bob", "b-secret")).await.expect("second phone");
    assert_eq!(registrar.bindings("bob").await.len(), 2);
    let calling = alice.dial("sip:bob@lab.example").await;
    let mut out = calling.expect("dialled");
    let mut on_desk = desk.next_call(SOON).await.expect("the desk phone rings");
    let mut on_mobile = mobile.next_call(SOON).await.expect("the mobile rings");
    on_mobile.answer().await.expect("answered");
    out.answered(SOON).await.expect("established");
    assert_eq!(on_desk.ended(SOON).await, Ok(Ending::Cancelled));
    assert_eq!(on_mobile.view().state, CallState::Established);
    out.hang_up().await.expect("BYE");
    assert_eq!(on_mobile.ended(SOON).await, Ok(Ending::HungUpThere));
}

#[tokio::test]
async fn an_invite_is_authenticated_where_the_registrar_asks_for_it() {
    let registrar = registrar(|config| (config.challenge_invite, config.record_route) = (true, true)).await;
    let (alice, bob) = pair(&registrar, Way::Tcp, MediaSecurity::Plain).await;
    let (mut out, mut inward) = talk(&alice, &bob).await;
    out.hold().await.expect("a re-INVITE by the recorded route");
    inward.hang_up().await.expect("BYE by the recorded route");
    assert_eq!(out.ended(SOON).await, Ok(Ending::HungUpThere));
    assert_eq!(inward.ended(SOON).await, Ok(Ending::HungUpHere));
}

#[tokio::test]
async fn a_phone_whose_connection_is_cut_comes_back_and_can_be_called() {
    let registrar = registrar(|_| {}).await;
    let (alice, bob) = pair(&registrar, Way::Tcp, MediaSecurity::Plain).await;
    let mut registered = bob.registered();
    bob.reset_connection().await;
    tokio::time::timeout(SOON, registered.wait_for(|on| !on)).await.expect("notices").expect("on");
    tokio::time::timeout(SOON, registered.wait_for(|on| *on)).await.expect("comes back").expect("on");
    assert_eq!(registrar.bindings("bob").await.len(), 1, "the old flow is gone");
    let (out, _inward) = talk(&alice, &bob).await;
    out.hang_up().await.expect("over");
}

#[tokio::test]
async fn without_a_registrar_the_phone_says_so() {
    let address = registrar(|_| {}).await.address();
    wait(20).await;
    let transport = PhoneTransport::Tcp { server: address };
    let refused = Phone::register(PhoneConfig::new("alice", "a", DOMAIN, transport)).await.err();
    assert!(matches!(refused, Some(PhoneError::Connect { server, .. }) if server == address), "{refused:?}");
}
