//! Rate control and the credential cache, for real: what clients get, and what the call manager was asked.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use edgeway_lab_servers::Phone;
use edgeway_lab_servers::client::b64;
use edgeway_lab_servers::client::http::Ask;
use edgeway_lab_servers::uc::{Fault, HTTPS_PORT, Service};

use crate::system::{CUCM, DOMAIN, EDGE_HOST, System, edge_config, password};

/// Another address of this machine.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];

/// How often one user may sign in within the period.
const ATTEMPTS: usize = 8;

fn cookie(got: &edgeway_lab_servers::client::http::Got) -> String {
    let line = got.header("set-cookie").expect("a cookie");
    line.split(';').next().expect("its value").to_owned()
}

fn devices_of(user: &str) -> Ask {
    let lane = b64(&format!("{DOMAIN}/https/{CUCM}/{HTTPS_PORT}"));
    Ask::get(EDGE_HOST, &format!("/{lane}/cucm-uds/user/{user}/devices"))
}

#[tokio::test]
async fn eight_pass_the_ninth_waits_and_unified_cm_was_asked_once() {
    let system = System::start("rate", "").await;
    let mut first = None;
    for attempt in 1..=ATTEMPTS {
        let got = system.sign_in("alice", &password("alice")).await;
        assert_eq!(got.status, 200, "attempt {attempt}");
        first = first.or(Some(got));
    }
    let ninth = system.sign_in("alice", &password("alice")).await;
    assert_eq!(ninth.status, 429);
    let wait: u64 = ninth.header("retry-after").and_then(|value| value.parse().ok()).expect("seconds");
    assert!((1..=300).contains(&wait), "{wait}");
    assert_eq!(ninth.header("set-cookie"), None);
    assert_eq!(system.cluster.checks("alice"), 1, "one check in the interval");

    // The same user from another address is the same user; another user is not.
    let mut question = edge_config().basic("alice", &password("alice"));
    question.from = Some(IpAddr::from(ELSEWHERE));
    let elsewhere = system.ask(&question).await.expect("an answer");
    assert_eq!(elsewhere.status, 429);
    assert_eq!(system.sign_in("bob", &password("bob")).await.status, 200);

    // Whoever has a token is not counted, not even now.
    let cookie = cookie(&first.expect("the first"));
    for _ in 0..2 * ATTEMPTS {
        let asked = devices_of("alice").basic("alice", &password("alice")).with("cookie", &cookie);
        assert_eq!(system.ask(&asked).await.expect("an answer").status, 200);
    }
    assert_eq!(system.cluster.checks("alice"), 1, "and the core asked nothing more");
}

#[tokio::test]
async fn when_the_period_is_over_the_user_passes_again() {
    let period = Duration::from_secs(2);
    let system = System::start("period", "rate_control_period = \"2s\"").await;
    let begun = Instant::now();
    for attempt in 1..=ATTEMPTS {
        assert_eq!(system.sign_in("alice", &password("alice")).await.status, 200, "attempt {attempt}");
    }
    let mut refused = 0;
    loop {
        match system.sign_in("alice", &password("alice")).await.status {
            200 => break,
            429 if begun.elapsed() < 5 * period => refused += 1,
            other => panic!("{other} after {:?}", begun.elapsed()),
        }
        tokio::time::sleep(period / 40).await;
    }
    assert!(refused > 0, "the ninth waits");
    let took = begun.elapsed();
    assert!(took >= period && took < 2 * period, "refused attempts are not counted: {took:?}");
}

#[tokio::test]
async fn requests_with_a_token_leave_all_attempts_to_the_user() {
    let system = System::start("token", "").await;
    let cookie = cookie(&system.sign_in("dave", &password("dave")).await);
    for _ in 0..3 * ATTEMPTS {
        let asked = devices_of("dave").basic("dave", &password("dave")).with("cookie", &cookie);
        assert_eq!(system.ask(&asked).await.expect("an answer").status, 200);
    }
    for attempt in 2..=ATTEMPTS {
        assert_eq!(system.sign_in("dave", &password("dave")).await.status, 200, "attempt {attempt}");
    }
    assert_eq!(system.sign_in("dave", &password("dave")).await.status, 429);
}

#[tokio::test]
async fn a_phone_that_answers_its_challenges_leaves_all_attempts_to_the_user() {
    let system = System::start("digest", "").await;
    let phone = Phone::register(system.phone_of("dave").await).await.expect("registered");
    for _ in 0..2 * ATTEMPTS {
        phone.refresh().await.expect("again");
    }
    assert_eq!(system.cluster.bindings(CUCM, "1004").await.len(), 1);
    for attempt in 2..=ATTEMPTS {
        assert_eq!(system.sign_in("dave", &password("dave")).await.status, 200, "attempt {attempt}");
    }
    assert_eq!(system.sign_in("dave", &password("dave")).await.status, 429);
    // The phone is none the worse for it.
    assert_eq!(phone.refresh().await.expect("again"), 120);
    assert_eq!(system.cluster.checks("dave"), 1);
}

#[tokio::test]
async fn sign_ins_of_one_user_at_the_same_time_become_one_check() {
    let system = System::start("together", "").await;
    system.cluster.fault(CUCM, Service::Uds, Some(Fault::Slow(Duration::from_millis(300))));
    let secret = password("carol");
    let all = (0..ATTEMPTS).map(|_| system.sign_in("carol", &secret));
    let mut together = Vec::new();
    for one in all {
        together.push(one);
    }
    let answers = join_all(together).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(system.cluster.checks("carol"), 1);
}

/// Runs all of them at the same time; their statuses.
async fn join_all(futures: Vec<impl Future<Output = edgeway_lab_servers::client::http::Got>>) -> Vec<u16> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, status) in &mut waiting {
            if status.is_none()
                && let std::task::Poll::Ready(got) = future.as_mut().poll(context)
            {
                *status = Some(got.status);
            }
        }
        let done: Option<Vec<u16>> = waiting.iter().map(|(_, status)| *status).collect();
        done.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

#[tokio::test]
async fn a_changed_password_is_noticed_and_a_wrong_one_is_asked_each_time() {
    let system = System::start("changed", "").await;
    assert_eq!(system.sign_in("bob", &password("bob")).await.status, 200);
    for _ in 0..2 {
        assert_eq!(system.sign_in("bob", "a guess").await.status, 401);
    }
    // A wrong one is never answered from memory as right, and the right one still is.
    assert_eq!(system.sign_in("bob", &password("bob")).await.status, 200);
    system.cluster.change(|state| {
        let bob = state.users.iter_mut().find(|user| user.name == "bob").expect("bob");
        bob.password = "the new one".to_owned();
    });
    assert_eq!(system.sign_in("bob", "the new one").await.status, 200);
    // Two at the beginning of the interval and for each that was not known: 1 + 2 guesses + 1 new one, or fewer if
    // refusals are remembered for a moment.
    let checks = system.cluster.checks("bob");
    assert!((3..=4).contains(&checks), "{checks}");
}

#[tokio::test]
async fn tokens_of_unified_cm_sign_in_and_are_not_remembered() {
    let system = System::start("oauth", "").await;
    let token = system.cluster.token("bob");
    let bearer = edge_config().with("authorization", &format!("Bearer {token}"));
    for _ in 0..3 {
        let got = system.ask(&bearer).await.expect("an answer");
        assert_eq!(got.status, 200, "{}", got.text());
    }
    // Whatever a token has proved, the password has still to be proved.
    let before = system.cluster.checks("bob");
    assert_eq!(system.sign_in("bob", &password("bob")).await.status, 200);
    assert_eq!(system.cluster.checks("bob"), before + 1);
    let forged = edge_config().with("authorization", &format!("Bearer {token}x"));
    assert_eq!(system.ask(&forged).await.expect("an answer").status, 401);
}

#[tokio::test]
async fn unified_cm_that_is_away_means_503_and_whoever_is_remembered_signs_in() {
    let system = System::start("away", "").await;
    let nodes = system.cluster.state().nodes;
    for node in &nodes {
        system.cluster.fault(&node.name, Service::Uds, Some(Fault::Silent));
    }
    let got = system.sign_in("carol", &password("carol")).await;
    assert_eq!(got.status, 503);
    assert!(got.header("retry-after").is_some());
    // Whoever is remembered signs in all the same.
    assert_eq!(system.sign_in("probe", &password("probe")).await.status, 200);
}
