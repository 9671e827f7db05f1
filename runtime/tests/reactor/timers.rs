//! Deadlines and the wall clock.

use std::time::Duration;

use edgeway_model::{Input, Moment};
use edgeway_runtime::reactor::ReactorLimits;

use crate::world::run;

#[test]
fn ticks_come_when_due_in_order_and_never_early() {
    run(ReactorLimits::default(), |world| async move {
        world.until("the wall clock", |log| matches!(log.inputs.first(), Some((_, Input::WallClock { .. })))).await;
        let start = world.log.borrow().inputs[0].0;
        let wanted: Vec<Moment> = [30, 60, 61, 200].map(|after| start + Duration::from_millis(after)).into();
        // A later deadline first, then earlier ones: the timer must move forward.
        world.log.borrow_mut().deadlines.push_back(wanted[3]);
        world.order([]);
        for at in wanted[..3].iter().rev() {
            world.log.borrow_mut().deadlines.push_front(*at);
            world.order([]);
        }
        let mut due = Vec::new();
        for at in &wanted {
            world.until("a tick", |log| log.deadlines.front() != Some(at)).await;
            due.push(world.log.borrow().inputs.last().expect("a tick").0);
        }
        for (at, came) in wanted.iter().zip(&due) {
            assert!(came >= at, "{came} is before {at}");
            assert!(came.since(*at) < Duration::from_millis(150), "{came} is long after {at}");
        }
        let times: Vec<_> = world.log.borrow().inputs.iter().map(|(now, _)| *now).collect();
        assert!(times.is_sorted(), "time never goes back");
    });
}
