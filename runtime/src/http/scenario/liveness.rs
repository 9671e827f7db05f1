//! Bulk connections whose other end is gone, or has come anew.

use std::time::{Duration, Instant};

use edgeway_model::sign_in::SignInFact;

use super::rig::{LONG, Rig, node, run};

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
        assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
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
