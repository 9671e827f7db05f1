//! What the front knows of one client: where it is, since when, and what it is to do. Deadlines are coarse: a sweep
//! looks at all clients once a second, so that a message costs no timer.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::task::{Context, Waker};
use std::time::Instant;

use edgeway_model::NodeId;
use edgeway_xmpp::StreamFault;

use super::config::ChatBounds;

/// Where a client is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before TLS was agreed on.
    Outside,
    /// TLS is being agreed on.
    Handshake,
    /// Behind TLS, its header is not there yet.
    Inside,
    /// A core has it.
    SignIn,
    /// Signed in.
    SignedIn,
    /// One side has said the last it has to say.
    Farewell,
    /// Both have.
    Parted,
}

/// What a client's task is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// End the stream with these words, as soon as they can be said.
    Leave(StreamFault),
    /// End the stream without a word, so that it can be resumed.
    Part,
    /// End the connection.
    Cut,
}

/// Which deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It could have said more, and is told so.
    Slow(&'static str),
    /// There is nobody to be told.
    Gone(&'static str),
}

/// One client.
pub(super) struct Vitals {
    pub(super) number: u64,
    pub(super) client: SocketAddr,
    /// When it came: Unix milliseconds.
    pub(super) since_ms: u64,
    /// The core it is at, and for which domain.
    pub(super) at: RefCell<Option<(NodeId, Box<str>)>>,
    /// Bytes inside TLS, from the client and to it, that a core was given or has given.
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
    pub(super) signed_in: Cell<bool>,
    /// Its address was charged for an attempt of which nothing has come yet.
    pub(super) charged: Cell<bool>,
    /// What it has shown to the core was refused, so often; and nobody could look at it. Until somebody takes note.
    pub(super) refusals: Cell<u32>,
    pub(super) turned_away: Cell<bool>,
    opened: Instant,
    stage: Cell<Stage>,
    staged: Cell<Instant>,
    /// Since when it takes nothing of what waits for it.
    blocked: Cell<Option<Instant>>,
    /// When it was last sent something.
    spoken_to: Cell<Instant>,
    ping: Cell<bool>,
    order: Cell<Option<Order>>,
    task: RefCell<Option<Waker>>,
}

impl Vitals {
    pub(super) fn new(number: u64, client: SocketAddr, stage: Stage, since_ms: u64, now: Instant) -> Self {
        Self {
            number,
            client,
            since_ms,
            at: RefCell::default(),
            received: Cell::new(0),
            sent: Cell::new(0),
            signed_in: Cell::new(false),
            charged: Cell::new(false),
            refusals: Cell::new(0),
            turned_away: Cell::new(false),
            opened: now,
            stage: Cell::new(stage),
            staged: Cell::new(now),
            blocked: Cell::new(None),
            spoken_to: Cell::new(now),
            ping: Cell::new(false),
            order: Cell::new(None),
            task: RefCell::default(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// The client is one step further.
    pub(super) fn reach(&self, stage: Stage, now: Instant) {
        if self.stage.replace(stage) != stage {
            self.staged.set(now);
        }
    }

    /// Which deadline has passed.
    pub(super) fn overdue(&self, now: Instant, bounds: &ChatBounds) -> Option<Overdue> {
        let since = |moment: Instant| now.saturating_duration_since(moment);
        if self.blocked.get().is_some_and(|blocked| since(blocked) >= bounds.stalled_max) {
            return Some(Overdue::Gone("chat_cut_stalled"));
        }
        let staged = since(self.staged.get());
        match self.stage.get() {
            Stage::Outside | Stage::Inside if staged >= bounds.header_within => {
                Some(Overdue::Slow("chat_cut_slow_header"))
            }
            Stage::Handshake if staged >= bounds.handshake_within => Some(Overdue::Gone("chat_handshake_timed_out")),
            Stage::Inside | Stage::SignIn if since(self.opened) >= bounds.sign_in_within => {
                Some(Overdue::Slow("chat_cut_slow_sign_in"))
            }
            Stage::Farewell if staged >= bounds.farewell_max => Some(Overdue::Gone("chat_cut_farewell")),
            Stage::Outside | Stage::Handshake | Stage::Inside | Stage::SignIn => None,
            Stage::SignedIn | Stage::Farewell | Stage::Parted => None,
        }
    }

    /// Has the task send a ping if the client has been sent nothing for long.
    pub(super) fn ping_if_quiet(&self, now: Instant, bounds: &ChatBounds) {
        let quiet = now.saturating_duration_since(self.spoken_to.get()) >= bounds.ping_after;
        if quiet && self.stage.get() == Stage::SignedIn && !self.ping.replace(true) {
            self.wake();
        }
    }

    /// Whether a ping is to be sent.
    pub(super) fn wants_ping(&self) -> bool {
        self.ping.get()
    }

    /// The client was sent something.
    pub(super) fn speak(&self, now: Instant) {
        self.spoken_to.set(now);
        self.ping.set(false);
    }

    /// Notes whether something waits for the client, and whether some of it has left.
    pub(super) fn waits(&self, waits: bool, moved: bool, now: Instant) {
        match self.blocked.get() {
            Some(_) if !waits => self.blocked.set(None),
            Some(_) if moved => self.blocked.set(Some(now)),
            None if waits => self.blocked.set(Some(now)),
            Some(_) | None => {}
        }
    }

    /// Gives an order; one that says as much already stands. Whether this one counts.
    pub(super) fn order(&self, order: Order) -> bool {
        let counts = match (self.order.get(), order) {
            (None, _) | (Some(Order::Leave(_)), Order::Part | Order::Cut) | (Some(Order::Part), Order::Cut) => true,
            (Some(_), _) => false,
        };
        if counts {
            self.order.set(Some(order));
            self.wake();
        }
        counts
    }

    /// What the task is to do; it is woken if that changes.
    pub(super) fn attend(&self, context: &Context<'_>) -> Option<Order> {
        let mut task = self.task.borrow_mut();
        if task.as_ref().is_none_or(|known| !known.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
        self.order.get()
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeway_xmpp::Condition;

    use super::*;

    fn vitals(stage: Stage) -> Vitals {
        Vitals::new(1, SocketAddr::from(([192, 0, 2, 1], 40_000)), stage, 0, Instant::now())
    }

    fn after(vitals: &Vitals, seconds: u64) -> Option<Overdue> {
        vitals.overdue(vitals.opened + Duration::from_secs(seconds), &ChatBounds::default())
    }

    #[test]
    fn each_stage_has_its_time() {
        let cases = [
            (Stage::Outside, 10, Overdue::Slow("chat_cut_slow_header")),
            (Stage::Handshake, 5, Overdue::Gone("chat_handshake_timed_out")),
            (Stage::Inside, 10, Overdue::Slow("chat_cut_slow_header")),
            (Stage::SignIn, 60, Overdue::Slow("chat_cut_slow_sign_in")),
            (Stage::Farewell, 10, Overdue::Gone("chat_cut_farewell")),
        ];
        for (stage, seconds, overdue) in cases {
            let vitals = vitals(stage);
            assert_eq!((after(&vitals, seconds - 1), after(&vitals, seconds)), (None, Some(overdue)), "{stage:?}");
        }
        assert_eq!(after(&vitals(Stage::SignedIn), 1_000_000), None);
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut_and_one_that_takes_a_little_is_not() {
        let vitals = vitals(Stage::SignedIn);
        let at = |seconds| vitals.opened + Duration::from_secs(seconds);
        vitals.waits(true, false, at(0));
        vitals.waits(true, false, at(20));
        assert_eq!((after(&vitals, 29), after(&vitals, 30)), (None, Some(Overdue::Gone("chat_cut_stalled"))));
        vitals.waits(true, true, at(25));
        assert_eq!((after(&vitals, 54), after(&vitals, 55)), (None, Some(Overdue::Gone("chat_cut_stalled"))));
        vitals.waits(false, true, at(40));
        assert_eq!(after(&vitals, 1_000), None);
    }

    #[test]
    fn an_order_stands_until_it_is_to_end_at_once() {
        let vitals = vitals(Stage::SignedIn);
        let leave = Order::Leave(StreamFault::new(Condition::Reset, "x"));
        assert_eq!([vitals.order(leave), vitals.order(leave)], [true, false]);
        assert_eq!([vitals.order(Order::Cut), vitals.order(leave), vitals.order(Order::Cut)], [true, false, false]);
        assert_eq!(vitals.order.get(), Some(Order::Cut));
    }

    #[test]
    fn only_who_has_signed_in_and_heard_nothing_is_pinged() {
        let (now, bounds) = (Instant::now(), ChatBounds::default());
        for (stage, seconds, wants) in
            [(Stage::SignedIn, 149, false), (Stage::SignedIn, 151, true), (Stage::SignIn, 151, false)]
        {
            let vitals = vitals(stage);
            vitals.speak(now);
            vitals.ping_if_quiet(now + Duration::from_secs(seconds), &bounds);
            assert_eq!(vitals.wants_ping(), wants, "{stage:?} {seconds}");
            vitals.speak(now);
            assert!(!vitals.wants_ping());
        }
    }
}
