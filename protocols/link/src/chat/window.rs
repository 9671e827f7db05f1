//! How much may be on its way on a stream, seen from both of its ends.

use crate::limits::{
    CHAT_FRAME_COST_BYTES, CHAT_PIECE_BYTES_MIN, CHAT_WIDE_BYTES_MAX, CHAT_WINDOW_BYTES_MAX, CHAT_WINDOW_BYTES_MIN,
};

/// What a DATA frame of so many bytes costs.
pub(super) fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(CHAT_FRAME_COST_BYTES)
}

/// What all streams of a connection hold beyond the least window, together.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    held: usize,
}

impl Pool {
    fn replace(&mut self, before: u32, after: u32) {
        self.held = self.held.saturating_sub(extra(before)).saturating_add(extra(after));
    }

    /// A stream that held this is over.
    pub(super) fn give_back(&mut self, window: &Inward) {
        self.replace(window.held(), 0);
    }

    /// Bytes in it.
    pub(super) const fn held(&self) -> usize {
        self.held
    }
}

fn extra(held: u32) -> usize {
    held.saturating_sub(CHAT_WINDOW_BYTES_MIN) as usize
}

/// The receiver's view.
#[derive(Clone, Debug)]
pub(super) struct Inward {
    /// What the other end may still send.
    ahead: u32,
    /// What it has sent and nobody has read.
    unread: u32,
}

impl Inward {
    pub(super) const fn new() -> Self {
        Self { ahead: CHAT_WINDOW_BYTES_MIN, unread: 0 }
    }

    /// What this stream may make us hold now.
    const fn held(&self) -> u32 {
        self.ahead.saturating_add(self.unread)
    }

    /// What nobody has read.
    pub(super) const fn unread(&self) -> u32 {
        self.unread
    }

    /// A frame has come; whether it was allowed to.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let cost = cost(bytes);
        let Some(left) = self.ahead.checked_sub(cost) else { return false };
        self.ahead = left;
        self.unread = self.unread.saturating_add(cost);
        true
    }

    /// So much was read; what may be given for it now.
    pub(super) fn read(&mut self, cost: u32, pool: &mut Pool) -> Option<u32> {
        let before = self.held();
        self.unread = self.unread.saturating_sub(cost);
        pool.replace(before, self.held());
        let credit = self.due(pool)?;
        let before = self.held();
        self.ahead = self.ahead.saturating_add(credit);
        pool.replace(before, self.held());
        Some(credit)
    }

    /// How much of what has come must be read before there may be something to give for it.
    pub(super) fn until_due(&self) -> u32 {
        let stuck = self.ahead < CHAT_PIECE_BYTES_MIN + CHAT_FRAME_COST_BYTES;
        let at = if stuck { CHAT_WINDOW_BYTES_MAX / 2 } else { CHAT_WINDOW_BYTES_MIN / 2 };
        self.held().saturating_sub(at).max(1)
    }

    /// A sender that has used up its window gets a wide one, if there is room; all get the least one back.
    fn due(&self, pool: &Pool) -> Option<u32> {
        let held = self.held();
        if self.ahead < CHAT_PIECE_BYTES_MIN + CHAT_FRAME_COST_BYTES {
            let credit = CHAT_WINDOW_BYTES_MAX.saturating_sub(held);
            let after = pool.held().saturating_sub(extra(held)) + extra(CHAT_WINDOW_BYTES_MAX);
            if credit >= CHAT_WINDOW_BYTES_MAX / 2 && after <= CHAT_WIDE_BYTES_MAX {
                return Some(credit);
            }
        }
        let credit = CHAT_WINDOW_BYTES_MIN.saturating_sub(held);
        (credit >= CHAT_WINDOW_BYTES_MIN / 2).then_some(credit)
    }
}

/// The sender's view.
#[derive(Clone, Debug)]
pub(super) struct Outward {
    credit: u32,
}

impl Outward {
    pub(super) const fn new() -> Self {
        Self { credit: CHAT_WINDOW_BYTES_MIN }
    }

    /// How many of so many bytes may be sent in one frame now: all, or a piece that is worth it, or none.
    pub(super) fn room(&self, bytes: usize) -> usize {
        let room = self.credit.saturating_sub(CHAT_FRAME_COST_BYTES);
        if room as usize >= bytes || room >= CHAT_PIECE_BYTES_MIN { bytes.min(room as usize) } else { 0 }
    }

    /// So many were sent in one frame.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub(cost(bytes));
    }

    /// Credit has come; whether it is any that is given.
    pub(super) fn give(&mut self, bytes: u32) -> bool {
        let after = self.credit.saturating_add(bytes);
        let legal = bytes >= CHAT_WINDOW_BYTES_MIN / 2 && after <= CHAT_WINDOW_BYTES_MAX;
        if legal {
            self.credit = after;
        }
        legal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_a_window_narrow_and_a_roster_widens_it() {
        let mut pool = Pool::default();
        let (mut sender, mut reader) = (Outward::new(), Inward::new());
        for _ in 0..100 {
            assert_eq!(sender.room(200), 200);
            sender.sent(200);
            assert!(reader.take(200));
            if let Some(credit) = reader.read(cost(200), &mut pool) {
                assert!(sender.give(credit));
            }
            assert!(reader.held() <= CHAT_WINDOW_BYTES_MIN);
        }
        let mut left = 100_000;
        while left > 0 {
            let piece = sender.room(left);
            if piece == 0 {
                break;
            }
            sender.sent(piece);
            left -= piece;
            assert!(reader.take(piece));
            if let Some(credit) = reader.read(cost(piece), &mut pool) {
                assert!(sender.give(credit));
            }
        }
        assert_eq!(left, 0, "a sender never waits for a reader that has read all");
        assert!(reader.held() > CHAT_WINDOW_BYTES_MIN && reader.held() <= CHAT_WINDOW_BYTES_MAX);
        assert_eq!(pool.held(), extra(reader.held()));
    }

    #[test]
    fn when_many_are_wide_the_others_still_carry_messages() {
        let mut pool = Pool::default();
        let mut wide = Vec::new();
        for _ in 0..CHAT_WIDE_BYTES_MAX / 10_000 {
            let mut window = Inward::new();
            assert!(window.take(1_900));
            window.read(cost(1_900), &mut pool);
            wide.push(window);
        }
        assert!(pool.held() <= CHAT_WIDE_BYTES_MAX);
        let narrow = wide.last().expect("many");
        assert_eq!(narrow.held(), CHAT_WINDOW_BYTES_MIN, "it has the least one, and has it back");
        for window in &wide {
            pool.give_back(window);
        }
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn a_credit_of_nearly_nothing_or_too_much_is_none() {
        for (bytes, legal) in
            [(0, false), (1_023, false), (1_024, true), (30_720, true), (30_721, false), (u32::MAX, false)]
        {
            assert_eq!(Outward::new().give(bytes), legal, "{bytes}");
        }
    }
}
