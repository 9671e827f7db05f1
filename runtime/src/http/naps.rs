//! While chat is busy, the HTTP thread looks at its sockets at most once in [`NAP`]: what has come by then is handled in one
//! turn, and leaves in fewer records and fewer calls of the system. Each message alone would wake the thread, whose caches are
//! cold by then. Nobody naps while a request over HTTPS is under way, or where chat is quiet.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::limits::{BUSY_CHAT_PIECES_PER_SECOND, BUSY_CHAT_WITHIN, NAP};

thread_local! {
    /// Pieces of chat that went through this thread and were not looked at yet.
    static PIECES: Cell<u32> = const { Cell::new(0) };
    static REST: Cell<Option<Rest>> = const { Cell::new(None) };
}

/// One more piece of chat goes through this thread, in whatever direction.
pub(crate) fn note_chat() {
    PIECES.set(PIECES.get().saturating_add(1));
}

/// Whether this thread naps between its turns: what is said in one of them need not wait for more.
pub(crate) fn naps() -> bool {
    REST.get().is_some_and(|rest| rest.naps)
}

/// Called before the thread waits for its sockets: naps, where that is right.
pub(super) fn before_waiting(counts: &Counts) {
    let pieces = PIECES.take();
    let rest = REST.get();
    if pieces == 0 && !rest.is_some_and(|rest| rest.busy) {
        // No chat: not even the clock is read.
        return;
    }
    let now = Instant::now();
    let mut rest = rest.unwrap_or_else(|| Rest::new(now));
    let nap = rest.nap(pieces, counts.is_serving(), now);
    if !nap.is_zero() {
        std::thread::sleep(nap);
        rest.waits_since = Instant::now();
    }
    REST.set(Some(rest));
}

/// When the thread last went to wait, and how busy chat is.
#[derive(Clone, Copy, Debug)]
struct Rest {
    waits_since: Instant,
    counted_since: Instant,
    pieces: u32,
    busy: bool,
    /// It is busy, and no request is under way.
    naps: bool,
}

impl Rest {
    const fn new(now: Instant) -> Self {
        Self { waits_since: now, counted_since: now, pieces: 0, busy: false, naps: false }
    }

    /// The thread has nothing more to do; so many `pieces` have gone through it since this was asked last, and requests are
    /// being served or not. How long it may leave its sockets alone.
    fn nap(&mut self, pieces: u32, serves: bool, now: Instant) -> Duration {
        self.pieces = self.pieces.saturating_add(pieces);
        let counted = now.saturating_duration_since(self.counted_since);
        if counted >= BUSY_CHAT_WITHIN {
            self.busy =
                u128::from(self.pieces) * 1_000_000 >= u128::from(BUSY_CHAT_PIECES_PER_SECOND) * counted.as_micros();
            (self.counted_since, self.pieces) = (now, 0);
        }
        let worked = now.saturating_duration_since(std::mem::replace(&mut self.waits_since, now));
        self.naps = self.busy && !serves;
        if self.naps { NAP.saturating_sub(worked) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(400);

    /// A thread that goes to wait every [`STEP`], each time after so many pieces; how long it naps in the end.
    fn nap_after(rest: &mut Rest, pieces: u32, serves: bool, now: &mut Instant) -> Duration {
        let mut nap = Duration::ZERO;
        for _ in 0..200 {
            *now += STEP;
            nap = rest.nap(pieces, serves, *now);
        }
        nap
    }

    #[test]
    fn it_naps_while_chat_is_busy_and_no_request_is_under_way() {
        let mut now = Instant::now();
        let mut rest = Rest::new(now);
        assert_eq!(nap_after(&mut rest, 0, false, &mut now), Duration::ZERO, "quiet");
        assert_eq!(nap_after(&mut rest, 2, false, &mut now), NAP - STEP, "busy: the rest of the time");
        assert_eq!(nap_after(&mut rest, 2, true, &mut now), Duration::ZERO, "busy, with a request");
        assert_eq!(nap_after(&mut rest, 2, false, &mut now), NAP - STEP, "busy still");
        assert_eq!(nap_after(&mut rest, 0, false, &mut now), Duration::ZERO, "quiet again");
    }

    #[test]
    fn the_first_piece_after_a_pause_waits_for_nothing() {
        let mut now = Instant::now();
        let mut rest = Rest::new(now);
        nap_after(&mut rest, 2, false, &mut now);
        assert!(rest.busy);
        assert_eq!(rest.nap(1, false, now + NAP), Duration::ZERO, "it has waited long enough");
        assert_eq!(rest.nap(1, false, now + NAP + Duration::from_secs(60)), Duration::ZERO, "a minute of silence");
        assert!(!rest.busy);
    }

    #[test]
    fn a_request_is_under_way_until_it_is_dropped() {
        let counts = std::sync::Arc::<Counts>::default();
        let purposes = [super::super::Purpose::Proxy, super::super::Purpose::Provisioning];
        for serving in purposes.map(|purpose| counts.serve(purpose)) {
            assert!(counts.is_serving());
            drop(serving);
        }
        assert!(!counts.is_serving());
    }
}
