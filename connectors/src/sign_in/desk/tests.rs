use std::cell::Cell;
use std::future::Future;

use edgeway_model::sign_in::{Profile, UserName};
use edgeway_model::{Moment, NodeId};
use edgeway_runtime::http::LocalFuture;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{LocalSet, yield_now};

use super::super::health::{AUTHORITY_TROUBLED, AUTHORITY_UNAVAILABLE, USER_HOME_UNKNOWN};
use super::super::limits::QUIET_FOR;
use super::*;

const INTERVAL_MS: u64 = 480 * 60_000;
const NOW_MS: u64 = 1_800_000_000_000;

/// An authority with two users that can be switched off, and stopped in the middle.
struct Fake {
    password: RefCell<String>,
    asked: Cell<u32>,
    down: Cell<bool>,
    /// What it says of it.
    reached: Cell<Reached>,
    gate: Semaphore,
}

impl Authority for Fake {
    fn check<'a>(&'a self, subject: &'a Subject, credential: &'a Credential) -> LocalFuture<'a, Verdict> {
        self.asked.set(self.asked.get() + 1);
        Box::pin(async move {
            let _permit = self.gate.acquire().await;
            if self.down.get() {
                return Verdict::Unavailable { why: "it is down".into(), reached: self.reached.get() };
            }
            match subject.user.as_str() {
                "carol" => {
                    return Verdict::Unavailable { why: "her cluster is down".into(), reached: Reached::Somebody };
                }
                "dave" => return Verdict::Elsewhere,
                _ => {}
            }
            let (Credential::Password(text) | Credential::Bearer(text)) = credential;
            let exists = ["alice", "bob"].contains(&subject.user.as_str());
            if !(exists & (**text == **self.password.borrow())) {
                return Verdict::Refused;
            }
            Verdict::Good(Box::new(Known {
                user: subject.user.clone(),
                spelled: Some("aLice".to_owned()).filter(|_| subject.user.as_str() == "alice"),
                devices: Some(vec!["CSFALICE".into()]),
                numbers: vec!["1001".into()],
                profile: Profile::default(),
                until_ms: matches!(credential, Credential::Bearer(_)).then_some(NOW_MS + 900_000),
            }))
        })
    }
}

struct Rig {
    desk: Rc<Desk>,
    fake: Rc<Fake>,
    /// The authority of another deployment.
    other: Rc<Fake>,
    now_ms: Rc<Cell<u64>>,
    facts: RefCell<UnboundedReceiver<HttpFact>>,
}

impl Rig {
    fn new(attempts: u32) -> Self {
        Self::with(attempts, Some("example.com"), 7)
    }

    fn with(attempts: u32, realm: Option<&str>, secret: u8) -> Self {
        let fake = || {
            Rc::new(Fake {
                password: RefCell::new("right".into()),
                asked: Cell::new(0),
                down: Cell::new(false),
                reached: Cell::new(Reached::Nobody),
                gate: Semaphore::new(100),
            })
        };
        let (fake, other) = (fake(), fake());
        let now_ms = Rc::new(Cell::new(0));
        let settings = SignInSettings {
            credentials_refresh_interval: Duration::from_millis(INTERVAL_MS),
            credentials_cleanup_interval: Duration::from_secs(720 * 60),
            maximum_authorizations_per_period: attempts,
            rate_control_period: Duration::from_secs(300),
            key_file: String::new(),
        };
        let clock = Rc::clone(&now_ms);
        let clocks: Clocks =
            Rc::new(move || Now { moment: Moment::from_millis(clock.get()), unix_ms: NOW_MS + clock.get() });
        let (teller, facts) = Teller::new();
        let authority: Rc<dyn Authority> = Rc::clone(&fake) as Rc<dyn Authority>;
        let keys = Keys::new(&Secret::new([secret; 32])).unwrap();
        let realm = realm.map(str::to_owned);
        let place = Place::new(Deployment::default_one(), authority, realm).taking_tokens(true);
        let elsewhere = Place::new(Deployment::new("other").unwrap(), Rc::clone(&other) as Rc<dyn Authority>, None);
        let desk = Desk::new(&settings, [place, elsewhere], keys, clocks, teller);
        Self { desk: Rc::new(desk), fake, other, now_ms, facts: RefCell::new(facts) }
    }

    async fn sign_in(&self, user: &str, password: &str) -> Outcome {
        self.desk.sign_in(claimed(user), secret(password), from(1)).await
    }

    async fn good(&self, user: &str, password: &str) -> Arc<Session> {
        match self.sign_in(user, password).await {
            Outcome::Good(session) => session,
            other @ (Outcome::Refused | Outcome::Unavailable | Outcome::TooMany { .. }) => panic!("{other:?}"),
        }
    }

    /// What was told since the last call, counters left out.
    fn told(&self) -> Vec<HttpFact> {
        let mut facts = self.facts.borrow_mut();
        let mut told = Vec::new();
        while let Ok(fact) = facts.try_recv() {
            if !matches!(fact, HttpFact::Counted(_) | HttpFact::Chats(_)) {
                told.push(fact);
            }
        }
        told
    }
}

impl Rig {
    /// All that was told since the last call.
    fn steps(&self) -> Vec<String> {
        let mut facts = self.facts.borrow_mut();
        std::iter::from_fn(|| facts.try_recv().ok()).map(|fact| format!("{fact:?}")).collect()
    }
}

fn claimed(user: &str) -> Claimed {
    let name = UserName::new(user).unwrap();
    Claimed { subject: Subject { deployment: Deployment::default_one(), user: name }, spelled: user.into() }
}

fn secret(password: &str) -> Credential {
    Credential::Password(Zeroizing::new(password.to_owned()))
}

fn from(last: u8) -> Source {
    Source::at(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last)))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn the_authority_is_asked_once_in_an_interval() {
    run(async {
        let rig = Rig::new(1_000);
        for after in [0, 1, 1_000, INTERVAL_MS - 1] {
            rig.now_ms.set(after);
            let session = rig.good("alice", "right").await;
            assert_eq!((session.since_ms, session.until_ms), (NOW_MS, NOW_MS + INTERVAL_MS));
        }
        rig.good("ALICE", "right").await;
        assert_eq!(rig.fake.asked.get(), 1);
        rig.now_ms.set(INTERVAL_MS + 1_000);
        rig.good("alice", "right").await;
        assert_eq!(rig.fake.asked.get(), 2, "nothing was swept, and it is asked all the same");
    });
}

#[test]
fn credentials_that_no_server_inside_has_seen_are_not_counted() {
    run(async {
        let rig = Rig::new(2);
        let alice = claimed("alice").subject;
        for _ in 0..10 {
            assert_eq!(rig.desk.supplied(&alice, from(1)), Ok(()));
            rig.desk.unseen(&alice, from(1));
        }
        rig.good("alice", "right").await;
        assert_eq!(rig.desk.supplied(&alice, from(1)), Ok(()));
        assert_eq!(rig.desk.supplied(&alice, from(1)), Err(Duration::from_secs(300)));
        rig.desk.unseen(&alice, from(1));
        assert_eq!(rig.desk.supplied(&alice, from(1)), Ok(()));
    });
}

#[test]
fn who_asks_the_same_at_a_time_is_one_question() {
    run(async {
        let rig = Rig::new(1_000);
        let all = rig.fake.gate.acquire_many(100).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let desk = Rc::clone(&rig.desk);
            waiting.push(spawn_local(async move { desk.sign_in(claimed("alice"), secret("right"), from(1)).await }));
        }
        let desk = Rc::clone(&rig.desk);
        let wrong = spawn_local(async move { desk.sign_in(claimed("alice"), secret("wrong"), from(1)).await });
        while rig.fake.asked.get() < 2 {
            yield_now().await;
        }
        // The client that asked first goes away.
        waiting.remove(0).abort();
        drop(all);
        for answer in waiting {
            assert!(matches!(answer.await.unwrap(), Outcome::Good(_)));
        }
        assert!(matches!(wrong.await.unwrap(), Outcome::Refused));
        assert_eq!(rig.fake.asked.get(), 2);
        assert!(rig.desk.under_way.borrow().is_empty());
    });
}

#[test]
fn rate_control_comes_first_and_strangers_lock_nobody_out() {
    run(async {
        let rig = Rig::new(8);
        rig.good("alice", "right").await;
        rig.now_ms.set(1_000_000);
        for guess in 0..8 {
            let outcome = rig.desk.sign_in(claimed("alice"), secret(&format!("guess{guess}")), from(66)).await;
            assert!(matches!(outcome, Outcome::Refused));
        }
        let asked = rig.fake.asked.get();
        for place in [66, 67] {
            let outcome = rig.desk.sign_in(claimed("alice"), secret("right"), from(place)).await;
            let Outcome::TooMany { retry_after } = outcome else { panic!("{outcome:?}") };
            assert_eq!(retry_after, Duration::from_secs(300));
        }
        assert_eq!(rig.fake.asked.get(), asked);
        rig.good("alice", "right").await;
        rig.good("bob", "right").await;
    });
}

#[test]
fn wrong_passwords_ask_once_and_a_changed_one_takes_the_place_of_the_old() {
    run(async {
        let rig = Rig::new(1_000);
        rig.good("alice", "right").await;
        for _ in 0..5 {
            assert!(matches!(rig.sign_in("alice", "wrong").await, Outcome::Refused));
        }
        assert_eq!(rig.fake.asked.get(), 2, "repeating a wrong password asks nobody");
        rig.good("alice", "right").await;
        assert_eq!(rig.fake.asked.get(), 2, "a wrong guess leaves the right one cached");
        *rig.fake.password.borrow_mut() = "wrong".into();
        rig.now_ms.set(3_000);
        rig.good("alice", "wrong").await;
        assert_eq!(rig.fake.asked.get(), 3);
        assert!(matches!(rig.sign_in("alice", "right").await, Outcome::Refused));
        assert_eq!(rig.fake.asked.get(), 4);
    });
}

#[test]
fn an_authority_that_is_away_is_never_a_refusal() {
    run(async {
        let rig = Rig::new(1_000);
        rig.told();
        rig.good("bob", "right").await;
        rig.told();
        rig.fake.down.set(true);
        for number in 0..20 {
            assert!(matches!(rig.sign_in("alice", &number.to_string()).await, Outcome::Unavailable));
        }
        rig.good("bob", "right").await;
        assert_eq!(rig.fake.asked.get(), 4, "one that is away is not asked");
        let told = rig.told();
        let [HttpFact::Alarm(alarm)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((alarm.id, alarm.about.as_str()), (AUTHORITY_UNAVAILABLE, "default"));
        assert!(!alarm.cause.contains("alice"));
        rig.fake.down.set(false);
        rig.now_ms.set(1_000);
        rig.good("alice", "right").await;
        let told = rig.told();
        assert!(matches!(told.first(), Some(HttpFact::AlarmOver { id: AUTHORITY_UNAVAILABLE, .. })), "{told:?}");
    });
}

/// Ids of the alarms that were told, with a `-` before those that are over.
fn alarms(told: &[HttpFact]) -> Vec<String> {
    let alarm = |fact: &HttpFact| match fact {
        HttpFact::Alarm(alarm) => Some(format!("{} {}", alarm.id, alarm.about)),
        HttpFact::AlarmOver { id, about } => Some(format!("-{id} {about}")),
        HttpFact::SignIn(_)
        | HttpFact::Zones(_)
        | HttpFact::Counted(_)
        | HttpFact::Chats(_)
        | HttpFact::Notice(_)
        | HttpFact::Ended => None,
    };
    told.iter().filter_map(alarm).collect()
}

#[test]
fn users_who_cannot_be_checked_close_the_desk_to_nobody() {
    run(async {
        let rig = Rig::new(1_000);
        rig.told();
        // What anybody can bring about, as often as anybody wants.
        for number in 0..20 {
            assert!(matches!(rig.sign_in("carol", &number.to_string()).await, Outcome::Unavailable));
            assert!(matches!(rig.sign_in("dave", &number.to_string()).await, Outcome::Refused));
        }
        assert_eq!(rig.fake.asked.get(), 40);
        let told = rig.told();
        assert_eq!(alarms(&told), [format!("{AUTHORITY_TROUBLED} default"), format!("{USER_HOME_UNKNOWN} default")]);
        rig.fake.down.set(true);
        rig.fake.reached.set(Reached::NotAsked);
        for number in 0..20 {
            assert!(matches!(rig.sign_in("alice", &number.to_string()).await, Outcome::Unavailable));
        }
        rig.fake.down.set(false);
        rig.good("alice", "right").await;
        // Nothing ends them but time without a cause.
        assert_eq!(alarms(&rig.told()), Vec::<String>::new());
        let quiet_ms = u64::try_from(QUIET_FOR.as_millis()).unwrap();
        rig.now_ms.set(quiet_ms - 1);
        rig.desk.quiet();
        assert_eq!(alarms(&rig.told()), Vec::<String>::new());
        rig.now_ms.set(quiet_ms);
        rig.desk.quiet();
        let over = [format!("-{AUTHORITY_TROUBLED} default"), format!("-{USER_HOME_UNKNOWN} default")];
        assert_eq!(alarms(&rig.told()), over);
    });
}

#[test]
fn what_is_the_matter_with_tokens_is_no_matter_of_passwords() {
    run(async {
        let rig = Rig::new(1_000);
        rig.told();
        rig.fake.down.set(true);
        for number in 0..20 {
            let bearer = Credential::Bearer(Zeroizing::new(number.to_string()));
            let outcome = rig.desk.sign_in(claimed("alice"), bearer, from(1)).await;
            assert!(matches!(outcome, Outcome::Unavailable));
        }
        assert_eq!(rig.fake.asked.get(), 3);
        rig.fake.down.set(false);
        rig.good("alice", "right").await;
        assert_eq!(alarms(&rig.told()), [format!("{AUTHORITY_UNAVAILABLE} default (access tokens)")]);
        // A token that is refused without a question to anybody takes the place of none that is good.
        rig.now_ms.set(1_000);
        let bearer = |text: &str| Credential::Bearer(Zeroizing::new(text.to_owned()));
        assert!(matches!(rig.desk.sign_in(claimed("alice"), bearer("made up"), from(1)).await, Outcome::Refused));
        assert!(matches!(rig.desk.sign_in(claimed("alice"), bearer("right"), from(1)).await, Outcome::Good(_)));
        assert_eq!(alarms(&rig.told()), [format!("-{AUTHORITY_UNAVAILABLE} default (access tokens)")]);
    });
}

#[test]
fn an_outage_nobody_sees_the_end_of_is_over_in_the_end() {
    run(async {
        let rig = Rig::new(1_000);
        rig.fake.down.set(true);
        assert!(matches!(rig.sign_in("alice", "right").await, Outcome::Unavailable));
        rig.told();
        rig.now_ms.set(u64::try_from(QUIET_FOR.as_millis()).unwrap());
        rig.desk.quiet();
        assert_eq!(alarms(&rig.told()), [format!("-{AUTHORITY_UNAVAILABLE} default")]);
    });
}

#[test]
fn nobody_is_asked_for_what_is_no_password() {
    run(async {
        let rig = Rig::new(1_000);
        for nothing in [String::new(), "x".repeat(PASSWORD_BYTES_MAX + 1)] {
            assert!(matches!(rig.sign_in("alice", &nothing).await, Outcome::Refused));
        }
        assert_eq!(rig.fake.asked.get(), 0);
    });
}

#[test]
fn tokens_of_others_are_asked_about_each_time_and_bound_ours() {
    run(async {
        let rig = Rig::new(1_000);
        let bearer = || Credential::Bearer(Zeroizing::new("right".to_owned()));
        for time in 1..4 {
            let outcome = rig.desk.sign_in(claimed("alice"), bearer(), from(1)).await;
            let Outcome::Good(session) = outcome else { panic!("{outcome:?}") };
            assert_eq!((session.until_ms, &session.verifier, session.digests.len()), (NOW_MS + 900_000, &None, 0));
            assert_eq!(rig.desk.issue(&session).unwrap().expires_ms, NOW_MS + 900_000);
            assert_eq!(rig.fake.asked.get(), time);
        }
        // As a password it is another credential.
        let session = rig.good("alice", "right").await;
        assert_eq!((rig.fake.asked.get(), session.until_ms), (4, NOW_MS + INTERVAL_MS));
    });
}

#[test]
fn a_session_has_what_sip_needs_where_the_core_challenges() {
    run(async {
        let rig = Rig::new(8);
        rig.told();
        let session = rig.good("Alice", "right").await;
        let expected = |user: &str| digest_secret(user, "example.com", "right");
        // As typed, as the authority writes it, in lower case.
        assert_eq!(session.digests, ["Alice", "aLice", "alice"].map(expected));
        assert_eq!(session.digests[0].md5, digest::hashes("Alice", "example.com", "right").0);
        assert_eq!(
            (session.devices.as_deref(), session.numbers.as_slice()),
            (Some(&["CSFALICE".into()][..]), &["1001".into()][..])
        );
        let told = rig.told();
        let [HttpFact::SignIn(SignInFact::SignedIn(told))] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(*told, session);
        rig.good("Alice", "right").await;
        assert!(rig.told().is_empty(), "what is known is not told again");
        let other = Rig::with(8, None, 7);
        assert_eq!(other.good("alice", "right").await.digests, []);
    });
}

#[test]
fn a_spelling_that_is_new_is_learnt_while_there_is_room() {
    run(async {
        let rig = Rig::new(1_000);
        let names = |session: &Session| session.digests.iter().map(|one| one.user.clone()).collect::<Vec<_>>();
        assert_eq!(names(&*rig.good("bob", "right").await), ["bob"]);
        rig.told();
        for (typed, news, held) in [
            ("Bob", true, &["bob", "Bob"][..]),
            ("Bob", false, &["bob", "Bob"]),
            ("BOB", true, &["bob", "Bob", "BOB"]),
            ("bOb", false, &["bob", "Bob", "BOB"]),
        ] {
            let session = rig.good(typed, "right").await;
            assert_eq!(names(&session), held, "{typed}");
            let told = rig.told();
            match (news, told.as_slice()) {
                (true, [HttpFact::SignIn(SignInFact::SignedIn(told))]) => assert_eq!(*told, session),
                (false, []) => {}
                _ => panic!("{typed}: {told:?}"),
            }
        }
        assert_eq!(rig.fake.asked.get(), 1, "the authority was asked once");
        assert!(matches!(rig.sign_in("boB", "wrong").await, Outcome::Refused));
        assert!(rig.told().is_empty());
    });
}

#[test]
fn the_node_is_told_of_access_tokens_and_never_what_they_are() {
    run(async {
        let rig = Rig::new(4);
        let subject = claimed("alice").subject;
        let token = |text: &str| Zeroizing::new(text.to_owned());
        let told = || {
            let told = rig.told();
            let sessions = told.iter().map(|fact| {
                let HttpFact::SignIn(SignInFact::SignedIn(session)) = fact else { panic!("{fact:?}") };
                Arc::clone(session)
            });
            sessions.collect::<Vec<_>>()
        };
        told_keys(&rig);
        // Signed in by a token, beside a password.
        *rig.fake.password.borrow_mut() = "token.1".into();
        let outcome = rig.desk.sign_in(claimed("alice"), Credential::Bearer(token("token.1")), from(1)).await;
        assert!(matches!(outcome, Outcome::Good(_)));
        let [session] = told().try_into().unwrap();
        let [proof] = session.tokens.as_slice() else { panic!("{session:?}") };
        assert!(bearer::is_same(&proof.hash, &bearer::hash("token.1")));
        assert_eq!((proof.until_ms, session.until_ms), (NOW_MS + 900_000, NOW_MS + 900_000));
        assert!(!format!("{session:?}").contains("token.1"));
        *rig.fake.password.borrow_mut() = "right".into();
        rig.good("alice", "right").await;
        assert_eq!(told().len(), 1);
        // Known: nobody is asked, as often as it is shown.
        let asked = rig.fake.asked.get();
        for _ in 0..20 {
            rig.desk.acquaint(&subject, &token("token.1")).await;
        }
        assert_eq!((rig.fake.asked.get(), told().len()), (asked, 0));
        // A new one is asked about once, however many requests show it, and counts for no window.
        *rig.fake.password.borrow_mut() = "token.2".into();
        for _ in 0..20 {
            rig.desk.acquaint(&subject, &token("token.2")).await;
        }
        let [session] = told().try_into().unwrap();
        assert!(bearer::is_same(&session.tokens[0].hash, &bearer::hash("token.2")));
        assert_eq!(rig.fake.asked.get(), asked + 1);
        assert_eq!(rig.desk.session(&subject).unwrap().tokens.len(), 2, "side by side");
        // A bad one is asked about once in a while, and nothing comes of it.
        for _ in 0..20 {
            rig.desk.acquaint(&subject, &token("bad")).await;
        }
        assert_eq!((rig.fake.asked.get(), told().len()), (asked + 2, 0));
        *rig.fake.password.borrow_mut() = "right".into();
        rig.good("alice", "right").await;
        // One that has ended is news when it is shown again and the authority says so.
        rig.now_ms.set(900_000);
        *rig.fake.password.borrow_mut() = "token.2".into();
        rig.desk.acquaint(&subject, &token("token.2")).await;
        assert_eq!(rig.fake.asked.get(), asked + 3);
        // Where nobody asks SIP clients for them there is nothing to tell.
        let other = Rig::with(4, None, 7);
        told_keys(&other);
        other.desk.acquaint(&subject, &token("right")).await;
        assert_eq!((other.fake.asked.get(), other.told().len()), (0, 0));
    });
}

/// The first thing told is the key of tokens.
fn told_keys(rig: &Rig) {
    assert!(matches!(rig.told().as_slice(), [HttpFact::SignIn(SignInFact::Keys(_))]));
}

#[test]
fn tokens_hold_until_they_end_or_their_user_is_revoked() {
    run(async {
        let rig = Rig::new(1_000);
        let subject = claimed("alice").subject;
        let session = rig.good("alice", "right").await;
        let (one, two) = (rig.desk.issue(&session).unwrap(), rig.desk.issue(&session).unwrap());
        assert!(one.token != two.token && one.expires_ms == NOW_MS + INTERVAL_MS);
        rig.now_ms.set(INTERVAL_MS - 1);
        assert!(rig.desk.verify(&one.token).is_ok_and(|claims| claims.subject == subject));
        rig.now_ms.set(INTERVAL_MS);
        assert_eq!(rig.desk.verify(&one.token), Err(TokenFault::Refused(Refusal::Expired)));
        assert!(rig.desk.was_good(&one.token, &subject) && !rig.desk.was_good(&one.token, &claimed("bob").subject));
        rig.now_ms.set(2 * INTERVAL_MS);
        assert!(!rig.desk.was_good(&one.token, &subject));

        let session = rig.good("alice", "right").await;
        let token = rig.desk.issue(&session).unwrap().token;
        rig.told();
        rig.desk.revoke(&subject);
        assert_eq!(rig.desk.verify(&token), Err(TokenFault::Revoked));
        assert!(!rig.desk.was_good(&one.token, &subject));
        let told = rig.told();
        assert!(matches!(told.as_slice(), [HttpFact::SignIn(SignInFact::Revoked(_))]), "{told:?}");
        let asked = rig.fake.asked.get();
        rig.now_ms.set(2 * INTERVAL_MS + 1);
        let session = rig.good("alice", "right").await;
        assert_eq!(rig.fake.asked.get(), asked + 1);
        assert!(rig.desk.verify(&rig.desk.issue(&session).unwrap().token).is_ok());
    });
}

#[test]
fn who_is_revoked_while_the_authority_is_asked_does_not_slip_in() {
    run(async {
        let rig = Rig::new(8);
        let all = rig.fake.gate.acquire_many(100).await.unwrap();
        let desk = Rc::clone(&rig.desk);
        let waiting = spawn_local(async move { desk.sign_in(claimed("alice"), secret("right"), from(1)).await });
        while rig.fake.asked.get() < 1 {
            yield_now().await;
        }
        rig.desk.revoke(&claimed("alice").subject);
        drop(all);
        assert!(matches!(waiting.await.unwrap(), Outcome::Unavailable));
        assert!(rig.desk.session(&claimed("alice").subject).is_none());
    });
}

#[test]
fn who_is_revoked_after_the_authority_answered_gets_no_token() {
    run(async {
        let rig = Rig::new(8);
        let subject = claimed("alice").subject;
        let session = rig.good("alice", "right").await;
        rig.desk.revoke(&subject);
        rig.now_ms.set(5);
        assert_eq!(rig.desk.issue(&session).err(), Some(IssueFault::Revoked));
        // One who waits for the answer, and hears it late.
        let mut waiting = std::pin::pin!(rig.desk.sign_in(claimed("alice"), secret("right"), from(1)));
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending()));
        assert!(polled.await);
        while !rig.desk.under_way.borrow().is_empty() {
            yield_now().await;
        }
        assert!(rig.desk.session(&subject).is_some(), "the authority has said yes");
        rig.desk.revoke(&subject);
        assert!(matches!(waiting.await, Outcome::Unavailable));
    });
}

#[test]
fn a_token_that_a_core_makes_before_it_hears_of_the_revocation_is_revoked() {
    run(async {
        let (one, other) = (Rig::new(8), Rig::new(8));
        let session = one.good("alice", "right").await;
        other.desk.told(&SignInFact::SignedIn(Arc::clone(&session)));
        one.now_ms.set(10);
        let revocation = one.desk.revoke(&claimed("alice").subject);
        for rig in [&one, &other] {
            rig.now_ms.set(20);
        }
        let cached = other.good("alice", "right").await;
        let late = other.desk.issue(&cached).unwrap();
        assert_eq!(one.desk.verify(&late.token), Err(TokenFault::Revoked));
        other.desk.told(&SignInFact::Revoked(revocation));
        assert_eq!(other.desk.verify(&late.token), Err(TokenFault::Revoked));
    });
}

#[test]
fn one_slow_authority_leaves_the_users_of_others_alone() {
    run(async {
        let rig = Rig::new(u32::MAX);
        let _all = rig.fake.gate.acquire_many(100).await.unwrap();
        for number in 0..CHECKS_MAX {
            let desk = Rc::clone(&rig.desk);
            let claimed = claimed(&format!("u{number}"));
            spawn_local(async move { desk.sign_in(claimed, secret("right"), from(1)).await });
        }
        while usize::try_from(rig.fake.asked.get()).unwrap() < CHECKS_MAX {
            yield_now().await;
        }
        assert!(matches!(rig.sign_in("alice", "right").await, Outcome::Unavailable), "told at once");
        let mut elsewhere = claimed("alice");
        elsewhere.subject.deployment = Deployment::new("other").unwrap();
        for _ in 0..2 {
            let outcome = rig.desk.sign_in(elsewhere.clone(), secret("right"), from(1)).await;
            assert!(matches!(outcome, Outcome::Good(_)), "{outcome:?}");
        }
        assert_eq!(rig.other.asked.get(), 1);
    });
}

#[test]
fn what_another_core_has_checked_is_not_checked_again() {
    run(async {
        let (one, other) = (Rig::new(8), Rig::new(8));
        let session = one.good("alice", "right").await;
        other.desk.told(&SignInFact::SignedIn(session));
        other.good("alice", "right").await;
        assert_eq!(other.fake.asked.get(), 0);
        other.desk.told(&SignInFact::Revoked(one.desk.revoke(&claimed("alice").subject)));
        other.now_ms.set(1);
        other.good("alice", "right").await;
        assert_eq!(other.fake.asked.get(), 1);
        // A core with another secret shares tokens by its public key, and no credentials.
        let stranger = Rig::with(8, Some("example.com"), 8);
        let session = stranger.good("bob", "right").await;
        let token = stranger.desk.issue(&session).unwrap().token;
        assert_eq!(other.desk.verify(&token), Err(TokenFault::Refused(Refusal::Forged)));
        let keys = vec![stranger.desk.keys.borrow().own().clone()];
        other.desk.told(&SignInFact::PeerKeys { peer: NodeId::new("core3").unwrap(), keys });
        assert!(other.desk.verify(&token).is_ok());
        other.desk.told(&SignInFact::SignedIn(session));
        other.good("bob", "right").await;
        assert_eq!(other.fake.asked.get(), 2);
    });
}

#[test]
fn a_purge_asks_the_authority_again_and_ends_no_token() {
    run(async {
        let rig = Rig::new(8);
        let session = rig.good("alice", "right").await;
        let token = rig.desk.issue(&session).unwrap().token;
        assert!(rig.desk.purge(&session.subject) && !rig.desk.purge(&session.subject));
        assert!(rig.desk.verify(&token).is_ok());
        rig.good("alice", "right").await;
        assert_eq!(rig.fake.asked.get(), 2);
    });
}

/// Users nobody knows, wrong passwords (locked users are to the authority the same), and wrong passwords of users whose
/// right one is remembered: the same steps are taken, here and towards the authority. How long they take is measured
/// through a whole system, by `bench timing`.
#[test]
fn refusals_take_the_same_steps() {
    run(async {
        let rig = Rig::new(100);
        rig.good("bob", "right").await;
        rig.steps();
        let mut first: Option<Vec<(u32, Vec<String>)>> = None;
        for user in ["aline", "alice", "bob"] {
            let mut steps = Vec::new();
            // Anew, another, the first again at once, and again when what was refused is no longer remembered.
            for (password, wait_ms) in [("wrong", 0), ("worse", 1), ("wrong", 1), ("wrong", 10_000)] {
                rig.now_ms.set(rig.now_ms.get() + wait_ms);
                let before = rig.fake.asked.get();
                let begun = Instant::now();
                let outcome = rig.desk.sign_in(claimed(user), secret(password), from(66)).await;
                assert!(matches!(outcome, Outcome::Refused), "{user} {password}");
                assert!(begun.elapsed() >= REFUSAL_TAKES, "{user} {password}: {:?}", begun.elapsed());
                steps.push((rig.fake.asked.get() - before, rig.steps()));
            }
            let asked: Vec<u32> = steps.iter().map(|(asked, _)| *asked).collect();
            assert_eq!(asked, [1, 1, 0, 1], "{user}");
            assert_eq!(*first.get_or_insert_with(|| steps.clone()), steps, "{user}");
            // Each begins where the others began: with nothing refused lately.
            rig.now_ms.set(rig.now_ms.get() + 10_000);
        }
    });
}
