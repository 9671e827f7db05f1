//! The last hour in points, for the charts of the overview.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::limits::{SAMPLES_MAX, SHOWN_NODES_MAX};
use super::views::{Gauge, Status};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    Registrations,
    Calls,
    Chats,
    Cpu,
}

impl Series {
    pub(crate) const ALL: [Self; 4] = [Self::Registrations, Self::Calls, Self::Chats, Self::Cpu];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Registrations => "registrations",
            Self::Calls => "calls",
            Self::Chats => "chats",
            Self::Cpu => "cpu",
        }
    }

    /// Its title in the catalogues.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Registrations => "overview.registrations",
            Self::Calls => "overview.calls",
            Self::Chats => "overview.chats",
            Self::Cpu => "overview.cpu",
        }
    }

    fn of(self, figures: &Figures) -> f64 {
        match self {
            Self::Registrations => figures.registrations as f64,
            Self::Calls => figures.calls as f64,
            Self::Chats => figures.chats as f64,
            Self::Cpu => figures.cpu_percent,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Figures {
    node: String,
    is_core: bool,
    registrations: u64,
    calls: u64,
    chats: u64,
    cpu_percent: f64,
}

#[derive(Clone, Debug)]
struct Sample {
    at_ms: u64,
    nodes: Vec<Figures>,
}

/// Points of all nodes, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<VecDeque<Sample>>);

impl Samples {
    /// Takes a point.
    pub(crate) fn take(&self, nodes: &[Status], at_ms: u64) {
        let figures = |node: &Status| Figures {
            node: node.node.clone(),
            is_core: node.is_core(),
            registrations: node.registrations.current,
            calls: node.calls.current,
            chats: node.chats.current,
            cpu_percent: node.resources.and_then(|used| used.cpu_percent).unwrap_or(0.0),
        };
        let nodes = nodes.iter().take(SHOWN_NODES_MAX).map(figures).collect();
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(Sample { at_ms, nodes });
    }

    /// A series of one node, or of all: times in Unix seconds, and values. Every registration and call is at one core, so
    /// the cores together are all; of processors, the busiest.
    pub(crate) fn series(&self, series: Series, node: Option<&str>) -> Vec<(u64, f64)> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = |sample: &Sample| {
            let counted = |figures: &&Figures| match node {
                Some(node) => figures.node == node,
                None => figures.is_core || series == Series::Cpu,
            };
            let values = sample.nodes.iter().filter(counted).map(|figures| series.of(figures));
            if series == Series::Cpu { values.fold(0.0, f64::max) } else { values.sum() }
        };
        samples.iter().map(|sample| (sample.at_ms / 1000, value(sample))).collect()
    }

    /// All series as the page's script reads them.
    pub(crate) fn json(&self, node: Option<&str>) -> Value {
        let all = Series::ALL.map(|series| (series.as_str().to_owned(), self.series(series, node)));
        let times: Vec<u64> = all[0].1.iter().map(|(time, _)| *time).collect();
        let mut out = json!({ "times": times });
        for (name, points) in all {
            out[name] = points.iter().map(|(_, value)| *value).collect();
        }
        out
    }
}

/// What all nodes have together: each registration, call and chat is at one core, and comes through an edge.
pub(crate) fn together(nodes: &[Status], of: impl Fn(&Status) -> Gauge) -> Gauge {
    let cores = nodes.iter().filter(|node| node.is_core());
    cores.map(of).fold(Gauge::default(), Gauge::and)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, role: &str, calls: u64) -> Status {
        let calls = Gauge { current: calls, peak: calls };
        Status { node: name.to_owned(), role: role.to_owned(), calls, ..Status::default() }
    }

    #[test]
    fn an_hour_is_kept_and_nothing_is_counted_twice() {
        let samples = Samples::default();
        for at in 0..SAMPLES_MAX as u64 + 5 {
            samples.take(
                &[node("core1", "core", at), node("core2", "core", 1), node("edge1", "edge", at + 1)],
                at * 10_000,
            );
        }
        let all = samples.series(Series::Calls, None);
        assert_eq!((all.len(), all[0]), (SAMPLES_MAX, (50, 6.0)));
        assert_eq!(samples.series(Series::Calls, Some("edge1"))[0], (50, 6.0));
        assert_eq!(samples.json(Some("core2"))["calls"][0], json!(1.0));
        let nodes = [node("core1", "core", 2), node("core2", "core", 3), node("edge1", "edge", 5)];
        assert_eq!(together(&nodes, |node| node.calls), Gauge { current: 5, peak: 5 });
    }
}
