//! Bulk connections whose other end is gone, or has come anew.

use std::rc::Rc;
use std::time::{Duration, Instant};

use edgeway_model::NodeId;
use edgeway_model::sign_in::SignInFact;
use http::{Request, Response};
use tokio::time::timeout;

use super::super::limits::{BULK_PING_EVERY, BULK_PONG_WITHIN};
use super::super::{Body, HttpFact, HttpHandle, Inside, LocalFuture, Part, Teller};
use super::rig::{LONG, Rig, node, run};

/// It does not bear being told anything.
struct Fragile;

impl Inside for Fragile {
    fn serve(self: Rc<Self>, _: NodeId, _: Request<Body>) -> LocalFuture<'static, Response<Body>> {
        Box::pin(std::future::pending())
    }

    fn told(&self, _: SignInFact) {
        panic!("a fault of the program, for the sake of the test");
    }

    fn operate(
        self: Rc<Self>,
        _: String,
        question: serde_json::Value,
    ) -> LocalFuture<'static, Result<serde_json::Value, String>> {
        Box::pin(async move { Ok(question) })
    }
}

#[test]
fn a_thread_that_ends_unasked_says_so() {
    run(async {
        let (teller, mut facts) = Teller::new();
        let make = Box::new(|_| Ok(Rc::new(Fragile) as Rc<dyn Inside>));
        let http = HttpHandle::start(Part::Inside(make), teller).unwrap();
        http.told(SignInFact::Linked(Vec::new()));
        let told = timeout(Duration::from_secs(10), facts.recv()).await.expect("it is told");
        assert!(matches!(told, Some(HttpFact::Ended)), "{told:?}");
    });
}

#[test]
fn a_connection_that_carries_nothing_any_more_is_dialled_again() {
    run(async {
        let mut rig = Rig::start(&[]).await;
        let wire = rig.add_core_behind_a_wire("core1").await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        assert_eq!(rig.get(&format!("{LONG}/x"), &cookie).await.status, 200);
        wire.die();
        // Neither end is told anything.
        rig.until("it is noticed", |rig| rig.counted("https_bulk_opened") == 2).await;
        assert_eq!(rig.get(&format!("{LONG}/x"), &cookie).await.status, 200);
    });
}

#[test]
fn when_the_link_goes_the_connection_is_looked_at_at_once() {
    run(async {
        let mut rig = Rig::start(&[]).await;
        let wire = rig.add_core_behind_a_wire("core1").await;
        rig.cores[0].http.told(SignInFact::Linked(vec![node("edge1")]));
        wire.die();
        let died = Instant::now();
        rig.cores[0].http.told(SignInFact::Linked(Vec::new()));
        rig.until("it is noticed", |rig| rig.counted("https_bulk_opened") == 2).await;
        // Twice the time of a check, where something was heard just before, and the pause before the next dial; without
        // the check it would be the whole of a PING's interval and its answer's time.
        let unasked = BULK_PING_EVERY + BULK_PONG_WITHIN;
        assert!(died.elapsed() < unasked - Duration::from_secs(2), "{:?}", died.elapsed());
    });
}

#[test]
fn of_two_connections_of_one_core_the_older_ends() {
    run(async {
        let mut rig = Rig::start(&["core1"]).await;
        assert_eq!(rig.counted("https_bulk_ended"), 0);
        rig.add_core("core1").await;
        rig.until("the older one has ended", |rig| rig.counted("https_bulk_ended") > 0).await;
    });
}
