//! The SIP ladder: who said what to whom, seen at the phones and at the registrar.
//!
//! What passes between edge and core is not SIP on a wire of its own and has no row.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edgeway_lab_servers::{Observer, Seen};

use super::limits::LADDER_ROWS_MAX;

/// Columns between two lanes.
const SPACING: usize = 12;

/// Columns before the first lane: the time.
const MARGIN: usize = 14;

/// Longest title shown.
const TITLE_MAX: usize = 64;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) at: Instant,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) what: String,
}

/// The messages so far; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Ladder(Arc<Mutex<VecDeque<Row>>>);

impl Ladder {
    /// An observer for someone whose counterpart on the wire is `other`.
    pub(super) fn watch(&self, other: &'static str) -> Observer {
        let ladder = self.clone();
        Observer::new(move |seen: Seen| {
            let (from, to) = if seen.sent { (seen.who, other.to_owned()) } else { (other.to_owned(), seen.who) };
            ladder.push(Row { at: seen.at, from, to, what: seen.what });
        })
    }

    fn push(&self, row: Row) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() == LADDER_ROWS_MAX {
            rows.pop_front();
        }
        rows.push_back(row);
    }

    /// Forgets what was seen.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The rows so far.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Draws rows between lanes, in the order of time; `start` is the zero of the time column.
pub(super) fn draw(rows: &[Row], lanes: &[&str], start: Instant) -> Vec<String> {
    let mut out = vec![heading(lanes)];
    for row in rows {
        let lane = |name: &str| lanes.iter().position(|lane| lane.split(' ').any(|word| word == name));
        let (Some(from), Some(to)) = (lane(&row.from), lane(&row.to)) else { continue };
        let since = row.at.checked_duration_since(start).unwrap_or(Duration::ZERO);
        let arrow = arrow(from, to, lanes.len());
        let what: String = row.what.chars().take(TITLE_MAX).collect();
        let pair = format!("{} → {}", row.from, row.to);
        out.push(format!("{:>9.1} ms  {arrow}  {pair:<18} {what}", since.as_secs_f64() * 1_000.0));
    }
    out
}

fn heading(lanes: &[&str]) -> String {
    let mut line = String::new();
    for (index, lane) in lanes.iter().enumerate() {
        // Centred on its lane.
        let start = (MARGIN + index * SPACING).saturating_sub(lane.chars().count() / 2);
        let gap = start.saturating_sub(line.chars().count());
        line.push_str(&" ".repeat(gap));
        line.push_str(lane);
    }
    line
}

fn arrow(from: usize, to: usize, lanes: usize) -> String {
    let width = (lanes - 1) * SPACING + 1;
    let (left, right) = (from.min(to) * SPACING, from.max(to) * SPACING);
    let cell = |column: usize| {
        let on_lane = column.is_multiple_of(SPACING);
        let inside = column > left && column < right;
        match (on_lane, inside) {
            _ if column == from * SPACING => {
                if from < to {
                    '├'
                } else {
                    '┤'
                }
            }
            (false, true) if from < to && column == right - 1 => '▶',
            (false, true) if from > to && column == left + 1 => '◀',
            (true, true) => '┼',
            (false, true) => '─',
            (true, false) => '│',
            (false, false) => ' ',
        }
    };
    (0..width).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: [&str; 4] = ["alice", "bob", "edge core", "registrar"];

    fn row(start: Instant, micros: u64, from: &str, to: &str, what: &str) -> Row {
        let at = start + Duration::from_micros(micros);
        Row { at, from: from.to_owned(), to: to.to_owned(), what: what.to_owned() }
    }

    #[test]
    fn arrows_run_between_the_right_lanes_in_the_right_direction() {
        let start = Instant::now();
        let rows = [
            row(start, 100, "alice", "edge", "INVITE sip:bob@lab.example"),
            row(start, 1_250, "core", "registrar", "INVITE sip:bob@lab.example"),
            row(start, 2_000, "edge", "bob", "INVITE sip:bob@127.0.0.1:4"),
            row(start, 3_000, "edge", "alice", "180 Ringing (INVITE)"),
            row(start, 4_000, "mars", "venus", "never drawn"),
        ];
        let drawn = draw(&rows, &LANES, start);
        assert_eq!(
            drawn,
            [
                "            alice        bob      edge core   registrar",
                "      0.1 ms  ├───────────┼──────────▶│           │  alice → edge       INVITE sip:bob@lab.example",
                "      1.2 ms  │           │           ├──────────▶│  core → registrar   INVITE sip:bob@lab.example",
                "      2.0 ms  │           │◀──────────┤           │  edge → bob         INVITE sip:bob@127.0.0.1:4",
                "      3.0 ms  │◀──────────┼───────────┤           │  edge → alice       180 Ringing (INVITE)",
            ]
        );
    }

    #[test]
    fn a_title_too_long_is_cut_and_old_rows_fall_out() {
        let ladder = Ladder::default();
        let start = Instant::now();
        for index in 0..=LADDER_ROWS_MAX {
            ladder.push(row(start, index as u64, "alice", "edge", &format!("{index} {}", "x".repeat(200))));
        }
        let rows = ladder.rows();
        assert_eq!(rows.len(), LADDER_ROWS_MAX);
        assert!(rows[0].what.starts_with("1 "), "row 0 has fallen out");
        assert!(draw(&rows[..1], &LANES, start)[1].ends_with(&"x".repeat(TITLE_MAX - 2)));
        ladder.clear();
        assert!(ladder.rows().is_empty());
    }
}
