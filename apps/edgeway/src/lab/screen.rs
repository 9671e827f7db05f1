//! What the lab shows: one line per step, with a tick or a cross and the time since start.

use std::io::Write;
use std::time::{Duration, Instant};

/// Where lines go, and when the lab began.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    colour: bool,
    started: Instant,
    steps: u32,
}

impl Screen {
    pub(super) fn new(out: Box<dyn Write + Send>, colour: bool) -> Self {
        Self { out, colour, started: Instant::now(), steps: 0 }
    }

    /// Steps taken so far.
    pub(super) const fn steps(&self) -> u32 {
        self.steps
    }

    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// A plain line.
    pub(super) fn line(&mut self, text: &str) {
        // A closed pipe (`edgeway lab | head`) ends the output, not the lab.
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    /// A step that has been taken.
    pub(super) fn done(&mut self, text: &str) {
        self.steps += 1;
        self.step("✓", "32", text);
    }

    /// A step that has failed.
    pub(super) fn failed(&mut self, text: &str) {
        self.step("✗", "31", text);
    }

    /// Something to know that is neither.
    pub(super) fn note(&mut self, text: &str) {
        self.step("·", "33", text);
    }

    fn step(&mut self, mark: &str, colour: &str, text: &str) {
        let elapsed = self.started.elapsed().as_millis();
        let mark = if self.colour { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
        self.line(&format!("  {mark} {elapsed:>6} ms  {text}"));
    }
}

/// A short duration for people: `0.31 ms`, `12.4 ms`, `1.2 s`.
pub(super) fn short(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1_000.0;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else if ms < 1_000.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{:.1} s", ms / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_two_or_three_figures() {
        assert_eq!(short(Duration::from_micros(312)), "0.31 ms");
        assert_eq!(short(Duration::from_micros(12_440)), "12.4 ms");
        assert_eq!(short(Duration::from_millis(1_240)), "1.2 s");
    }
}
