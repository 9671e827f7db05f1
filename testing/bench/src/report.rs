//! Figures: medians, percentiles, a table for people and JSON for machines.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where figures were taken: they mean nothing without it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Logical processors.
    pub(crate) processors: usize,
    /// Processor model.
    pub(crate) model: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Load average over a minute when the run began: others on the machine disturb latency.
    pub(crate) load: f64,
}

impl Machine {
    /// This machine.
    pub(crate) fn here() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let model = read("/proc/cpuinfo");
        let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        Self {
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            model: model.trim_start_matches([' ', '\t', ':']).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    }

    /// One line above a table.
    pub(crate) fn line(&self) -> String {
        let Self { processors, model, kernel, load } = self;
        format!("{processors} × {model}, Linux {kernel}, load {load:.2}")
    }
}

/// Latencies of one phase.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds what began at `start` and is done now.
    pub(crate) fn record_since(&mut self, start: Instant) {
        self.record(start.elapsed());
    }

    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds all of `others`.
    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value `fraction` of them do not exceed, in milliseconds.
    pub(crate) fn percentile_ms(&mut self, fraction: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let index = (last as f64 * fraction).round() as usize;
        self.0.get(index).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

/// The middle of some figures (of an even number, the mean of the two).
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (count, middle) if count % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Microseconds of CPU for each of `count` operations.
pub(crate) fn micros_each(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / (count.max(1) as f64)
}

/// A table with right-aligned columns after the first.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts with the column heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - cell.chars().count());
                let cell = if column == 0 { format!("{cell}{padding}") } else { format!("  {padding}{cell}") };
                text.push_str(&cell);
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// Writes `results` where `--json` says.
pub(crate) fn write_json(file: Option<&Path>, results: &impl Serialize) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_string_pretty(results)? + "\n";
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// `ours / peer`, or a dash where there is nothing to compare with.
pub(crate) fn ratio(ours: Option<f64>, peer: Option<f64>) -> Option<f64> {
    let (ours, peer) = (ours?, peer?);
    (peer > 0.0).then(|| ours / peer)
}

/// A figure or a dash.
pub(crate) fn cell(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn percentiles() {
        let mut latencies = Latencies::default();
        (1..=100).rev().for_each(|ms| latencies.record(Duration::from_millis(ms)));
        assert_eq!(latencies.percentile_ms(0.5), 51.0);
        assert_eq!(latencies.percentile_ms(0.99), 99.0);
        assert_eq!(Latencies::default().percentile_ms(0.5), 0.0);
    }

    #[test]
    fn tables_line_up() {
        let mut table = Table::new(&["work", "µs"]);
        table.row(vec!["REGISTER".into(), "12.5".into()]);
        assert_eq!(table.text(), "work        µs\nREGISTER  12.5\n");
    }
}
