use edgeway_model::sign_in::{Deployment, Profile, UserName};
use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_secs(480 * 60);
const INTERVAL_MS: u64 = 480 * 60_000;
const NOW: u64 = 1_800_000_000_000;

/// Both clocks, in step.
fn at(unix_ms: u64) -> Now {
    Now { moment: Moment::from_millis(1_000_000_000 + unix_ms - NOW), unix_ms }
}

fn user(name: &str) -> Subject {
    Subject { deployment: Deployment::default_one(), user: UserName::new(name).unwrap() }
}

fn verifier(name: &str, password: &str) -> Verifier {
    Verifier::new(&Secret::new([7; 32]), &user(name), password)
}

fn session(name: &str, password: &str, since_ms: u64) -> Arc<Session> {
    Arc::new(Session {
        subject: user(name),
        until_ms: since_ms + INTERVAL_MS,
        since_ms,
        verifier: Some(verifier(name, password).secret()),
        digests: Vec::new(),
        tokens: Vec::new(),
        devices: None,
        numbers: Vec::new(),
        profile: Profile::default(),
    })
}

fn cache(known: &[Arc<Session>]) -> Credentials {
    let mut cache = Credentials::new(INTERVAL);
    for session in known {
        assert_eq!(cache.remember(Arc::clone(session), at(session.since_ms)), Remembered::Yes);
    }
    cache
}

fn good(cache: &Credentials, name: &str, password: &str, now_ms: u64) -> bool {
    matches!(cache.look(&user(name), &verifier(name, password), at(now_ms)), Found::Good(_))
}

#[test]
fn what_was_verified_holds_for_the_interval_and_not_a_millisecond_longer() {
    let cache = cache(&[session("alice", "secret", NOW)]);
    for (now, holds) in [(NOW, true), (NOW + INTERVAL_MS - 1, true), (NOW + INTERVAL_MS, false)] {
        assert_eq!(good(&cache, "alice", "secret", now), holds, "never swept, {now}");
    }
    assert!(!good(&cache, "alice", "Secret", NOW), "a password has two cases");
    assert!(good(&cache, "ALICE", "secret", NOW), "a user has none");
    assert!(!good(&cache, "bob", "secret", NOW));
    assert_eq!(cache.len(), 1);
}

#[test]
fn verifiers_are_of_key_deployment_user_and_password() {
    let key = Secret::new([7; 32]);
    let subject = |deployment, name| Subject {
        deployment: Deployment::new(deployment).unwrap(),
        user: UserName::new(name).unwrap(),
    };
    let one = Verifier::new(&key, &subject("ab", "cd"), "ef");
    assert!(one.is(&Verifier::new(&key, &subject("ab", "cd"), "ef").secret()));
    for other in [
        Verifier::new(&Secret::new([8; 32]), &subject("ab", "cd"), "ef"),
        Verifier::new(&key, &subject("a", "bcd"), "ef"),
        Verifier::new(&key, &subject("abc", "d"), "ef"),
        Verifier::new(&key, &subject("ab", "c"), "def"),
        Verifier::new(&key, &subject("ab", "cd"), "eF"),
    ] {
        assert!(!one.is(&other.secret()));
    }
    assert!(!format!("{one:?}").contains("ef"));
}

#[test]
fn a_refusal_is_remembered_for_seconds_and_only_for_what_was_refused() {
    let mut cache = cache(&[session("alice", "right", NOW)]);
    cache.refuse(&user("alice"), &verifier("alice", "wrong"), at(NOW).moment);
    let refused = |now| matches!(cache.look(&user("alice"), &verifier("alice", "wrong"), at(now)), Found::Refused);
    assert!(refused(NOW) && refused(NOW + 2_999) && !refused(NOW + 3_000));
    assert!(good(&cache, "alice", "right", NOW), "a wrong guess costs the user nothing");
    assert!(matches!(cache.look(&user("alice"), &verifier("alice", "another"), at(NOW)), Found::Unknown));
    assert!(matches!(cache.look(&user("bob"), &verifier("bob", "wrong"), at(NOW)), Found::Unknown));
    // The refused password turns out to be the new one.
    assert_eq!(cache.remember(session("alice", "wrong", NOW + 1), at(NOW + 1)), Remembered::Yes);
    assert!(good(&cache, "alice", "wrong", NOW + 2));
    assert!(!good(&cache, "alice", "right", NOW + 2), "the old one is asked about again");
    for number in 0..REFUSED_MAX + 10 {
        cache.refuse(&user("bob"), &verifier("bob", &number.to_string()), at(NOW + 2).moment);
    }
    assert_eq!(cache.refused.len(), REFUSED_MAX);
}

#[test]
fn of_two_sessions_of_a_user_the_later_one_counts() {
    let early = session("alice", "old", NOW);
    let late = session("alice", "new", NOW + 1_000);
    for order in [[&early, &late], [&late, &early]] {
        let mut cache = Credentials::new(INTERVAL);
        for told in order {
            cache.remember(Arc::clone(told), at(NOW + 1_000));
        }
        assert!(good(&cache, "alice", "new", NOW + 2_000) && !good(&cache, "alice", "old", NOW + 2_000));
        assert_eq!((cache.len(), cache.by_end.len()), (1, 1));
    }
    let by_token = Arc::new(Session { verifier: None, ..Session::clone(&session("alice", "", NOW + 3_000)) });
    let mut cache = cache(&[late]);
    assert_eq!(cache.remember(by_token, at(NOW + 3_000)), Remembered::Superseded);
    assert!(good(&cache, "alice", "new", NOW + 3_000), "a sign-in by token leaves the password known");
}

#[test]
fn nothing_comes_back_from_before_a_revocation() {
    let mut cache = cache(&[session("alice", "secret", NOW), session("bob", "secret", NOW)]);
    let revocation = Revocation { subject: user("alice"), before_ms: NOW + 10 };
    assert!(cache.revoke(&revocation, NOW + 10));
    assert!(!cache.revoke(&revocation, NOW + 10), "told again, it is no news");
    assert!(!good(&cache, "alice", "secret", NOW + 10) && good(&cache, "bob", "secret", NOW + 10));
    assert_eq!(cache.remember(session("alice", "secret", NOW + 9), at(NOW + 11)), Remembered::Over);
    assert!(
        cache.revocations().covers(&user("alice"), NOW + 9) && !cache.revocations().covers(&user("alice"), NOW + 10)
    );
    assert_eq!(cache.remember(session("alice", "secret", NOW + 10), at(NOW + 11)), Remembered::Yes);
    // One that comes late must not end what began after it.
    let stale = Revocation { subject: user("alice"), before_ms: NOW + 5 };
    assert!(!cache.revoke(&stale, NOW + 12));
    assert!(good(&cache, "alice", "secret", NOW + 12));
    // It is kept until the last token it is about has expired, whatever the clocks and the interval: before a
    // restart that may have been a longer one.
    cache.sweep(at(NOW + 10 + millis(TOKEN_LIFE_MAX)));
    assert!(cache.revocations().covers(&user("alice"), NOW + 9));
    let mut restarted = Credentials::new(Duration::from_secs(60));
    assert!(restarted.revoke(&revocation, NOW + INTERVAL_MS), "kept on disk, and still about something");
    cache.sweep(at(NOW + 10 + millis(TOKEN_LIFE_MAX) + SKEW_MS));
    assert_eq!(cache.revocations().iter().count(), 0);
}

#[test]
fn a_purge_ends_the_cached_credential_and_no_token() {
    let mut cache = cache(&[session("alice", "secret", NOW)]);
    assert!(cache.purge(&user("alice")) && !cache.purge(&user("alice")));
    assert!(!good(&cache, "alice", "secret", NOW));
    assert!(!cache.revocations().covers(&user("alice"), NOW - 1));
}

#[test]
fn peers_with_strange_clocks_make_nothing_last() {
    let mut cache = Credentials::new(INTERVAL);
    let eternal = Arc::new(Session { until_ms: u64::MAX, ..Session::clone(&session("alice", "secret", NOW)) });
    assert_eq!(cache.remember(eternal, at(NOW)), Remembered::Yes);
    assert!(good(&cache, "alice", "secret", NOW + INTERVAL_MS - 1));
    assert!(!good(&cache, "alice", "secret", NOW + INTERVAL_MS));
    assert_eq!(cache.remember(session("bob", "secret", NOW + SKEW_MS + 1), at(NOW)), Remembered::Over);
    assert_eq!(cache.remember(session("carol", "secret", NOW - INTERVAL_MS), at(NOW)), Remembered::Over);
    cache.revoke(&Revocation { subject: user("dave"), before_ms: u64::MAX }, NOW);
    assert!(!cache.revocations().covers(&user("dave"), NOW + SKEW_MS));
}

#[test]
fn a_wall_clock_that_is_set_makes_nothing_last_longer() {
    const HOUR: u64 = 3_600_000;
    let mut cache = cache(&[session("alice", "right", NOW)]);
    cache.refuse(&user("alice"), &verifier("alice", "wrong"), at(NOW).moment);
    let set = |after_ms: u64, unix_ms: u64| Now { moment: at(NOW + after_ms).moment, unix_ms };
    let refused = |now| matches!(cache.look(&user("alice"), &verifier("alice", "wrong"), now), Found::Refused);
    let right = |now| matches!(cache.look(&user("alice"), &verifier("alice", "right"), now), Found::Good(_));
    // Back by an hour: what was refused is asked about after three seconds, and what was right when its time is over.
    assert!(refused(set(2_999, NOW - HOUR)) && !refused(set(3_000, NOW - HOUR)));
    assert!(!right(set(INTERVAL_MS, NOW + INTERVAL_MS - HOUR)));
    assert!(right(set(INTERVAL_MS - 1, NOW + INTERVAL_MS - HOUR)));
    assert!(!right(set(1_000, NOW - HOUR)), "of a time that is yet to come");
    assert!(right(set(1_000, NOW - SKEW_MS)));
    // On by an interval: no token could be made of it that is good.
    assert!(!right(set(1_000, NOW + INTERVAL_MS)));
    // A session of before the clock was set back is not later than one of now.
    let fresh = session("alice", "new", NOW - HOUR);
    assert_eq!(cache.remember(fresh, set(1_000, NOW - HOUR)), Remembered::Yes);
    assert!(matches!(cache.look(&user("alice"), &verifier("alice", "new"), set(1_001, NOW - HOUR)), Found::Good(_)));
    assert_eq!((cache.len(), cache.by_end.len()), (1, 1));
    assert_eq!(cache.sweep(set(1_000 + INTERVAL_MS, NOW)), 1, "in memory for no longer, either");
}

#[test]
fn sweeping_takes_what_has_ended_and_nothing_else() {
    let mut cache = cache(&[session("alice", "a", NOW), session("bob", "b", NOW + 1)]);
    assert_eq!(cache.sweep(at(NOW + INTERVAL_MS)), 1);
    assert!(good(&cache, "bob", "b", NOW + INTERVAL_MS));
    assert_eq!(cache.sweep(at(NOW + INTERVAL_MS + 1)), 1);
    assert!(cache.is_empty() && cache.by_end.is_empty());
}

#[test]
fn a_full_cache_forgets_what_ends_first() {
    let mut cache = Credentials::new(INTERVAL);
    let key = Secret::new([1; 32]);
    let blank = session("x", "x", NOW);
    for number in 0..=CREDENTIALS_MAX {
        let subject = user(&format!("u{number}"));
        let verifier = Some(Verifier::new(&key, &subject, "x").secret());
        let since_ms = NOW + u64::try_from(number).unwrap();
        let until_ms = since_ms + INTERVAL_MS;
        let one = Session { subject, verifier, since_ms, until_ms, ..Session::clone(&blank) };
        assert_eq!(cache.remember(Arc::new(one), at(since_ms)), Remembered::Yes);
    }
    assert_eq!(cache.len(), CREDENTIALS_MAX);
    let last = NOW + u64::try_from(CREDENTIALS_MAX).unwrap();
    assert!(cache.current(&user("u0"), at(last)).is_none() && cache.current(&user("u1"), at(last)).is_some());
}

proptest! {
    /// Whatever order facts arrive in, two cores that have heard the same agree.
    #[test]
    fn cores_that_heard_the_same_agree(
        facts in proptest::collection::vec((0_u64..50, any::<bool>()), 1..20),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 20),
    ) {
        let mut shuffled = facts.clone();
        for (from, index) in order.iter().enumerate().take(facts.len()) {
            let to = index.index(facts.len());
            shuffled.swap(from, to);
        }
        let hear = |facts: &[(u64, bool)]| {
            let mut cache = Credentials::new(INTERVAL);
            for (since, revoked) in facts {
                if *revoked {
                    cache.revoke(&Revocation { subject: user("alice"), before_ms: NOW + since }, NOW + 100);
                } else {
                    // One password at a time: what was verified at one moment is one password.
                    let password = since.to_string();
                    cache.remember(session("alice", &password, NOW + since), at(NOW + 100));
                }
            }
            cache
        };
        let (one, other) = (hear(&facts), hear(&shuffled));
        let current = |cache: &Credentials| cache.current(&user("alice"), at(NOW + 100)).map(|session| session.since_ms);
        prop_assert_eq!(current(&one), current(&other));
        if let Some(since) = current(&one) {
            prop_assert!(!one.revocations().covers(&user("alice"), since));
        }
        prop_assert_eq!(one.len(), one.by_end.len());
    }
}
