//! Access tokens in SIP (RFC 8898): whoever has signed in with one is known by it, for as long as it lasts, and
//! it goes no further than it must.

use std::sync::Arc;
use std::time::Duration;

use edgeway_model::Input;
use edgeway_model::sign_in::SignInFact;
use edgeway_model::sign_in::{Revocation, Session};
use edgeway_sip::digest;
use edgeway_sip::{Message, Name};

use crate::identity::{PASSWORD, TOKEN_MS, Words, accept, outcome, proof, rig, session, signs_in, status, zones};
use crate::rig::At;
use crate::sign_in::START_MS;

fn challenges(message: &Message) -> Vec<String> {
    message.lines(Name::WwwAuthenticate).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// A user without a password anybody knows.
fn by_token(user: &str, number: &str, since_ms: u64) -> Session {
    let session = session("default", user, number, since_ms);
    Session { digests: Vec::new(), until_ms: since_ms + TOKEN_MS, tokens: vec![proof(user, since_ms)], ..session }
}

#[test]
fn a_token_registers_and_goes_no_further() {
    let mut rig = rig(true);
    signs_in(&mut rig, by_token("dora", "10004", START_MS));
    let flow = rig.client();
    let words = Words::new("REGISTER", "10004", 1);
    let (told, inside) = outcome(&mut rig, flow, &words);
    let told = told.expect("told");
    let asked = challenges(&told);
    assert_eq!((told.status(), inside.len(), asked.len()), (Some(401), 0, 2));
    assert!(asked[0].starts_with("Digest ") && asked[1] == "Bearer realm=\"example.com\"", "{asked:?}");
    let (told, inside) = outcome(&mut rig, flow, &words.bearing("dora"));
    assert!(told.is_none(), "{told:?}");
    assert_eq!(inside[0].header(Name::Authorization), None, "the registrar does not see it");
    accept(&mut rig, flow, &inside[0]);
    // The same in other requests, and without: the connection is hers.
    for (cseq, words) in
        [(20, Words::new("INVITE", "10004", 20).bearing("dora")), (30, Words::new("MESSAGE", "10004", 30))]
    {
        let (_, inside) = outcome(&mut rig, flow, &words);
        assert_eq!(inside.len(), 1, "{cseq}");
        assert_eq!(inside[0].header(Name::Authorization), None);
    }
    // Another's on her connection is another's.
    let (told, inside) = outcome(&mut rig, flow, &Words::new("MESSAGE", "10001", 40).bearing("alice"));
    assert_eq!((status(told.as_ref()), inside.len()), (Some(403), 0));
}

#[test]
fn what_is_no_good_token_is_said_to_be_none() {
    let mut rig = rig(true);
    for (line, error) in [
        ("Authorization: Bearer nobodys\r\n", true),
        ("Authorization: Bearer\r\n", true),
        ("Authorization: Bearer a b\r\n", true),
        ("Authorization: Bearer e30.alice.c2ln\r\nAuthorization: Bearer e30.alice.c2ln\r\n", true),
        ("Authorization: Basic YTpi\r\n", false),
    ] {
        let flow = rig.client();
        let (told, inside) = outcome(&mut rig, flow, &Words::new("REGISTER", "10001", 1).with(line));
        assert!(inside.is_empty(), "{line}");
        let asked = challenges(&told.expect("told"));
        assert_eq!(asked[1].ends_with(", error=\"invalid_token\""), error, "{line}: {asked:?}");
    }
}

#[test]
fn devices_have_tokens_side_by_side_and_each_ends_by_itself() {
    let mut rig = rig(true);
    signs_in(&mut rig, by_token("dora", "10004", START_MS));
    // Another device, later: another token. The password, too.
    let later = proof("doras-other", START_MS + 100_000);
    signs_in(&mut rig, Session { tokens: vec![later], since_ms: START_MS + 1, ..by_token("dora", "10004", START_MS) });
    signs_in(&mut rig, Session { tokens: Vec::new(), ..session("default", "dora", "10004", START_MS + 2) });
    let registers = |rig: &mut crate::rig::Rig, token: &str, cseq| {
        let flow = rig.client();
        let (told, inside) = outcome(rig, flow, &Words::new("REGISTER", "10004", cseq).bearing(token));
        assert_ne!(told.is_none(), inside.is_empty());
        told.is_none()
    };
    assert!(registers(&mut rig, "dora", 10) && registers(&mut rig, "doras-other", 20));
    rig.advance(Duration::from_millis(TOKEN_MS));
    rig.inside_reads();
    assert!(!registers(&mut rig, "dora", 30) && registers(&mut rig, "doras-other", 40));
    rig.advance(Duration::from_millis(100_000));
    rig.inside_reads();
    assert!(!registers(&mut rig, "doras-other", 50));
    let flow = rig.client();
    let challenge = outcome(&mut rig, flow, &Words::new("REGISTER", "10004", 60)).0.expect("told");
    let answer = Words::new("REGISTER", "10004", 61).answering(&challenge, "dora", PASSWORD, 1);
    assert_eq!(outcome(&mut rig, flow, &answer).1.len(), 1, "the password still holds");
}

#[test]
fn a_token_of_before_a_revocation_is_none() {
    let mut rig = rig(true);
    signs_in(&mut rig, by_token("dora", "10004", START_MS));
    signs_in(&mut rig, Session { tokens: vec![proof("new", START_MS + 9)], ..by_token("dora", "10004", START_MS + 9) });
    let subject = session("default", "dora", "10004", START_MS).subject;
    rig.says(At::Core(0), Input::SignIn(SignInFact::Revoked(Revocation { subject, before_ms: START_MS + 5 })));
    // Told again by somebody who has not heard of it.
    signs_in(&mut rig, by_token("dora", "10004", START_MS));
    for (token, cseq, good) in [("dora", 10, false), ("new", 20, true)] {
        let flow = rig.client();
        let (_, inside) = outcome(&mut rig, flow, &Words::new("REGISTER", "10004", cseq).bearing(token));
        assert_eq!(inside.len(), usize::from(good), "{token}");
    }
}

#[test]
fn nobody_is_asked_for_tokens_where_there_are_none() {
    let mut rig = rig(true);
    let mut off = zones(true);
    off.revision = 2;
    for one in &mut off.deployments {
        if let edgeway_model::zones::Challenge::Core { bearer, .. } = &mut one.challenge {
            *bearer = false;
        }
    }
    rig.says(At::Core(0), Input::Zones(Arc::new(off)));
    let flow = rig.client();
    let (told, inside) = outcome(&mut rig, flow, &Words::new("REGISTER", "10001", 1).bearing("alice"));
    assert!(inside.is_empty());
    let asked = challenges(&told.expect("told"));
    assert!(asked.len() == 1 && asked[0].starts_with("Digest "), "{asked:?}");
}

#[test]
fn a_registrar_that_wants_the_token_sees_it() {
    let mut rig = rig(true);
    let mut oauth = zones(true);
    oauth.revision = 2;
    oauth.deployments[0].zones[0].name = "CEOAuth-cucm1.example.com".into();
    rig.says(At::Core(0), Input::Zones(Arc::new(oauth)));
    rig.advance(Duration::from_millis(50));
    let flow = rig.client();
    let (_, inside) = outcome(&mut rig, flow, &Words::new("REGISTER", "10001", 1).bearing("alice"));
    let seen: Vec<_> = inside[0].lines(Name::Authorization).map(String::from_utf8_lossy).collect();
    assert_eq!(seen, ["Bearer e30.alice.c2ln"]);
    // The answer to our own challenge stays ours.
    let other = rig.client();
    let challenge = outcome(&mut rig, other, &Words::new("REGISTER", "10002", 10)).0.expect("told");
    let answer = Words::new("REGISTER", "10002", 11).answering(&challenge, "bob", PASSWORD, 1);
    assert_eq!(outcome(&mut rig, other, &answer).1[0].header(Name::Authorization), None);
}

#[test]
fn a_name_is_known_in_the_spellings_it_was_given_in() {
    let mut rig = rig(true);
    let spelled = |user: &str| {
        let (md5, sha256) = digest::hashes(user, "example.com", PASSWORD);
        edgeway_model::sign_in::DigestSecret { user: user.into(), realm: "example.com".into(), md5, sha256 }
    };
    let digests = ["Dora", "DORA", "dora"].map(spelled).to_vec();
    signs_in(&mut rig, Session { digests, ..session("default", "dora", "10004", START_MS) });
    for (cseq, (user, good)) in
        (10..).step_by(10).zip([("Dora", true), ("DORA", true), ("dora", true), ("dORA", false)])
    {
        let flow = rig.client();
        let challenge = outcome(&mut rig, flow, &Words::new("REGISTER", "10004", cseq)).0.expect("told");
        let answer = Words::new("REGISTER", "10004", cseq + 1).answering(&challenge, user, PASSWORD, 1);
        assert_eq!(outcome(&mut rig, flow, &answer).1.len(), usize::from(good), "{user}");
    }
}
