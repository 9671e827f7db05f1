//! Packet indices: guessing them from 16 bits, and remembering which were seen.

/// Width of the window, packets.
const WIDTH: u64 = 128;

/// The indices of one source: the highest, and which of the 128 up to it were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    highest: u64,
    seen: u128,
}

/// How an index stands to those seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Higher than all.
    Newest,
    /// Within the window, not seen.
    Late,
    /// Within the window and seen.
    Duplicate,
    /// Below the window.
    TooOld,
}

impl ReplayWindow {
    /// A window whose first and only index seen is `index`.
    #[must_use]
    pub const fn starting_at(index: u64) -> Self {
        Self { highest: index, seen: 1 }
    }

    /// The highest index seen.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// How `index` stands to those accepted.
    #[must_use]
    pub const fn judge(&self, index: u64) -> Freshness {
        if index > self.highest {
            return Freshness::Newest;
        }
        let age = self.highest - index;
        if age >= WIDTH {
            Freshness::TooOld
        } else if self.seen >> age & 1 == 1 {
            Freshness::Duplicate
        } else {
            Freshness::Late
        }
    }

    /// Marks `index` as seen. Of no effect below the window.
    pub fn accept(&mut self, index: u64) {
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = if ahead < WIDTH { self.seen << ahead | 1 } else { 1 };
            self.highest = index;
        } else if self.highest - index < WIDTH {
            self.seen |= 1 << (self.highest - index);
        }
    }

    /// The index a 16-bit sequence number most likely stands for (RFC 3711 §3.3.1, appendix A);
    /// `None` if that would lie before the first.
    #[must_use]
    pub fn estimate(&self, sequence: u16) -> Option<u64> {
        let (rollover, last) = (self.highest >> 16, (self.highest & 0xffff) as i32);
        let distance = i32::from(sequence) - last;
        let rollover = if last < 0x8000 && distance > 0x8000 {
            rollover.checked_sub(1)?
        } else if last >= 0x8000 && distance < -0x8000 {
            rollover + 1
        } else {
            rollover
        };
        Some(rollover << 16 | u64::from(sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roll_over_is_followed_both_ways() {
        let mut window = ReplayWindow::starting_at(0xfffe);
        assert_eq!(window.estimate(2), Some(0x1_0002));
        window.accept(0x1_0002);
        assert_eq!(window.estimate(0xffff), Some(0xffff));
        assert_eq!(window.judge(0xffff), Freshness::Late);
        assert_eq!(window.judge(0xfffe), Freshness::Duplicate);
        assert_eq!(ReplayWindow::starting_at(3).estimate(0xfff0), None);
    }

    proptest::proptest! {
        /// Against a plain set: nothing is judged new twice, and nothing new is lost in the window.
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec(0u64..600, 1..200)) {
            let mut window = ReplayWindow::starting_at(steps[0]);
            let mut seen = std::collections::BTreeSet::from([steps[0]]);
            for &index in &steps[1..] {
                let highest = *seen.last().unwrap();
                let expected = match (index > highest, seen.contains(&index)) {
                    (true, _) => Freshness::Newest,
                    _ if highest - index >= WIDTH => Freshness::TooOld,
                    (false, true) => Freshness::Duplicate,
                    (false, false) => Freshness::Late,
                };
                assert_eq!(window.judge(index), expected);
                if expected != Freshness::TooOld {
                    window.accept(index);
                    seen.insert(index);
                }
            }
        }
    }
}
